//! The inbox delivers a backlog through Envoy at the configured rate, and catches up.

use crate::{PROGRAM, on_each_store};
use blobgate::contract::header;
use blobgate_testkit::inbox::{forwarded, fresh_generation};
use blobgate_testkit::{Connector, H1, InboxProcess, Reply, TestGate, eventually, pause, versions};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

on_each_store! { delivers_a_backlog_at_the_rate catches_up_with_arrivals_above_the_rate }

const RATE: usize = 100;
const SECOND: Duration = Duration::from_secs(1);

/// An inbox before the shipped service routes, and a service that answers 503 until [`Self::come_back`].
struct DrainRateSite {
    gate: TestGate,
    inbox: InboxProcess,
    is_back: Arc<AtomicBool>,
}

impl DrainRateSite {
    /// The service answers one in `fails` events always with 503, for 30 events at most.
    fn start(store: &str, fails: u64) -> Self {
        let gate = TestGate::start(versions().last().unwrap());
        let inbox =
            InboxProcess::start(PROGRAM, store, gate.envoy.port("services"), &["--drain-rate", "100"])
                .ready();
        let is_back = Arc::new(AtomicBool::new(false));
        let (back, failing, attempts) = (Arc::clone(&is_back), AtomicU64::new(0), AtomicU64::new(0));
        let chosen = std::sync::Mutex::new(BTreeSet::new());
        gate.video.reply_by(move |arrival| {
            if !back.load(Ordering::Relaxed) {
                return Some(Reply::status(503));
            }
            let generation = arrival.header(header::GENERATION_ID)?;
            let mut chosen = chosen.lock().unwrap();
            let first = attempts.fetch_add(1, Ordering::Relaxed);
            if first % fails == fails / 2 && failing.load(Ordering::Relaxed) < 30 {
                failing.fetch_add(1, Ordering::Relaxed);
                chosen.insert(generation.clone());
            }
            chosen.contains(&generation).then(|| Reply::status(503))
        });
        Self { gate, inbox, is_back }
    }

    fn store(&self, count: usize) {
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let mut client = Connector::plaintext(self.inbox.receive, H1).open();
                    for _ in 0..count / 8 {
                        assert_eq!(client.send(&forwarded(&fresh_generation())).status, 200);
                    }
                });
            }
        });
    }

    /// Waits until the inbox has the route as down, and then makes the service answer 200. Returns the next arrival.
    fn come_back(&self) -> Instant {
        let down = r#"blobgate_inbox_route_down{route="veo3/completed"} 1"#;
        eventually("down route", || {
            self.inbox.get("/metrics").ok()?.text().lines().any(|line| line == down).then_some(())
        });
        self.gate.forget();
        self.is_back.store(true, Ordering::Relaxed);
        let first = || self.arrivals().first().copied();
        eventually("first arrival", first)
    }

    fn arrivals(&self) -> Vec<Instant> {
        self.gate.video.arrivals().iter().map(|arrival| arrival.at).collect()
    }

    fn delivered(&self) -> usize {
        let line = r#"blobgate_inbox_attempts_total{route="veo3/completed",outcome="delivered"} "#;
        let text = self.inbox.get("/metrics").unwrap().text();
        text.lines().find_map(|found| found.strip_prefix(line)?.parse().ok()).unwrap_or_default()
    }
}

fn delivers_a_backlog_at_the_rate(store: &str) {
    const BACKLOG: usize = 3_000;
    let site = DrainRateSite::start(store, 100);
    site.store(BACKLOG);
    let back = site.come_back();
    pause((back + SECOND).saturating_duration_since(Instant::now()));
    let first = site.arrivals().iter().filter(|at| (back..back + SECOND).contains(*at)).count();
    println!("{first} in the first second");
    assert!(first <= RATE * 12 / 10 + 1, "{first} in the first second");
    let max = Duration::from_millis(u64::try_from(BACKLOG * 1_000 / (RATE * 8 / 10)).unwrap());
    while site.delivered() < BACKLOG - 30 {
        assert!(back.elapsed() < max, "{} of {BACKLOG} after {max:?}", site.delivered());
        pause(Duration::from_millis(100));
    }
    println!("all after {:?}", back.elapsed());
}

fn catches_up_with_arrivals_above_the_rate(store: &str) {
    let site = DrainRateSite::start(store, u64::MAX);
    site.store(400);
    let _back = site.come_back();
    let started = Instant::now();
    let mut client = Connector::plaintext(site.inbox.receive, H1).open();
    let mut stored = 400;
    loop {
        // 150 events a second.
        let due = 400 + usize::try_from(started.elapsed().as_millis()).unwrap() * RATE * 15 / 10 / 1_000;
        while stored < due {
            assert_eq!(client.send(&forwarded(&fresh_generation())).status, 200);
            stored += 1;
        }
        let behind = stored.saturating_sub(site.delivered());
        if behind < RATE / 10 {
            println!("caught up after {:?}", started.elapsed());
            return;
        }
        assert!(started.elapsed() < SECOND * 35, "{behind} behind after {:?}", started.elapsed());
        pause(Duration::from_millis(50));
    }
}
