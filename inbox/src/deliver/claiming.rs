//! What is started, and when.

use super::{Deliverer, LOOK_EVERY, LeasedEntry, Route, later, micros};
use crate::metrics::RouteHealth;
use crate::store::ClaimedEntry;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// What has been due for so long when the inbox starts has waited for its service, and goes out at the bounded rate.
const WAITED_LONG: i64 = -30_000_000;

impl Deliverer {
    /// When a route has room again that bounds its backlog.
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
                Err(error) => return self.store_is_away("what waits is not known", &error).await,
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
                Err(error) => return self.store_is_away("nothing is claimed", &error).await,
            }
        }
    }

    /// The routes on which something is due; the next look is when the next is.
    async fn look(&mut self) -> Result<Vec<String>, crate::store::StoreError> {
        self.pauses = self.store.pauses().await?;
        for (name, route) in &mut self.routes {
            route.paused = self.pauses.iter().any(|pause| pause.holds(name));
        }
        let waiting = self.store.waiting().await?;
        let first_look = !std::mem::replace(&mut self.has_looked, true);
        let mut due = Vec::new();
        for (name, due_in) in waiting {
            let route = self.route(&name);
            if first_look && due_in < WAITED_LONG {
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
        for (name, route) in &self.routes {
            let (is_down, is_paused, in_flight) = (route.is_down(), route.paused, route.in_flight());
            self.metrics.route(name, RouteHealth { is_down, is_paused, in_flight });
        }
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
        let (until, lease_until) = watch::channel(later(granted, self.pace.counted_on()));
        let id = entry.id;
        let flight = self.route(route).begin(&entry, granted);
        let held = LeasedEntry { lease: entry.lease, route: route.to_owned(), flight, until };
        if let Some(lost) = self.held.insert(id, held) {
            // Our own, whose lease had ended unnoticed: what is left of it ends unheard, and its place is free.
            self.route(route).give_back(lost.flight);
        }
        let (sender, end) = (Arc::clone(&self.sender), self.end.clone());
        tokio::spawn(async move {
            let _gone = end.send(sender.attempt(entry, lease_until).await);
        });
    }
}
