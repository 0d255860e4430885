//! Releases a quarantined entry as the event that a person names. The inbox decides on it as on a new arrival.

use super::error::{BadRequest, Error};
use super::filter::read_generation;
use super::names::{EntryState, EventKind, Lane};
use super::{EntrySummary, Operations, written};
use crate::access::Caller;
use crate::arrival::Arrival;
use crate::entry::QuarantineReason;
use crate::reconcile::{ReleaseError, check_released};
use crate::release::{self, ReleaseAsError};
use crate::store::{ActionKind, ArrivalOutcome, NewAction, ReleaseResult, StoredPayload};
use blobgate::event::GenerationId;
use serde::{Deserialize, Serialize};

/// Releases an entry as an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseAsRequest {
    /// The entry.
    pub id: i64,
    /// The event.
    pub r#as: EventKind,
    /// Its generation, if the entry names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation_id: Option<String>,
    /// Change nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// The outcome of a release. With `dry_run`, nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseAsAnswer {
    /// The released entry.
    pub id: i64,
    /// Its hook.
    pub hook: String,
    /// Its generation.
    pub generation: String,
    /// Its event.
    pub event: EventKind,
    /// The inbox's decision.
    pub outcome: ReleaseOutcome,
    /// The route of its attempts.
    pub route: Option<String>,
    /// Why it was in quarantine: the value of `blobgate-override`.
    pub r#override: Option<String>,
    /// The violated field and the expectation, without a value.
    pub detail: Option<String>,
    /// Its size in bytes.
    pub size: i64,
    /// The action's number in the audit; nothing with `dry_run`.
    #[serde(default)]
    pub action: Option<i64>,
}

/// The inbox's decision on a released entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseOutcome {
    /// A new event. It waits for its first attempt.
    Waiting,
    /// The store already has the event.
    Repeated,
}

impl ReleaseOutcome {
    const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Repeated => "repeated",
        }
    }
}

/// The answer of a released entry.
const NOTE: &str = "released: a person named its event";

impl Operations {
    /// Releases an entry as an event.
    pub(crate) async fn release_as(
        &self,
        caller: &Caller,
        request: &ReleaseAsRequest,
    ) -> Result<ReleaseAsAnswer, Error> {
        let id = request.id;
        if id < 1 {
            return Err(BadRequest::NoNumber { name: "id", value: id.to_string(), max: None }.into());
        }
        let named = request.generation_id.as_deref().map(read_generation).transpose()?;
        let named = named.as_deref().and_then(GenerationId::parse);
        let (entry, payload) = self.shared.store.show(id).await?.ok_or(Error::NoEntry(id))?;
        let shown = EntrySummary::try_from(entry.clone())?;
        let payload = check(&shown, payload)?;
        let arrival = release::arrival(&entry, payload, request.r#as.0, named)?;
        let generation = arrival.generation.clone().unwrap_or_default();
        let action = NewAction::by(caller, ActionKind::ReleaseAs).with_target(request.r#as.to_string());
        let action = (!request.dry_run).then_some(action);
        let ReleaseResult { outcome, action } = match self.decide(id, arrival, action).await? {
            Ok(released) => released,
            Err(ReleaseError::Stays(reason)) => {
                return Err(still_quarantined(&shown, request.r#as, generation, reason).into());
            }
            Err(why) if why.is_about_entry() => {
                return Err(ReleaseAsError::NotNow(id, why.to_string()).into());
            }
            Err(why) => return Err(Error::NotNow(why)),
        };
        let (outcome, route) = match outcome {
            ArrivalOutcome::Waits(route) => (ReleaseOutcome::Waiting, Some(route)),
            _ => (ReleaseOutcome::Repeated, None),
        };
        if !request.dry_run {
            tracing::info!(
                entry = id,
                hook = shown.hook,
                generation,
                event = request.r#as.name(),
                "released={id} event={} outcome={} by an operator",
                request.r#as,
                outcome.name()
            );
        }
        Ok(ReleaseAsAnswer {
            id,
            hook: shown.hook,
            generation,
            event: request.r#as,
            outcome,
            route,
            r#override: shown.reason,
            detail: shown.detail.clone(),
            size: shown.size,
            action,
        })
    }

    /// Releases the entry by this action. Without one, it changes nothing.
    async fn decide(
        &self,
        id: i64,
        arrival: Arrival,
        action: Option<NewAction>,
    ) -> Result<Result<ReleaseResult, ReleaseError>, Error> {
        let (store, releaser) = (self.shared.store.clone(), self.releaser.clone());
        let outcome = written(async move {
            let Some(action) = action else {
                let outcome = check_released(store.preview_release(id, &arrival).await?);
                return Ok(outcome.map(|outcome| ReleaseResult { outcome, action: None }));
            };
            match releaser.release(id, &arrival, NOTE, Some(&action)).await {
                Err(ReleaseError::Store(error)) => Err(error),
                outcome => Ok(outcome),
            }
        });
        outcome.await
    }
}

/// Why the entry would go into quarantine again.
fn still_quarantined(
    entry: &EntrySummary,
    event: EventKind,
    generation: String,
    reason: QuarantineReason,
) -> ReleaseAsError {
    let (id, event) = (entry.id, event.name());
    let is_explained = QuarantineReason::EXPLAINED.contains(&reason);
    let reason = reason.to_string();
    match &entry.job {
        Some(job) if is_explained => {
            let (hook, job) = (entry.hook.clone(), job.clone());
            ReleaseAsError::Unexplained { id, event, reason, hook, generation, job }
        }
        _ => ReleaseAsError::Contradicts { id, event, reason, generation },
    }
}

/// Checks that the entry is quarantined, and still has its payload.
fn check(entry: &EntrySummary, payload: Option<StoredPayload>) -> Result<StoredPayload, ReleaseAsError> {
    use EntryState::{Delivered, Dropped, InFlight, Quarantined, Superseded, Waiting};
    let (id, state) = (entry.id, entry.state.name().replace('_', " "));
    match (entry.lane, entry.state) {
        (Lane::Quarantine, Quarantined) => payload.ok_or(ReleaseAsError::Purged(id)),
        (Lane::Quarantine, Superseded) => Err(ReleaseAsError::Released(id)),
        (Lane::Quarantine, Dropped) => Err(ReleaseAsError::Dropped(id)),
        (Lane::Quarantine, Waiting | InFlight | Delivered | EntryState::Dead) => {
            Err(ReleaseAsError::AlreadyReleased(id, state))
        }
        (_, Waiting | InFlight) => Err(ReleaseAsError::NotFinished(id, state)),
        _ => Err(ReleaseAsError::NotQuarantined(id, state)),
    }
}
