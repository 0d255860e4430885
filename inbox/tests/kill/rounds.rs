//! Rounds: a fault under load, then a check of the store.

use crate::chance::Chance;
use crate::judge::{ANSWERED, ARRIVED, CLAIMED, LogJudge, SENT, STORED};
use crate::log::now;
use crate::program::{KillableInbox, Starter};
use crate::sender::{Senders, Targets};
use crate::site::{KillSite, drain};
use crate::store::{SQLITE, StoreUnderTest};
use crate::tool::within;
use std::collections::BTreeMap;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

/// The failpoints at which the inbox dies.
pub(crate) const WINDOWS: [&str; 7] = [
    "before-insert",
    "before-commit",
    "before-answer",
    "after-commit",
    "after-claim",
    "after-service-answer",
    "before-finish",
];

/// Each round copies the store, so a store gets at most this many rounds.
const MAX_ROUNDS_PER_STORE: usize = 30;
const SENDERS: u64 = 8;
/// Longer than a lease plus the time until another inbox notices its end.
const CUT_OFF: Duration = Duration::from_millis(4_500);

/// A deliberate breakage, and the count that must show it.
pub(crate) struct Breakage {
    pub(crate) failpoint: &'static str,
    pub(crate) figure: &'static str,
}

#[derive(Clone, Copy, Debug)]
enum InjectedFault {
    Kill,
    Failpoint(&'static str),
    Stop,
    /// Kills one of two inboxes.
    KillOne,
    StopOne,
    Backend,
    Postmaster,
    /// Kills the postmaster, and restarts it after every lease has ended.
    Outage,
}

/// The result of all rounds on a kind of store.
#[derive(Default)]
pub(crate) struct RoundsReport {
    pub(crate) rounds: usize,
    pub(crate) faults: BTreeMap<String, u64>,
    pub(crate) failpoints: BTreeMap<&'static str, u64>,
    pub(crate) random: BTreeMap<&'static str, u64>,
    pub(crate) figures: BTreeMap<&'static str, usize>,
    pub(crate) examples: Vec<String>,
    pub(crate) acknowledged: usize,
    pub(crate) arrivals: usize,
    pub(crate) explained: usize,
}

impl RoundsReport {
    pub(crate) fn is_clean(&self) -> bool {
        self.figures.values().all(|count| *count == 0)
    }

    /// Windows that no failpoint has hit, and two windows that random kills should have hit.
    pub(crate) fn never_hit(&self) -> Vec<&'static str> {
        let failpoints = WINDOWS.into_iter().filter(|name| !self.failpoints.contains_key(name));
        let random = [SENT, ANSWERED].into_iter().filter(|name| {
            // A few rounds may miss a window by chance.
            self.rounds >= MAX_ROUNDS_PER_STORE && !self.random.contains_key(name)
        });
        failpoints.chain(random).collect()
    }

    pub(crate) fn print(&self, kind: &str) {
        let list = |counts: Vec<String>| counts.join(", ");
        let faults = self.faults.iter().map(|(name, count)| format!("{name} {count}")).collect();
        println!("{kind}: {} rounds: {}", self.rounds, list(faults));
        let failpoints =
            WINDOWS.iter().map(|name| format!("{name} {}", self.failpoints.get(name).unwrap_or(&0)));
        println!("{kind}: windows hit by failpoints: {}", list(failpoints.collect()));
        let random = [SENT, STORED, CLAIMED, ARRIVED, ANSWERED]
            .map(|name| format!("{name} {}", self.random.get(name).unwrap_or(&0)));
        println!("{kind}: deliveries hit by kills: {}", list(random.to_vec()));
        println!(
            "{kind}: {} events acknowledged, {} arrivals, {} explained second arrivals",
            self.acknowledged, self.arrivals, self.explained
        );
        let figures = self.figures.iter().map(|(name, count)| format!("{name} {count}")).collect();
        println!("{kind}: {}", list(figures));
        self.examples.iter().for_each(|example| println!("{kind}:   {example}"));
    }
}

/// Runs `rounds` random rounds, and each failpoint once for every 30 rounds. A broken inbox stops at the first violation.
pub(crate) fn run(
    program: &Path,
    kind: &str,
    rounds: usize,
    seed: u64,
    broken: Option<&Breakage>,
) -> RoundsReport {
    let (mut report, mut chance) = (RoundsReport::default(), Chance::new(seed));
    let mut left = rounds;
    while left > 0 && report.is_clean() {
        let mut faults: Vec<_> =
            (0..left.min(MAX_ROUNDS_PER_STORE)).map(|round| fault(kind, round)).collect();
        left -= faults.len();
        faults.extend(WINDOWS.map(InjectedFault::Failpoint));
        for at in (1..faults.len()).rev() {
            faults.swap(at, usize::try_from(chance.between(0, u64::try_from(at).unwrap())).unwrap());
        }
        let site = KillSite::new(program);
        Campaign::new(&site, kind, &mut chance).run(&faults, broken, &mut report);
    }
    report
}

fn fault(kind: &str, round: usize) -> InjectedFault {
    match (kind == SQLITE, round % 30) {
        (_, 3) => InjectedFault::Stop,
        (true, _) => InjectedFault::Kill,
        (false, 9 | 19) => InjectedFault::StopOne,
        (false, 5 | 13) => InjectedFault::Postmaster,
        (false, 23) => InjectedFault::Outage,
        (false, 1 | 8 | 15 | 22 | 29) => InjectedFault::Backend,
        (false, 2 | 7 | 12 | 17 | 24 | 27) => InjectedFault::KillOne,
        (false, _) => InjectedFault::Kill,
    }
}

