//! Finding out whether a service that was down answers: a slot is for one class of entries, and each has its own pauses, so
//! that entries which always fail put off no entry that was never tried.

use crate::deliver::later;
use crate::store::{AttemptClass, Pick};
use std::time::Duration;
use tokio::time::Instant;

/// A service that is down is asked again after a second, and then twice as late each time.
pub(super) const FIRST_PROBE: Duration = Duration::from_secs(1);
/// And no later than this, as long as the last success is recent.
pub(super) const LAST_PROBE_AT_FIRST: Duration = Duration::from_secs(2);
/// With an entry that was tried before.
pub(super) const LAST_PROBE: Duration = Duration::from_secs(30);
/// With one that was never tried. It may be the one that the service answers: it must not wait behind others for long.
pub(super) const LAST_FIRST_PROBE: Duration = Duration::from_secs(5);
/// A probe without an answer is not waited for longer: it goes on, and the next starts beside it. An attempt may take 25 s,
/// and two of them in a row would be more than a new entry should wait.
pub(super) const PROBE_PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct ProbeSlot {
    /// The entry that is tried, and when that began.
    probe: Option<(i64, Instant)>,
    at: Instant,
    pause: Duration,
    longest: Duration,
    /// Which end the next probe is from.
    newest: bool,
}

impl ProbeSlot {
    pub(super) fn new(now: Instant, longest: Duration) -> Self {
        Self { probe: None, at: later(now, FIRST_PROBE), pause: FIRST_PROBE, longest, newest: true }
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        now >= self.at
    }

    /// From either end in turn: entries that always fail can hold one of them.
    pub(super) fn pick(&self, class: AttemptClass) -> Pick {
        if self.newest { Pick::Newest(class) } else { Pick::Oldest(class) }
    }

    pub(super) fn begin(&mut self, id: i64, now: Instant) {
        if self.probe.is_some() {
            self.wait_longer();
        }
        self.probe = Some((id, now));
        self.newest = !self.newest;
        self.at = later(now, self.pause.max(PROBE_PATIENCE));
    }

    /// The service did not answer the entry, as it did not answer others; `recently` it did.
    pub(super) fn failed(&mut self, id: i64, recently: bool, now: Instant) {
        if self.ends(id) {
            self.wait_longer();
            if recently {
                self.pause = self.pause.min(LAST_PROBE_AT_FIRST);
            }
            self.at = later(now, self.pause);
        }
    }

    /// The entry failed as it does beside others that succeed: that says nothing of the service.
    pub(super) fn said_nothing(&mut self, id: i64, now: Instant) {
        if self.ends(id) {
            self.at = later(now, FIRST_PROBE);
        }
    }

    /// The attempt is over without an outcome, and the next may start.
    pub(super) fn let_go(&mut self, id: i64) {
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
        self.pause = self.pause.saturating_mul(2).min(self.longest);
    }
}
