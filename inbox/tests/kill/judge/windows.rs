//! The windows that a random kill has hit.

use super::LogJudge;

pub(crate) const SENT: &str = "sent, not stored";
pub(crate) const STORED: &str = "stored, not answered";
pub(crate) const CLAIMED: &str = "claimed, not arrived";
pub(crate) const ARRIVED: &str = "arrived, not answered";
pub(crate) const ANSWERED: &str = "answered, result not stored";

impl LogJudge {
    /// Counts the windows that a kill of this run at `at` has hit, by a later copy of the store.
    pub(crate) fn note_windows(&mut self, run: u64, at: u64) {
        let (tries, rows) = (std::mem::take(&mut self.tries), std::mem::take(&mut self.rows));
        let broken = tries.values().filter(|one| {
            one.at < at && one.got.as_ref().is_some_and(|(got, how)| how == "lost" && *got + 50_000 > at)
        });
        for one in broken {
            let window = if self.rows_of.contains_key(&one.digest) { STORED } else { SENT };
            *self.windows.entry(window).or_default() += 1;
        }
        for row in rows.values().filter(|row| row.state == "in_flight") {
            let mut arrivals =
                self.of_event.get(&row.digest).into_iter().flatten().map(|number| &self.arrivals[number]);
            let attempt = arrivals.rfind(|arrival| arrival.attempt == row.attempts);
            let window = match attempt {
                None => CLAIMED,
                Some(arrival) if arrival.run != run => continue,
                Some(arrival) if arrival.end.is_some_and(|(end, _)| end <= at) => ANSWERED,
                Some(_) => ARRIVED,
            };
            *self.windows.entry(window).or_default() += 1;
        }
        (self.tries, self.rows) = (tries, rows);
        self.tries.retain(|_, one| one.got.is_none());
    }
}