struct Campaign<'a> {
    site: &'a KillSite,
    store: StoreUnderTest,
    chance: Chance,
    judge: LogJudge,
}

impl<'a> Campaign<'a> {
    fn new(site: &'a KillSite, kind: &str, chance: &mut Chance) -> Self {
        Self { store: site.store(kind), chance: Chance::new(chance.next()), judge: site.judge(), site }
    }

    fn run(mut self, faults: &[InjectedFault], broken: Option<&Breakage>, report: &mut RoundsReport) {
        let targets = Targets::default();
        let senders = Senders::start(SENDERS, &self.site.sent, &targets, self.chance.next());
        let starter = Starter { broken: broken.map(|broken| broken.failpoint), ..self.site.starter() };
        let mut inboxes = Vec::new();
        for fault in faults {
            self.round(*fault, &starter, &mut inboxes, &targets, report);
            report.rounds += 1;
            let name = if let InjectedFault::Failpoint(_) = fault {
                "Failpoint".to_owned()
            } else {
                format!("{fault:?}")
            };
            *report.faults.entry(name).or_default() += 1;
            // The breakage has failed the run.
            if broken.is_some_and(|broken| self.judge.figures.has(broken.figure)) {
                senders.leave();
                self.add_to(report);
                return;
            }
        }
        if inboxes.is_empty() {
            inboxes.push(starter.start(&self.store).ready());
        }
        set_targets(&targets, &inboxes);
        senders.end();
        let rows = drain(&self.store, &starter, &mut self.judge, inboxes);
        self.judge.check(rows, now());
        self.judge.conclude();
        self.add_to(report);
        if self.judge.figures.problem().is_some() {
            report.examples.push(format!("the logs are in {}", self.site.keep().display()));
        }
    }

    fn round<'s>(
        &mut self,
        fault: InjectedFault,
        starter: &Starter<'s>,
        inboxes: &mut Vec<KillableInbox<'s>>,
        targets: &Targets,
        report: &mut RoundsReport,
    ) {
        let wanted = if matches!(fault, InjectedFault::KillOne | InjectedFault::StopOne) { 2 } else { 1 };
        if let InjectedFault::Failpoint(name) = fault {
            // The running inboxes have no failpoint.
            for mut inbox in inboxes.drain(..) {
                inbox.kill();
            }
            let passes = self.chance.between(1, 60);
            inboxes.push(
                starter.start_failing(&self.store, Some(&format!("{name}={passes}*off->return"))).ready(),
            );
        }
        while inboxes.len() < wanted {
            inboxes.push(starter.start(&self.store).ready());
        }
        set_targets(targets, inboxes);
        let max_load = if self.chance.percent(10) { 1_500 } else { 400 };
        let load = Duration::from_millis(self.chance.between(60, max_load));
        if !matches!(fault, InjectedFault::Failpoint(_)) {
            sleep(load);
        }
        let mut victim = None;
        match fault {
            InjectedFault::Kill | InjectedFault::KillOne => {
                let mut inbox = inboxes.remove(0);
                victim = Some((inbox.run, inbox.kill()));
            }
            InjectedFault::Failpoint(name) => {
                let mut inbox = inboxes.remove(0);
                if inbox.dies_at(name, Duration::from_secs(10)) {
                    *report.failpoints.entry(name).or_default() += 1;
                }
            }
            InjectedFault::Stop | InjectedFault::StopOne => inboxes[0].pause(CUT_OFF),
            InjectedFault::Backend => {
                let from = now();
                let which = self.chance.next();
                self.store.cluster().kill_backend(which);
                starter.faults.line(format_args!("away\t{from}"));
            }
            InjectedFault::Postmaster | InjectedFault::Outage => {
                let (from, short) = (now(), Duration::from_millis(self.chance.between(0, 300)));
                self.store.cluster().kill_postmaster();
                sleep(if matches!(fault, InjectedFault::Outage) { CUT_OFF } else { short });
                self.store.cluster().start_postmaster();
                starter.faults.line(format_args!("away\t{from}"));
            }
        }
        set_targets(targets, inboxes);
        if let StoreUnderTest::Sqlite { .. } = self.store
            && !inboxes.is_empty()
        {
            // A file must not be in use while it is copied.
            let mut inbox = inboxes.remove(0);
            set_targets(targets, inboxes);
            victim = Some((inbox.run, inbox.kill()));
        }
        let at = now();
        let rows = self.store.rows(self.judge.watermark());
        self.judge.check(rows, at);
        self.judge.check_sums(self.store.wrong_sums());
        self.judge.check_attempts(self.store.wrong_attempts());
        if let Some((run, killed)) = victim {
            self.judge.note_windows(run, killed);
        }
        if !inboxes.is_empty() {
            let recovers = within(Duration::from_secs(20), || self.judge.last_acknowledged() > at);
            assert!(recovers, "the inbox acknowledges nothing after {fault:?}: {}", inboxes[0].log());
        }
    }

    fn add_to(&self, report: &mut RoundsReport) {
        let (acknowledged, arrivals) = self.judge.counts();
        report.acknowledged += acknowledged;
        report.arrivals += arrivals;
        report.explained += self.judge.figures.explained.len();
        for (name, found) in self.judge.figures.rows() {
            *report.figures.entry(name).or_default() += found.len();
            report.examples.extend(found.iter().take(3).map(|example| format!("{name}: {example}")));
        }
        for (window, count) in &self.judge.windows {
            *report.random.entry(window).or_default() += count;
        }
    }
}

fn set_targets(targets: &Targets, inboxes: &[KillableInbox<'_>]) {
    targets.set(&inboxes.iter().map(|inbox| inbox.receive).collect::<Vec<_>>());
}
