//! How many lines a cause may log.

use governor::{DefaultDirectRateLimiter, Quota};
use std::num::NonZeroU32;

/// So many refusals a second are logged; the counter has them all.
const LOGGED: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);

/// What keeps refusals from filling a log.
pub(crate) struct LineLimit(DefaultDirectRateLimiter);

impl LineLimit {
    /// One line a second, of what goes on for as long as its cause does.
    pub(crate) fn of_one() -> Self {
        Self(DefaultDirectRateLimiter::direct(Quota::per_second(NonZeroU32::MIN)))
    }

    /// Whether another line may be logged now.
    pub(crate) fn passes(&self) -> bool {
        self.0.check().is_ok()
    }
}

impl Default for LineLimit {
    fn default() -> Self {
        Self(DefaultDirectRateLimiter::direct(Quota::per_second(LOGGED)))
    }
}
