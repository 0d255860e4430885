//! The rows that a store writes and reads.

use super::Filter;
use crate::decide::ArrivalOutcome;
use crate::entry::{EntryState, ExpectationState, Lane, QuarantineReason, Superseded};
use crate::request_ids::RequestIds;
use serde::Serialize;
use sqlx::FromRow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A committed batch of arrivals.
#[derive(Debug)]
pub(crate) struct CommittedBatch {
    pub(crate) outcomes: Vec<ArrivalOutcome>,
    /// The time of the statements.
    pub(crate) worked: Duration,
    /// The time of the commit. Most of it is the disk's.
    pub(crate) synced: Duration,
}

/// A quarantined entry that was decided on as a new arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReleaseResult {
    pub(crate) outcome: ArrivalOutcome,
    /// The row of the operator's action, if the entry left quarantine by one.
    pub(crate) action: Option<i64>,
}

/// An entry to deliver, under a lease.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct ClaimedEntry {
    pub(crate) id: i64,
    /// For the log.
    pub(crate) generation: Option<String>,
    #[sqlx(flatten)]
    pub(crate) ids: RequestIds,
    pub(crate) event: Option<String>,
    pub(crate) supersedes: Option<Superseded>,
    #[sqlx(rename = "override")]
    pub(crate) overrides: Option<String>,
    pub(crate) redelivery: i64,
    pub(crate) attempts: i64,
    pub(crate) lease: i64,
    /// Whether the service answered 2xx to another entry of the route after the last attempt.
    pub(crate) beside_success: bool,
    pub(crate) path: Vec<u8>,
    pub(crate) headers: Vec<u8>,
    pub(crate) body: Vec<u8>,
}

impl ClaimedEntry {
    /// Whether this is the first attempt of the entry, without a replay or release before it.
    pub(crate) fn is_first(&self) -> bool {
        self.lease == 1 && self.redelivery == 0
    }
}

/// The result of an attempt.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct FinishedAttempt {
    pub(crate) id: i64,
    /// The number of the lease, which is the number of the attempt.
    pub(crate) lease: i64,
    /// Whether the service answered 2xx.
    pub(crate) done: bool,
    /// See [`ClaimedEntry::is_first`]. False for an attempt that outlived its lease: it has a record already.
    pub(crate) is_first: bool,
    pub(crate) status: Option<i64>,
    /// The start of the service's answer, escaped, or the error.
    pub(crate) answer: String,
    /// The time of the attempt, in microseconds.
    pub(crate) duration: i64,
    /// The time until the next attempt, in microseconds.
    pub(crate) delay: i64,
    /// The time that counts toward [`super::GIVE_UP_AFTER`], in microseconds.
    pub(crate) tried: i64,
    /// The route on which the service answered 2xx.
    #[serde(skip)]
    pub(crate) succeeded_on: Option<String>,
}

impl FinishedAttempt {
    /// Whether the store records it. An entry that its service accepts at the first attempt costs no row.
    pub(super) fn is_recorded(&self) -> bool {
        !(self.done && self.is_first)
    }

    /// The routes on which a service answered 2xx, each once.
    pub(super) fn succeeded_on(finished: &[Self]) -> Vec<&str> {
        let routes: BTreeSet<_> =
            finished.iter().filter_map(|attempt| attempt.succeeded_on.as_deref()).collect();
        routes.into_iter().collect()
    }
}

/// The size of the store, in bytes of entries that have a payload.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) total: i64,
    pub(crate) quarantine: i64,
    pub(crate) dead: i64,
    pub(crate) observed: i64,
    /// The number of entries in each state.
    pub(crate) states: BTreeMap<EntryState, i64>,
    /// The routes with the most entries.
    pub(crate) routes: Vec<RouteUsage>,
    /// The age of each route's oldest waiting entry, in seconds.
    pub(crate) oldest_waiting: BTreeMap<String, i64>,
}

/// The number of entries with one route, state and reason.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub(crate) struct RouteUsage {
    /// `HOOK/EVENT`, `HOOK/observed/EVENT`, or `HOOK/quarantined`.
    pub(crate) route: String,
    pub(crate) state: EntryState,
    /// Only in the lane `quarantine`.
    pub(crate) reason: Option<QuarantineReason>,
    pub(crate) count: i64,
}

