//! Steps the clock by an hour, forward and back, while deliveries wait. None may come late or twice.

use crate::chance::Chance;
use crate::check::{CheckList, unless};
use crate::cluster::KillableCluster;
use crate::judge::LogJudge;
use crate::load::{CustomerOrder, Message};
use crate::log::now;
use crate::program::{KillableInbox, LEASE, Starter};
use crate::sender::{HangUp, SendResult, attempt};
use crate::site::{KillSite, drain};
use crate::store::StoreUnderTest;
use crate::tool::{self, within};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::Duration;

const LIBRARY: &str = "libfaketimeMT.so.1";
const HOUR: i64 = 3_600;
const STEPS: [(&str, i64); 3] = [("forward", HOUR), ("back", 0), ("back again", -HOUR)];
const EVENTS: usize = 20;
/// After this time the second back-off is over.
const MAX_DELAY: Duration = Duration::from_secs(12);

/// The path of libfaketime.
pub(crate) fn library() -> Option<PathBuf> {
    let libraries = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|folder| folder.path());
    libraries.map(|folder| folder.join("faketime").join(LIBRARY)).find(|library| library.exists())
}

pub(crate) fn run(program: &Path, kind: &str, seed: u64, checks: &mut CheckList) {
    let site = KillSite::new(program);
    let clock = FakeClock::new(site.folder.path());
    let starter = Starter { env: clock.variables(), ..site.starter() };
    let mut chance = Chance::new(seed);
    let (store, mut judge) = (site.store(kind), site.judge());
    let mut inbox = starter.start(&store).ready();
    for (name, offset) in STEPS {
        let name = format!("{kind}: clock {name}");
        step(&name, &site, &inbox, &mut judge, &mut chance, checks, || {
            clock.set(offset);
            logs_time(&inbox, offset)
        });
    }
    // Also while no inbox runs. A step of the longest back-off or more would look like a back-off.
    fail_once(&site, &inbox, &mut chance);
    site.receiver.behaviour.fails.store(0, Ordering::Relaxed);
    inbox.kill();
    clock.set(-HOUR / 2);
    let inbox = starter.start(&store).ready();
    let arrived = within(MAX_DELAY, || judge.outstanding() == 0);
    checks.row(
        &format!("{kind}: clock back between two runs: deliveries are not late"),
        unless(arrived, || format!("{} have not arrived", judge.outstanding())),
    );
    conclude(&store, &starter, judge, inbox, checks, kind);
}

/// Steps only PostgreSQL's clock, which all inboxes use.
pub(crate) fn run_database(program: &Path, seed: u64, checks: &mut CheckList) {
    let site = KillSite::new(program);
    let mut clock = None;
    let cluster = KillableCluster::start_with(|folder| clock.insert(FakeClock::new(folder)).variables());
    let (store, clock) = (StoreUnderTest::postgres(cluster, program), clock.unwrap());
    let starter = site.starter();
    let mut chance = Chance::new(seed);
    let mut judge = site.judge();
    let inbox = starter.start(&store).ready();
    for (name, offset) in STEPS {
        let name = format!("postgres: the database's clock {name}");
        step(&name, &site, &inbox, &mut judge, &mut chance, checks, || {
            clock.set(offset);
            let seen = store.query("SELECT round(extract(epoch FROM clock_timestamp()))")[0][0]
                .parse::<i64>()
                .unwrap();
            let real = tool::run(std::process::Command::new("date").arg("+%s"));
            let real: i64 = String::from_utf8(real).unwrap().trim().parse().unwrap();
            unless((seen - real - offset).abs() < 10, || {
                format!("it differs from the machine's by {} s", seen - real)
            })
        });
    }
    conclude(&store, &starter, judge, inbox, checks, "postgres: the database's");
}

