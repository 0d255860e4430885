//! Reevaluates quarantined entries with today's configuration of the gate, and releases those that pass.

use super::change::{ChangeRequest, EntryRefusal};
use super::error::Error;
use super::filter::EntryFilter;
use super::{Operations, named, written};
use crate::access::Caller;
use crate::arrival::Arrival;
use crate::reconcile::{ReleaseError, Releaser, check_released};
use crate::reevaluate::{self, Judge, ReevaluatedEntry, RuleFailure};
use crate::store::{ActionKind, NewAction, Restriction, StoreError, StoreHandle};
use blobgate::{Reason, Violation};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;

/// Selects entries like [`ChangeRequest`], with the configuration to judge them by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReevaluateRequest {
    /// The entries, up to 500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<BTreeSet<i64>>,
    /// Entries that match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<EntryFilter>,
    /// With a filter: only entries with a higher id, the `next` of the previous answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<i64>,
    /// With a filter: only entries up to this id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
    /// With a filter: the most entries of one piece, up to 500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// The `action` of the answer to an earlier piece: this piece belongs to the same action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<i64>,
    /// Judge the entries, and change nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// The gate's configuration.
    pub config: Value,
    /// Reasons to waive: some of [`waivable`].
    #[serde(default)]
    pub waive: Vec<String>,
}

/// The outcome of a reevaluation. With `dry_run`, nothing has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReevaluateAnswer {
    /// The released entries.
    pub changed: Vec<i64>,
    /// The entries that the reconciler releases once the status API confirms them.
    pub to_confirm: Vec<i64>,
    /// The entries that stay in quarantine.
    pub refused: Vec<EntryRefusal>,
    /// The `after` of the next piece; nothing after the last.
    pub next: Option<i64>,
    /// The action's number in the audit, for the next piece; nothing while no entry has changed.
    #[serde(default)]
    pub action: Option<i64>,
}

/// The reasons that an operator can waive: the store does not contain their inputs.
pub fn waivable() -> impl Iterator<Item = &'static str> {
    reevaluate::waivable().map(Reason::code)
}

/// Why an entry stays in quarantine.
#[derive(Debug, thiserror::Error)]
enum StayReason {
    #[error("it is not quarantined, or its body is purged")]
    NotQuarantined,
    #[error(transparent)]
    Rule(#[from] RuleFailure),
    #[error(
        "{}: the store does not have the part of the request that broke this rule. `--waive {}` overrides it",
        .0.code(), .0.code()
    )]
    OfHead(Reason),
    #[error(
        "source-denied: the allowlist does not have its address {0}. Add it to `source`, or override with `--waive source-denied`"
    )]
    SourceDenied(String),
    #[error("it needs a confirmation, but this inbox runs without a status API: start it with --provider")]
    NoProvider,
    #[error("it names no generation")]
    NoGeneration,
    #[error(transparent)]
    NotReleased(ReleaseError),
}

/// The outcome for an entry.
enum ReevaluationOutcome {
    Released,
    /// The reconciler releases it once the status API confirms it.
    ToConfirm,
}

/// The outcome for an entry, and the row of the action; no row in a preview.
type Reevaluated = (ReevaluationOutcome, Option<i64>);

/// The answer of a released entry.
const NOTE: &str = "released: it passes today's configuration";

impl Operations {
    /// Reevaluates entries, and releases those that pass.
    pub(crate) async fn reevaluate(
        &self,
        caller: &Caller,
        request: ReevaluateRequest,
    ) -> Result<ReevaluateAnswer, Error> {
        let judge = Judge::new(request.config.to_string().as_bytes(), &request.waive)?;
        let dry_run = request.dry_run;
        let waived = (!request.waive.is_empty()).then(|| format!("waived {}", request.waive.join(", ")));
        let action = NewAction::by(caller, ActionKind::Reevaluate).with_filter(request.filter.as_ref());
        let mut action = self.continued(NewAction { target: waived, ..action }, request.action).await?;
        let selection = request.selection();
        let (ids, next) = self.piece(selection.selected()?, Restriction::Reevaluable, &selection).await?;
        let mut answer = ReevaluateAnswer { next, ..ReevaluateAnswer::default() };
        for id in ids {
            let judged = self.judge(&judge, id).await?;
            let applied = self.apply(id, judged, (!dry_run).then(|| action.clone())).await?;
            match applied {
                Ok((outcome, row)) => {
                    // One row for the whole request: the next entry adds to it.
                    action.row = row.or(action.row);
                    match outcome {
                        ReevaluationOutcome::Released => answer.changed.push(id),
                        ReevaluationOutcome::ToConfirm => answer.to_confirm.push(id),
                    }
                }
                Err(why) => answer.refused.push(EntryRefusal { id, why: why.to_string() }),
            }
        }
        answer.action = action.row;
        let (released, to_confirm) = (answer.changed.len(), answer.to_confirm.len());
        if !dry_run && (released > 0 || to_confirm > 0) {
            self.nudge.notify_one();
            let entries = named(answer.changed.iter().chain(&answer.to_confirm));
            tracing::info!(
                entries,
                "reevaluated={released} to-be-confirmed={to_confirm} entries={entries} by an operator"
            );
        }
        Ok(answer)
    }

