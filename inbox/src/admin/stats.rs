//! `GET /stats`: how things stand, route by route.

use super::pauses::Paused;
use super::problem::Problem;
use super::{Admin, time};
use crate::entry::EntryState;
use crate::store::{Alike, Pause, StoreError};
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What counts as delivered lately: a day, in microseconds.
const LATELY: i64 = 24 * 3_600 * 1_000_000;

#[derive(Default, Serialize)]
pub(super) struct Stats {
    routes: Vec<OnRoute>,
    /// Entries in quarantine, by reason.
    quarantined: BTreeMap<String, i64>,
    /// Entries by state.
    states: BTreeMap<String, i64>,
    /// When the oldest entry that waits was received, and how long ago.
    oldest_waiting_at: Option<String>,
    oldest_waiting_seconds: Option<i64>,
    /// Of what can still be delivered or shown.
    bytes: i64,
    /// Entries whose body is purged, and which only know a repeat.
    tombstones: i64,
    pauses: Vec<Paused>,
    /// What keeps the inbox from its work.
    faults: Vec<Fault>,
    /// Files that a rescue made and that still lie beside the store.
    rescued: Vec<String>,
}

/// A fault that stands.
#[derive(Serialize)]
struct Fault {
    reason: &'static str,
    since: String,
    detail: String,
}

/// A hook and an event: behind it is one service.
#[derive(Default, Serialize)]
struct OnRoute {
    route: String,
    waiting: i64,
    in_flight: i64,
    delivered_last_day: i64,
    dead: i64,
    paused: bool,
    /// Whether this process finds no service there.
    down: bool,
}

pub(super) async fn stats(State(admin): State<Arc<Admin>>) -> Result<Json<Stats>, Problem> {
    let counted = if admin.store.check_files().is_ok() { count(&admin).await } else { Ok(Stats::default()) };
    let faults: Vec<_> = admin
        .faults
        .standing()
        .into_iter()
        .map(|standing| Fault {
            reason: standing.reason,
            since: time(standing.since),
            detail: standing.detail,
        })
        .collect();
    let rescued = admin.store.rescued();
    match counted {
        Ok(stats) => Ok(Json(Stats { faults, rescued, ..stats })),
        // A store that cannot be read is what the fault says.
        Err(_) if !faults.is_empty() => Ok(Json(Stats { faults, rescued, ..Stats::default() })),
        Err(error) => Err(error.into()),
    }
}

async fn count(admin: &Admin) -> Result<Stats, StoreError> {
    let now = admin.store.now().await?;
    let pauses = admin.store.paused().await?;
    let counted = admin.store.alike(now.saturating_sub(LATELY)).await?;
    let mut stats = Stats::default();
    let oldest = admin.store.oldest_waiting().await?;
    let mut routes = BTreeMap::new();
    for alike in &counted {
        stats.add(alike);
        if let Some(name) = &alike.route {
            let route: &mut OnRoute = routes.entry(name.clone()).or_default();
            route.add(alike);
        }
    }
    for (name, route) in &mut routes {
        route.down = admin.metrics.is_down(name);
        route.paused = pauses
            .iter()
            .any(|pause| Pause { hook: pause.hook.clone(), event: pause.event.clone() }.holds(name));
        route.route.clone_from(name);
    }
    stats.routes = routes.into_values().collect();
    stats.oldest_waiting_at = oldest.map(time);
    stats.oldest_waiting_seconds =
        oldest.and_then(|oldest| now.saturating_sub(oldest).max(0).checked_div(1_000_000));
    stats.pauses = pauses.into_iter().map(Paused::from).collect();
    Ok(stats)
}

impl Stats {
    fn add(&mut self, alike: &Alike) {
        add(self.states.entry(alike.state.to_string()).or_default(), alike.count);
        add(&mut self.bytes, alike.bytes);
        add(&mut self.tombstones, alike.tombstones);
        if let Some(reason) = &alike.reason {
            add(self.quarantined.entry(reason.to_string()).or_default(), alike.count);
        }
    }
}

impl OnRoute {
    fn add(&mut self, alike: &Alike) {
        match alike.state {
            EntryState::Waiting => add(&mut self.waiting, alike.count),
            EntryState::InFlight => add(&mut self.in_flight, alike.count),
            EntryState::Delivered => add(&mut self.delivered_last_day, alike.lately),
            EntryState::Dead => add(&mut self.dead, alike.count),
            _ => {}
        }
    }
}

fn add(sum: &mut i64, more: i64) {
    *sum = sum.saturating_add(more);
}
