//! Faults of the machine, and restarts.

use crate::operator::Operator;
use crate::stack::{Stack, until};
use crate::traffic::TestEvent;
use blobgate_testkit::envoy::SIGNING_KEY;
use blobgate_testkit::{Ext4Disk, needs, pause};
use std::process::Command;
use std::time::{Duration, Instant};

/// Longer than the interval of the scrapes. A part needs some 2 s more to start.
const AWAY: Duration = Duration::from_secs(6);
/// With an interval of the scrapes before it and one after it, shorter than the windows of the rules: 25 s.
/// A busy machine may start a part more slowly.
const MAX_OUTAGE: Duration = Duration::from_secs(14);
const MAX_RESTARTS: usize = 5;
/// A reserve of 64 MiB, the smallest.
const DISK: u64 = 512 << 20;
/// Less than two reserves, and more than one.
const LEFT: u64 = 100 << 20;

#[needs(Prometheus)]
#[test]
fn inbox_is_down() {
    let mut stack = Stack::start(TestEvent::GOOD);
    stack.inbox = None;
    let operator = Operator::at_fault();
    operator.sees(&stack, "BlobgateInboxDown");
    operator.runs(&stack, "inbox-down", &[], &["Failed to connect"]);
    stack.start_inbox(SIGNING_KEY.1);
    operator.runs(&stack, "inbox-down", &[], &["ok"]);
    stack.delivers();
    operator.sees_end(&stack, "BlobgateInboxDown", 3);
    operator.was_woken_by(&["BlobgateInboxDown"]);
}

#[needs(Prometheus, Root)]
#[test]
fn disk_is_nearly_full() {
    let disk = Ext4Disk::ext4(DISK, 4096);
    let elsewhere = tempfile::tempdir().unwrap();
    let stack = Stack::with(TestEvent::GOOD, str::to_owned, Some(disk.at("")));
    let free = stack.prometheus().query("blobgate_inbox_disk_free_bytes").unwrap()[0].value;
    let backup = free - f64::from(u32::try_from(LEFT).unwrap());
    let made =
        Command::new("fallocate").args(["-l", &format!("{backup}")]).arg(disk.at("inbox-monday.db")).status();
    assert!(made.unwrap().success());
    let operator = Operator::at_fault();
    operator.sees(&stack, "BlobgateDiskFills");
    let store = disk.at("");
    let store = store.to_str().unwrap().trim_end_matches('/');
    let paths = [("/var/lib/blobgate", store), ("/mnt/backups", elsewhere.path().to_str().unwrap())];
    let shown = operator.runs(&stack, "disk-fills", &paths, &[]);
    let largest = shown.lines().rev().nth(1).unwrap_or_default();
    assert!(largest.ends_with("inbox-monday.db"), "{shown}");
    operator.runs(&stack, "disk-fills-remedy", &paths, &[]);
    assert!(elsewhere.path().join("inbox-monday.db").is_file());
    stack.delivers();
    operator.sees_end(&stack, "BlobgateDiskFills", 2);
    operator.was_woken_by(&[]);
}

#[needs(Prometheus)]
#[test]
fn restart_of_the_inbox_wakes_nobody() {
    wakes_nobody(r#"min_over_time(up{job="blobgate-inbox"}[3m]) == 0"#, |stack| {
        stack.inbox = None;
        pause(AWAY);
        stack.start_inbox(SIGNING_KEY.1);
    });
}

#[needs(Prometheus)]
#[test]
fn restart_of_the_gate_wakes_nobody() {
    wakes_nobody(r#"min_over_time(up{job="blobgate-gate"}[3m]) == 0"#, |stack| {
        stack.envoy = None;
        pause(AWAY);
        stack.start_envoy();
    });
}

#[needs(Prometheus)]
#[test]
fn restart_of_a_service_wakes_nobody() {
    wakes_nobody("max_over_time(blobgate_inbox_route_failing[3m]) == 1", |stack| {
        stack.video.stop();
        pause(AWAY);
        stack.video.on();
    });
}

/// `outage` is an expression that shows afterwards that Prometheus has seen the restart.
#[track_caller]
fn wakes_nobody(outage: &str, restart: impl Fn(&mut Stack)) {
    let mut stack = Stack::start(TestEvent::GOOD);
    for _ in 0..MAX_RESTARTS {
        let (operator, begun) = (Operator::at_fault(), Instant::now());
        restart(&mut stack);
        stack.delivers();
        let took = begun.elapsed();
        if took > MAX_OUTAGE {
            println!("a restart of {took:?}, which may wake somebody");
            // An alert of this restart may only fire at the next evaluation.
            let next = stack.prometheus().evaluations() + 2;
            until("end of the alerts", || {
                stack.prometheus().evaluations() >= next && stack.alerts().is_empty()
            });
            continue;
        }
        let last = stack.prometheus().evaluations() + 2;
        while stack.prometheus().evaluations() < last {
            let _seen = operator.looks(&stack);
            operator.was_woken_by(&[]);
            pause(Duration::from_millis(500));
        }
        let seen = stack.prometheus().query(outage).unwrap();
        assert!(!seen.is_empty(), "the control: Prometheus has seen {outage}");
        return;
    }
    panic!("no restart of {MAX_RESTARTS} takes less than {MAX_OUTAGE:?}");
}
