//! SQLite on a full disk: the store reaches the reserve, and then another program takes the rest.

use super::{FullDisk, SIZE, padded, send};
use crate::chance::Chance;
use crate::check::{CheckList, unless};
use crate::load::CustomerOrder;
use crate::log::now;
use crate::program::KillableInbox;
use crate::sender::SendResult;
use crate::site::{KillSite, drain};
use crate::store::StoreUnderTest;
use crate::tool::{eventually, within};
use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::thread::{scope, sleep};
use std::time::Duration;

/// The inbox's smallest reserve of free space.
const RESERVE: u64 = 64 << 20;
/// The space above the reserve, which this test fills.
const HEADROOM: u64 = 12 << 20;
/// The most growth of the file while the test sends 60 MB.
const MAX_GROWTH: u64 = 2 << 20;
const MAX_WAIT: Duration = Duration::from_secs(30);

pub(super) fn run(disk: &FullDisk, program: &Path, seed: u64, checks: &mut CheckList) {
    let site = KillSite::new(program);
    let store = StoreUnderTest::sqlite_at(disk.at("inbox.db"), program);
    let mut chance = Chance::new(seed);
    site.receiver.behaviour.fails.store(0, Ordering::Relaxed);
    let mut judge = site.judge();
    let starter = site.starter();

    // Fill the disk down to the reserve while attempts are in flight.
    disk.fill_to(RESERVE + HEADROOM);
    let inbox = starter.start(&store).ready();
    site.receiver.behaviour.waits.store(true, Ordering::Relaxed);
    let refused = (0..2_000).any(|_| {
        sleep(Duration::from_millis(20));
        send(&site, &inbox, &padded(&mut chance)) == SendResult::Status(503)
    });
    let free = disk.free();
    let log = inbox.log();
    let in_time = refused && free > RESERVE / 2 && log.contains("the disk has too little free space");
    checks.row(
        &format!("disk: 503 before the disk is full ({} MiB are left)", free >> 20),
        unless(in_time, || format!("{} MiB are left; the inbox's log: {log}", free >> 20)),
    );
    site.receiver.behaviour.waits.store(false, Ordering::Relaxed);
    eventually("the attempts in flight arrive", MAX_WAIT, || judge.outstanding() == 0);
    inbox.end();
    judge.check(store.rows(0), now());
    let rows = store.query("SELECT count(*) FROM entry WHERE state <> 'delivered'");
    checks.row(
        "disk: in the reserve, attempts in flight are stored as delivered",
        unless(rows[0][0] == "0", || format!("{} are not", rows[0][0])),
    );

    // Retention reuses the space of delivered bodies, so the file grows by at most 2 MB.
    let size = fs::metadata(disk.at("inbox.db")).unwrap().len();
    let inbox = starter.start(&store);
    // More than the log's 40 MB, after which SQLite writes it into the file.
    let stored = (0..300)
        .all(|_| within(MAX_WAIT, || send(&site, &inbox, &padded(&mut chance)) == SendResult::Status(200)));
    eventually("the events arrive", MAX_WAIT, || judge.outstanding() == 0);
    inbox.end();
    let grown = fs::metadata(disk.at("inbox.db")).unwrap().len().saturating_sub(size);
    let purged = store.query("SELECT count(*) FROM entry WHERE size = 0");
    checks.row(
        &format!("disk: in the reserve, {} bodies are deleted for new events", purged[0][0]),
        unless(stored && purged[0][0] != "0" && grown < MAX_GROWTH, || {
            format!("stored: {stored}, purged: {}, and the file has grown by {grown} bytes", purged[0][0])
        }),
    );

    disk.fill_to(SIZE);
    let inbox = starter.start(&store).ready();
    let answer = send(&site, &inbox, &padded(&mut chance));
    checks.row(
        "disk: with space again, events are stored",
        unless(answer == SendResult::Status(200), || format!("{answer:?}")),
    );
    inbox.end();
    // The inbox checks the disk every second. This failpoint stops that, so that no check interferes.
    let inbox = starter.start_failing(&store, Some("disk-unseen=return")).ready();
    by_another_program(disk, &site, &inbox, &mut chance, checks);
    let back = within(MAX_WAIT, || {
        send(&site, &inbox, &CustomerOrder::new(&mut chance).completed("a", "")) == SendResult::Status(200)
    });
    checks.row("disk: with space again after none, events are stored", unless(back, || inbox.log()));
    let rows = drain(&store, &starter, &mut judge, vec![inbox]);
    judge.check(rows, now());
    judge.conclude();
    checks.row("disk: on SQLite no event is lost or delivered twice", judge.figures.problem());
}

/// Another program takes all space with the reserve, while events come and attempts are in flight.
fn by_another_program(
    disk: &FullDisk,
    site: &KillSite,
    inbox: &KillableInbox<'_>,
    chance: &mut Chance,
    checks: &mut CheckList,
) {
    const EVENTS: usize = 30;
    site.receiver.behaviour.waits.store(true, Ordering::Relaxed);
    for _ in 0..10 {
        send(site, inbox, &CustomerOrder::new(chance).completed("a", ""));
    }
    disk.fill_up();
    let events: Vec<_> = (0..EVENTS).map(|_| padded(chance)).collect();
    let answers = scope(|scope| {
        let sent: Vec<_> =
            events.iter().map(|message| scope.spawn(move || send(site, inbox, message))).collect();
        // The services answer while the inbox cannot store results.
        sleep(Duration::from_millis(300));
        site.receiver.behaviour.waits.store(false, Ordering::Relaxed);
        sent.into_iter().map(|sent| sent.join().unwrap()).collect::<Vec<_>>()
    });
    let refused = answers.iter().filter(|answer| **answer == SendResult::Status(503)).count();
    let log = inbox.log();
    checks.row(
        &format!("disk: full to the last byte, {refused} of {EVENTS} events get 503"),
        unless(refused == EVENTS && log.contains("is full"), || {
            format!("{answers:?}; the inbox's log: {log}")
        }),
    );
    let unwritten = "the outcomes of attempts are not written yet";
    checks.row(
        "disk: full to the last byte, results of attempts are not stored",
        unless(log.contains(unwritten), || format!("the inbox's log: {log}")),
    );
    disk.fill_to(SIZE);
    // The senders retry.
    let acknowledged = events
        .iter()
        .all(|message| within(MAX_WAIT, || send(site, inbox, message) == SendResult::Status(200)));
    checks.row("disk: retries are stored", unless(acknowledged, || inbox.log()));
}
