//! Compares the logs with a copy of the store: acknowledged events, arrivals, and explanations of second arrivals.

mod explain;
mod read;
mod windows;

use crate::load::MessageOutcome;
use crate::log::{Log, LogReader, now};
use crate::store::CopyRow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
pub(crate) use windows::{ANSWERED, ARRIVED, CLAIMED, SENT, STORED};

/// In microseconds. A late commit has an older time than earlier commits, by at most this.
const MAX_COMMIT_DELAY: i64 = 60_000_000;

pub(crate) struct LogJudge {
    logs: [LogReader; 3],
    messages: HashMap<String, SentMessage>,
    tries: HashMap<u64, SendAttempt>,
    arrivals: BTreeMap<u64, ServiceArrival>,
    of_event: HashMap<String, Vec<u64>>,
    of_generation: HashMap<String, Vec<u64>>,
    fresh: BTreeSet<u64>,
    runs: HashMap<u64, InboxRun>,
    outages: Vec<(u64, u64)>,
    rows: HashMap<i64, CopyRow>,
    rows_of: HashMap<String, BTreeSet<i64>>,
    /// The time of the first copy with the entry as delivered. PostgreSQL keeps working during a query.
    finished: HashMap<i64, u64>,
    /// For each run, the latest answer to an entry that it has stored as delivered.
    finished_until: HashMap<u64, u64>,
    watermark: i64,
    pub(crate) figures: Figures,
    pub(crate) windows: BTreeMap<&'static str, u64>,
}

struct SentMessage {
    stored_as: String,
    expect: MessageOutcome,
    acknowledged: Option<u64>,
}

struct SendAttempt {
    digest: String,
    at: u64,
    got: Option<(u64, String)>,
}

pub(crate) struct ServiceArrival {
    run: u64,
    pub(crate) digest: String,
    generation: String,
    pub(crate) attempt: u64,
    pub(crate) supersedes: String,
    pub(crate) begin: u64,
    /// The time and the status of the answer.
    pub(crate) end: Option<(u64, u64)>,
}

#[derive(Default)]
struct InboxRun {
    died: Option<u64>,
    stopped: Vec<(u64, u64)>,
}

pub(crate) const MISSING: &str = "acknowledged but missing";
pub(crate) const NEVER_DELIVERED: &str = "never delivered";
pub(crate) const UNEXPLAINED: &str = "second arrivals without an explanation";

/// Violations of the guarantees, each with its events; and the explained second arrivals.
#[derive(Default)]
pub(crate) struct Figures {
    pub(crate) missing: BTreeSet<String>,
    pub(crate) never_delivered: BTreeSet<String>,
    pub(crate) unexplained: BTreeSet<String>,
    pub(crate) by_two: BTreeSet<String>,
    pub(crate) wrong: BTreeSet<String>,
    pub(crate) unacknowledged: BTreeSet<String>,
    pub(crate) sums: BTreeSet<String>,
    pub(crate) attempts: BTreeSet<String>,
    pub(crate) explained: BTreeSet<u64>,
}

impl Figures {
    pub(crate) fn has(&self, name: &str) -> bool {
        self.rows().iter().any(|(figure, found)| *figure == name && !found.is_empty())
    }

    /// The violations as text.
    pub(crate) fn problem(&self) -> Option<String> {
        let found = self.rows().into_iter().filter(|(_, found)| !found.is_empty());
        let found: Vec<_> = found.map(|(name, found)| format!("{name}: {found:?}")).collect();
        (!found.is_empty()).then(|| found.join("; "))
    }

    pub(crate) fn rows(&self) -> [(&'static str, &BTreeSet<String>); 8] {
        [
            (MISSING, &self.missing),
            (NEVER_DELIVERED, &self.never_delivered),
            (UNEXPLAINED, &self.unexplained),
            ("delivered by two live inboxes at once", &self.by_two),
            ("decided wrongly", &self.wrong),
            ("never acknowledged", &self.unacknowledged),
            ("sums that differ from a full count", &self.sums),
            ("attempts without their record", &self.attempts),
        ]
    }
}

impl LogJudge {
    pub(crate) fn new(sent: &Log, arrived: &Log, faults: &Log) -> Self {
        Self {
            logs: [sent.reader(), arrived.reader(), faults.reader()],
            messages: HashMap::new(),
            tries: HashMap::new(),
            arrivals: BTreeMap::new(),
            of_event: HashMap::new(),
            of_generation: HashMap::new(),
            fresh: BTreeSet::new(),
            runs: HashMap::new(),
            outages: Vec::new(),
            rows: HashMap::new(),
            rows_of: HashMap::new(),
            finished: HashMap::new(),
            finished_until: HashMap::new(),
            watermark: 0,
            figures: Figures::default(),
            windows: BTreeMap::new(),
        }
    }

