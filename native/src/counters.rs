//! The metrics. Envoy defines them only while a configuration loads.

use crate::abi::{EnvoyConfig, EnvoyStream, MetricId};
use blobgate::exchange::{Counter, FAMILIES, Gate, info, panics};
use std::sync::atomic::{AtomicBool, Ordering};

/// The metrics of a configuration.
#[derive(Debug)]
pub(crate) struct GateMetrics {
    environment: String,
    /// The counters that exist at 0, in their order. Each has its labels in its name, as in the Wasm module, which costs 6,700
    /// instructions less than labels of its own.
    plain: Vec<(Counter, MetricId)>,
    /// The other counters by their names without labels. Envoy creates one at its first value.
    labelled: Vec<(&'static str, MetricId)>,
    info: Option<MetricId>,
    is_info_set: AtomicBool,
    panics: Option<MetricId>,
}

impl GateMetrics {
    /// Defines the metrics of a gate.
    pub(crate) fn define(envoy: &mut EnvoyConfig<'_>, gate: &Gate) -> Self {
        let environment = gate.environment().to_owned();
        let mut plain: Vec<(Counter, MetricId)> = Vec::new();
        for counter in gate.initial_counters().chain(gate.frequent_counters()) {
            let id = envoy.define_counter(&counter.name(&environment), &[]);
            plain.extend(id.map(|id| (counter, id)));
        }
        plain.sort_by(|(one, _), (other, _)| one.cmp(other));
        let labelled = FAMILIES
            .iter()
            .filter_map(|(name, labels)| envoy.define_counter(name, labels).map(|id| (*name, id)))
            .collect();
        let info = envoy.define_gauge(&info(&environment));
        let is_info_set = AtomicBool::new(info.is_some_and(|info| envoy.set_gauge(info, 1)));
        let panics = envoy.define_counter(&panics(&environment), &[]);
        Self { environment, plain, labelled, info, is_info_set, panics }
    }

    /// Adds one to a counter.
    pub(crate) fn count(&self, envoy: &mut EnvoyStream<'_>, counter: &Counter) {
        if let Ok(place) = self.plain.binary_search_by(|(other, _)| other.cmp(counter)) {
            if let Some((_, id)) = self.plain.get(place) {
                envoy.count(*id, &[]);
            }
            return;
        }
        let name = counter.name(&self.environment);
        let mut parts = name.split('.');
        let family = parts.next().unwrap_or_default();
        let values: Vec<&str> =
            parts.filter_map(|label| label.split_once('=')).map(|(_, value)| value).collect();
        if let Some((_, id)) = self.labelled.iter().find(|(name, _)| *name == family) {
            envoy.count(*id, &values);
        }
    }

    /// Counts a panic.
    pub(crate) fn count_panic(&self, envoy: &mut EnvoyStream<'_>) {
        if let Some(id) = self.panics {
            envoy.count(id, &[]);
        }
    }

    /// Sets the gauge that shows the module's version. Envoy 1.38 lets only a stream set it.
    pub(crate) fn show_version(&self, envoy: &mut EnvoyStream<'_>) {
        if !self.is_info_set.load(Ordering::Relaxed)
            && let Some(id) = self.info
        {
            self.is_info_set.store(true, Ordering::Relaxed);
            envoy.set_gauge(id, 1);
        }
    }
}
