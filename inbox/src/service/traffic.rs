//! Counts deliveries by minute.

use super::{Operations, time};
use serde::{Deserialize, Serialize};

/// The deliveries of the last 24 hours, as this inbox counted them since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficAnswer {
    /// The start of this inbox.
    pub since: String,
    /// Up to 1,440 minutes without gaps, the oldest first. The last one is not over.
    pub minutes: Vec<TrafficMinute>,
}

/// The deliveries of a minute.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficMinute {
    /// The start of the minute.
    pub at: String,
    /// Deliveries that the inbox answered 200: new, repeated or quarantined. Fetched events are not among them.
    pub stored: u64,
    /// Attempts that a service answered 2xx.
    pub delivered: u64,
    /// Deliveries that the inbox answered 503.
    pub refused: u64,
    /// Requests that the gate, or Envoy before it, refused. 0 without `--access-log`.
    pub gate_refused: u64,
}

impl Operations {
    /// Counts deliveries by minute.
    pub(crate) fn traffic(&self) -> TrafficAnswer {
        let counted = self.shared.metrics.traffic.read();
        let minutes = counted.minutes.into_iter().map(|(at, counts)| TrafficMinute {
            at: time(at),
            stored: counts.stored,
            delivered: counts.delivered,
            refused: counts.refused,
            gate_refused: counts.gate_refused,
        });
        TrafficAnswer { since: time(counted.since), minutes: minutes.collect() }
    }
}
