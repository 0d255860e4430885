//! File descriptors run out, and the health endpoints still answer.

use crate::{PROGRAM, on_each_store};
use blobgate::contract::header;
use blobgate_testkit::inbox::{forwarded, fresh_generation};
use blobgate_testkit::{InboxProcess, Upstream, eventually, metrics};
use std::collections::BTreeSet;
use std::fs;
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

on_each_store! {
    raises_its_soft_limit
    answers_health_without_a_descriptor
    closes_idle_connections_at_the_limit
}

/// Envoy's probe timeout here. Kubernetes' default is one second.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

fn limited(limit: &str) -> Command {
    let mut command = Command::new("prlimit");
    command.args([&format!("--nofile={limit}"), PROGRAM]);
    command
}

fn raises_its_soft_limit(store: &str) {
    let service = Upstream::start();
    let inbox = InboxProcess::spawn(limited("64:4096"), PROGRAM, store, service.port, &[]).ready();
    let limits = fs::read_to_string(format!("/proc/{}/limits", inbox.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let words: Vec<_> = line.split_whitespace().collect();
    assert_eq!(words[3..5], ["4096", "4096"], "{line}");
}

fn answers_health_without_a_descriptor(store: &str) {
    let service = Upstream::start();
    let inbox = InboxProcess::start(PROGRAM, store, service.port, &[]).ready();
    // No descriptor below the limit is free.
    let folder = fs::read_dir(format!("/proc/{}/fd", inbox.pid())).unwrap();
    let open: BTreeSet<u64> =
        folder.map(|file| file.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect();
    let free = (0..).find(|number| !open.contains(number)).unwrap();
    set_limit(&inbox, free);
    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| inbox.receive(&forwarded(&fresh_generation())));
        eventually("fault", || {
            let ready = answer_in_time(&inbox, "/readyz");
            (ready.0 == 503 && ready.1.starts_with("descriptors-exhausted: ")).then_some(())
        });
        for _ in 0..20 {
            let (status, text) = answer_in_time(&inbox, "/readyz");
            assert!(status == 503 && text.starts_with("descriptors-exhausted: "), "{status} {text}");
            assert_eq!(answer_in_time(&inbox, "/healthz").0, 200);
        }
        let labels = [("listener", "receive"), ("reason", "descriptors")];
        eventually("count", || (counter(&inbox, "accept_errors", &labels) > 0.0).then_some(()));
        let stats = inbox.command(&["stats"]);
        assert!(String::from_utf8_lossy(&stats.stdout).contains("descriptors-exhausted"), "{stats:?}");
        set_limit(&inbox, 1_024);
        waiting.join().unwrap()
    });
    assert_eq!(waiting.unwrap().status, 200, "the waiting delivery is answered once a descriptor is free");
    eventually("ready inbox", || (answer_in_time(&inbox, "/readyz").0 == 200).then_some(()));
    let log = inbox.log();
    assert_eq!(log.matches("not ready reason=descriptors-exhausted: ").count(), 1, "{log}");
    assert_eq!(log.matches("over reason=descriptors-exhausted").count(), 1, "{log}");
    let lines = log.matches("listener=receive cannot accept a connection: ").count();
    assert!((1..200).contains(&lines), "{lines} lines");
}

fn closes_idle_connections_at_the_limit(store: &str) {
    let service = Upstream::start();
    let inbox = InboxProcess::spawn(limited("128:128"), PROGRAM, store, service.port, &[]).ready();
    let flood = |port| (0..300).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect::<Vec<_>>();
    let idle = [flood(inbox.receive), flood(inbox.admin)];
    for _ in 0..5 {
        let generation = fresh_generation();
        assert_eq!(inbox.receive(&forwarded(&generation)).unwrap().status, 200);
        assert_eq!(service.take_one().header(header::GENERATION_ID), Some(generation));
        assert_eq!(answer_in_time(&inbox, "/readyz"), (200, "ok\n".to_owned()));
    }
    for listener in ["receive", "admin"] {
        let labels = [("listener", listener), ("reason", "room")];
        assert!(counter(&inbox, "connections_ended", &labels) > 100.0, "{listener}");
        let line = format!("listener={listener} has ");
        assert!((1..100).contains(&inbox.log().matches(&line).count()), "{}", inbox.log());
    }
    drop(idle);
}

fn set_limit(inbox: &InboxProcess, soft: u64) {
    let set = Command::new("prlimit")
        .args(["--pid", &inbox.pid().to_string(), &format!("--nofile={soft}:")])
        .status();
    assert!(set.unwrap().success());
}

#[track_caller]
fn answer_in_time(inbox: &InboxProcess, path: &str) -> (u16, String) {
    let started = Instant::now();
    let answer = inbox.get(path).unwrap();
    assert!(started.elapsed() < PROBE_TIMEOUT, "{path} after {:?}", started.elapsed());
    (answer.status, String::from_utf8(answer.body).unwrap())
}

fn counter(inbox: &InboxProcess, name: &str, labels: &[(&str, &str)]) -> f64 {
    let text = String::from_utf8(inbox.get("/metrics").unwrap().body).unwrap();
    metrics::sum(&metrics::parse(&text), &format!("blobgate_inbox_{name}_total"), labels)
}
