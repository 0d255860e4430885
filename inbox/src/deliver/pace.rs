//! How deliveries are paced.

use crate::store::MAX_DELAY;
use backon::{BackoffBuilder, ExponentialBuilder};
use std::time::Duration;

/// A delivery is held for so long, and renewed meanwhile. A test waits for less until a holder that is gone has lost it.
pub(crate) const LEASE: Duration = Duration::from_secs(30);
/// Renewed three times in a lease, so that one renewal may fail.
const RENEWALS: u32 = 3;
/// A delivery ends before its lease does, by one part in so many.
const MARGIN: u32 = 10;
/// Delays double from a second to half an hour, and up to as much again is added by chance.
const FIRST_DELAY: Duration = Duration::from_secs(1);
const LAST_DELAY: Duration = Duration::from_micros(MAX_DELAY.unsigned_abs() / 2);

/// How deliveries are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeliveryPace {
    /// So many at a time on a route.
    pub(crate) concurrency: usize,
    /// So many a second at first, while a route that was down catches up; the rate doubles every 10 s.
    pub(crate) drain: std::num::NonZeroU32,
    /// A delivery is held for so long. The holder renews it well before, or lets go of the delivery.
    pub(crate) lease: Duration,
}

impl DeliveryPace {
    pub(super) fn renew_every(self) -> Duration {
        self.lease.checked_div(RENEWALS).unwrap_or_default()
    }

    /// What a holder counts on: the lease, but for a margin.
    pub(super) fn counted_on(self) -> Duration {
        self.lease.saturating_sub(self.lease.checked_div(MARGIN).unwrap_or_default())
    }
}

/// How long to wait after the attempt with this number.
pub(super) fn delay(attempt: i64) -> Option<Duration> {
    let before = usize::try_from(attempt.saturating_sub(1)).unwrap_or_default();
    ExponentialBuilder::default()
        .with_min_delay(FIRST_DELAY)
        .with_max_delay(LAST_DELAY)
        .with_jitter()
        .without_max_times()
        .build()
        .nth(before)
}
