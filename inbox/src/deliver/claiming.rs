//! Claims due entries, and starts their attempts.

use super::{Deliverer, LOOK_EVERY, LeasedEntry, Route, later, micros};
use crate::metrics::RouteHealth;
use crate::store::ClaimedEntry;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// An entry that has been due for 30 s when the inbox starts has waited for its service. Its route catches up at a bounded rate.
const OVERDUE: i64 = -30_000_000;

impl Deliverer {
    /// The time at which a route that catches up has room again.
    pub(super) fn claims_again_at(&self) -> Option<Instant> {
        let now = Instant::now();
        self.routes.values().filter_map(|route| route.claims_again_at(now)).min()
    }

    pub(super) async fn claim(&mut self) {
        let now = Instant::now();
        let mut routes = self.wake.take();
        if now >= self.look_at {
            self.look_at = later(now, LOOK_EVERY);
            match self.look().await {
                Ok(due) => routes.extend(due),
                Err(error) => return self.store_failed("cannot look for due entries", &error).await,
            }
        }
        let has_room = |route: &Route| route.claims_again_at(now).is_some_and(|at| at <= now);
        routes.extend(self.routes.iter().filter(|(_, route)| has_room(route)).map(|(name, _)| name.clone()));
        for name in routes {
            let Some(wanted) = self.route(&name).wanted(now) else { continue };
            let granted = Instant::now();
            match self.store.claim(&name, wanted, micros(self.pace.lease)).await {
                Ok(claim) => {
                    self.route(&name).claimed(&claim, now);
                    claim.entries.into_iter().for_each(|entry| self.start(entry, &name, granted));
                }
                Err(error) => return self.store_failed("cannot claim entries", &error).await,
            }
        }
    }

    /// The routes with a due entry. Sets the next look to the time of the next due entry.
    async fn look(&mut self) -> Result<Vec<String>, crate::store::StoreError> {
        self.pauses = self.store.pauses().await?;
        for (name, route) in &mut self.routes {
            route.paused = self.pauses.iter().any(|pause| pause.holds(name));
        }
        let waiting = self.store.waiting().await?;
        let first_look = !std::mem::replace(&mut self.has_looked, true);
        let mut due = Vec::new();
        let mut busy: BTreeSet<String> = self.leased.values().map(|entry| entry.route.clone()).collect();
        busy.extend(waiting.iter().map(|(name, _)| name.clone()));
        for (name, due_in) in waiting {
            let route = self.route(&name);
            if first_look && due_in < OVERDUE {
                route.catch_up(Instant::now());
            }
            match u64::try_from(due_in) {
                Ok(due_in) if due_in > 0 => {
                    let at = later(Instant::now(), Duration::from_micros(due_in.saturating_add(1_000)));
                    self.look_at = self.look_at.min(at);
                }
                _ => due.push(name),
            }
        }
        let health = self.routes.iter().map(|(name, route)| {
            let (is_down, is_paused, in_flight) = (route.is_down(), route.paused, route.in_flight());
            (&**name, RouteHealth { is_down, is_paused, in_flight, is_idle: !busy.contains(name) })
        });
        self.metrics.set_health(health);
        Ok(due)
    }

    fn route(&mut self, name: &str) -> &mut Route {
        let (pace, pauses) = (self.pace, &self.pauses);
        self.routes.entry(name.to_owned()).or_insert_with(|| {
            let mut route = Route::new(pace, Instant::now());
            route.paused = pauses.iter().any(|pause| pause.holds(name));
            route
        })
    }

    fn start(&mut self, entry: ClaimedEntry, route: &str, granted: Instant) {
        let (until, lease_until) = watch::channel(later(granted, self.pace.usable_lease()));
        let id = entry.id;
        let flight = self.route(route).begin(&entry, granted);
        let (generation, request_id) = (entry.generation.clone(), entry.ids.request_id.clone());
        let (lease, is_first) = (entry.lease, entry.is_first());
        let route_name = route.to_owned();
        let leased =
            LeasedEntry { lease, is_first, route: route_name, generation, request_id, flight, until };
        if let Some(lost) = self.leased.insert(id, leased) {
            // An attempt of this inbox whose lease ended unnoticed: its report no longer counts, and its slot is free.
            self.route(route).free(lost.flight);
        }
        let (client, reporter) = (Arc::clone(&self.client), self.reporter.clone());
        tokio::spawn(async move {
            let _gone = reporter.send(client.attempt(entry, lease_until).await);
        });
    }
}
