//! The newest refusal of the receive listener, for `inbox stats`: a cause outside of the inbox is no fault of it.

use std::sync::{Mutex, PoisonError};

/// A refusal counts for this time, in microseconds: the provider retries within it.
const COUNTS_FOR: i64 = 5 * 60 * 1_000_000;

/// Remembers the newest refusal until a delivery is stored.
#[derive(Debug, Default)]
pub(crate) struct RefusalLog(Mutex<Option<NewestRefusal>>);

/// A refusal after which no delivery was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NewestRefusal {
    /// Its reason code.
    pub(crate) reason: &'static str,
    /// Its time, in microseconds since 1970.
    pub(crate) at: i64,
}

impl RefusalLog {
    pub(crate) fn refused(&self, reason: &'static str, at: i64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(NewestRefusal { reason, at });
    }

    pub(crate) fn stored(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The newest delivery, if the inbox refused it in the last five minutes.
    pub(crate) fn newest(&self, now: i64) -> Option<NewestRefusal> {
        let newest = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        newest.filter(|refusal| now.saturating_sub(refusal.at) < COUNTS_FOR)
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "a test may panic: that is how it fails")]
mod tests {
    use super::*;

    #[test]
    fn counts_until_a_delivery_is_stored() {
        let (refusals, now) = (RefusalLog::default(), 1_000);
        assert_eq!(refusals.newest(now), None);
        refusals.refused("not-ours", now);
        refusals.refused("signature", now);
        let newest = Some(NewestRefusal { reason: "signature", at: now });
        assert_eq!(refusals.newest(now), newest);
        assert_eq!(refusals.newest(now + COUNTS_FOR - 1), newest);
        assert_eq!(refusals.newest(now + COUNTS_FOR), None);
        refusals.stored();
        assert_eq!(refusals.newest(now), None);
    }
}