    async fn judge(&self, judge: &Judge, id: i64) -> Result<Result<ReevaluatedEntry, StayReason>, Error> {
        let Some(entry) = self.shared.store.quarantined(id).await? else {
            return Ok(Err(StayReason::NotQuarantined));
        };
        let client = entry.client.clone();
        let judged = judge.judge(entry).map_err(|why| with_remedy(why, client));
        Ok(match judged {
            Ok(ReevaluatedEntry::NeedsConfirmation(_)) if self.per_minute.is_none() => {
                Err(StayReason::NoProvider)
            }
            judged => judged,
        })
    }

    /// Releases the entry by this action. Without one, it changes nothing.
    async fn apply(
        &self,
        id: i64,
        judged: Result<ReevaluatedEntry, StayReason>,
        action: Option<NewAction>,
    ) -> Result<Result<Reevaluated, StayReason>, Error> {
        let (store, releaser) = (self.shared.store.clone(), self.releaser.clone());
        written(async move {
            match action {
                None => preview_release(store, id, judged).await,
                Some(action) => release_or_confirm(store, releaser, id, judged, &action).await,
            }
        })
        .await
    }
}

impl ReevaluateRequest {
    /// Judges the selected entries by this configuration.
    pub fn new(selection: ChangeRequest, config: Value, waive: Vec<String>) -> Self {
        let ChangeRequest { ids, filter, after, until, limit, action, dry_run } = selection;
        Self { ids, filter, after, until, limit, action, dry_run, config, waive }
    }

    fn selection(self) -> ChangeRequest {
        let Self { ids, filter, after, until, limit, action, dry_run, .. } = self;
        ChangeRequest { ids, filter, after, until, limit, action, dry_run }
    }
}

/// Adds the remedy to a violation that no configuration ends.
fn with_remedy(why: RuleFailure, client: Option<String>) -> StayReason {
    let RuleFailure::Violation(Violation { reason, .. }) = why else { return why.into() };
    match client {
        Some(client) if reason == Reason::SourceDenied => StayReason::SourceDenied(client),
        _ if reevaluate::waivable().any(|waivable| waivable == reason) => StayReason::OfHead(reason),
        _ => why.into(),
    }
}

async fn preview_release(
    store: StoreHandle,
    id: i64,
    judged: Result<ReevaluatedEntry, StayReason>,
) -> Result<Result<Reevaluated, StayReason>, StoreError> {
    let (arrival, became) = match judged {
        Ok(ReevaluatedEntry::Passes(arrival)) => (arrival, ReevaluationOutcome::Released),
        Ok(ReevaluatedEntry::NeedsConfirmation(arrival)) => (arrival, ReevaluationOutcome::ToConfirm),
        Err(why) => return Ok(Err(why)),
    };
    let outcome = check_released(store.preview_release(id, &arrival).await?);
    Ok(outcome.map(|_| (became, None)).map_err(StayReason::NotReleased))
}

/// Releases the entry, or requests a confirmation for it. An earlier reevaluation no longer counts.
async fn release_or_confirm(
    store: StoreHandle,
    releaser: Releaser,
    id: i64,
    judged: Result<ReevaluatedEntry, StayReason>,
    action: &NewAction,
) -> Result<Result<Reevaluated, StayReason>, StoreError> {
    store.forget_reevaluation(id).await?;
    match judged {
        Err(why) => Ok(Err(why)),
        Ok(ReevaluatedEntry::Passes(arrival)) => {
            match releaser.release(id, &arrival, NOTE, Some(action)).await {
                Ok(released) => Ok(Ok((ReevaluationOutcome::Released, released.action))),
                Err(ReleaseError::Store(error)) => Err(error),
                Err(why) => Ok(Err(StayReason::NotReleased(why))),
            }
        }
        Ok(ReevaluatedEntry::NeedsConfirmation(arrival)) => {
            request_confirmation(store, id, &arrival, action).await
        }
    }
}

async fn request_confirmation(
    store: StoreHandle,
    id: i64,
    arrival: &Arrival,
    action: &NewAction,
) -> Result<Result<Reevaluated, StayReason>, StoreError> {
    if let Err(why) = check_released(store.preview_release(id, arrival).await?) {
        return Ok(Err(StayReason::NotReleased(why)));
    }
    let Some(generation) = &arrival.generation else { return Ok(Err(StayReason::NoGeneration)) };
    let row = store.request_call_for(id, &arrival.hook, generation, &arrival.headers, action).await?;
    let gone = StayReason::NotReleased(ReleaseError::Gone);
    Ok(row.map(|row| (ReevaluationOutcome::ToConfirm, Some(row))).ok_or(gone))
}
