//! How many calls a minute: the times of the last ones, in a form that the workers of an Envoy share.

/// A minute and 5 s, in the milliseconds of the times. A call reaches the provider up to 4 s after it is counted, when it is
/// given up at the latest: so much later than a minute after the first of a minute's calls the next may start, whichever of
/// them was late.
const WINDOW: u64 = 65_000;
const TIME_BYTES: usize = 8;

/// Takes one call at `now`, in milliseconds since the epoch, and returns what to share from now on; `None` where the
/// calls of the last 65 s are `per_minute` already.
///
/// In no minute do more calls than that reach the provider, wherever it begins. A clock that was set back forgets what lies in
/// its future.
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
    fn no_minute_has_more_calls_than_allowed_however_late_each_is() {
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
    fn a_clock_set_back_does_not_lock() {
        let spent = take(&[], 1_000_000, 1).unwrap();
        assert_eq!(take(&spent, 1_064_999, 1), None);
        assert!(take(&spent, 1_065_000, 1).is_some());
        assert!(take(&spent, 10, 1).is_some());
    }

    #[test]
    fn what_is_no_list_of_times_is_read_as_far_as_it_is_one() {
        assert_eq!(take(b"1234567", 5, 1).unwrap(), 5_u64.to_le_bytes());
    }
}
