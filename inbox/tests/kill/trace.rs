//! The system calls of single deliveries: the inbox writes the log, syncs it, and only then answers 200.
//!
//! `kill -9` keeps the page cache, so no other part detects a store that does not sync.

use crate::chance::Chance;
use crate::check::{CheckList, unless};
use crate::load::CustomerOrder;
use crate::program::Starter;
use crate::sender::{HangUp, SendResult, attempt};
use crate::site::KillSite;
use crate::store::StoreUnderTest;
use crate::tool::{self, eventually, signal};
use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const DELIVERIES: usize = 5;
const MAX_WAIT: Duration = Duration::from_secs(20);
const CALLS: &str = "trace=write,writev,pwrite64,pwritev,pwritev2,fsync,fdatasync,sendto,sendmsg";

pub(crate) fn run(program: &Path, kind: &str, seed: u64, checks: &mut CheckList) {
    let durable = answers_after_sync(program, kind, seed, None);
    let problem = || format!("{durable} of {DELIVERIES} answers came after it");
    checks.row(
        &format!("{kind}: each 200 comes after the fsync of the log, by its system calls"),
        unless(durable == DELIVERIES, problem),
    );
    let broken = answers_after_sync(program, kind, seed, Some("break-synchronous-off=return"));
    checks.row(
        &format!(
            "{kind}: break-synchronous-off fails the trace ({broken} of {DELIVERIES} answers came after it)"
        ),
        unless(broken < DELIVERIES, || "the trace passed".to_owned()),
    );
}

fn answers_after_sync(program: &Path, kind: &str, seed: u64, broken: Option<&str>) -> usize {
    let site = KillSite::new(program);
    let mut store = site.store(kind);
    // Paused deliveries: each commit is then an arrival.
    pause_everything(&store);
    let starter = Starter { broken, ..site.starter() };
    let inbox = starter.start(&store).ready();
    let mut pids = vec![inbox.pid()];
    if let StoreUnderTest::Postgres(_) = store {
        let cluster = store.cluster();
        pids.push(cluster.postmaster());
        // strace follows only new processes, so it needs the open backends.
        let backends =
            cluster.query("SELECT pid FROM pg_stat_activity WHERE application_name = 'blobgate-inbox'");
        pids.extend(backends.iter().map(|row| row[0].parse::<u32>().unwrap()));
    }
    let (calls, errors) = (site.folder.path().join("calls"), site.folder.path().join("strace"));
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-s", "32", "-e", CALLS, "-e", "signal=none", "-o"]).arg(&calls);
    pids.iter().for_each(|pid| {
        strace.args(["-p", &pid.to_string()]);
    });
    let error_file = std::fs::File::create(&errors).unwrap();
    let mut strace = strace.stdin(Stdio::null()).stderr(error_file).spawn().unwrap();
    eventually("strace is attached", MAX_WAIT, || {
        let text = std::fs::read_to_string(&errors).unwrap();
        assert!(strace.try_wait().unwrap().is_none(), "strace has ended: {text}");
        pids.iter().all(|pid| text.contains(&format!("Process {pid} attached")))
    });
    let mut chance = Chance::new(seed);
    for _ in 0..DELIVERIES {
        let message = CustomerOrder::new(&mut chance).completed("a", "");
        assert_eq!(attempt(&site.sent, inbox.receive, &message, HangUp::Never), SendResult::Status(200));
    }
    signal("INT", strace.id());
    strace.wait().unwrap();
    let folder = match kind {
        crate::store::SQLITE => "/inbox.db-wal>",
        _ => "/pg_wal/",
    };
    count(&std::fs::read_to_string(&calls).unwrap(), folder)
}

fn pause_everything(store: &StoreUnderTest) {
    let sql = "INSERT INTO pause (hook, event, since) VALUES ('', '', 0)";
    match store {
        StoreUnderTest::Postgres(cluster) => drop(cluster.query(sql)),
        StoreUnderTest::Sqlite { file, .. } => drop(tool::run(Command::new("sqlite3").arg(file).arg(sql))),
    }
}

/// The number of durable answers: since the previous answer there is a write to the log and, after the write's end, a
/// whole sync of it.
fn count(calls: &str, log: &str) -> usize {
    let mut unfinished = HashMap::new();
    let (mut written, mut syncing, mut synced, mut durable) = (false, HashMap::new(), false, 0);
    for line in calls.lines() {
        let (pid, call) = line.split_once(' ').unwrap();
        let call = call.trim_start();
        // strace splits a call into two lines if another thread's call comes between.
        let begins = !call.starts_with("<...");
        let ends = !call.ends_with("<unfinished ...>");
        let whole = if begins {
            if !ends {
                unfinished.insert(pid, call);
            }
            call
        } else {
            unfinished.remove(pid).unwrap_or(call)
        };
        if whole.contains("HTTP/1.1 200") && whole.contains("<socket:")
            || whole.contains("<TCP:") && whole.contains("HTTP/1.1 200")
        {
            if begins {
                durable += usize::from(written && synced);
                (written, synced) = (false, false);
                syncing.clear();
            }
        } else if !whole.contains(log) {
        } else if whole.starts_with("fsync") || whole.starts_with("fdatasync") {
            if begins {
                syncing.insert(pid, written);
            }
            if ends && call.ends_with("= 0") && syncing.remove(pid) == Some(true) {
                synced = true;
            }
        } else if ends {
            // A write after a sync needs another sync.
            (written, synced) = (true, false);
            syncing.values_mut().for_each(|counts| *counts = false);
        }
    }
    durable
}