    /// The store time from which the judge needs rows.
    pub(crate) fn watermark(&self) -> i64 {
        self.watermark
    }

    /// Adds the rows of one of several files, before [`Self::check`].
    pub(crate) fn check_part(&mut self, rows: Vec<CopyRow>) {
        for row in rows {
            self.rows_of.entry(row.digest.clone()).or_default().insert(row.id);
            self.rows.insert(row.id, row);
        }
    }

    /// Checks a copy of the store, taken after `at`, against the logs.
    pub(crate) fn check(&mut self, copy: Vec<CopyRow>, at: u64) {
        // Read the logs after the copy, so that they have everything that the store has.
        let copied = now();
        self.read();
        let mut newly = Vec::new();
        for row in copy {
            self.watermark = self.watermark.max(row.touched - MAX_COMMIT_DELAY);
            self.rows_of.entry(row.digest.clone()).or_default().insert(row.id);
            if row.state == "delivered" && !self.finished.contains_key(&row.id) {
                self.finished.insert(row.id, copied);
                newly.push(row.digest.clone());
            }
            self.rows.insert(row.id, row);
        }
        for digest in newly {
            let arrivals =
                self.of_event.get(&digest).into_iter().flatten().rev().map(|number| &self.arrivals[number]);
            if let Some((run, answered)) =
                arrivals.filter_map(|one| one.answered().map(|answered| (one.run, answered))).next()
            {
                let until = self.finished_until.entry(run).or_default();
                *until = answered.max(*until);
            }
        }
        self.check_acknowledged(at);
        self.check_finished();
        self.check_arrivals();
    }

    /// Checks the store's sums of its entries.
    pub(crate) fn check_sums(&mut self, differences: Vec<String>) {
        self.figures.sums.extend(differences);
    }

    /// Checks the records of attempts.
    pub(crate) fn check_attempts(&mut self, wrong: Vec<String>) {
        self.figures.attempts.extend(wrong);
    }

    fn rows_of(&self, digest: &str) -> impl Iterator<Item = &CopyRow> {
        self.rows_of.get(digest).into_iter().flatten().filter_map(|id| self.rows.get(id))
    }

    fn check_acknowledged(&mut self, at: u64) {
        for (digest, sent) in &self.messages {
            if sent.acknowledged.is_some_and(|acknowledged| acknowledged < at)
                && self.rows_of(&sent.stored_as).next().is_none()
            {
                self.figures.missing.insert(digest.clone());
            }
        }
    }

    /// Checks that each entry that is stored as delivered has arrived and was answered 2xx.
    fn check_finished(&mut self) {
        for id in self.finished.keys() {
            let row = &self.rows[id];
            if !self.is_delivered(&row.digest) {
                self.figures.never_delivered.insert(format!("{} (stored as delivered)", row.digest));
            }
        }
    }

    fn is_delivered(&self, digest: &str) -> bool {
        let mut arrivals = self.of_event.get(digest).into_iter().flatten();
        arrivals.any(|number| self.arrivals[number].answered().is_some())
    }

    fn check_arrivals(&mut self) {
        let (ended, open) = std::mem::take(&mut self.fresh)
            .into_iter()
            .partition::<BTreeSet<_>, _>(|number| self.arrivals[number].end.is_some());
        self.fresh = open;
        for number in ended {
            let arrival = &self.arrivals[&number];
            let before = |other: &&u64| **other < number;
            let last_good = self.of_event[&arrival.digest]
                .iter()
                .filter(before)
                .filter_map(|other| self.arrivals[other].answered().map(|answered| (other, answered)))
                .next_back();
            if let Some((first, answered)) = last_good {
                if self.is_explained(&self.arrivals[first], answered, arrival) {
                    self.figures.explained.insert(number);
                } else {
                    self.figures.unexplained.insert(self.describe(*first, number));
                }
            }
            for other in self.of_generation[&arrival.generation].iter().filter(before) {
                let first = &self.arrivals[other];
                let overlaps = first.end.is_none_or(|(end, _)| end > arrival.begin);
                if overlaps && !self.had_released(first, arrival) {
                    self.figures.by_two.insert(self.describe(*other, number));
                }
            }
        }
    }

