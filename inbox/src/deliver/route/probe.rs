//! Probes of a service that is down. Each class of entries has its own slot and its own pauses, so that entries that always
//! fail do not delay first attempts.

use crate::deliver::later;
use crate::store::{AttemptClass, Pick};
use std::time::Duration;
use tokio::time::Instant;

/// The first probe follows after a second. Each failure doubles the pause.
pub(super) const FIRST_PROBE: Duration = Duration::from_secs(1);
/// The longest pause after a recent success.
pub(super) const MAX_PAUSE_AFTER_SUCCESS: Duration = Duration::from_secs(2);
/// The longest pause of the slot for later attempts.
pub(super) const MAX_PAUSE: Duration = Duration::from_secs(30);
/// The longest pause of the slot for first attempts: the service may answer exactly this entry.
pub(super) const MAX_FIRST_PAUSE: Duration = Duration::from_secs(5);
/// After this time without an answer the next probe starts beside the first. An attempt may take 25 s, and a new entry should
/// not wait for two in a row.
pub(super) const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct ProbeSlot {
    /// The probing entry, and when its attempt began.
    probe: Option<(i64, Instant)>,
    at: Instant,
    pause: Duration,
    max_pause: Duration,
    /// Whether the next probe is the newest entry, and not the oldest.
    newest: bool,
}

impl ProbeSlot {
    pub(super) fn new(now: Instant, max_pause: Duration) -> Self {
        Self { probe: None, at: later(now, FIRST_PROBE), pause: FIRST_PROBE, max_pause, newest: true }
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        now >= self.at
    }

    /// The newest and the oldest entry in turn: one of them may always fail.
    pub(super) fn pick(&self, class: AttemptClass) -> Pick {
        if self.newest { Pick::Newest(class) } else { Pick::Oldest(class) }
    }

    pub(super) fn begin(&mut self, id: i64, now: Instant) {
        if self.probe.is_some() {
            self.wait_longer();
        }
        self.probe = Some((id, now));
        self.newest = !self.newest;
        self.at = later(now, self.pause.max(PROBE_TIMEOUT));
    }

    /// The service did not answer. `recently`: the last success is recent.
    pub(super) fn failed(&mut self, id: i64, recently: bool, now: Instant) {
        if self.ends(id) {
            self.wait_longer();
            if recently {
                self.pause = self.pause.min(MAX_PAUSE_AFTER_SUCCESS);
            }
            self.at = later(now, self.pause);
        }
    }

    /// The failure is the entry's own, and tells nothing about the service.
    pub(super) fn inconclusive(&mut self, id: i64, now: Instant) {
        if self.ends(id) {
            self.at = later(now, FIRST_PROBE);
        }
    }

    /// The attempt ended. Without an outcome, the next probe may start at once.
    pub(super) fn finish(&mut self, id: i64) {
        if let Some((probe, began)) = self.probe
            && probe == id
        {
            self.probe = None;
            self.at = began;
        }
    }

    fn ends(&mut self, id: i64) -> bool {
        self.probe.take_if(|(probe, _)| *probe == id).is_some()
    }

    fn wait_longer(&mut self) {
        self.pause = self.pause.saturating_mul(2).min(self.max_pause);
    }
}
