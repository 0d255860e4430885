//! What a store takes and gives.

use super::Filter;
use crate::decide::ArrivalOutcome;
use crate::entry::{EntryState, ExpectationState, Lane, QuarantineReason, Superseded};
use serde::Serialize;
use sqlx::FromRow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A batch that is committed.
#[derive(Debug)]
pub(crate) struct CommittedBatch {
    pub(crate) outcomes: Vec<ArrivalOutcome>,
    /// How long the statements took.
    pub(crate) worked: Duration,
    /// How long the commit took: for the most part, the disk's time.
    pub(crate) synced: Duration,
}

/// An entry that is to be delivered, under a lease.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct ClaimedEntry {
    pub(crate) id: i64,
    pub(crate) event: Option<String>,
    pub(crate) supersedes: Option<Superseded>,
    #[sqlx(rename = "override")]
    pub(crate) overrides: Option<String>,
    pub(crate) redelivery: i64,
    pub(crate) attempts: i64,
    pub(crate) lease: i64,
    /// Whether another entry of its route was answered 2xx since its last attempt.
    pub(crate) beside_success: bool,
    pub(crate) path: Vec<u8>,
    pub(crate) headers: Vec<u8>,
    pub(crate) body: Vec<u8>,
}

/// How an attempt ended.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct FinishedAttempt {
    pub(crate) id: i64,
    pub(crate) lease: i64,
    /// Whether the service said 2xx.
    pub(crate) done: bool,
    pub(crate) status: Option<i64>,
    /// The beginning of its answer, escaped, or why there was none.
    pub(crate) answer: String,
    /// Until the next attempt, in microseconds.
    pub(crate) delay: i64,
    /// What counts as its own trying, in microseconds.
    pub(crate) tried: i64,
    /// The route whose success is to be noted.
    #[serde(skip)]
    pub(crate) succeeded_on: Option<String>,
}

impl FinishedAttempt {
    /// The routes on which a success is to be noted, each once.
    pub(super) fn succeeded_on(finished: &[Self]) -> Vec<&str> {
        let routes: BTreeSet<_> = finished.iter().filter_map(|one| one.succeeded_on.as_deref()).collect();
        routes.into_iter().collect()
    }
}

/// How full the store is, in bytes of what can still be delivered or shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) total: i64,
    pub(crate) quarantine: i64,
    pub(crate) dead: i64,
    pub(crate) observed: i64,
    /// Entries by state.
    pub(crate) states: BTreeMap<EntryState, i64>,
    /// The age of the oldest entry that waits, in seconds.
    pub(crate) oldest_waiting: i64,
}

impl Usage {
    /// From the sums of entries, by lane and state.
    pub(super) fn of(rows: Vec<(Lane, EntryState, i64, i64)>, oldest_waiting: i64) -> Self {
        let mut usage = Self { oldest_waiting, ..Self::default() };
        for (lane, state, count, bytes) in rows {
            usage.total = usage.total.saturating_add(bytes);
            let share = match (lane, state) {
                (Lane::Quarantine, EntryState::Quarantined) => Some(&mut usage.quarantine),
                (Lane::Observed, EntryState::Waiting | EntryState::InFlight) => Some(&mut usage.observed),
                (_, EntryState::Dead) => Some(&mut usage.dead),
                _ => None,
            };
            if let Some(share) = share {
                *share = share.saturating_add(bytes);
            }
            let states = usage.states.entry(state).or_default();
            *states = states.saturating_add(count);
        }
        usage
    }
}

/// A pause, as an operator set it: of a hook, an event, or both; empty is any.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct Pause {
    pub(crate) hook: String,
    pub(crate) event: String,
}

impl Pause {
    /// Whether it holds a route, `HOOK/EVENT` or `HOOK/observed/EVENT`.
    pub(crate) fn holds(&self, route: &str) -> bool {
        let (hook, rest) = route.split_once('/').unwrap_or((route, ""));
        let event = rest.rsplit('/').next().unwrap_or(rest);
        (self.hook.is_empty() || self.hook == hook) && (self.event.is_empty() || self.event == event)
    }
}

/// An entry, without what came.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct EntryRow {
    pub(crate) id: i64,
    pub(crate) lane: Lane,
    pub(crate) state: EntryState,
    pub(crate) hook: String,
    pub(crate) generation: Option<String>,
    pub(crate) event: Option<String>,
    pub(crate) reason: Option<QuarantineReason>,
    pub(crate) token_id: Option<String>,
    pub(crate) job: Option<String>,
    pub(crate) authenticated: bool,
    pub(crate) digest: Vec<u8>,
    pub(crate) size: i64,
    pub(crate) route: Option<String>,
    pub(crate) supersedes: Option<Superseded>,
    #[sqlx(rename = "override")]
    pub(crate) overrides: Option<String>,
    pub(crate) redelivery: i64,
    pub(crate) received_at: i64,
    pub(crate) seen: i64,
    pub(crate) seen_at: i64,
    pub(crate) due_at: i64,
    pub(crate) attempts: i64,
    pub(crate) lease_until: Option<i64>,
    pub(crate) status: Option<i64>,
    pub(crate) answer: Option<String>,
    pub(crate) ended_at: Option<i64>,
}

/// What came, as it came.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct StoredPayload {
    pub(crate) path: Vec<u8>,
    pub(crate) headers: Vec<u8>,
    pub(crate) body: Vec<u8>,
}

/// A quarantined entry, with what came.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct QuarantinedEntry {
    pub(crate) hook: String,
    pub(crate) reason: Option<QuarantineReason>,
    pub(crate) token_id: Option<String>,
    pub(crate) job: Option<String>,
    pub(crate) path: Vec<u8>,
    pub(crate) headers: Vec<u8>,
    pub(crate) body: Vec<u8>,
    /// Headers with which it is released once the status API confirms it, where it was reevaluated.
    pub(crate) reevaluated: Option<Vec<u8>>,
}

/// Entries that are alike.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct EntryGroup {
    pub(crate) route: Option<String>,
    pub(crate) state: EntryState,
    /// Why, of what is kept.
    pub(crate) reason: Option<QuarantineReason>,
    pub(crate) count: i64,
    pub(crate) bytes: i64,
    /// Those that were delivered since, or up to ten minutes before.
    pub(crate) lately: i64,
    /// Those whose body is purged.
    pub(crate) tombstones: i64,
}

/// What an operator has paused, and when.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct DatedPause {
    pub(crate) hook: String,
    pub(crate) event: String,
    pub(crate) since: i64,
}

/// Entries, as somebody names them.
#[derive(Clone, Debug)]
pub(crate) enum EntrySelection {
    Ids(BTreeSet<i64>),
    All(Filter),
}

/// An expectation as it stands.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct Expectation {
    pub(crate) hook: String,
    pub(crate) generation: String,
    /// None where it is only asked about for what is kept.
    pub(crate) job: Option<String>,
    pub(crate) state: ExpectationState,
    pub(crate) expected_at: i64,
    pub(crate) ask_at: i64,
    pub(crate) asked: i64,
    pub(crate) missing: i64,
    pub(crate) answer: Option<String>,
    /// Since when the provider's word is wanted for what is kept of it.
    pub(crate) wanted: Option<i64>,
    /// The accepted entry that came with another job, and that job.
    pub(crate) mismatch_id: Option<i64>,
    pub(crate) mismatch_job: Option<String>,
}

/// From one moment to another, in seconds.
pub(super) fn seconds(now: i64, then: i64) -> i64 {
    now.saturating_sub(then).checked_div(1_000_000).unwrap_or_default()
}
