//! PostgreSQL: another program takes all of its disk, the log's too. It ends itself then, and is back once there is space.

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
    let taken = (0..BEFORE)
        .filter(|_| {
            send(&site, &inbox, &CustomerOrder::new(&mut chance).completed("a", ""))
                == SendResult::Status(200)
        })
        .count();
    checks.row(
        "disk: with space, PostgreSQL takes events",
        unless(taken == BEFORE, || format!("{taken} of {BEFORE}")),
    );

    // Nothing is under way: whoever is cut off from the store for longer than a lease delivers again.
    eventually("they are marked", MAX_WAIT, || {
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
        &format!("disk: with none left for its tables, {refused} of {EVENTS} events are answered 503"),
        unless(refused > 0 && answers.len() == EVENTS, || {
            format!("{answers:?}; the inbox says {}", inbox.said())
        }),
    );

    // Its log wants another file, and there is no place for one.
    store.cluster().fill_log();
    let small = CustomerOrder::new(&mut chance).completed("a", "");
    let answer = send(&site, &inbox, &small);
    let said = store.cluster().said();
    checks.row(
        "disk: with none left for its log, PostgreSQL ends itself, and an event is answered 503",
        unless(
            answer == SendResult::Status(503) && said.contains("PANIC") && said.contains("No space left"),
            || format!("{answer:?}; PostgreSQL says {said}"),
        ),
    );

    disk.fill_to(SIZE);
    store.cluster().revive();
    // The senders come back, as they do.
    let mut again = events.iter().chain([&small]);
    let heard =
        again.all(|message| within(MAX_WAIT, || send(&site, &inbox, message) == SendResult::Status(200)));
    checks.row("disk: with space again, they are taken when they come again", unless(heard, || inbox.said()));
    let rows = drain(&store, &starter, &mut judge, vec![inbox]);
    judge.check(rows, now());
    judge.conclude();
    checks.row("disk: PostgreSQL lost nothing, and nothing comes twice", judge.figures.problem());
}
