//! Explanations of a second arrival: a kill, or an inbox without its store for longer than its lease.

use super::{LogJudge, ServiceArrival};
use crate::program::LEASE;

/// In microseconds. The maximum time from a service's answer to the commit of the result: a few milliseconds, more on a
/// busy machine.
const MAX_COMMIT_TIME: u64 = 2_000_000;
/// In microseconds. Results are stored in the order of their answers, except within this time.
const MAX_OVERTAKING: u64 = 200_000;

impl LogJudge {
    /// Whether a kill between answer and commit, or a lost lease, explains the second arrival.
    pub(super) fn is_explained(
        &self,
        first: &ServiceArrival,
        answered: u64,
        second: &ServiceArrival,
    ) -> bool {
        let rows = self.rows_of.get(&first.digest).into_iter().flatten();
        let was_finished =
            rows.filter_map(|id| self.finished.get(id)).any(|finished| *finished < second.begin);
        let cut_off_until = self.cut_off_until(first, answered);
        let died_before_commit = self.died(first).is_some_and(|died| {
            // A later answer is stored, so the inbox forgot this one.
            let overtaken =
                self.finished_until.get(&first.run).is_some_and(|until| *until > answered + MAX_OVERTAKING);
            let in_time = died <= second.begin && died.saturating_sub(cut_off_until) <= MAX_COMMIT_TIME;
            first.run != second.run && in_time && !overtaken
        });
        !was_finished && (died_before_commit || self.lost_its_lease(first, answered, second))
            || self.woke_too_late(first, second)
    }

    /// The second inbox was stopped while it sent, and a later attempt arrived before it continued.
    fn woke_too_late(&self, first: &ServiceArrival, second: &ServiceArrival) -> bool {
        let stops = self.runs.get(&second.run).into_iter().flat_map(|run| &run.stopped);
        second.attempt < first.attempt
            && stops.into_iter().any(|(from, to)| {
                to - from >= lease() && (*from..=*to + MAX_COMMIT_TIME).contains(&second.begin)
            })
    }

    pub(super) fn had_released(&self, first: &ServiceArrival, second: &ServiceArrival) -> bool {
        self.died(first).is_some_and(|died| first.run != second.run && died <= second.begin)
            || self.lost_its_lease(first, first.begin, second)
            || self.woke_too_late(first, second)
    }

    /// The time until which the inbox could not store a result of `from`: it was stopped, or the store was down.
    fn cut_off_until(&self, first: &ServiceArrival, from: u64) -> u64 {
        // An inbox that is stopped inside a transaction locks rows that this one must write.
        let stops = self.runs.values().flat_map(|run| &run.stopped);
        let mut faults: Vec<_> = stops.chain(&self.outages).filter(|(_, to)| *to >= first.begin).collect();
        faults.sort();
        faults.into_iter().fold(
            from,
            |until, (from, to)| if *from <= until + MAX_COMMIT_TIME { until.max(*to) } else { until },
        )
    }

    fn lost_its_lease(&self, first: &ServiceArrival, from: u64, second: &ServiceArrival) -> bool {
        self.cut_off_until(first, from) - from >= lease() && second.begin >= first.begin + lease()
    }

    pub(super) fn died(&self, arrival: &ServiceArrival) -> Option<u64> {
        self.runs.get(&arrival.run).and_then(|run| run.died)
    }
}

/// The part of a lease on which an inbox relies, in microseconds.
fn lease() -> u64 {
    u64::try_from(LEASE.as_micros()).unwrap() * 9 / 10
}
