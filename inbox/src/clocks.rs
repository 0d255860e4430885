//! Compares the gate's clock with this machine's, by the times of valid signatures.

use crate::health::{Fault, Faults};
use crate::key::{SignatureError, SigningTime};
use crate::metrics::Metrics;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// For this time after a signature in time, one out of time raises no fault: it is a replay, or one of several gates is wrong.
const VALID_FOR: Duration = Duration::from_secs(60);
/// The fault ends after this time without new evidence. While the inbox is not ready, perhaps no signature arrives to end it.
const EXPIRES_AFTER: Duration = Duration::from_secs(5 * 60);

pub(crate) struct Clocks {
    faults: Arc<Faults>,
    metrics: Arc<Metrics>,
    times: Mutex<SignatureTimes>,
}

#[derive(Default)]
struct SignatureTimes {
    /// The arrival of the newest signature in time.
    in_time: Option<Instant>,
    /// The newest time of a signature out of time. The same or an older one is no new evidence.
    newest: Option<i64>,
    /// The arrival of the newest evidence, while the fault stands.
    raised: Option<Instant>,
}

impl Clocks {
    pub(crate) fn new(faults: Arc<Faults>, metrics: Arc<Metrics>) -> Self {
        Self { faults, metrics, times: Mutex::default() }
    }

    /// Notes the time of a valid signature.
    pub(crate) fn note(&self, verified: &Result<SigningTime, SignatureError>, now: Instant) {
        match verified {
            Ok(signed) => {
                self.metrics.clock_offset.set(signed.offset);
                let mut times = self.times();
                times.in_time = Some(now);
                // A clock that was ahead must not hide later faults.
                times.newest = times.newest.min(Some(signed.at));
                if times.raised.take().is_some() {
                    self.faults.clear(Fault::ClockOffset);
                }
            }
            Err(error @ SignatureError::OutOfTime(signed)) => {
                self.metrics.clock_offset.set(signed.offset);
                let mut times = self.times();
                let is_new = times.newest.is_none_or(|newest| signed.at > newest);
                times.newest = times.newest.max(Some(signed.at));
                let recently_in_time = times.in_time.is_some_and(|at| now.duration_since(at) < VALID_FOR);
                if is_new && !recently_in_time {
                    times.raised = Some(now);
                    self.faults.raise(Fault::ClockOffset, error);
                }
            }
            Err(SignatureError::NoSignature | SignatureError::OtherKey) => {}
        }
    }

    /// Clears a fault without new evidence.
    pub(crate) fn expire(&self, now: Instant) {
        let mut times = self.times();
        if times.raised.is_some_and(|at| now.duration_since(at) >= EXPIRES_AFTER) {
            times.raised = None;
            self.faults.clear(Fault::ClockOffset);
        }
    }

    fn times(&self) -> std::sync::MutexGuard<'_, SignatureTimes> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
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
            let clocks = Clocks::new(Arc::clone(&faults), Arc::new(Metrics::new(&faults)));
            Self { clocks, faults, started: Instant::now() }
        }

        /// A signature of time `at`, by this machine's clock at `now`.
        fn signed(&self, at: i64, now: i64) {
            let signed = SigningTime { at, offset: at - now };
            let in_time = signed.offset.abs() <= 300;
            let verified = if in_time { Ok(signed) } else { Err(SignatureError::OutOfTime(signed)) };
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
    fn clears_the_fault_by_a_signature_in_time() {
        let site = ClockTest::new();
        site.clocks.note(&Err(SignatureError::NoSignature), site.started);
        site.is(None, 0);
        site.signed(1_000, 1_600);
        site.is(Some("clock-offset"), 1_600);
        site.signed(1_610, 1_610);
        site.is(None, 1_610);
        // The gate's clock is ahead.
        site.signed(2_601, 2_000);
        site.is(Some("clock-offset"), 2_000);
    }

    #[test]
    fn ignores_a_replay_while_others_are_in_time() {
        let site = ClockTest::new();
        site.signed(10_000, 10_000);
        site.signed(9_000, 10_059);
        site.is(None, 10_059);
        // Without other deliveries, a replay raises the fault once, for five minutes.
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
