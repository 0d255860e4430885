//! SQLite: what is stored reaches the reserve, and then another program takes all of it.

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

/// Of which the inbox keeps so much free: its least.
const RESERVE: u64 = 64 << 20;
/// What is left above it for this test to fill.
const HEADROOM: u64 = 12 << 20;
/// Of 60 MB that are sent.
const SCRAPS: u64 = 2 << 20;
const MAX_WAIT: Duration = Duration::from_secs(30);

pub(super) fn run(disk: &FullDisk, program: &Path, seed: u64, checks: &mut CheckList) {
    let site = KillSite::new(program);
    let store = StoreUnderTest::sqlite_at(disk.at("inbox.db"), program);
    let mut chance = Chance::new(seed);
    site.receiver.behaviour.fails.store(0, Ordering::Relaxed);
    let mut judge = site.judge();
    let starter = site.starter();

    // What is stored reaches the reserve, while deliveries are under way.
    disk.fill_to(RESERVE + HEADROOM);
    let inbox = starter.start(&store).ready();
    site.receiver.behaviour.waits.store(true, Ordering::Relaxed);
    let refused = (0..2_000).any(|_| {
        sleep(Duration::from_millis(20));
        send(&site, &inbox, &padded(&mut chance)) == SendResult::Status(503)
    });
    let free = disk.free();
    let said = inbox.said();
    let in_time = refused && free > RESERVE / 2 && said.contains("the disk has too little free space");
    checks.row(
        &format!("disk: 503 before it is full ({} MiB are left)", free >> 20),
        unless(in_time, || format!("{} MiB are left; the inbox says {said}", free >> 20)),
    );
    site.receiver.behaviour.waits.store(false, Ordering::Relaxed);
    eventually("what was under way arrives", MAX_WAIT, || judge.outstanding() == 0);
    inbox.end();
    judge.check(store.rows(0), now());
    let rows = store.query("SELECT count(*) FROM entry WHERE state <> 'delivered'");
    checks.row(
        "disk: in the reserve, what was under way is marked",
        unless(rows[0][0] == "0", || format!("{} are not", rows[0][0])),
    );

    // What is delivered gives its place to what comes: the file has room in itself, and grows by scraps at the most.
    let size = fs::metadata(disk.at("inbox.db")).unwrap().len();
    let inbox = starter.start(&store);
    // More than its log holds before it is written into the file by itself: 40 MB.
    let taken = (0..300)
        .all(|_| within(MAX_WAIT, || send(&site, &inbox, &padded(&mut chance)) == SendResult::Status(200)));
    eventually("they arrive", MAX_WAIT, || judge.outstanding() == 0);
    inbox.end();
    let grown = fs::metadata(disk.at("inbox.db")).unwrap().len().saturating_sub(size);
    let purged = store.query("SELECT count(*) FROM entry WHERE size = 0");
    checks.row(
        &format!("disk: in the reserve, {} bodies are purged for what comes", purged[0][0]),
        unless(taken && purged[0][0] != "0" && grown < SCRAPS, || {
            format!("taken: {taken}, purged: {}, and the file has grown by {grown} bytes", purged[0][0])
        }),
    );

    // With space again, everything goes on.
    disk.fill_to(SIZE);
    let inbox = starter.start(&store).ready();
    let taken = send(&site, &inbox, &padded(&mut chance));
    checks.row(
        "disk: with space again, events are taken",
        unless(taken == SendResult::Status(200), || format!("{taken:?}")),
    );
    inbox.end();
    // One second is between two looks at the disk: this inbox looks no more, so that none falls into what follows.
    let inbox = starter.start_failing(&store, Some("disk-unseen=return")).ready();
    by_another_program(disk, &site, &inbox, &mut chance, checks);
    let back = within(MAX_WAIT, || {
        send(&site, &inbox, &CustomerOrder::new(&mut chance).completed("a", "")) == SendResult::Status(200)
    });
    checks.row("disk: with space again, after none at all, events are taken", unless(back, || inbox.said()));
    let rows = drain(&store, &starter, &mut judge, vec![inbox]);
    judge.check(rows, now());
    judge.conclude();
    checks.row("disk: no 200 without storing, nothing is lost or comes twice", judge.figures.problem());
}

/// Nothing is left, not even the reserve, while events come and deliveries are under way.
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
        // Their answers come while they cannot be written down.
        sleep(Duration::from_millis(300));
        site.receiver.behaviour.waits.store(false, Ordering::Relaxed);
        sent.into_iter().map(|sent| sent.join().unwrap()).collect::<Vec<_>>()
    });
    let refused = answers.iter().filter(|answer| **answer == SendResult::Status(503)).count();
    let said = inbox.said();
    checks.row(
        &format!("disk: filled to the last byte, {refused} of {EVENTS} events are answered 503"),
        unless(refused == EVENTS && said.contains("is full"), || {
            format!("{answers:?}; the inbox says {said}")
        }),
    );
    let unwritten = "the outcomes of attempts are not written yet";
    checks.row(
        "disk: filled to the last byte, what a service has answered cannot be written",
        unless(said.contains(unwritten), || format!("the inbox says {said}")),
    );
    disk.fill_to(SIZE);
    // The senders come back, as they do.
    let heard = events
        .iter()
        .all(|message| within(MAX_WAIT, || send(site, inbox, message) == SendResult::Status(200)));
    checks.row("disk: they are taken when they come again", unless(heard, || inbox.said()));
}
