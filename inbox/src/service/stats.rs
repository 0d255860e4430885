//! Counts entries, by route, state and reason.

use super::error::Error;
use super::names::EntryState;
use super::pauses::ActivePause;
use super::{Operations, time};
use crate::health::{FaultScope, now};
use crate::store::EntryGroup;
use crate::store::Pause;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// 24 hours in microseconds.
const LAST_DAY: i64 = 24 * 3_600 * 1_000_000;

/// The state of the inbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboxStats {
    /// Entries by route.
    pub routes: Vec<RouteStats>,
    /// Quarantined entries by reason.
    pub quarantined: BTreeMap<String, i64>,
    /// Entries by state.
    pub states: BTreeMap<EntryState, i64>,
    /// The time at which the oldest waiting entry arrived.
    pub oldest_waiting_at: Option<String>,
    /// Its age in seconds.
    pub oldest_waiting_seconds: Option<i64>,
    /// The bytes of all payloads.
    pub bytes: i64,
    /// Entries whose body is purged. They only recognise repeats.
    pub tombstones: i64,
    /// The pauses.
    pub pauses: Vec<ActivePause>,
    /// Expected generations without an event after `--reconcile-after`.
    pub overdue: i64,
    /// The newest delivery, if the inbox refused it in the last five minutes.
    pub refused: Option<RefusalStatus>,
    /// The present faults.
    pub faults: Vec<FaultStatus>,
    /// The rescued files beside the store.
    pub rescued: Vec<String>,
    /// The space of the store.
    pub space: SpaceStatus,
    /// The calls to the status API; absent without `--provider`.
    pub provider: Option<BudgetStatus>,
}

/// The space of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpaceStatus {
    /// The bytes that count against the limit, as last measured.
    pub bytes: i64,
    /// `--limit` in bytes.
    pub limit: i64,
    /// The free bytes on the disk of SQLite's file. The disk of a PostgreSQL server is not visible.
    pub disk_free: Option<u64>,
}

/// The calls of the inboxes to the status API. The gates have a budget of their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetStatus {
    /// The calls of the last minute, of all inboxes on the store.
    pub used: i64,
    /// `--reconcile-per-minute` of this inbox.
    pub per_minute: u32,
}

/// A lasting fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultStatus {
    /// Its reason code.
    pub reason: String,
    /// The time at which it began.
    pub since: String,
    /// The problem and the remedy.
    pub detail: String,
    /// Whether the inbox refuses only some deliveries, and is ready. Otherwise it refuses all.
    pub partial: bool,
}

/// A delivery that the inbox answered 503.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalStatus {
    /// The reason code.
    pub reason: String,
    /// Its time.
    pub at: String,
}

/// The failure of a route's newest attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureStatus {
    /// The answer of the service: `4xx`, `5xx`, `other` or `unanswered`.
    pub outcome: String,
    /// The first attempt in a row with this outcome.
    pub since: String,
}

/// The entries of a route, which is a hook and an event with one service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteStats {
    /// The route.
    pub route: String,
    /// Waiting entries.
    pub waiting: i64,
    /// Entries in flight.
    pub in_flight: i64,
    /// Entries delivered in the last 24 hours.
    pub delivered_last_day: i64,
    /// Dead entries.
    pub dead: i64,
    /// Whether it is paused.
    pub paused: bool,
    /// Whether this process finds its service down.
    pub down: bool,
    /// The failure of the newest attempt by this process.
    pub failing: Option<FailureStatus>,
}

impl InboxStats {
    /// Whether the inbox refuses deliveries now, or cannot deliver events: a fault, a refused newest delivery, a route that is down
    /// or fails, a dead entry, or an overdue generation. Quarantined and paused entries wait for a person by design.
    pub fn has_problem(&self) -> bool {
        let route_fails = |route: &RouteStats| route.down || route.failing.is_some() || route.dead > 0;
        !self.faults.is_empty()
            || self.refused.is_some()
            || self.overdue > 0
            || self.routes.iter().any(route_fails)
    }
}

