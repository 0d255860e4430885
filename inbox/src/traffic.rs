//! Deliveries by minute, of the last 24 hours, in memory.
//!
//! A minute is counted by the time since the machine's start. No change of the clock moves it, and it also runs while the machine
//! sleeps. Only the names of the minutes are by the clock, as it is when they are read.

use crate::health::now;
use rustix::time::{ClockId, clock_gettime};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The minutes that it remembers: 24 hours, in 46 KB.
const MINUTES: u16 = 24 * 60;
/// A minute in microseconds.
const MINUTE: i64 = 60_000_000;
/// The clock was set if it moves by more than this against the time since the start, in microseconds. Reading two clocks takes
/// some time, so smaller differences must not rename a minute.
const CLOCK_WAS_SET: i64 = 1_000_000;

/// What happened to a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TrafficEvent {
    /// The inbox answered a delivery of the gate 200: it is new, repeated or quarantined.
    Stored,
    /// A service answered an attempt 2xx.
    Delivered,
    /// The inbox answered a delivery of the gate 503.
    Refused,
    /// The gate, or Envoy before it, refused a delivery.
    GateRefused,
}

/// The counts of a minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MinuteCounts {
    pub(crate) stored: u64,
    pub(crate) delivered: u64,
    pub(crate) refused: u64,
    pub(crate) gate_refused: u64,
}

/// The last minutes. Times are microseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CountedMinutes {
    /// The start of this process.
    pub(crate) since: i64,
    /// The starts of the minutes, the oldest first, without gaps.
    pub(crate) minutes: Vec<(i64, MinuteCounts)>,
}

/// Counts deliveries by minute.
#[derive(Debug)]
pub(crate) struct TrafficLog(Mutex<MinuteRing>);

impl TrafficLog {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(MinuteRing::new(TrafficMoment::now())))
    }

    pub(crate) fn count(&self, event: TrafficEvent) {
        self.ring().count(event, TrafficMoment::now());
    }

    pub(crate) fn read(&self) -> CountedMinutes {
        self.ring().read(TrafficMoment::now())
    }

    fn ring(&self) -> MutexGuard<'_, MinuteRing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One moment on two clocks, in microseconds.
#[derive(Clone, Copy, Debug)]
struct TrafficMoment {
    /// Since the machine's start.
    running: i64,
    /// Since 1970, by the clock.
    clock: i64,
}

impl TrafficMoment {
    fn now() -> Self {
        let running = clock_gettime(ClockId::Boottime);
        let micros = running.tv_nsec.checked_div(1_000).unwrap_or_default();
        Self { running: running.tv_sec.saturating_mul(1_000_000).saturating_add(micros), clock: now() }
    }
}

#[derive(Debug)]
struct MinuteRing {
    /// The start of the process, since the machine's start.
    started: i64,
    /// The start of minute 0, since the machine's start.
    origin: i64,
    /// The clock at the machine's start.
    clock: i64,
    /// The number of the newest minute.
    newest: i64,
    /// By the remainder of the minute's number.
    counts: Vec<MinuteCounts>,
}

impl MinuteRing {
    fn new(at: TrafficMoment) -> Self {
        Self {
            started: at.running,
            origin: at.running.saturating_sub(at.clock.rem_euclid(MINUTE)),
            clock: at.clock.saturating_sub(at.running),
            newest: 0,
            counts: vec![MinuteCounts::default(); usize::from(MINUTES)],
        }
    }

    fn count(&mut self, event: TrafficEvent, at: TrafficMoment) {
        self.advance(at);
        let Some(counts) = self.slot(self.newest) else { return };
        let count = match event {
            TrafficEvent::Stored => &mut counts.stored,
            TrafficEvent::Delivered => &mut counts.delivered,
            TrafficEvent::Refused => &mut counts.refused,
            TrafficEvent::GateRefused => &mut counts.gate_refused,
        };
        *count = count.saturating_add(1);
    }

    fn read(&mut self, at: TrafficMoment) -> CountedMinutes {
        self.advance(at);
        let clock = at.clock.saturating_sub(at.running);
        if clock.abs_diff(self.clock) > CLOCK_WAS_SET.unsigned_abs() {
            self.clock = clock;
        }
        // The nearest full minute: after a change of the clock, minutes begin between two of them.
        let first = self.clock.saturating_add(self.origin).saturating_add(MINUTE / 2);
        let first = first.saturating_sub(first.rem_euclid(MINUTE));
        let oldest = self.newest.saturating_sub(i64::from(MINUTES)).saturating_add(1).max(0);
        let minutes = (oldest..=self.newest).filter_map(|minute| {
            let at = first.saturating_add(minute.saturating_mul(MINUTE));
            self.slot(minute).map(|counts| (at, *counts))
        });
        let minutes = minutes.collect();
        CountedMinutes { since: self.clock.saturating_add(self.started), minutes }
    }

    /// Empties the minutes since the last count.
    fn advance(&mut self, at: TrafficMoment) {
        let elapsed = at.running.saturating_sub(self.origin);
        let minute = elapsed.checked_div(MINUTE).unwrap_or_default();
        let skipped = self.newest.saturating_add(1)..=minute;
        for minute in skipped.take(usize::from(MINUTES)) {
            if let Some(counts) = self.slot(minute) {
                *counts = MinuteCounts::default();
            }
        }
        self.newest = self.newest.max(minute);
    }

