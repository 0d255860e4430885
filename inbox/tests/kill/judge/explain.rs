//! What explains a second arrival: a kill, or a holder that was cut off from the store for longer than its lease.

use super::{LogJudge, ServiceArrival};
use crate::program::LEASE;

/// How the service's answer and the death of who waited for it may lie apart: marking takes a few milliseconds, on a busy
/// machine more.
const MARKING: u64 = 2_000_000;
/// Answers are marked in the order in which they come, but for this.
const OVERTAKES: u64 = 200_000;
impl LogJudge {
    /// A kill between the answer and its mark, or a holder cut off for longer than its lease.
    pub(super) fn is_explained(
        &self,
        first: &ServiceArrival,
        answered: u64,
        second: &ServiceArrival,
    ) -> bool {
        let rows = self.rows_of.get(&first.digest).into_iter().flatten();
        let was_marked = rows.filter_map(|id| self.marked.get(id)).any(|marked| *marked < second.begin);
        let cut_off_until = self.cut_off_until(first, answered);
        let died_before_marking = self.died(first).is_some_and(|died| {
            // What was answered well after it is marked: so this one was forgotten, and not cut off.
            let overtaken =
                self.marked_until.get(&first.run).is_some_and(|until| *until > answered + OVERTAKES);
            let in_time = died <= second.begin && died.saturating_sub(cut_off_until) <= MARKING;
            first.run != second.run && in_time && !overtaken
        });
        !was_marked && (died_before_marking || self.lost_its_lease(first, answered, second))
            || self.woke_too_late(first, second)
    }

    /// It was stopped while it sent, and an attempt after its own had come by when it went on.
    fn woke_too_late(&self, first: &ServiceArrival, second: &ServiceArrival) -> bool {
        let stops = self.runs.get(&second.run).into_iter().flat_map(|run| &run.stopped);
        second.attempt < first.attempt
            && stops
                .into_iter()
                .any(|(from, to)| to - from >= lease() && (*from..=*to + MARKING).contains(&second.begin))
    }

    pub(super) fn had_let_go(&self, first: &ServiceArrival, second: &ServiceArrival) -> bool {
        self.died(first).is_some_and(|died| first.run != second.run && died <= second.begin)
            || self.lost_its_lease(first, first.begin, second)
            || self.woke_too_late(first, second)
    }

    /// Until when the holder could not write what it knew at `from`: it was stopped, or the store was away, or both in turn.
    fn cut_off_until(&self, first: &ServiceArrival, from: u64) -> u64 {
        // Another one that is stopped in the middle of a transaction holds rows that this one has to write.
        let stops = self.runs.values().flat_map(|run| &run.stopped);
        let mut faults: Vec<_> = stops.chain(&self.outages).filter(|(_, to)| *to >= first.begin).collect();
        faults.sort();
        faults
            .into_iter()
            .fold(from, |until, (from, to)| if *from <= until + MARKING { until.max(*to) } else { until })
    }

    fn lost_its_lease(&self, first: &ServiceArrival, from: u64, second: &ServiceArrival) -> bool {
        self.cut_off_until(first, from) - from >= lease() && second.begin >= first.begin + lease()
    }

    pub(super) fn died(&self, arrival: &ServiceArrival) -> Option<u64> {
        self.runs.get(&arrival.run).and_then(|run| run.died)
    }
}

/// What a holder counts on.
fn lease() -> u64 {
    u64::try_from(LEASE.as_micros()).unwrap() * 9 / 10
}
