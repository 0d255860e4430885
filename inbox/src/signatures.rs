//! Watches the signatures of deliveries, for two faults: different signing keys, and different clocks.

use crate::clocks::Clocks;
use crate::health::{Fault, FaultScope, Faults};
use crate::key::{SignatureError, SigningTime};
use crate::metrics::Metrics;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// For this time after a valid signature, one by another key raises no fault: it is forged, or only one of several gates has
/// another key.
const VALID_FOR: Duration = Duration::from_secs(10);
/// The fault ends after this time without new evidence.
const EXPIRES_AFTER: Duration = Duration::from_secs(5 * 60);

pub(crate) struct Signatures {
    clocks: Clocks,
    faults: Arc<Faults>,
    newest: Mutex<NewestSignatures>,
}

/// The arrivals of the newest signatures.
#[derive(Clone, Copy, Default)]
struct NewestSignatures {
    valid: Option<Instant>,
    /// By another key, since the newest valid one.
    other: Option<Instant>,
}

impl Signatures {
    pub(crate) fn new(faults: &Arc<Faults>, metrics: Arc<Metrics>) -> Self {
        let clocks = Clocks::new(Arc::clone(faults), metrics);
        Self { clocks, faults: Arc::clone(faults), newest: Mutex::default() }
    }

    /// Notes a delivery's signature.
    pub(crate) fn note(&self, verified: &Result<SigningTime, SignatureError>, now: Instant) {
        self.clocks.note(verified, now);
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        match verified {
            // Also a signature out of time is by the same key.
            Ok(_) | Err(SignatureError::OutOfTime(_)) => {
                *newest = NewestSignatures { valid: Some(now), other: None };
            }
            Err(SignatureError::OtherKey) => newest.other = Some(now),
            Err(SignatureError::NoSignature) => return,
        }
        self.judge(*newest, now);
    }

    /// Raises and clears the faults by the time since the newest signatures.
    pub(crate) fn tick(&self, now: Instant) {
        self.clocks.expire(now);
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        self.judge(*newest, now);
    }

    fn judge(&self, newest: NewestSignatures, now: Instant) {
        let since = |at: Instant| now.saturating_duration_since(at);
        let is_valid = newest.valid.is_some_and(|at| since(at) < VALID_FOR);
        let is_other = newest.other.is_some_and(|at| since(at) < EXPIRES_AFTER);
        if !is_other {
            self.faults.clear(Fault::Signature);
        } else if !is_valid {
            self.faults.raise_for(FaultScope::Part, Fault::Signature, SignatureError::OtherKey);
        }
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "a test may panic: that is how it fails")]
mod tests {
    use super::*;

    struct SignatureTest {
        signatures: Signatures,
        faults: Arc<Faults>,
        started: Instant,
    }

    impl SignatureTest {
        fn new() -> Self {
            let faults = Arc::new(Faults::default());
            let signatures = Signatures::new(&faults, Arc::new(Metrics::new(&faults)));
            Self { signatures, faults, started: Instant::now() }
        }

        fn note(&self, verified: Result<SigningTime, SignatureError>, seconds: u64) {
            self.signatures.note(&verified, self.started + Duration::from_secs(seconds));
        }

        #[track_caller]
        fn stands(&self, expected: bool, seconds: u64) {
            self.signatures.tick(self.started + Duration::from_secs(seconds));
            assert_eq!(self.faults.get(Fault::Signature).is_some(), expected);
        }
    }

    const VALID: Result<SigningTime, SignatureError> = Ok(SigningTime { at: 1, offset: 0 });
    const OTHER: Result<SigningTime, SignatureError> = Err(SignatureError::OtherKey);

    #[test]
    fn another_key_is_a_fault_until_a_valid_signature() {
        let site = SignatureTest::new();
        site.note(Err(SignatureError::NoSignature), 0);
        site.stands(false, 0);
        site.note(OTHER, 1);
        site.stands(true, 1);
        site.note(VALID, 2);
        site.stands(false, 2);
    }

    #[test]
    fn one_beside_valid_ones_is_no_fault() {
        let site = SignatureTest::new();
        for seconds in 0..20 {
            site.note(VALID, seconds);
            site.note(OTHER, seconds);
            assert!(site.faults.standing().is_empty());
        }
        // No valid one follows.
        site.stands(false, 28);
        site.stands(true, 29);
    }

    #[test]
    fn expires_after_five_minutes_without_another_one() {
        let site = SignatureTest::new();
        site.note(OTHER, 0);
        site.note(OTHER, 100);
        site.stands(true, 399);
        site.stands(false, 400);
        site.note(OTHER, 500);
        site.stands(true, 500);
    }
}