    fn slot(&mut self, minute: i64) -> Option<&mut MinuteCounts> {
        let index = usize::try_from(minute.rem_euclid(i64::from(MINUTES))).ok()?;
        self.counts.get_mut(index)
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "a test may panic: that is how it fails")]
mod tests {
    use super::*;
    use TrafficEvent::{Delivered, GateRefused, Refused, Stored};

    const SECOND: i64 = 1_000_000;
    /// 2026-11-30 12:00:00.
    const NOON: i64 = 1_796_040_000 * SECOND;
    /// The machine started a day before.
    const RUNNING: i64 = 86_400 * SECOND;

    /// Seconds after noon, with the clock ahead by `ahead` seconds.
    fn at(seconds: i64, ahead: i64) -> TrafficMoment {
        TrafficMoment { running: RUNNING + seconds * SECOND, clock: NOON + (seconds + ahead) * SECOND }
    }

    /// The minutes with counts: minutes after noon, and the counts.
    fn counted(read: &CountedMinutes) -> Vec<(i64, [u64; 4])> {
        let pairs = read.minutes.iter().map(|(at, it)| {
            assert_eq!(at % MINUTE, 0, "{at}");
            ((at - NOON) / MINUTE, [it.stored, it.delivered, it.refused, it.gate_refused])
        });
        pairs.filter(|(_, counts)| *counts != [0; 4]).collect()
    }

    #[track_caller]
    fn has_no_gap(read: &CountedMinutes) {
        for pair in read.minutes.windows(2) {
            assert_eq!(pair[1].0 - pair[0].0, MINUTE);
        }
    }

    #[test]
    fn counts_by_minute() {
        let mut ring = MinuteRing::new(at(59, 0));
        for (event, seconds) in
            [(Stored, 59), (Stored, 60), (Delivered, 60), (Refused, 119), (GateRefused, 120), (Stored, 120)]
        {
            ring.count(event, at(seconds, 0));
        }
        let read = ring.read(at(240, 0));
        assert_eq!(read.since, NOON + 59 * SECOND);
        assert_eq!(read.minutes.len(), 5);
        has_no_gap(&read);
        assert_eq!(counted(&read), [(0, [1, 0, 0, 0]), (1, [1, 1, 1, 0]), (2, [1, 0, 0, 1])]);
    }

    #[test]
    fn forgets_after_a_day_and_grows_no_more() {
        let mut ring = MinuteRing::new(at(0, 0));
        for minute in 0..3 * i64::from(MINUTES) {
            ring.count(Stored, at(minute * 60, 0));
        }
        let read = ring.read(at(3 * 86_400 - 1, 0));
        assert_eq!(read.minutes.len(), usize::from(MINUTES));
        has_no_gap(&read);
        assert!(read.minutes.iter().all(|(_, counts)| counts.stored == 1));
        assert_eq!(ring.counts.len(), usize::from(MINUTES));
        // Nothing came for a week, as on a sleeping machine.
        let read = ring.read(at(10 * 86_400, 0));
        assert_eq!((read.minutes.len(), counted(&read)), (usize::from(MINUTES), vec![]));
    }

    #[test]
    fn a_changed_clock_moves_names_alone() {
        // An hour back and forth, a day, years, and to 1970.
        for ahead in [-3_600, 3_600, -86_400, 86_400, 10 * 365 * 86_400, -NOON / SECOND - 240, 17, -17] {
            let mut ring = MinuteRing::new(at(0, 0));
            ring.count(Stored, at(0, 0));
            ring.count(Delivered, at(60, ahead));
            ring.count(Refused, at(120, ahead));
            let read = ring.read(at(121, ahead));
            has_no_gap(&read);
            let events: Vec<_> = counted(&read).into_iter().map(|(_, counts)| counts).collect();
            assert_eq!(events, [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]], "{ahead}");
            // The minutes have the times that the present clock would have shown.
            let last = read.minutes.last().unwrap().0;
            assert!((last - (NOON + (120 + ahead) * SECOND)).abs() <= MINUTE / 2, "{ahead}: {last}");
            assert_eq!(read.since, NOON + ahead * SECOND);
        }
    }

    #[test]
    fn a_small_difference_renames_nothing() {
        let mut ring = MinuteRing::new(at(0, 0));
        let before = ring.read(at(1, 0));
        let mut late = at(1, 0);
        late.clock += 900;
        assert_eq!(ring.read(late), before);
        // A clock that a time service moves slowly, by a second in total.
        late.clock += SECOND;
        assert_eq!(ring.read(late).since, before.since + 900 + SECOND);
    }

    #[test]
    fn extreme_clocks_do_not_panic() {
        for clock in [i64::MIN, -1, 0, i64::MAX] {
            for running in [i64::MIN, -1, 0, i64::MAX] {
                let mut ring = MinuteRing::new(TrafficMoment { running, clock });
                for moment in [at(0, 0), TrafficMoment { running: clock, clock: running }] {
                    ring.count(Stored, moment);
                    assert!(ring.read(moment).minutes.len() <= usize::from(MINUTES));
                }
            }
        }
    }
}
