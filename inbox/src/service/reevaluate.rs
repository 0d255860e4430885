//! Judges entries in quarantine with today's configuration of the gate, and releases those that pass.

use super::change::{ChangeRequest, EntryRefusal};
use super::error::Error;
use super::filter::EntryFilter;
use super::{Operations, written};
use crate::arrival::Arrival;
use crate::reconcile::{ReleaseError, Releaser, check_released};
use crate::reevaluate::{self, Judge, Reevaluation, RuleFailure};
use crate::store::{Restriction, StoreError, StoreHandle};
use crate::violation;
use blobgate::Reason;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;

/// Names entries as [`ChangeRequest`] does, and says how they are judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReevaluateRequest {
    /// These, up to 500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<BTreeSet<i64>>,
    /// Those that match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<EntryFilter>,
    /// Of a filter, those with a higher id: the `next` of the answer before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<i64>,
    /// Of a filter, up to this id. Later entries stay as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
    /// Of a filter, so many at once: up to 500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// Only judge.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// The gate's configuration.
    pub config: Value,
    /// Reasons that are overridden: some of [`waivable`].
    #[serde(default)]
    pub waive: Vec<String>,
}

/// What a reevaluation did. With `dry_run`: what it would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReevaluateAnswer {
    /// The entries that pass, and are released.
    pub changed: Vec<i64>,
    /// The entries that pass once the provider confirms them. The reconciler asks.
    pub asked: Vec<i64>,
    /// The entries that stay in quarantine.
    pub refused: Vec<EntryRefusal>,
    /// The `after` of the next piece; none at the end.
    pub next: Option<i64>,
}

/// Reasons that only the head shows, and that an operator can override.
pub fn waivable() -> impl Iterator<Item = &'static str> {
    reevaluate::waivable().map(Reason::code)
}

/// Why an entry stays in quarantine.
#[derive(Debug, thiserror::Error)]
enum StayReason {
    #[error("no such entry is quarantined, or its body is purged")]
    NotQuarantined,
    #[error(transparent)]
    Rule(#[from] RuleFailure),
    #[error("{}: {violation}", reason.code())]
    Violates { reason: Reason, violation: String },
    #[error("it needs a confirmation, but this inbox runs without a status API: start it with --provider")]
    NoProvider,
    #[error("it names no generation")]
    NoGeneration,
    #[error(transparent)]
    NotReleased(ReleaseError),
}

/// What an entry becomes.
enum ReevaluationOutcome {
    Released,
    /// It is released once the provider confirms it.
    Asked,
}

/// The answer that a released entry has.
const NOTE: &str = "released: it passes today's configuration";

impl Operations {
    /// Judges entries, and releases those that pass.
    pub(crate) async fn reevaluate(&self, request: ReevaluateRequest) -> Result<ReevaluateAnswer, Error> {
        let judge = Judge::new(request.config.to_string().as_bytes(), &request.waive)?;
        let dry_run = request.dry_run;
        let selection = request.selection();
        let (ids, next) = self.piece(selection.selected()?, Restriction::Reevaluable, &selection).await?;
        let mut answer = ReevaluateAnswer { next, ..ReevaluateAnswer::default() };
        for id in ids {
            let now = self.judge(&judge, id).await?;
            match self.apply(id, now, dry_run).await? {
                Ok(ReevaluationOutcome::Released) => answer.changed.push(id),
                Ok(ReevaluationOutcome::Asked) => answer.asked.push(id),
                Err(why) => answer.refused.push(EntryRefusal { id, why: why.to_string() }),
            }
        }
        let (released, asked) = (answer.changed.len(), answer.asked.len());
        if !dry_run && (released > 0 || asked > 0) {
            self.nudge.notify_one();
            tracing::info!("reevaluated={released} to-be-asked-about={asked} by an operator");
        }
        Ok(answer)
    }

