//! Limits the log lines of one cause.

use governor::{DefaultDirectRateLimiter, Quota};
use std::num::NonZeroU32;

/// Logged refusals a second. The counter has all of them.
const MAX_LINES: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);

/// A limit of log lines a second.
pub(crate) struct LineLimit(DefaultDirectRateLimiter);

impl LineLimit {
    /// One line a second, for a condition that lasts.
    pub(crate) fn of_one() -> Self {
        Self(DefaultDirectRateLimiter::direct(Quota::per_second(NonZeroU32::MIN)))
    }

    /// Whether the limit permits another line now.
    pub(crate) fn passes(&self) -> bool {
        self.0.check().is_ok()
    }
}

impl Default for LineLimit {
    fn default() -> Self {
        Self(DefaultDirectRateLimiter::direct(Quota::per_second(MAX_LINES)))
    }
}
