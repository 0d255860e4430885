//! The metrics of `/metrics`, in OpenMetrics' text format.

use crate::entry::QuarantineReason;
use crate::store::Usage;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use std::fmt;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WhatLabel {
    what: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabel {
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AttemptLabels {
    route: String,
    outcome: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListenerLabels {
    listener: &'static str,
    reason: &'static str,
}

/// The counters of the listeners.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListenerMetrics {
    refused: Family<ReasonLabel, Counter>,
    ended: Family<ListenerLabels, Counter>,
    not_accepted: Family<ListenerLabels, Counter>,
}

impl ListenerMetrics {
    /// Creates every series at 0: a rate needs the value before the first event.
    fn register(registry: &mut Registry, refused: &Family<ReasonLabel, Counter>) -> Self {
        let this = Self { refused: refused.clone(), ..Self::default() };
        for listener in ["receive", "admin"] {
            for reason in ["idle", "room", "stalled"] {
                drop(this.ended.get_or_create(&ListenerLabels { listener, reason }));
            }
            for reason in ["descriptors", "other"] {
                drop(this.not_accepted.get_or_create(&ListenerLabels { listener, reason }));
            }
        }
        drop(this.refused.get_or_create(&ReasonLabel { reason: "not-http".to_owned() }));
        registry.register(
            "connections_ended",
            "Connections that the inbox ended: idle, stalled, or to make room",
            this.ended.clone(),
        );
        registry.register(
            "accept_errors",
            "Connections that the inbox could not accept: no file descriptor, or another reason",
            this.not_accepted.clone(),
        );
        this
    }

    /// Counts a request that cannot be read.
    pub(crate) fn refused(&self, reason: &str) {
        self.refused.get_or_create(&ReasonLabel { reason: reason.to_owned() }).inc();
    }

    pub(crate) fn ended(&self, listener: &'static str, reason: &'static str, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.ended.get_or_create(&ListenerLabels { listener, reason }).inc_by(count);
    }

    pub(crate) fn not_accepted(&self, listener: &'static str, reason: &'static str) {
        self.not_accepted.get_or_create(&ListenerLabels { listener, reason }).inc();
    }
}

/// The health of a route.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RouteHealth {
    pub(crate) is_down: bool,
    pub(crate) is_paused: bool,
    pub(crate) in_flight: usize,
}

/// The inbox's counters and gauges.
pub(crate) struct Metrics {
    registry: Registry,
    received: Family<WhatLabel, Counter>,
    refused: Family<ReasonLabel, Counter>,
    quarantined: Family<ReasonLabel, Counter>,
    batch: Histogram,
    commit: Histogram,
    attempts: Family<AttemptLabels, Counter>,
    took: Histogram,
    down: Family<RouteLabel, Gauge>,
    paused: Family<RouteLabel, Gauge>,
    in_flight: Family<RouteLabel, Gauge>,
    entries: Family<WhatLabel, Gauge>,
    bytes: Family<WhatLabel, Gauge>,
    pub(crate) disk_free: Gauge,
    oldest_waiting: Gauge,
    pub(crate) purged: Counter,
    pub(crate) dead: Counter,
    pub(crate) store_errors: Counter,
    reconciliations: Family<OutcomeLabel, Counter>,
    pub(crate) expected: Gauge,
    pub(crate) expected_overdue: Gauge,
    pub(crate) expected_unknown: Counter,
    pub(crate) job_mismatch: Counter,
    pub(crate) listeners: ListenerMetrics,
    /// By the newest valid signature, in seconds.
    pub(crate) clock_offset: Gauge,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        // 0.2 ms to 6.5 s, and 1 to 512 events.
        let commit = Histogram::new(exponential_buckets(0.000_2, 2.0, 16));
        let batch = Histogram::new(exponential_buckets(1.0, 2.0, 10));
        let mut this = Self {
            registry: Registry::with_prefix("blobgate_inbox"),
            received: Family::default(),
            refused: Family::default(),
            quarantined: Family::default(),
            batch,
            commit,
            attempts: Family::default(),
            took: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
            down: Family::default(),
            paused: Family::default(),
            in_flight: Family::default(),
            entries: Family::default(),
            bytes: Family::default(),
            disk_free: Gauge::default(),
            oldest_waiting: Gauge::default(),
            purged: Counter::default(),
            dead: Counter::default(),
            store_errors: Counter::default(),
            reconciliations: Family::default(),
            expected: Gauge::default(),
            expected_overdue: Gauge::default(),
            expected_unknown: Counter::default(),
            job_mismatch: Counter::default(),
            listeners: ListenerMetrics::default(),
            clock_offset: Gauge::default(),
        };
        let registry = &mut this.registry;
        this.listeners = ListenerMetrics::register(registry, &this.refused);
        registry.register(
            "received",
            "Deliveries answered 200: new, repeated or quarantined",
            this.received.clone(),
        );
        registry.register("refused", "Deliveries answered 503, by reason", this.refused.clone());
        registry.register("quarantined", "Quarantined deliveries, by reason", this.quarantined.clone());
        registry.register("batch_events", "Events in one commit", this.batch.clone());
        registry.register("commit_seconds", "Duration of a commit", this.commit.clone());
        registry.register("attempts", "Attempts, by outcome", this.attempts.clone());
        registry.register("attempt_seconds", "Duration of an attempt", this.took.clone());
        registry.register(
            "route_down",
            "1 while the service of this route does not answer",
            this.down.clone(),
        );
        registry.register("route_paused", "1 while an operator has paused this route", this.paused.clone());
        registry.register("route_in_flight", "Attempts in flight", this.in_flight.clone());
        registry.register("entries", "Entries by state, as last measured", this.entries.clone());
        registry.register(
            "bytes",
            "Bytes of events in the store, by kind, as last measured",
            this.bytes.clone(),
        );
        registry.register(
            "clock_offset_seconds",
            "Time of the newest valid signature minus this machine's time",
            this.clock_offset.clone(),
        );
        registry.register(
            "disk_free_bytes",
            "Free bytes on the disk of the store's file",
            this.disk_free.clone(),
        );
        registry.register(
            "oldest_waiting_seconds",
            "Age of the oldest waiting entry",
            this.oldest_waiting.clone(),
        );
        registry.register("purged", "Entries whose body is purged", this.purged.clone());
        registry.register("dead", "Entries that died after 72 h of attempts", this.dead.clone());
        registry.register("store_errors", "Failed statements of the store", this.store_errors.clone());
        registry.register(
            "reconciliations",
            "Calls to the status API, by outcome",
            this.reconciliations.clone(),
        );
        registry.register("expected", "Expected generations without an event", this.expected.clone());
        registry.register(
            "expected_overdue",
            "Expected generations without an event after --reconcile-after",
            this.expected_overdue.clone(),
        );
        registry.register(
            "expected_unknown",
            "Expected generations that the status API denied three times",
            this.expected_unknown.clone(),
        );
        registry.register(
            "job_mismatch",
            "Expectations whose job differs from the job of the accepted entry",
            this.job_mismatch.clone(),
        );
        this
    }

    pub(crate) fn received(&self, what: &str) {
        self.received.get_or_create(&WhatLabel { what: what.to_owned() }).inc();
    }

    pub(crate) fn refused(&self, reason: &str) {
        self.refused.get_or_create(&ReasonLabel { reason: reason.to_owned() }).inc();
    }

    pub(crate) fn quarantined(&self, reason: &QuarantineReason) {
        // The reason is a header's text: an unknown one must not create a series.
        let reason = reason.known().unwrap_or("other");
        self.quarantined.get_or_create(&ReasonLabel { reason: reason.to_owned() }).inc();
    }

    pub(crate) fn reconciled(&self, outcome: &str) {
        self.reconciliations.get_or_create(&OutcomeLabel { outcome: outcome.to_owned() }).inc();
    }

    pub(crate) fn commit(&self, events: usize, took: Duration) {
        self.batch.observe(f64::from(u32::try_from(events).unwrap_or(u32::MAX)));
        self.commit.observe(took.as_secs_f64());
    }

    pub(crate) fn attempted(&self, route: &str, outcome: &'static str, took: Duration) {
        let ended = AttemptLabels { route: route.to_owned(), outcome: outcome.to_owned() };
        self.attempts.get_or_create(&ended).inc();
        self.took.observe(took.as_secs_f64());
    }

    pub(crate) fn route(&self, name: &str, health: RouteHealth) {
        let label = RouteLabel { route: name.to_owned() };
        self.down.get_or_create(&label).set(i64::from(health.is_down));
        self.paused.get_or_create(&label).set(i64::from(health.is_paused));
        let in_flight = i64::try_from(health.in_flight).unwrap_or(i64::MAX);
        self.in_flight.get_or_create(&label).set(in_flight);
    }

    /// Whether this process finds the service of a route down.
    pub(crate) fn is_down(&self, route: &str) -> bool {
        self.down.get(&RouteLabel { route: route.to_owned() }).is_some_and(|down| down.get() != 0)
    }

    pub(crate) fn measured(&self, usage: &Usage) {
        let set = |family: &Family<WhatLabel, Gauge>, what: &str, value: i64| {
            family.get_or_create(&WhatLabel { what: what.to_owned() }).set(value);
        };
        usage.states.iter().for_each(|(state, count)| set(&self.entries, state.name(), *count));
        set(&self.bytes, "all", usage.total);
        set(&self.bytes, "quarantine", usage.quarantine);
        set(&self.bytes, "dead", usage.dead);
        set(&self.bytes, "observed", usage.observed);
        self.oldest_waiting.set(usage.oldest_waiting);
    }

    pub(crate) fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
