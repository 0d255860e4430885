//! The run of retries: a person retries a filter in pieces, and the pieces together have one pace.

use crate::store::{RetryPace, moment};
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use tokio::time::Instant;

/// The pace of this inbox's retries.
#[derive(Debug)]
pub(crate) struct Retries {
    rate: NonZeroU32,
    run: Mutex<RetryRun>,
}

/// Retries without a pause between them.
#[derive(Debug)]
struct RetryRun {
    began: Instant,
    count: i64,
}

impl Retries {
    /// `rate`: `--drain-rate`, in attempts a second.
    pub(crate) fn new(rate: NonZeroU32) -> Self {
        Self { rate, run: Mutex::new(RetryRun { began: Instant::now(), count: 0 }) }
    }

    /// The pace of the next change. A new run begins once the last entry of the run before is due.
    pub(crate) fn pace(&self) -> RetryPace {
        let mut run = self.run.lock().unwrap_or_else(PoisonError::into_inner);
        let mut elapsed = elapsed(&run);
        if elapsed >= moment(self.rate, run.count) {
            *run = RetryRun { began: Instant::now(), count: 0 };
            elapsed = 0;
        }
        RetryPace { rate: self.rate, before: run.count, elapsed }
    }

    /// Adds retried entries to the run.
    pub(super) fn add(&self, count: usize) {
        let mut run = self.run.lock().unwrap_or_else(PoisonError::into_inner);
        run.count = run.count.saturating_add(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

fn elapsed(run: &RetryRun) -> i64 {
    i64::try_from(run.began.elapsed().as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn pieces_of_a_run_share_the_pace() {
        let retries = Retries::new(NonZeroU32::new(100).unwrap());
        assert_eq!((retries.pace().before, retries.pace().elapsed), (0, 0));
        retries.add(500);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!((retries.pace().before, retries.pace().elapsed), (500, 1_000_000));
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!((retries.pace().before, retries.pace().elapsed), (0, 0));
    }
}