    async fn judge(&self, judge: &Judge, id: i64) -> Result<Result<Reevaluation, StayReason>, Error> {
        let Some(entry) = self.shared.store.quarantined(id).await? else {
            return Ok(Err(StayReason::NotQuarantined));
        };
        let (headers, body) = (entry.headers.clone(), entry.body.clone());
        let now = judge.judge(entry).map_err(|why| with_field(why, &headers, &body));
        Ok(match now {
            Ok(Reevaluation::NeedsConfirmation(_)) if self.per_minute.is_none() => {
                Err(StayReason::NoProvider)
            }
            now => now,
        })
    }

    async fn apply(
        &self,
        id: i64,
        now: Result<Reevaluation, StayReason>,
        dry_run: bool,
    ) -> Result<Result<ReevaluationOutcome, StayReason>, Error> {
        let (store, releaser) = (self.shared.store.clone(), self.releaser.clone());
        written(async move {
            if dry_run { would_settle(store, id, now).await } else { settle(store, releaser, id, now).await }
        })
        .await
    }
}

impl ReevaluateRequest {
    /// Judges the entries of this request by this configuration.
    pub fn new(selection: ChangeRequest, config: Value, waive: Vec<String>) -> Self {
        let ChangeRequest { ids, filter, after, until, limit, dry_run } = selection;
        Self { ids, filter, after, until, limit, dry_run, config, waive }
    }

    fn selection(self) -> ChangeRequest {
        let Self { ids, filter, after, until, limit, dry_run, .. } = self;
        ChangeRequest { ids, filter, after, until, limit, dry_run }
    }
}

/// A body that is no event by any configuration: names the field that keeps it from being one.
fn with_field(why: RuleFailure, headers: &[u8], body: &[u8]) -> StayReason {
    if let RuleFailure::Reason(reason @ (Reason::SchemaInvalid | Reason::GenerationIdInvalid)) = why
        && let Some(violation) = violation::describe(reason.code(), headers, body)
    {
        return StayReason::Violates { reason, violation };
    }
    why.into()
}

async fn would_settle(
    store: StoreHandle,
    id: i64,
    now: Result<Reevaluation, StayReason>,
) -> Result<Result<ReevaluationOutcome, StayReason>, StoreError> {
    let (arrival, became) = match now {
        Ok(Reevaluation::Passes(arrival)) => (arrival, ReevaluationOutcome::Released),
        Ok(Reevaluation::NeedsConfirmation(arrival)) => (arrival, ReevaluationOutcome::Asked),
        Err(why) => return Ok(Err(why)),
    };
    let outcome = check_released(store.preview_release(id, &arrival).await?);
    Ok(outcome.map(|_| became).map_err(StayReason::NotReleased))
}

/// Releases it, or has the reconciler do so once the provider confirms it. An earlier judgement is void.
async fn settle(
    store: StoreHandle,
    releaser: Releaser,
    id: i64,
    now: Result<Reevaluation, StayReason>,
) -> Result<Result<ReevaluationOutcome, StayReason>, StoreError> {
    store.forget_reevaluation(id).await?;
    match now {
        Err(why) => Ok(Err(why)),
        Ok(Reevaluation::Passes(arrival)) => match releaser.release(id, &arrival, NOTE).await {
            Ok(_) => Ok(Ok(ReevaluationOutcome::Released)),
            Err(ReleaseError::Store(error)) => Err(error),
            Err(why) => Ok(Err(StayReason::NotReleased(why))),
        },
        Ok(Reevaluation::NeedsConfirmation(arrival)) => want(store, id, &arrival).await,
    }
}

async fn want(
    store: StoreHandle,
    id: i64,
    arrival: &Arrival,
) -> Result<Result<ReevaluationOutcome, StayReason>, StoreError> {
    if let Err(why) = check_released(store.preview_release(id, arrival).await?) {
        return Ok(Err(StayReason::NotReleased(why)));
    }
    let Some(generation) = &arrival.generation else { return Ok(Err(StayReason::NoGeneration)) };
    let is_quarantined = store.request_call_for(id, &arrival.hook, generation, &arrival.headers).await?;
    let gone = StayReason::NotReleased(ReleaseError::Gone);
    Ok(if is_quarantined { Ok(ReevaluationOutcome::Asked) } else { Err(gone) })
}
