//! The pace of attempts: concurrency, leases and delays.

use crate::store::MAX_DELAY;
use backon::{BackoffBuilder, ExponentialBuilder};
use std::time::Duration;

/// The duration of a lease: for this time one inbox has an entry to itself. Tests use a shorter one.
pub(crate) const LEASE: Duration = Duration::from_secs(30);
/// Renewals in the time of a lease: three, so that one may fail.
const RENEWALS: u32 = 3;
/// An attempt ends a tenth of the lease before the lease does.
const MARGIN: u32 = 10;
/// Delays double from a second to half an hour. Jitter at most doubles each.
const FIRST_DELAY: Duration = Duration::from_secs(1);
const MAX_BASE_DELAY: Duration = Duration::from_micros(MAX_DELAY.unsigned_abs() / 2);

/// The pace of attempts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeliveryPace {
    /// The attempts that run at once on a route.
    pub(crate) concurrency: usize,
    /// The first rate of a route that catches up, in attempts a second. It doubles every 10 s.
    pub(crate) drain: std::num::NonZeroU32,
    /// The duration of a lease.
    pub(crate) lease: Duration,
}

impl DeliveryPace {
    pub(super) fn renew_every(self) -> Duration {
        self.lease.checked_div(RENEWALS).unwrap_or_default()
    }

    /// The part of a lease in which an attempt may run: all but a margin.
    pub(super) fn usable_lease(self) -> Duration {
        self.lease.saturating_sub(self.lease.checked_div(MARGIN).unwrap_or_default())
    }
}

/// The delay after the attempt with this number.
pub(super) fn delay(attempt: i64) -> Option<Duration> {
    let before = usize::try_from(attempt.saturating_sub(1)).unwrap_or_default();
    ExponentialBuilder::default()
        .with_min_delay(FIRST_DELAY)
        .with_max_delay(MAX_BASE_DELAY)
        .with_jitter()
        .without_max_times()
        .build()
        .nth(before)
}