/// Steps the clock while some deliveries wait for their next attempt and others are in flight.
fn step(
    name: &str,
    site: &KillSite,
    inbox: &KillableInbox<'_>,
    judge: &mut LogJudge,
    chance: &mut Chance,
    checks: &mut CheckList,
    step: impl FnOnce() -> Option<String>,
) {
    fail_once(site, inbox, chance);
    site.receiver.behaviour.fails.store(0, Ordering::Relaxed);
    site.receiver.behaviour.waits.store(true, Ordering::Relaxed);
    let in_flight = send(site, inbox, chance);
    tool::eventually("the deliveries are in flight", MAX_DELAY, || {
        judge.outstanding();
        in_flight.iter().all(|message| !judge.arrivals_of(&message.digest).is_empty())
    });
    checks.row(&format!("{name}: the clock has stepped"), step());
    // Meanwhile every lease is renewed once.
    sleep(LEASE / 2);
    site.receiver.behaviour.waits.store(false, Ordering::Relaxed);
    send(site, inbox, chance);
    let arrived = within(MAX_DELAY, || judge.outstanding() == 0);
    checks.row(
        &format!("{name}: {} deliveries are not late", 3 * EVENTS),
        unless(arrived, || format!("{} have not arrived", judge.outstanding())),
    );
}

fn conclude<'a>(
    store: &StoreUnderTest,
    starter: &Starter<'a>,
    mut judge: LogJudge,
    inbox: KillableInbox<'a>,
    checks: &mut CheckList,
    kind: &str,
) {
    let rows = drain(store, starter, &mut judge, vec![inbox]);
    judge.check(rows, now());
    judge.conclude();
    checks.row(&format!("{kind}: clock: no event is lost or delivered twice"), judge.figures.problem());
}

struct FakeClock {
    offset: PathBuf,
}

impl FakeClock {
    fn new(folder: &Path) -> Self {
        let this = Self { offset: folder.join("offset") };
        this.set(0);
        this
    }

    fn variables(&self) -> Vec<(String, String)> {
        let variables = [
            ("LD_PRELOAD", library().unwrap()),
            ("FAKETIME_TIMESTAMP_FILE", self.offset.clone()),
            ("FAKETIME_NO_CACHE", "1".into()),
            ("DONT_FAKE_MONOTONIC", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ];
        variables.map(|(name, value)| (name.to_owned(), value.display().to_string())).into()
    }

    fn set(&self, offset: i64) {
        // By renaming: half a file would be another time.
        let new = self.offset.with_extension("new");
        std::fs::write(&new, format!("{offset:+}\n")).unwrap();
        std::fs::rename(new, &self.offset).unwrap();
    }
}

/// Sends events, and waits until their first attempts have failed with 500.
fn fail_once(site: &KillSite, inbox: &KillableInbox<'_>, chance: &mut Chance) {
    site.receiver.behaviour.fails.store(100, Ordering::Relaxed);
    let sent = send(site, inbox, chance);
    let mut judge = site.judge();
    tool::eventually("the first attempts fail", MAX_DELAY, || {
        judge.outstanding();
        sent.iter().all(|message| judge.arrivals_of(&message.digest).iter().any(|one| one.end.is_some()))
    });
}

fn send(site: &KillSite, inbox: &KillableInbox<'_>, chance: &mut Chance) -> Vec<Message> {
    let orders: Vec<_> = (0..EVENTS).map(|_| CustomerOrder::new(chance).completed("a", "")).collect();
    for message in &orders {
        assert_eq!(attempt(&site.sent, inbox.receive, message, HangUp::Never), SendResult::Status(200));
    }
    orders
}

/// Checks, to the minute, that the inbox logs the stepped time.
fn logs_time(inbox: &KillableInbox<'_>, offset: i64) -> Option<String> {
    let minutes = [0, 60].map(|later| {
        let option = format!("--date={} seconds", offset + later);
        let date = tool::run(std::process::Command::new("date").args(["--utc", &option, "+%Y-%m-%dT%H:%M"]));
        String::from_utf8(date).unwrap().trim().to_owned()
    });
    let lines = inbox.log().lines().count();
    // The inbox logs a refused request.
    let _answer = inbox.refused();
    sleep(Duration::from_millis(50));
    let log = inbox.log();
    let line = log.lines().nth(lines).unwrap_or_default().to_owned();
    let is_then = minutes.iter().any(|minute| line.contains(minute.as_str()));
    unless(is_then, || format!("its log has {line:?}, and the clock has {minutes:?}"))
}
