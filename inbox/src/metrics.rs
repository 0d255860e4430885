//! The metrics of `/metrics`.

mod exposition;
mod faults;
mod labels;
mod listeners;
mod routes;
mod usage;

use crate::entry::QuarantineReason;
use crate::health::Faults;
use crate::space::Disk;
use crate::store::Usage;
use crate::traffic::{TrafficEvent, TrafficLog};
pub(crate) use exposition::ExpositionFormat;
use faults::FaultGauge;
pub(crate) use labels::quarantined_route;
use labels::{OTHER, OutcomeLabel, ReasonLabel};
pub(crate) use listeners::ListenerMetrics;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use routes::RouteMetrics;
pub(crate) use routes::{RouteFailure, RouteHealth};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use usage::UsageMetrics;

/// The inbox's counters and gauges. Every series with a known label exists at 0 from the start: a rule needs the value before
/// the first event. The module that counts creates them.
pub(crate) struct Metrics {
    registry: Registry,
    refused: Family<ReasonLabel, Counter>,
    quarantined: Family<ReasonLabel, Counter>,
    batch: Histogram,
    commit: Histogram,
    routes: RouteMetrics,
    usage: UsageMetrics,
    pub(crate) purged: Counter,
    pub(crate) store_errors: Counter,
    reconciliations: Family<OutcomeLabel, Counter>,
    pub(crate) expected: Gauge,
    pub(crate) expected_overdue: Gauge,
    pub(crate) expected_unknown: Counter,
    pub(crate) job_mismatch: Counter,
    pub(crate) listeners: ListenerMetrics,
    /// By minute: the counters are since the start.
    pub(crate) traffic: Arc<TrafficLog>,
    /// By the newest valid signature, in seconds.
    pub(crate) clock_offset: Gauge,
}

impl Metrics {
    pub(crate) fn new(faults: &Arc<Faults>) -> Self {
        let refused = Family::default();
        let traffic = Arc::new(TrafficLog::new());
        let mut this = Self {
            registry: Registry::with_prefix("blobgate_inbox"),
            listeners: ListenerMetrics::new(&refused, &traffic),
            traffic,
            refused,
            quarantined: Family::default(),
            // 1 to 512 events, and 0.2 ms to 6.5 s.
            batch: Histogram::new(exponential_buckets(1.0, 2.0, 10)),
            commit: Histogram::new(exponential_buckets(0.000_2, 2.0, 16)),
            routes: RouteMetrics::default(),
            usage: UsageMetrics::default(),
            purged: Counter::default(),
            store_errors: Counter::default(),
            reconciliations: Family::default(),
            expected: Gauge::default(),
            expected_overdue: Gauge::default(),
            expected_unknown: Counter::default(),
            job_mismatch: Counter::default(),
            clock_offset: Gauge::default(),
        };
        for reason in QuarantineReason::all().filter_map(|reason| reason.known()).chain([OTHER]) {
            drop(this.quarantined.get_or_create(&ReasonLabel { reason }));
        }
        let registry = &mut this.registry;
        registry.register("refused", "Deliveries answered 503, by reason", this.refused.clone());
        registry.register("quarantined", "Quarantined deliveries, by reason", this.quarantined.clone());
        registry.register(
            "fault",
            "1 while this fault stands: the inbox then refuses deliveries",
            FaultGauge(Arc::clone(faults)),
        );
        registry.register("batch_events", "Events in one commit", this.batch.clone());
        registry.register("commit_seconds", "Duration of a commit", this.commit.clone());
        registry.register("store_errors", "Failed statements of the store", this.store_errors.clone());
        this.routes.register(registry);
        this.usage.register(registry);
        registry.register("purged", "Entries whose body is purged", this.purged.clone());
        registry.register(
            "clock_offset_seconds",
            "Time of the newest valid signature minus this machine's time",
            this.clock_offset.clone(),
        );
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
        this.listeners.register(registry);
        this
    }

    /// Creates the counters of these refusals.
    pub(crate) fn create_refused(&self, reasons: impl IntoIterator<Item = &'static str>) {
        for reason in reasons {
            drop(self.refused.get_or_create(&ReasonLabel { reason }));
        }
    }

    /// Creates the counters of these outcomes.
    pub(crate) fn create_reconciled(&self, outcomes: impl IntoIterator<Item = &'static str>) {
        for outcome in outcomes {
            drop(self.reconciliations.get_or_create(&OutcomeLabel { outcome }));
        }
    }

    pub(crate) fn received(&self, route: &str, what: &'static str) {
        self.traffic.count(TrafficEvent::Stored);
        self.routes.received(route, what);
    }

    pub(crate) fn refused(&self, reason: &'static str) {
        self.listeners.refused(reason);
    }

    pub(crate) fn quarantined(&self, reason: &QuarantineReason) {
        // The reason is a header's text: an unknown one must not create a series.
        let reason = reason.known().unwrap_or(OTHER);
        self.quarantined.get_or_create(&ReasonLabel { reason }).inc();
    }

    pub(crate) fn reconciled(&self, outcome: &'static str) {
        self.reconciliations.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    pub(crate) fn commit(&self, events: usize, took: Duration) {
        self.batch.observe(f64::from(u32::try_from(events).unwrap_or(u32::MAX)));
        self.commit.observe(took.as_secs_f64());
    }

    pub(crate) fn attempted(&self, route: &str, outcome: &'static str, took: Duration) {
        if self.routes.attempted(route, outcome, took) {
            self.traffic.count(TrafficEvent::Delivered);
        }
    }

    pub(crate) fn died(&self, route: &str) {
        self.routes.died(route);
    }

    /// Sets the health of all routes.
    pub(crate) fn set_health<'r>(&self, routes: impl Iterator<Item = (&'r str, RouteHealth)>) {
        self.routes.set_health(routes);
    }

    /// Whether this process finds the service of a route down.
    pub(crate) fn is_down(&self, route: &str) -> bool {
        self.routes.is_down(route)
    }

    /// The failure of a route's newest attempt by this process.
    pub(crate) fn failure(&self, route: &str) -> Option<RouteFailure> {
        self.routes.failure(route)
    }

    pub(crate) fn measured(&self, usage: &Usage) {
        self.usage.measured(usage, &self.routes);
    }

    pub(crate) fn set_disk(&self, disk: Disk) {
        self.usage.set_disk(disk);
    }

    pub(crate) fn text(&self, format: ExpositionFormat) -> Result<String, fmt::Error> {
        let mut open = String::new();
        encode(&mut open, &self.registry)?;
        Ok(match format {
            ExpositionFormat::OpenMetrics => open,
            ExpositionFormat::Text => exposition::to_text(&open),
        })
    }
}

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