    fn describe(&self, first: u64, second: u64) -> String {
        let show = |number| {
            let ServiceArrival { run, attempt, begin, end, .. } = &self.arrivals[&number];
            let died = self.runs.get(run).and_then(|run| run.died);
            format!("run {run} (died {died:?}), attempt {attempt}, from {begin} to {end:?}")
        };
        let second_arrival = &self.arrivals[&second];
        format!("{} ({}; then {})", second_arrival.digest, show(first), show(second))
    }

    /// After the drain: checks the final state of every event.
    pub(crate) fn conclude(&mut self) {
        let mut figures = std::mem::take(&mut self.figures);
        for (digest, sent) in &self.messages {
            if sent.acknowledged.is_none() {
                continue;
            }
            let rows: Vec<_> = self.rows_of(&sent.stored_as).collect();
            let arrived = self.is_delivered(&sent.stored_as);
            let quarantined = rows.iter().any(|row| row.lane == "quarantine" && row.state == "quarantined");
            let wrong = match sent.expect {
                MessageOutcome::ByTheRace => continue,
                MessageOutcome::Quarantined => !quarantined || self.of_event.contains_key(digest),
                MessageOutcome::Delivered | MessageOutcome::DeliveredOrSuperseded => {
                    rows.iter().any(|row| row.lane != "deliver")
                }
            };
            if wrong {
                let states: Vec<_> = rows.iter().map(|row| (&row.lane, &row.state, &row.reason)).collect();
                figures.wrong.insert(format!("{digest} (expected {}): {states:?}", sent.expect.word()));
            }
            let superseded = sent.expect == MessageOutcome::DeliveredOrSuperseded
                && rows.iter().all(|row| row.state == "superseded" && self.is_superseded(row));
            if sent.expect != MessageOutcome::Quarantined && !rows.is_empty() && !arrived && !superseded {
                let states: Vec<_> = rows.iter().map(|row| &row.state).collect();
                figures.never_delivered.insert(format!("{digest}: {states:?}"));
            }
        }
        for row in
            self.rows.values().filter(|row| matches!(row.state.as_str(), "waiting" | "in_flight" | "dead"))
        {
            figures.never_delivered.insert(format!("{}: {}", row.digest, row.state));
        }
        self.figures = figures;
    }

    /// Whether a delivered completion supersedes this failure.
    fn is_superseded(&self, failure: &CopyRow) -> bool {
        self.of_generation.get(&failure.generation).into_iter().flatten().any(|number| {
            let arrival = &self.arrivals[number];
            arrival.supersedes == failure.event && arrival.answered().is_some()
        })
    }

    /// The number of acknowledged events without a delivery, by the logs.
    pub(crate) fn outstanding(&mut self) -> usize {
        self.read();
        let due = self
            .messages
            .values()
            .filter(|sent| sent.acknowledged.is_some() && sent.expect == MessageOutcome::Delivered);
        due.filter(|sent| !self.is_delivered(&sent.stored_as)).count()
    }

    pub(crate) fn arrivals_of(&self, digest: &str) -> Vec<&ServiceArrival> {
        self.of_event.get(digest).into_iter().flatten().map(|number| &self.arrivals[number]).collect()
    }

    pub(crate) fn counts(&self) -> (usize, usize) {
        let acknowledged = self.messages.values().filter(|sent| sent.acknowledged.is_some()).count();
        (acknowledged, self.arrivals.len())
    }

    pub(crate) fn last_acknowledged(&mut self) -> u64 {
        self.read();
        self.messages.values().filter_map(|sent| sent.acknowledged).max().unwrap_or_default()
    }
}

impl ServiceArrival {
    /// The time of a 2xx answer.
    pub(crate) fn answered(&self) -> Option<u64> {
        self.end.filter(|(_, status)| *status == 200).map(|(end, _)| end)
    }
}
