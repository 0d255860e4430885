//! PostgreSQL on a full disk: it ends without space for its log, and recovers once there is space.

use super::{FullDisk, SIZE, padded, send};
use crate::chance::Chance;
use crate::check::{CheckList, unless};
use crate::cluster::KillableCluster;
use crate::load::CustomerOrder;
use crate::log::now;
use crate::sender::SendResult;
use crate::site::{KillSite, drain};
use crate::store::StoreUnderTest;
use crate::tool::{eventually, within};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::thread::scope;
use std::time::Duration;

const EVENTS: usize = 30;
const BEFORE: usize = 10;
const MAX_WAIT: Duration = Duration::from_secs(60);

pub(super) fn run(disk: &FullDisk, program: &Path, seed: u64, checks: &mut CheckList) {
    let site = KillSite::new(program);
    let mut store = StoreUnderTest::postgres(KillableCluster::start_on(disk.mounted()), program);
    let mut chance = Chance::new(seed);
    site.receiver.behaviour.fails.store(0, Ordering::Relaxed);
    let mut judge = site.judge();
    let starter = site.starter();
    let inbox = starter.start(&store).ready();
    let stored = (0..BEFORE)
        .filter(|_| {
            send(&site, &inbox, &CustomerOrder::new(&mut chance).completed("a", ""))
                == SendResult::Status(200)
        })
        .count();
    checks.row(
        "disk: with space, PostgreSQL stores events",
        unless(stored == BEFORE, || format!("{stored} of {BEFORE}")),
    );

    // No attempt may be in flight: an inbox without its store for longer than a lease delivers again.
    eventually("all entries are delivered", MAX_WAIT, || {
        store.query("SELECT count(*) FROM entry WHERE state <> 'delivered'")[0][0] == "0"
    });
    disk.fill_up();
    let events: Vec<_> = (0..EVENTS).map(|_| padded(&mut chance)).collect();
    let answers = scope(|scope| {
        let sent: Vec<_> =
            events.iter().map(|message| scope.spawn(|| send(&site, &inbox, message))).collect();
        sent.into_iter().map(|sent| sent.join().unwrap()).collect::<Vec<_>>()
    });
    let refused = answers.iter().filter(|answer| **answer == SendResult::Status(503)).count();
    checks.row(
        &format!("disk: without space for tables, {refused} of {EVENTS} events get 503"),
        unless(refused > 0 && answers.len() == EVENTS, || {
            format!("{answers:?}; the inbox's log: {}", inbox.log())
        }),
    );

    // The log needs another file, and the disk has no space.
    store.cluster().fill_log();
    let small = CustomerOrder::new(&mut chance).completed("a", "");
    let answer = send(&site, &inbox, &small);
    let log = store.cluster().log_text();
    checks.row(
        "disk: without space for its log, PostgreSQL ends, and an event gets 503",
        unless(
            answer == SendResult::Status(503) && log.contains("PANIC") && log.contains("No space left"),
            || format!("{answer:?}; PostgreSQL's log: {log}"),
        ),
    );

    disk.fill_to(SIZE);
    store.cluster().revive();
    // The senders retry.
    let mut again = events.iter().chain([&small]);
    let acknowledged =
        again.all(|message| within(MAX_WAIT, || send(&site, &inbox, message) == SendResult::Status(200)));
    checks.row("disk: with space again, retries are stored", unless(acknowledged, || inbox.log()));
    let rows = drain(&store, &starter, &mut judge, vec![inbox]);
    judge.check(rows, now());
    judge.conclude();
    checks.row("disk: on PostgreSQL no event is lost or delivered twice", judge.figures.problem());
}
