//! The pace of retries. A service that was down gets retried entries at the rate of a route that catches up, whichever inbox on
//! the store delivers them: the entries become due one after the other. Two inboxes that retry at once each add their own pace. An inbox
//! that lags sends what has become due, within `--concurrency`.

use std::num::NonZeroU32;

/// The time in which the rate doubles, as for a route that catches up.
const DOUBLE_EVERY: i64 = 10_000_000;
/// At 100 a second this is 1,000 million entries.
const MAX_DOUBLINGS: u32 = 20;
/// Entries become due together within this time, so that one claim takes them.
const STEP: i64 = 50_000;

/// The place of a change in a run of retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RetryPace {
    /// The first rate, in attempts a second. It doubles every 10 s.
    pub(crate) rate: NonZeroU32,
    /// The entries that the run has retried before this change.
    pub(crate) before: i64,
    /// The microseconds since the run began.
    pub(crate) elapsed: i64,
}

impl RetryPace {
    /// The microseconds until the attempt of the change's entry with this number, from 0 on.
    pub(super) fn delay(self, number: i64) -> i64 {
        let at = moment(self.rate, self.before.saturating_add(number));
        at.saturating_sub(self.elapsed).max(0)
    }
}

/// The microseconds from the begin of a run to its entry with this number.
pub(crate) fn moment(rate: NonZeroU32, mut number: i64) -> i64 {
    let (mut rate, mut begin) = (i64::from(rate.get()), 0_i64);
    for _ in 0..MAX_DOUBLINGS {
        let entries = rate.saturating_mul(DOUBLE_EVERY / 1_000_000);
        if number < entries {
            break;
        }
        number = number.saturating_sub(entries);
        begin = begin.saturating_add(DOUBLE_EVERY);
        rate = rate.saturating_mul(2);
    }
    let wait = number.saturating_mul(1_000_000).checked_div(rate).unwrap_or_default();
    let steps = wait.saturating_add(STEP - 1).checked_div(STEP).unwrap_or_default();
    begin.saturating_add(steps.saturating_mul(STEP))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(rate: u32) -> NonZeroU32 {
        NonZeroU32::new(rate).unwrap()
    }

    #[test]
    fn doubles_the_rate_every_10_s() {
        for (number, at) in [
            (0, 0),
            (1, 50_000),
            (5, 50_000),
            (6, 100_000),
            (99, 1_000_000),
            (999, 10_000_000),
            (1_000, 10_000_000),
            (1_010, 10_050_000),
            (2_999, 20_000_000),
            (3_000, 20_000_000),
            (7_000, 30_000_000),
        ] {
            assert_eq!(moment(rate(100), number), at, "{number}");
        }
        assert_eq!(moment(rate(1), 3), 3_000_000);
        assert!(moment(rate(1), i64::MAX) > 0 && moment(rate(u32::MAX), i64::MAX) >= 0);
    }

    #[test]
    fn no_second_has_more_than_its_rate() {
        let moments: Vec<_> = (0..20_000).map(|number| moment(rate(100), number)).collect();
        assert!(moments.is_sorted());
        for second in 0..30 {
            let begin = second * 1_000_000;
            let count = moments.iter().filter(|at| (begin..begin + 1_000_000).contains(*at)).count();
            let max = 100 << (second / 10);
            assert!(count <= max * 12 / 10 + 1, "{count} in second {second}");
        }
    }

    #[test]
    fn continues_a_run() {
        let pace = RetryPace { rate: rate(100), before: 500, elapsed: 1_000_000 };
        assert_eq!((pace.delay(0), pace.delay(100)), (4_000_000, 5_000_000));
        let late = RetryPace { elapsed: 60_000_000, ..pace };
        assert_eq!(late.delay(0), 0);
    }
}