impl Operations {
    /// Counts entries.
    pub(crate) async fn stats(&self) -> Result<InboxStats, Error> {
        let counted = if self.shared.store.check_files().is_ok() {
            self.count().await
        } else {
            Ok(InboxStats::default())
        };
        self.shared.space.note(&self.shared.faults);
        let faults: Vec<_> = self
            .shared
            .faults
            .standing()
            .into_iter()
            .map(|standing| FaultStatus {
                reason: standing.reason.to_owned(),
                since: time(standing.since),
                detail: standing.detail,
                partial: standing.scope == FaultScope::Part,
            })
            .collect();
        let rescued = self.shared.store.rescued_copies();
        let refused = self
            .shared
            .refusals
            .newest(now())
            .map(|refusal| RefusalStatus { reason: refusal.reason.to_owned(), at: time(refusal.at) });
        let space = &self.shared.space;
        let disk_free = space.disk().map(|disk| disk.free);
        let space = SpaceStatus { bytes: space.used(), limit: space.limit(), disk_free };
        match counted {
            Ok(stats) => Ok(InboxStats { faults, rescued, refused, space, ..stats }),
            // The fault has the reason.
            Err(_) if !faults.is_empty() => {
                Ok(InboxStats { faults, rescued, refused, space, ..InboxStats::default() })
            }
            Err(error) => Err(error),
        }
    }

    async fn count(&self) -> Result<InboxStats, Error> {
        let now = self.shared.store.now().await?;
        let pauses = self.shared.store.paused().await?;
        let counted = self.shared.store.entry_groups(now.saturating_sub(LAST_DAY)).await?;
        let mut stats = InboxStats::default();
        let oldest = self.shared.store.oldest_waiting().await?.into_iter().map(|(_, at)| at).min();
        let mut routes = BTreeMap::new();
        for alike in &counted {
            stats.add(alike);
            if let Some(name) = &alike.route {
                let route: &mut RouteStats = routes.entry(name.clone()).or_default();
                route.add(alike);
            }
        }
        for (name, route) in &mut routes {
            route.down = self.shared.metrics.is_down(name);
            route.failing = self.shared.metrics.failure(name).map(|failure| FailureStatus {
                outcome: failure.outcome.to_owned(),
                since: time(failure.since),
            });
            route.paused = pauses
                .iter()
                .any(|pause| Pause { hook: pause.hook.clone(), event: pause.event.clone() }.holds(name));
            route.route.clone_from(name);
        }
        stats.routes = routes.into_values().collect();
        stats.oldest_waiting_at = oldest.map(time);
        stats.oldest_waiting_seconds =
            oldest.and_then(|oldest| now.saturating_sub(oldest).max(0).checked_div(1_000_000));
        if let Some(per_minute) = self.per_minute {
            let used = self.shared.store.calls_in_minute().await?;
            stats.provider = Some(BudgetStatus { used, per_minute });
        }
        stats.overdue = self.shared.metrics.expected_overdue.get();
        stats.pauses = pauses.into_iter().map(ActivePause::try_from).collect::<Result<_, _>>()?;
        Ok(stats)
    }
}

impl InboxStats {
    fn add(&mut self, alike: &EntryGroup) {
        add(self.states.entry(alike.state).or_default(), alike.count);
        add(&mut self.bytes, alike.bytes);
        add(&mut self.tombstones, alike.tombstones);
        if let Some(reason) = &alike.reason {
            add(self.quarantined.entry(reason.to_string()).or_default(), alike.count);
        }
    }
}

impl RouteStats {
    fn add(&mut self, alike: &EntryGroup) {
        match alike.state {
            EntryState::Waiting => add(&mut self.waiting, alike.count),
            EntryState::InFlight => add(&mut self.in_flight, alike.count),
            EntryState::Delivered => add(&mut self.delivered_last_day, alike.recently_delivered),
            EntryState::Dead => add(&mut self.dead, alike.count),
            EntryState::Superseded | EntryState::Quarantined | EntryState::Dropped => {}
        }
    }
}

fn add(sum: &mut i64, more: i64) {
    *sum = sum.saturating_add(more);
}
