//! The gauges of the store's contents and of its disk.

use super::labels::{EntryLabels, OTHER, QuarantineLabels, RouteLabel, WhatLabel, quarantined_hook};
use super::routes::RouteMetrics;
use crate::entry::EntryState;
use crate::space::Disk;
use crate::store::Usage;
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

#[derive(Debug, Default)]
pub(super) struct UsageMetrics {
    entries: MeasuredGauge<EntryLabels>,
    quarantine: MeasuredGauge<QuarantineLabels>,
    oldest_waiting: MeasuredGauge<RouteLabel>,
    bytes: MeasuredGauge<WhatLabel>,
    disk_free: OptionalGauge,
    disk_size: OptionalGauge,
    disk_reserve: OptionalGauge,
}

impl UsageMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("entries", "Entries by route and state, as last measured", self.entries.clone());
        registry.register(
            "quarantine_entries",
            "Entries in quarantine by hook and reason, as last measured",
            self.quarantine.clone(),
        );
        registry.register(
            "oldest_waiting_seconds",
            "Age of the oldest waiting entry of this route, as last measured",
            self.oldest_waiting.clone(),
        );
        registry.register(
            "bytes",
            "Bytes of events in the store, by kind, as last measured",
            self.bytes.clone(),
        );
        for (name, help, gauge) in [
            ("disk_free_bytes", "Free bytes on the disk of the store's file", &self.disk_free),
            ("disk_size_bytes", "Bytes of the disk of the store's file", &self.disk_size),
            (
                "disk_reserve_bytes",
                "Free bytes below which the inbox deletes delivered bodies, and then stores no event",
                &self.disk_reserve,
            ),
        ] {
            registry.register(name, help, gauge.clone());
        }
    }

    pub(super) fn measured(&self, usage: &Usage, routes: &RouteMetrics) {
        let mut entries = BTreeMap::new();
        let mut quarantine = BTreeMap::new();
        // The routes that the measurement does not list.
        let mut rest = usage.states.clone();
        for row in &usage.routes {
            let listed = rest.entry(row.state).or_default();
            *listed = listed.saturating_sub(row.count);
            let route = routes.label(&row.route);
            if row.state == EntryState::Quarantined {
                let hook = quarantined_hook(&route).unwrap_or(OTHER).to_owned();
                let reason = row.reason.as_ref().and_then(|reason| reason.known()).unwrap_or(OTHER);
                add(&mut quarantine, QuarantineLabels { hook, reason }, row.count);
            }
            add(&mut entries, EntryLabels { route, state: row.state.name() }, row.count);
        }
        for (state, count) in rest.into_iter().filter(|(_, count)| *count > 0) {
            add(&mut entries, EntryLabels { route: OTHER.to_owned(), state: state.name() }, count);
        }
        let mut oldest: BTreeMap<RouteLabel, i64> = BTreeMap::new();
        for (route, age) in &usage.oldest_waiting {
            let longest = oldest.entry(RouteLabel { route: routes.label(route) }).or_default();
            *longest = (*longest).max(*age);
        }
        let served =
            entries.keys().map(|labels| &labels.route).filter(|route| quarantined_hook(route).is_none());
        for route in served {
            oldest.entry(RouteLabel { route: route.clone() }).or_default();
        }
        let bytes = [
            ("all", usage.total),
            ("quarantine", usage.quarantine),
            ("dead", usage.dead),
            ("observed", usage.observed),
        ];
        self.entries.set(entries);
        self.quarantine.set(quarantine);
        self.oldest_waiting.set(oldest);
        self.bytes.set(bytes.map(|(what, bytes)| (WhatLabel { what }, bytes)).into());
    }

    pub(super) fn set_disk(&self, disk: Disk) {
        for (gauge, bytes) in
            [(&self.disk_free, disk.free), (&self.disk_size, disk.size), (&self.disk_reserve, disk.reserve)]
        {
            gauge.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }
}

fn add<L: Ord>(sums: &mut BTreeMap<L, i64>, labels: L, count: i64) {
    let sum = sums.entry(labels).or_default();
    *sum = sum.saturating_add(count);
}

/// Gauges of one measurement. A series that the next measurement lacks is 0 from then on.
#[derive(Debug)]
struct MeasuredGauge<L>(Arc<Mutex<BTreeMap<L, i64>>>);

impl<L: Ord> MeasuredGauge<L> {
    fn set(&self, mut values: BTreeMap<L, i64>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.values_mut().for_each(|value| *value = 0);
        known.append(&mut values);
    }
}

impl<L> Default for MeasuredGauge<L> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<L> Clone for MeasuredGauge<L> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<L: Ord + EncodeLabelSet> EncodeMetric for MeasuredGauge<L> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        for (labels, value) in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            encoder.encode_family(labels)?.encode_gauge(value)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }

    fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

/// A gauge that does not exist before its first value: the disk of a PostgreSQL server is not visible here.
#[derive(Clone, Debug, Default)]
struct OptionalGauge(Arc<OnceLock<Gauge>>);

impl OptionalGauge {
    fn set(&self, value: i64) {
        self.0.get_or_init(Gauge::default).set(value);
    }
}

impl EncodeMetric for OptionalGauge {
    fn encode(&self, encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        self.0.get().map_or(Ok(()), |gauge| gauge.encode(encoder))
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }

    fn is_empty(&self) -> bool {
        self.0.get().is_none()
    }
}
