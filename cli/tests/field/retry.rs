//! After an outage a person retries the waiting events. They become due at the rate of `--drain-rate`, although their route was
//! never down.

use crate::{PROGRAM, on_each_store};
use blobgate_testkit::inbox::{forwarded, fresh_generation};
use blobgate_testkit::{Connector, H1, InboxProcess, Reply, Upstream, eventually, sql};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

on_each_store! { needs (Sqlite3): retries_at_the_drain_rate }

const RATE: usize = 50;
const BACKLOG: usize = 600;
const HOUR: i64 = 3_600_000_000;

fn retries_at_the_drain_rate(store: &str) {
    let service = Upstream::start();
    let is_back = Arc::new(AtomicBool::new(false));
    let back = Arc::clone(&is_back);
    // 404 does not take a route down.
    service.reply_by(move |_| (!back.load(Ordering::Relaxed)).then(|| Reply::status(404)));
    let inbox = InboxProcess::start(PROGRAM, store, service.port, &["--drain-rate", "50"]).ready();
    let connect = Connector::plaintext(inbox.receive, H1);
    let mut client = connect.open();
    for _ in 0..BACKLOG {
        assert_eq!(client.send(&forwarded(&fresh_generation())).status, 200);
    }
    let count = |filter: &str| sql(store, &format!("SELECT count(*) FROM entry WHERE {filter}"));
    // As after many attempts: the next one comes in an hour, and half of that counts towards the 72 h.
    let far = format!("extract(epoch FROM now()) * 1000000 + {HOUR}");
    let far = if store.starts_with("sqlite:") { format!("unixepoch() * 1000000 + {HOUR}") } else { far };
    eventually("an attempt of each", || (count("attempts > 0") == BACKLOG.to_string()).then_some(()));
    // A paused route leaves the due times as they are, so that no load of this machine moves them.
    assert!(inbox.command(&["pause", "--hook", "veo3"]).status.success());
    eventually("the pause", || {
        let metrics = inbox.get("/metrics").unwrap().text();
        let is_paused = metrics.contains("route_paused{route=\"veo3/completed\"} 1");
        (is_paused && count("state = 'waiting'") == BACKLOG.to_string()).then_some(())
    });
    sql(store, &format!("UPDATE entry SET due_at = {far}, tried = {HOUR} + {HOUR} / 2"));
    let tried = service.arrivals().len();
    is_back.store(true, Ordering::Relaxed);

    let retried = inbox.command(&["retry", "--hook", "veo3", "--yes"]);
    let message = String::from_utf8_lossy(&retried.stderr).into_owned();
    assert!(retried.status.success(), "{message}");
    assert_eq!(String::from_utf8_lossy(&retried.stdout), format!("{BACKLOG} entries retried\n"));
    // 50 a second for 10 s, and then 100 a second.
    let due_within = |seconds: usize| {
        let first = "(SELECT min(due_at) FROM entry WHERE state = 'waiting')";
        count(&format!("state = 'waiting' AND due_at < {first} + {seconds} * 1000000"))
            .parse::<usize>()
            .unwrap()
    };
    assert!((RATE / 2..=RATE * 12 / 10 + 1).contains(&due_within(1)), "{} in a second", due_within(1));
    assert!((4 * RATE..=5 * RATE * 12 / 10).contains(&due_within(5)), "{} in 5 s", due_within(5));
    assert_eq!(due_within(20), BACKLOG);
    assert_eq!(service.arrivals().len(), tried, "the route is paused");

    assert!(inbox.command(&["resume", "--hook", "veo3"]).status.success());
    eventually("deliveries", || (count("state = 'delivered'") == BACKLOG.to_string()).then_some(()));
    // The rest of the hour did not count.
    assert_eq!(count(&format!("tried > {HOUR} / 2 + 60000000")), "0");
    let again = inbox.command(&["retry", "--hook", "veo3", "--dry-run"]);
    assert_eq!(String::from_utf8_lossy(&again.stdout), "would retry 0 entries\n");
}
