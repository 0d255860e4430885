//! The metrics of routes: their deliveries, attempts and services.

use super::labels::{AttemptLabels, OTHER, ReceivedLabels, RouteLabel, RouteNames, quarantined_hook};
use crate::health::now;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The outcome of a delivered entry.
const DELIVERED: &str = "delivered";
/// The outcomes of an attempt that failed for its service.
const FAILURES: [&str; 4] = ["4xx", "5xx", "other", "unanswered"];

/// The health of a route.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RouteHealth {
    pub(crate) is_down: bool,
    pub(crate) is_paused: bool,
    pub(crate) in_flight: usize,
    /// Whether no entry waits or is in flight. Then no attempt follows that could end a failure.
    pub(crate) is_idle: bool,
}

/// The failure of a route's newest attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RouteFailure {
    /// `4xx`, `5xx`, `other` or `unanswered`.
    pub(crate) outcome: &'static str,
    /// The end of the first attempt in a row with this outcome, in microseconds since 1970.
    pub(crate) since: i64,
}

#[derive(Debug)]
pub(super) struct RouteMetrics {
    pub(super) names: RouteNames,
    received: Family<ReceivedLabels, Counter>,
    attempts: Family<AttemptLabels, Counter>,
    took: Family<RouteLabel, Histogram, fn() -> Histogram>,
    dead: Family<RouteLabel, Counter>,
    down: Family<RouteLabel, Gauge>,
    paused: Family<RouteLabel, Gauge>,
    in_flight: Family<RouteLabel, Gauge>,
    failing: Family<AttemptLabels, Gauge>,
    failures: Mutex<BTreeMap<String, RouteFailure>>,
}

impl Default for RouteMetrics {
    fn default() -> Self {
        Self {
            names: RouteNames::default(),
            received: Family::default(),
            attempts: Family::default(),
            // 1 ms to 33 s: an attempt takes up to 25 s.
            took: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 2.0, 16))),
            dead: Family::default(),
            down: Family::default(),
            paused: Family::default(),
            in_flight: Family::default(),
            failing: Family::default(),
            failures: Mutex::default(),
        }
    }
}

impl RouteMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "received",
            "Deliveries answered 200: new, repeated or quarantined",
            self.received.clone(),
        );
        registry.register("attempts", "Attempts, by outcome", self.attempts.clone());
        registry.register("attempt_seconds", "Duration of an attempt", self.took.clone());
        registry.register("dead", "Entries that died after 72 h of attempts", self.dead.clone());
        registry.register(
            "route_down",
            "1 while the service of this route does not answer",
            self.down.clone(),
        );
        registry.register("route_paused", "1 while an operator has paused this route", self.paused.clone());
        registry.register("route_in_flight", "Attempts in flight", self.in_flight.clone());
        registry.register(
            "route_failing",
            "1 while the newest attempt of this route failed with this outcome",
            self.failing.clone(),
        );
    }

    /// The label of a route. A new label gets its counters at 0: a rate needs the value before the first event.
    pub(super) fn label(&self, route: &str) -> String {
        let (label, is_new) = self.names.label(route);
        if is_new {
            let is_quarantine = quarantined_hook(&label).is_some();
            if is_quarantine || label == OTHER {
                self.create_received(&label, "quarantined");
            }
            if !is_quarantine {
                self.create_received(&label, "new");
                for outcome in FAILURES.into_iter().chain([DELIVERED]) {
                    drop(self.attempts.get_or_create(&AttemptLabels { route: label.clone(), outcome }));
                }
                drop(self.dead.get_or_create(&RouteLabel { route: label.clone() }));
            }
            self.create_received(&label, "repeated");
        }
        label
    }

    fn create_received(&self, label: &str, what: &'static str) {
        drop(self.received.get_or_create(&ReceivedLabels { route: label.to_owned(), what }));
    }

    pub(super) fn received(&self, route: &str, what: &'static str) {
        self.received.get_or_create(&ReceivedLabels { route: self.label(route), what }).inc();
    }

    /// Returns whether the attempt delivered its entry.
    pub(super) fn attempted(&self, route: &str, outcome: &'static str, took: Duration) -> bool {
        let route = self.label(route);
        self.attempts.get_or_create(&AttemptLabels { route: route.clone(), outcome }).inc();
        self.took.get_or_create(&RouteLabel { route: route.clone() }).observe(took.as_secs_f64());
        if outcome == DELIVERED || FAILURES.contains(&outcome) {
            self.set_failure(&route, outcome);
        }
        outcome == DELIVERED
    }

    fn set_failure(&self, route: &str, outcome: &'static str) {
        for failure in FAILURES {
            let labels = AttemptLabels { route: route.to_owned(), outcome: failure };
            self.failing.get_or_create(&labels).set(i64::from(failure == outcome));
        }
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if outcome == DELIVERED {
            failures.remove(route);
        } else if failures.get(route).is_none_or(|failure| failure.outcome != outcome) {
            failures.insert(route.to_owned(), RouteFailure { outcome, since: now() });
        }
    }

    /// Its failed entries were dropped, died, or were delivered by another inbox.
    fn forget_failure(&self, route: &str) {
        if self.failures.lock().unwrap_or_else(PoisonError::into_inner).contains_key(route) {
            self.set_failure(route, DELIVERED);
        }
    }

    pub(super) fn died(&self, route: &str) {
        self.dead.get_or_create(&RouteLabel { route: self.label(route) }).inc();
    }

    /// Sets the health of all routes. Routes without a label of their own count as one.
    pub(super) fn set_health<'r>(&self, routes: impl Iterator<Item = (&'r str, RouteHealth)>) {
        let idle = RouteHealth { is_idle: true, ..RouteHealth::default() };
        let mut by_label: BTreeMap<String, RouteHealth> = BTreeMap::new();
        for (route, health) in routes {
            let sum = by_label.entry(self.label(route)).or_insert(idle);
            sum.is_down |= health.is_down && !health.is_idle;
            sum.is_paused |= health.is_paused;
            sum.in_flight = sum.in_flight.saturating_add(health.in_flight);
            sum.is_idle &= health.is_idle;
        }
        for (route, health) in by_label {
            if health.is_idle {
                self.forget_failure(&route);
            }
            let label = RouteLabel { route };
            self.down.get_or_create(&label).set(i64::from(health.is_down));
            self.paused.get_or_create(&label).set(i64::from(health.is_paused));
            let in_flight = i64::try_from(health.in_flight).unwrap_or(i64::MAX);
            self.in_flight.get_or_create(&label).set(in_flight);
        }
    }

    pub(super) fn is_down(&self, route: &str) -> bool {
        let label = RouteLabel { route: self.label(route) };
        self.down.get(&label).is_some_and(|down| down.get() != 0)
    }

    pub(super) fn failure(&self, route: &str) -> Option<RouteFailure> {
        let label = self.label(route);
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).get(&label).copied()
    }
}
