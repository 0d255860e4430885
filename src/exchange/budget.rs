//! The budget of calls a minute: the times of recent calls, in a form that the workers of an Envoy share.

/// 65 s in milliseconds. The gate counts a call when it starts. The call reaches the provider up to 4 s later
/// ([`crate::confirm::MAX_TIMEOUT`]). So a window of 60 s + 4 s, rounded up, keeps each minute at the provider within the limit.
const WINDOW: u64 = 65_000;
const TIME_BYTES: usize = 8;

/// Takes one call at `now`, in milliseconds since the epoch, and returns the new list of times; `None` after `per_minute` calls
/// in the last 65 s.
///
/// So at most `per_minute` calls reach the provider in any minute. After a clock is set back, times in the future do not count.
pub(super) fn take(shared: &[u8], now: u64, per_minute: usize) -> Option<Vec<u8>> {
    let recent = |time: &u64| *time <= now && now.saturating_sub(*time) < WINDOW;
    let mut times: Vec<u64> = read(shared).filter(recent).collect();
    if times.len() >= per_minute {
        return None;
    }
    times.push(now);
    Some(times.iter().flat_map(|time| time.to_le_bytes()).collect())
}

fn read(shared: &[u8]) -> impl Iterator<Item = u64> {
    shared.chunks_exact(TIME_BYTES).filter_map(|bytes| bytes.try_into().ok().map(u64::from_le_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::confirm::MAX_TIMEOUT;

    #[test]
    fn allows_40_calls_in_any_minute_with_any_delay() {
        let late = u64::try_from(MAX_TIMEOUT.as_millis()).unwrap();
        let mut shared = Vec::new();
        let mut taken: Vec<u64> = Vec::new();
        for now in (0..300_000).step_by(500) {
            if let Some(next) = take(&shared, now, 40) {
                shared = next;
                taken.push(now);
            }
        }
        for (index, first) in taken.iter().enumerate() {
            let in_minute = taken[index..].iter().filter(|time| **time - first < 60_000 + late).count();
            assert!(in_minute <= 40, "{in_minute} from {first}");
        }
        assert_eq!(taken.len(), 200);
    }

    #[test]
    fn allows_a_call_after_the_clock_is_set_back() {
        let spent = take(&[], 1_000_000, 1).unwrap();
        assert_eq!(take(&spent, 1_064_999, 1), None);
        assert!(take(&spent, 1_065_000, 1).is_some());
        assert!(take(&spent, 10, 1).is_some());
    }

    #[test]
    fn ignores_bytes_after_the_last_whole_time() {
        assert_eq!(take(b"1234567", 5, 1).unwrap(), 5_u64.to_le_bytes());
    }
}
