//! How far the gate's clock is from this machine's, by the times of valid signatures.

use crate::health::{Fault, Faults};
use crate::key::{SignatureError, SigningTime};
use crate::metrics::Metrics;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// So long after a signature in time, one out of time is no fault: it is a replay, or of one gate among several.
const GOOD_FOR: Duration = Duration::from_secs(60);
/// The fault ends so long after its newest evidence: while the inbox is not ready, nothing may come that could end it.
const STANDS_FOR: Duration = Duration::from_secs(5 * 60);

pub(crate) struct Clocks {
    faults: Arc<Faults>,
    metrics: Arc<Metrics>,
    seen: Mutex<SignatureTimes>,
}

#[derive(Default)]
struct SignatureTimes {
    /// When the newest signature in time came.
    good: Option<Instant>,
    /// The newest time of a signature out of time. The same delivery again, or an older one, proves nothing.
    newest: Option<i64>,
    /// When that came, while the fault stands.
    standing: Option<Instant>,
}

impl Clocks {
    pub(crate) fn new(faults: Arc<Faults>, metrics: Arc<Metrics>) -> Self {
        Self { faults, metrics, seen: Mutex::default() }
    }

    /// Learns from a signature, and from nothing else.
    pub(crate) fn note(&self, verified: &Result<SigningTime, SignatureError>, now: Instant) {
        match verified {
            Ok(signed) => {
                self.metrics.clock_offset.set(signed.offset);
                let mut seen = self.seen();
                seen.good = Some(now);
                // A time from a clock that was ahead would hide all that follow.
                seen.newest = seen.newest.min(Some(signed.at));
                if seen.standing.take().is_some() {
                    self.faults.clear(Fault::ClockOffset);
                }
            }
            Err(error @ SignatureError::OutOfTime(signed)) => {
                self.metrics.clock_offset.set(signed.offset);
                let mut seen = self.seen();
                let is_new = seen.newest.is_none_or(|newest| signed.at > newest);
                seen.newest = seen.newest.max(Some(signed.at));
                let is_good = seen.good.is_some_and(|at| now.duration_since(at) < GOOD_FOR);
                if is_new && !is_good {
                    seen.standing = Some(now);
                    self.faults.raise(Fault::ClockOffset, error);
                }
            }
            Err(SignatureError::NoSignature) => {}
        }
    }

    /// Ends a fault that has no new evidence.
    pub(crate) fn expire(&self, now: Instant) {
        let mut seen = self.seen();
        if seen.standing.is_some_and(|at| now.duration_since(at) >= STANDS_FOR) {
            seen.standing = None;
            self.faults.clear(Fault::ClockOffset);
        }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, SignatureTimes> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "a test may panic: that is how it fails")]
mod tests {
    use super::*;

    struct ClockTest {
        clocks: Clocks,
        faults: Arc<Faults>,
        started: Instant,
    }

    impl ClockTest {
        fn new() -> Self {
            let faults = Arc::new(Faults::default());
            let clocks = Clocks::new(Arc::clone(&faults), Arc::new(Metrics::new()));
            Self { clocks, faults, started: Instant::now() }
        }

        /// A signature of this time, while this machine's clock says `now`.
        fn signed(&self, at: i64, now: i64) {
            let signed = SigningTime { at, offset: at - now };
            let is_good = signed.offset.abs() <= 300;
            let verified = if is_good { Ok(signed) } else { Err(SignatureError::OutOfTime(signed)) };
            self.clocks.note(&verified, self.at(now));
        }

        #[track_caller]
        fn is(&self, reason: Option<&str>, now: i64) {
            self.clocks.expire(self.at(now));
            assert_eq!(self.faults.standing().first().map(|standing| standing.reason), reason);
        }

        fn at(&self, now: i64) -> Instant {
            self.started + Duration::from_secs(now.try_into().unwrap())
        }
    }

    #[test]
    fn a_fault_stands_until_a_signature_is_in_time() {
        let site = ClockTest::new();
        site.clocks.note(&Err(SignatureError::NoSignature), site.started);
        site.is(None, 0);
        site.signed(1_000, 1_600);
        site.is(Some("clock-offset"), 1_600);
        site.signed(1_610, 1_610);
        site.is(None, 1_610);
        // It is ahead.
        site.signed(2_601, 2_000);
        site.is(Some("clock-offset"), 2_000);
    }

    #[test]
    fn a_replay_is_no_fault_while_others_are_in_time() {
        let site = ClockTest::new();
        site.signed(10_000, 10_000);
        site.signed(9_000, 10_059);
        site.is(None, 10_059);
        // For an inbox that has nothing to do, one replay is a fault for five minutes, and once.
        site.signed(9_001, 10_060);
        site.is(Some("clock-offset"), 10_359);
        site.is(None, 10_360);
        site.signed(9_001, 10_400);
        site.signed(8_000, 10_400);
        site.is(None, 10_400);
    }

    #[test]
    fn a_clock_that_was_ahead_hides_no_later_fault() {
        let site = ClockTest::new();
        site.signed(20_000, 10_000);
        site.is(Some("clock-offset"), 10_000);
        site.signed(10_010, 10_010);
        site.signed(10_011, 10_500);
        site.is(Some("clock-offset"), 10_500);
    }
}
