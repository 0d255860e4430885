//! Judges by the logs and by a copy of the store: what was acknowledged, what arrived, and what explains it.

use crate::load::Expect;
use crate::log::{Line, Log, Reader};
use crate::program::LEASE;
use crate::store::Row;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// How the service's answer and the death of who waited for it may lie apart: marking takes a few milliseconds, on a busy
/// machine more.
const MARKING: u64 = 2_000_000;
/// Answers are marked in the order in which they come, but for this.
const OVERTAKES: u64 = 200_000;
/// Rows that were committed late have times a little older than those before them.
const LATE: i64 = 60_000_000;

pub(crate) struct Judge {
    logs: [Reader; 3],
    messages: HashMap<String, Sent>,
    tries: HashMap<u64, Try>,
    arrivals: BTreeMap<u64, Arrival>,
    of_event: HashMap<String, Vec<u64>>,
    of_generation: HashMap<String, Vec<u64>>,
    fresh: BTreeSet<u64>,
    runs: HashMap<u64, Run>,
    outages: Vec<(u64, u64)>,
    rows: HashMap<i64, Row>,
    rows_of: HashMap<String, BTreeSet<i64>>,
    /// When a copy first had it as delivered.
    marked: HashMap<i64, u64>,
    /// Of each run, when the last of those was answered that it has marked.
    marked_until: HashMap<u64, u64>,
    watermark: i64,
    pub(crate) figures: Figures,
    pub(crate) windows: BTreeMap<&'static str, u64>,
}

struct Sent {
    stored_as: String,
    expect: Expect,
    acknowledged: Option<u64>,
}

struct Try {
    digest: String,
    at: u64,
    got: Option<(u64, String)>,
}

pub(crate) struct Arrival {
    run: u64,
    pub(crate) digest: String,
    generation: String,
    pub(crate) attempt: u64,
    pub(crate) supersedes: String,
    pub(crate) begin: u64,
    /// When it was answered, and with what.
    pub(crate) end: Option<(u64, u64)>,
}

#[derive(Default)]
struct Run {
    died: Option<u64>,
    stopped: Vec<(u64, u64)>,
}

pub(crate) const MISSING: &str = "acknowledged but missing";
pub(crate) const NEVER_DELIVERED: &str = "never delivered";
pub(crate) const UNEXPLAINED: &str = "second arrivals without an explanation";

/// What has to be nothing, each with what it was found on; and what was counted beside it.
#[derive(Default)]
pub(crate) struct Figures {
    pub(crate) missing: BTreeSet<String>,
    pub(crate) never_delivered: BTreeSet<String>,
    pub(crate) unexplained: BTreeSet<String>,
    pub(crate) by_two: BTreeSet<String>,
    pub(crate) wrong: BTreeSet<String>,
    pub(crate) unheard: BTreeSet<String>,
    pub(crate) explained: BTreeSet<u64>,
}

impl Figures {
    pub(crate) fn has(&self, name: &str) -> bool {
        self.rows().iter().any(|(figure, found)| *figure == name && !found.is_empty())
    }

    /// What was found, in words.
    pub(crate) fn problem(&self) -> Option<String> {
        let found = self.rows().into_iter().filter(|(_, found)| !found.is_empty());
        let found: Vec<_> = found.map(|(name, found)| format!("{name}: {found:?}")).collect();
        (!found.is_empty()).then(|| found.join("; "))
    }

