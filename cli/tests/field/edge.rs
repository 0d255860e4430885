//! The shipped Envoy before a real inbox. The inbox stores every delivery that the gate accepts. During its restart no attempt of
//! the sender fails.

use crate::PROGRAM;
use blobgate::contract::header;
use blobgate_testkit::envoy::SIGNING_KEY;
use blobgate_testkit::inbox::{fresh_generation, migrate};
use blobgate_testkit::{
    Bootstrap, EnvoyProcess, H1, H2, InboxProcess, Options, Protocol, TestDelivery, TestGate, Upstream,
    Version, free_port, versions,
};
use blobgate_testkit::{eventually, on_every_envoy};
use serde_json::{Value, json};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// An Envoy, an inbox behind it, and the service of both.
pub(crate) struct Edge {
    pub(crate) envoy: EnvoyProcess,
    pub(crate) inbox: InboxProcess,
    pub(crate) service: Upstream,
    store: String,
    /// The port of the inbox's access log listener.
    access_log: u16,
    _folder: TempDir,
}

impl Edge {
    fn start(version: &Version) -> Self {
        Self::with(version, |shipped| shipped)
    }

    pub(crate) fn with(version: &Version, change: impl FnOnce(Bootstrap) -> Bootstrap) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = format!("sqlite:{}", folder.path().join("inbox.db").display());
        migrate(PROGRAM, &store);
        let service = Upstream::start();
        let (port, access_log) = (free_port(), free_port());
        let bootstrap = TestGate::bootstrap(&service, &service).endpoint("quarantine_service", service.port);
        let bootstrap = bootstrap.inbox(port).endpoint("inbox_access_log", access_log);
        let envoy = EnvoyProcess::start(version, &change(bootstrap), Options::default());
        let inbox = inbox([port, access_log], &store, envoy.port("services"));
        Self { envoy, inbox, service, store, access_log, _folder: folder }
    }

    /// Ends the inbox with SIGTERM, and starts another on its port and store.
    pub(crate) fn restart(&mut self) {
        self.inbox.signal("TERM");
        eventually("end of the inbox", || self.inbox.exited());
        let ports = [self.inbox.receive, self.access_log];
        self.inbox = inbox(ports, &self.store, self.envoy.port("services"));
    }
}

fn inbox([port, access_log]: [u16; 2], store: &str, deliver_to: u16) -> InboxProcess {
    let mut command = Command::new(PROGRAM);
    command.env(SIGNING_KEY.0, SIGNING_KEY.1);
    let access_log = format!("127.0.0.1:{access_log}");
    let options = ["--signing-key-env", SIGNING_KEY.0, "--access-log", &access_log];
    InboxProcess::spawn_at(port, command, PROGRAM, store, deliver_to, &options).ready()
}

fn event() -> TestDelivery {
    let mut payload: Value = serde_json::from_slice(&TestDelivery::completed().body()).unwrap();
    payload["generation_id"] = json!(fresh_generation());
    TestDelivery::json(&payload)
}

/// Adds headers. Envoy allows 100 with those of the request itself.
fn with_headers(delivery: TestDelivery, names: usize, bytes: usize) -> TestDelivery {
    (0..names).fold(delivery, |all, n| all.header(&format!("x-{n}"), "a".repeat(bytes)))
}

#[test]
fn inbox_stores_every_accepted_delivery() {
    on_every_envoy(|version| {
        let edge = Edge::start(version);
        for protocol in Protocol::BOTH {
            let mut accepted = vec![
                event().path("/webhook?a=b&c"),
                event().path("/webhook?a=%zz%"),
                event().header("x-bytes", b"\x80\xe9\xff\t\""),
                event().header("x-empty", "").header("x-many", "a").header("x-many", "b"),
                event().header("user-agent", b"\xff").header("cookie", "a=b; c").header("traceparent", "x"),
                event().header("x!#$%&'*+.^`|~", "a"),
                event().header("expect", "100-continue"),
                with_headers(event(), 2, 14_000),
                event().trailers(),
                event().undeclared().pieces_of(7),
            ];
            match protocol {
                H1 => accepted.push(event().path("/webhook?a=\"b\"&c={}|^`<>\\")),
                H2 => accepted.push(event().path("/webhook?a=\u{e9}")),
            }
            let mut client = edge.envoy.tls(protocol).open();
            for delivery in accepted {
                let answer = client.send(&delivery);
                assert_eq!((answer.status, answer.reason()), (200, None), "{protocol:?} {delivery:?}");
            }
        }
        assert_eq!(edge.inbox.log().lines().find(|line| line.contains("refused")), None);
    });
}

/// The gate adds some 20 headers. The inbox accepts more headers than edge and gate together send.
#[test]
fn inbox_accepts_as_many_headers_as_the_edge() {
    on_every_envoy(|version| {
        let edge = Edge::start(version);
        for protocol in Protocol::BOTH {
            // The 100 include headers of the client and of Envoy, so the test tries each number.
            let statuses: Vec<(usize, u16)> = (80..=100)
                .filter_map(|names| {
                    let answer = edge.envoy.tls(protocol).open().try_send(&with_headers(event(), names, 10));
                    Some((names, answer.ok()?.status))
                })
                .collect();
            let accepted: Vec<_> = statuses.iter().filter(|(_, status)| *status != 431).collect();
            assert!(accepted.len() > 10, "{statuses:?}");
            assert!(accepted.iter().all(|(_, status)| *status == 200), "{protocol:?}: {statuses:?}");
        }
    });
}

#[test]
fn no_attempt_fails_during_a_restart_of_the_inbox() {
    const RESTARTS: usize = 15;
    const SENDERS: usize = 10;
    const EACH: Duration = Duration::from_millis(100); // 100 a second, all together
    let newest = versions().pop().unwrap();
    let mut edge = Edge::start(&newest);
    let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let connects = Protocol::BOTH.map(|protocol| edge.envoy.tls(protocol));
    let (mut sent, mut bad) = (0, Vec::new());
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS)
            .map(|number| {
                let (connect, over, answered) = (&connects[number % 2], &over, &answered);
                scope.spawn(move || {
                    let mut client = connect.open();
                    let mut answers = Vec::new();
                    while !over.load(Ordering::Relaxed) {
                        let since = Instant::now();
                        answers.push(client.send(&event()));
                        answered.fetch_add(1, Ordering::Relaxed);
                        blobgate_testkit::pause(EACH.saturating_sub(since.elapsed()));
                    }
                    answers
                })
            })
            .collect();
        for _ in 0..RESTARTS {
            // Every sender has sent again before the next restart.
            let before = answered.load(Ordering::Relaxed);
            eventually("answers", || {
                (answered.load(Ordering::Relaxed) >= before + 3 * SENDERS).then_some(())
            });
            edge.restart();
        }
        over.store(true, Ordering::Relaxed);
        for sender in senders {
            let answers = sender.join().unwrap();
            sent += answers.len();
            bad.extend(answers.into_iter().filter(|answer| answer.status != 200));
        }
    });
    assert!(bad.is_empty(), "{} of {sent} attempts failed, the first with {:?}", bad.len(), bad.first());
    // Each event reaches the service once: the inbox has recognized Envoy's retries.
    let mut seen = std::collections::BTreeSet::new();
    eventually("all events", || {
        for arrival in edge.service.take() {
            let generation = arrival.header(header::GENERATION_ID).unwrap();
            assert!(seen.insert(generation), "an event came twice");
        }
        (seen.len() == sent).then_some(())
    });
}
