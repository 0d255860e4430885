//! A clock that starts at the machine's time and does not follow its steps: what is due in a second is due in a second.

use std::time::Instant;
use time::OffsetDateTime;

#[derive(Debug)]
pub(super) struct Clock {
    started: Instant,
    /// Microseconds since 1970 at that instant.
    at: i64,
}

impl Clock {
    pub(super) fn start() -> Self {
        let since = OffsetDateTime::now_utc().unix_timestamp_nanos().checked_div(1_000).unwrap_or_default();
        Self { started: Instant::now(), at: i64::try_from(since).unwrap_or_default() }
    }

    pub(super) fn now(&self) -> i64 {
        let elapsed = i64::try_from(self.started.elapsed().as_micros()).unwrap_or(i64::MAX);
        self.at.saturating_add(elapsed)
    }
}
