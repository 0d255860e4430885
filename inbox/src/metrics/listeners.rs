//! The counters of the listeners.

use super::labels::{ListenerLabels, ReasonLabel};
use crate::traffic::{TrafficEvent, TrafficLog};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub(crate) struct ListenerMetrics {
    refused: Family<ReasonLabel, Counter>,
    ended: Family<ListenerLabels, Counter>,
    not_accepted: Family<ListenerLabels, Counter>,
    traffic: Arc<TrafficLog>,
}

impl ListenerMetrics {
    pub(super) fn new(refused: &Family<ReasonLabel, Counter>, traffic: &Arc<TrafficLog>) -> Self {
        Self {
            refused: refused.clone(),
            ended: Family::default(),
            not_accepted: Family::default(),
            traffic: Arc::clone(traffic),
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "connections_ended",
            "Connections that the inbox ended: idle, stalled, or to make room",
            self.ended.clone(),
        );
        registry.register(
            "accept_errors",
            "Connections that the inbox could not accept: no file descriptor, or another reason",
            self.not_accepted.clone(),
        );
    }

    /// Creates the counters of a listener.
    pub(crate) fn create(&self, listener: &'static str) {
        for reason in ["idle", "room", "stalled"] {
            drop(self.ended.get_or_create(&ListenerLabels { listener, reason }));
        }
        for reason in ["descriptors", "other"] {
            drop(self.not_accepted.get_or_create(&ListenerLabels { listener, reason }));
        }
    }

    /// Counts a delivery that cannot be read.
    pub(crate) fn refused(&self, reason: &'static str) {
        self.traffic.count(TrafficEvent::Refused);
        self.refused.get_or_create(&ReasonLabel { reason }).inc();
    }

    pub(crate) fn ended(&self, listener: &'static str, reason: &'static str, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.ended.get_or_create(&ListenerLabels { listener, reason }).inc_by(count);
    }

    pub(crate) fn not_accepted(&self, listener: &'static str, reason: &'static str) {
        self.not_accepted.get_or_create(&ListenerLabels { listener, reason }).inc();
    }
}