    pub(crate) fn rows(&self) -> [(&'static str, &BTreeSet<String>); 6] {
        [
            (MISSING, &self.missing),
            (NEVER_DELIVERED, &self.never_delivered),
            (UNEXPLAINED, &self.unexplained),
            ("delivered by two live holders at once", &self.by_two),
            ("decided wrongly", &self.wrong),
            ("never acknowledged", &self.unheard),
        ]
    }
}

impl Judge {
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
            marked: HashMap::new(),
            marked_until: HashMap::new(),
            watermark: 0,
            figures: Figures::default(),
            windows: BTreeMap::new(),
        }
    }

    /// Since when rows are wanted from the store.
    pub(crate) fn watermark(&self) -> i64 {
        self.watermark
    }

    /// Judges what a copy taken from `at` on has, and what is logged by now.
    pub(crate) fn check(&mut self, copy: Vec<Row>, at: u64) {
        // After the copy: whatever the store knows of is in the logs by now.
        self.read();
        let mut newly = Vec::new();
        for row in copy {
            self.watermark = self.watermark.max(row.touched - LATE);
            self.rows_of.entry(row.digest.clone()).or_default().insert(row.id);
            if row.state == "delivered" && !self.marked.contains_key(&row.id) {
                self.marked.insert(row.id, at);
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
                let until = self.marked_until.entry(run).or_default();
                *until = answered.max(*until);
            }
        }
        self.check_acknowledged(at);
        self.check_marked();
        self.check_arrivals();
    }

    fn rows_of(&self, digest: &str) -> impl Iterator<Item = &Row> {
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

    /// What the store has as delivered has arrived, and was answered 2xx.
    fn check_marked(&mut self) {
        for id in self.marked.keys() {
            let row = &self.rows[id];
            if !self.is_delivered(&row.digest) {
                self.figures.never_delivered.insert(format!("{} (marked as delivered)", row.digest));
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
                    self.figures.unexplained.insert(self.tell(*first, number));
                }
            }
            for other in self.of_generation[&arrival.generation].iter().filter(before) {
                let first = &self.arrivals[other];
                let overlaps = first.end.is_none_or(|(end, _)| end > arrival.begin);
                if overlaps && !self.had_let_go(first, arrival) {
                    self.figures.by_two.insert(self.tell(*other, number));
                }
            }
        }
    }

    /// A kill between the answer and its mark, or a holder cut off for longer than its lease.
    fn is_explained(&self, first: &Arrival, answered: u64, second: &Arrival) -> bool {
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
    }

    fn had_let_go(&self, first: &Arrival, second: &Arrival) -> bool {
        self.died(first).is_some_and(|died| first.run != second.run && died <= second.begin)
            || self.lost_its_lease(first, first.begin, second)
    }

    /// Until when the holder could not write what it knew at `from`: it was stopped, or the store was away, or both in turn.
    fn cut_off_until(&self, first: &Arrival, from: u64) -> u64 {
        // Another one that is stopped in the middle of a transaction holds rows that this one has to write.
        let stops = self.runs.values().flat_map(|run| &run.stopped);
        let mut faults: Vec<_> = stops.chain(&self.outages).filter(|(_, to)| *to >= first.begin).collect();
        faults.sort();
        faults
            .into_iter()
            .fold(from, |until, (from, to)| if *from <= until + MARKING { until.max(*to) } else { until })
    }

    fn lost_its_lease(&self, first: &Arrival, from: u64, second: &Arrival) -> bool {
        let lease = u64::try_from(LEASE.as_micros()).unwrap() * 9 / 10;
        self.cut_off_until(first, from) - from >= lease && second.begin >= first.begin + lease
    }

    fn died(&self, arrival: &Arrival) -> Option<u64> {
        self.runs.get(&arrival.run).and_then(|run| run.died)
    }

    fn tell(&self, first: u64, second: u64) -> String {
        let show = |number| {
            let Arrival { run, attempt, begin, end, .. } = &self.arrivals[&number];
            let died = self.runs.get(run).and_then(|run| run.died);
            format!("run {run} (died {died:?}), attempt {attempt}, from {begin} to {end:?}")
        };
        let second_arrival = &self.arrivals[&second];
        format!("{} ({}; then {})", second_arrival.digest, show(first), show(second))
    }

    /// After the drain: where everything has to be.
    pub(crate) fn conclude(&mut self) {
        let mut figures = std::mem::take(&mut self.figures);
        for (digest, sent) in &self.messages {
            if sent.acknowledged.is_none() {
                continue;
            }
            let rows: Vec<_> = self.rows_of(&sent.stored_as).collect();
            let arrived = self.is_delivered(&sent.stored_as);
            let kept = rows.iter().any(|row| row.lane == "quarantine" && row.state == "kept");
            let wrong = match sent.expect {
                Expect::ByTheRace => continue,
                Expect::Kept => !kept || self.of_event.contains_key(digest),
                Expect::Delivered | Expect::DeliveredOrSuperseded => {
                    rows.iter().any(|row| row.lane != "deliver")
                }
            };
            if wrong {
                let states: Vec<_> = rows.iter().map(|row| (&row.lane, &row.state, &row.reason)).collect();
                figures.wrong.insert(format!("{digest} (to be {}): {states:?}", sent.expect.word()));
            }
            let superseded = sent.expect == Expect::DeliveredOrSuperseded
                && rows.iter().all(|row| row.state == "superseded" && self.is_superseded(row));
            if sent.expect != Expect::Kept && !rows.is_empty() && !arrived && !superseded {
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

    /// By a completion that was delivered and said so.
    fn is_superseded(&self, failure: &Row) -> bool {
        self.of_generation.get(&failure.generation).into_iter().flatten().any(|number| {
            let arrival = &self.arrivals[number];
            arrival.supersedes == failure.event && arrival.answered().is_some()
        })
    }

    /// How many events are acknowledged and not yet delivered, by the logs.
    pub(crate) fn outstanding(&mut self) -> usize {
        self.read();
        let due = self
            .messages
            .values()
            .filter(|sent| sent.acknowledged.is_some() && sent.expect == Expect::Delivered);
        due.filter(|sent| !self.is_delivered(&sent.stored_as)).count()
    }

    pub(crate) fn arrivals_of(&self, digest: &str) -> Vec<&Arrival> {
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

    /// What a kill at `at` of this run has met, by the copy taken after it.
    pub(crate) fn note_windows(&mut self, run: u64, at: u64) {
        let (tries, rows) = (std::mem::take(&mut self.tries), std::mem::take(&mut self.rows));
        let broken_off = tries.values().filter(|one| {
            one.at < at && one.got.as_ref().is_some_and(|(got, how)| how == "lost" && *got + 50_000 > at)
        });
        for one in broken_off {
            let window = if self.rows_of.contains_key(&one.digest) { STORED } else { SENT };
            *self.windows.entry(window).or_default() += 1;
        }
        for row in rows.values().filter(|row| row.state == "in_flight") {
            let arrivals =
                self.of_event.get(&row.digest).into_iter().flatten().map(|number| &self.arrivals[number]);
            let attempt = arrivals.filter(|arrival| arrival.attempt == row.attempts).next_back();
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

    fn read(&mut self) {
        let [sent, arrived, faults] = [0, 1, 2].map(|log| self.logs[log].lines());
        sent.into_iter().for_each(|line| self.read_sent(line));
        arrived.into_iter().for_each(|line| self.read_arrived(line));
        faults.into_iter().for_each(|line| self.read_fault(line));
    }

    fn read_sent(&mut self, line: Line) {
        let text = |field: usize| line.fields[field].clone();
        match line.fields[0].as_str() {
            "try" => {
                self.tries.insert(line.number(1), Try { digest: text(2), at: line.at, got: None });
                self.messages.entry(text(2)).or_insert_with(|| Sent {
                    stored_as: text(3),
                    expect: Expect::parse(&line.fields[6]),
                    acknowledged: None,
                });
            }
            "got" => {
                let one = self.tries.get_mut(&line.number(1)).unwrap();
                one.got = Some((line.at, text(2)));
                if line.fields[2] == "200" {
                    self.messages.get_mut(&one.digest).unwrap().acknowledged.get_or_insert(line.at);
                }
            }
            _ => {
                self.figures.unheard.insert(text(1));
            }
        }
    }

    fn read_arrived(&mut self, line: Line) {
        let number = line.number(1);
        if line.fields[0] == "end" {
            self.arrivals.get_mut(&number).unwrap().end = Some((line.at, line.number(2)));
            return;
        }
        let text = |field: usize| line.fields[field].clone();
        let (digest, generation) = (text(3), text(4));
        if !self.messages.contains_key(&digest) || text(9) != format!("veo3:{generation}:{}", text(5)) {
            self.figures.wrong.insert(format!("{digest} arrived, and not as it was sent"));
        }
        self.of_event.entry(digest.clone()).or_default().push(number);
        self.of_generation.entry(generation.clone()).or_default().push(number);
        self.fresh.insert(number);
        let arrival = Arrival {
            run: line.number(2),
            digest,
            generation,
            attempt: line.fields[6].parse().unwrap_or_default(),
            supersedes: text(7),
            begin: line.at,
            end: None,
        };
        self.arrivals.insert(number, arrival);
    }

    fn read_fault(&mut self, line: Line) {
        match line.fields[0].as_str() {
            "died" => self.runs.entry(line.number(1)).or_default().died = Some(line.number(2)),
            "stopped" => {
                let stop = (line.number(2), line.at);
                self.runs.entry(line.number(1)).or_default().stopped.push(stop);
            }
            "away" => self.outages.push((line.number(1), line.at)),
            _ => {}
        }
    }
}

impl Arrival {
    /// When it was answered 2xx.
    pub(crate) fn answered(&self) -> Option<u64> {
        self.end.filter(|(_, status)| *status == 200).map(|(end, _)| end)
    }
}

/// What a kill at random meets.
pub(crate) const SENT: &str = "sent, not stored";
pub(crate) const STORED: &str = "stored, not answered";
pub(crate) const CLAIMED: &str = "claimed, not arrived";
pub(crate) const ARRIVED: &str = "arrived, not answered";
pub(crate) const ANSWERED: &str = "answered, not marked";