impl Usage {
    /// Adds up the sums of each lane and state. `oldest` has the arrival of each route's oldest waiting entry.
    pub(super) fn of(
        rows: Vec<(Lane, EntryState, i64, i64)>,
        routes: Vec<RouteUsage>,
        oldest: Vec<(String, i64)>,
        now: i64,
    ) -> Self {
        let oldest_waiting = oldest.into_iter().map(|(route, at)| (route, seconds(now, at).max(0))).collect();
        let mut usage = Self { routes, oldest_waiting, ..Self::default() };
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

/// An operator's pause of a hook, an event, or both. An empty field matches every value.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct Pause {
    pub(crate) hook: String,
    pub(crate) event: String,
}

impl Pause {
    /// Whether the pause covers a route: `HOOK/EVENT` or `HOOK/observed/EVENT`.
    pub(crate) fn holds(&self, route: &str) -> bool {
        let (hook, rest) = route.split_once('/').unwrap_or((route, ""));
        let event = rest.rsplit('/').next().unwrap_or(rest);
        (self.hook.is_empty() || self.hook == hook) && (self.event.is_empty() || self.event == event)
    }
}

/// An entry without its payload.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct EntryRow {
    pub(crate) id: i64,
    pub(crate) lane: Lane,
    pub(crate) state: EntryState,
    pub(crate) hook: String,
    pub(crate) generation: Option<String>,
    pub(crate) event: Option<String>,
    pub(crate) reason: Option<QuarantineReason>,
    /// The violated field and the expectation.
    pub(crate) detail: Option<String>,
    /// The client's address of a quarantined delivery.
    pub(crate) client: Option<String>,
    pub(crate) token_id: Option<String>,
    pub(crate) job: Option<String>,
    #[sqlx(flatten)]
    pub(crate) ids: RequestIds,
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
    /// The time of the last replay or release.
    pub(crate) redelivered_at: Option<i64>,
    /// The entry that superseded it, last: also of an entry that was replayed since. An attempt in flight goes on, and its success
    /// removes it. Of a quarantined entry, the one that its release made or repeated.
    pub(crate) superseded_by: Option<i64>,
}

/// An attempt, as the store records it.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub(crate) struct AttemptRow {
    pub(crate) number: i64,
    /// The time of its end. Without a result, the time at which an inbox noticed it.
    pub(crate) at: i64,
    /// In microseconds. `None` if the inbox ended before the attempt did.
    pub(crate) duration: Option<i64>,
    pub(crate) status: Option<i64>,
    pub(crate) answer: String,
}

/// The path, headers and body of a delivery, unchanged.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct StoredPayload {
    pub(crate) path: Vec<u8>,
    pub(crate) headers: Vec<u8>,
    pub(crate) body: Vec<u8>,
}

/// The path and the headers of a delivery, unchanged.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct StoredHead {
    pub(crate) path: Vec<u8>,
    pub(crate) headers: Vec<u8>,
}

/// A quarantined entry with its payload.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct QuarantinedEntry {
    pub(crate) hook: String,
    pub(crate) reason: Option<QuarantineReason>,
    /// The client's address.
    pub(crate) client: Option<String>,
    pub(crate) token_id: Option<String>,
    pub(crate) job: Option<String>,
    #[sqlx(flatten)]
    pub(crate) ids: RequestIds,
    pub(crate) path: Vec<u8>,
    pub(crate) headers: Vec<u8>,
    pub(crate) body: Vec<u8>,
    /// After a reevaluation, the headers of the release that follows a confirmation.
    pub(crate) reevaluated: Option<Vec<u8>>,
}

/// The sums of entries with one route, state and reason.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct EntryGroup {
    pub(crate) route: Option<String>,
    pub(crate) state: EntryState,
    /// The reason of quarantined entries.
    pub(crate) reason: Option<QuarantineReason>,
    pub(crate) count: i64,
    pub(crate) bytes: i64,
    /// Entries that were delivered since the requested time, or up to ten minutes before it.
    pub(crate) recently_delivered: i64,
    /// Entries without a body.
    pub(crate) tombstones: i64,
}

/// A pause and its start.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct DatedPause {
    pub(crate) hook: String,
    pub(crate) event: String,
    pub(crate) since: i64,
}

/// The entries that an operator selects.
#[derive(Clone, Debug)]
pub(crate) enum EntrySelection {
    Ids(BTreeSet<i64>),
    All(Filter),
}

/// An expectation, and the status calls for it.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct Expectation {
    pub(crate) hook: String,
    pub(crate) generation: String,
    /// `None` if the application announced nothing: the row exists for status calls about quarantined entries.
    pub(crate) job: Option<String>,
    pub(crate) state: ExpectationState,
    pub(crate) expected_at: i64,
    pub(crate) ask_at: i64,
    pub(crate) asked: i64,
    /// The time of the last call.
    pub(crate) asked_at: Option<i64>,
    pub(crate) missing: i64,
    pub(crate) answer: Option<String>,
    /// The time of the request for a status call about quarantined entries.
    pub(crate) wanted: Option<i64>,
    /// The accepted entry with another job, and that job.
    pub(crate) mismatch_id: Option<i64>,
    pub(crate) mismatch_job: Option<String>,
}

/// The seconds between two times.
pub(super) fn seconds(now: i64, then: i64) -> i64 {
    now.saturating_sub(then).checked_div(1_000_000).unwrap_or_default()
}
