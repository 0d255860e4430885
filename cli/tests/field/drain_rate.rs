//! What has waited for a service goes out at the rate that the operator has set, through Envoy, and is caught up with.

use crate::{PROGRAM, on_each_store};
use blobgate::contract::header;
use blobgate_testkit::inbox::{forwarded, fresh_generation};
use blobgate_testkit::{Connector, H1, InboxProcess, Reply, TestGate, eventually, pause, versions};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

on_each_store! { a_backlog_goes_out_at_the_rate arrivals_above_the_rate_are_caught_up_with }

const RATE: usize = 100;
const SECOND: Duration = Duration::from_secs(1);

/// An inbox behind the shipped service routes, and a service that is away until it is told to come back.
struct DrainRateSite {
    gate: TestGate,
    inbox: InboxProcess,
    is_back: Arc<AtomicBool>,
}

impl DrainRateSite {
    /// The service answers one in `fails` events 503 for ever.
    fn start(store: &str, fails: u64) -> Self {
        let gate = TestGate::start(versions().last().unwrap());
        let inbox =
            InboxProcess::start(PROGRAM, store, gate.envoy.port("services"), &["--drain-rate", "100"])
                .ready();
        let is_back = Arc::new(AtomicBool::new(false));
        let (back, failing, asked) = (Arc::clone(&is_back), AtomicU64::new(0), AtomicU64::new(0));
        let chosen = std::sync::Mutex::new(BTreeSet::new());
        gate.video.reply_by(move |arrival| {
            if !back.load(Ordering::Relaxed) {
                return Some(Reply::status(503));
            }
            let generation = arrival.header(header::GENERATION_ID)?;
            let mut chosen = chosen.lock().unwrap();
            let first = asked.fetch_add(1, Ordering::Relaxed);
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

    /// Waits until the inbox knows that the service is away, and lets it come back. Returns the first arrival after that.
    fn come_back(&self) -> Instant {
        let down = r#"blobgate_inbox_route_down{route="veo3/completed"} 1"#;
        eventually("route that is down", || {
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

fn a_backlog_goes_out_at_the_rate(store: &str) {
    const BACKLOG: usize = 3_000;
    let site = DrainRateSite::start(store, 100);
    site.store(BACKLOG);
    let back = site.come_back();
    pause((back + SECOND).saturating_duration_since(Instant::now()));
    let first = site.arrivals().iter().filter(|at| (back..back + SECOND).contains(*at)).count();
    println!("in the first second {first}");
    assert!(first <= RATE * 12 / 10 + 1, "in the first second {first}");
    let most = Duration::from_millis(u64::try_from(BACKLOG * 1_000 / (RATE * 8 / 10)).unwrap());
    while site.delivered() < BACKLOG - 30 {
        assert!(back.elapsed() < most, "{} of {BACKLOG} after {most:?}", site.delivered());
        pause(Duration::from_millis(100));
    }
    println!("all after {:?}", back.elapsed());
}

fn arrivals_above_the_rate_are_caught_up_with(store: &str) {
    let site = DrainRateSite::start(store, u64::MAX);
    site.store(400);
    let _back = site.come_back();
    let started = Instant::now();
    let mut client = Connector::plaintext(site.inbox.receive, H1).open();
    let mut stored = 400;
    loop {
        // 150 a second.
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
