//! A clock that starts at the machine's time and ignores its later steps. A wait of a second takes a second.

use std::time::Instant;
use time::OffsetDateTime;

#[derive(Debug)]
pub(super) struct Clock {
    started: Instant,
    /// The machine's time at the start, in microseconds since 1970.
    start: i64,
}

impl Clock {
    pub(super) fn start() -> Self {
        let now = OffsetDateTime::now_utc().unix_timestamp_nanos().checked_div(1_000).unwrap_or_default();
        Self { started: Instant::now(), start: i64::try_from(now).unwrap_or_default() }
    }

    pub(super) fn now(&self) -> i64 {
        let elapsed = i64::try_from(self.started.elapsed().as_micros()).unwrap_or(i64::MAX);
        self.start.saturating_add(elapsed)
    }
}
