//! Proves that no event is lost: kills the inbox, its database and its disk under load, and compares logs and store.
//!
//! Runs `ROUNDS` rounds on each store of `STORE`, then the other parts. Arguments select parts.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects
)]

mod breakages;
mod chance;
mod check;
mod clock;
mod cluster;
mod disk;
mod files;
mod judge;
mod load;
mod log;
mod pooler;
mod program;
mod race;
mod receiver;
mod rounds;
mod sender;
mod site;
mod store;
mod tool;
mod trace;

use check::{CheckList, unless};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use store::{POOLED, POSTGRES, SQLITE};

const PARTS: [&str; 8] = ["rounds", "pooler", "breakages", "trace", "disk", "files", "clock", "race"];
/// Rounds behind pgbouncer: each fault except an outage, and each window, once.
const POOLED_ROUNDS: usize = 10;

fn main() -> ExitCode {
    let program = PathBuf::from(std::env::var_os("BLOBGATE").expect("BLOBGATE is the path of the tool"));
    let selected: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = selected.iter().find(|part| !PARTS.contains(&part.as_str())) {
        eprintln!("make kill: unknown part {unknown:?}. PARTS are {}", PARTS.join(", "));
        return ExitCode::from(2);
    }
    let rounds = usize::try_from(number("ROUNDS", 300)).unwrap();
    let seed = number("SEED", u64::from(std::process::id()));
    let store = std::env::var("STORE").unwrap_or_default();
    if !["", SQLITE, POSTGRES].contains(&store.as_str()) {
        eprintln!("make kill: unknown store {store:?}. STORE is {SQLITE} or {POSTGRES}, or unset for both");
        return ExitCode::from(2);
    }
    println!("seed {seed}");
    let mut checks = CheckList::default();
    for part in
        PARTS.into_iter().filter(|part| selected.is_empty() || selected.iter().any(|name| name == part))
    {
        for kind in [SQLITE, POSTGRES].into_iter().filter(|kind| store.is_empty() || store == *kind) {
            checks.part(&format!("{part}, {kind}"), |checks| run(part, &program, kind, rounds, seed, checks));
        }
    }
    checks.conclude()
}

fn number(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).unwrap_or_default();
    if text.is_empty() { default } else { text.parse().expect("a number") }
}

fn run(part: &str, program: &Path, kind: &str, rounds: usize, seed: u64, checks: &mut CheckList) {
    if let Some(missing) = missing(kind) {
        return checks.left_out(&format!("{part}, {kind}"), missing);
    }
    match (part, kind) {
        ("rounds", _) => {
            let report = rounds::run(program, kind, rounds, seed, None);
            report.print(kind);
            let never_hit = report.never_hit();
            checks.row(
                &format!("{kind}: kills hit every window"),
                unless(never_hit.is_empty(), || format!("never hit: {}", never_hit.join(", "))),
            );
            let problem = || "see the counts above".to_owned();
            // Too little load proves nothing.
            let is_ok = report.is_clean() && report.rounds >= rounds && report.acknowledged > 10 * rounds;
            checks.row(&format!("{kind}: no event is lost"), unless(is_ok, problem));
        }
        ("pooler", POSTGRES) if !Path::new(pooler::PROGRAM).exists() => {
            checks.left_out("pooler", "pgbouncer is missing: install the package pgbouncer");
        }
        ("pooler", POSTGRES) => {
            let rounds = rounds.min(POOLED_ROUNDS);
            let report = rounds::run(program, POOLED, rounds, seed, None);
            report.print(POOLED);
            let is_ok = report.is_clean() && report.rounds >= rounds && report.acknowledged > 10 * rounds;
            checks.row(
                &format!("{POOLED}: no event is lost"),
                unless(is_ok, || "see the counts above".to_owned()),
            );
        }
        ("breakages", _) => breakages::run(program, kind, rounds, seed, checks),
        ("trace", _) if !tool::is_there("strace") => {
            checks.left_out(&format!("trace, {kind}"), "strace is missing: install the package strace");
        }
        ("trace", _) => trace::run(program, kind, seed, checks),
        ("clock", _) if clock::library().is_none() => {
            checks.left_out(
                &format!("clock, {kind}"),
                "libfaketime is missing: install the package libfaketime",
            );
        }
        ("clock", _) => {
            clock::run(program, kind, seed, checks);
            if kind == POSTGRES {
                clock::run_database(program, seed, checks);
            }
        }
        ("disk", _) => disk::run(program, kind, seed, checks),
        ("files", SQLITE) => files::run(program, rounds, seed, checks),
        ("race", POSTGRES) => race::run(program, seed, checks),
        _ => {}
    }
}

/// The missing program for a store.
fn missing(kind: &str) -> Option<&'static str> {
    if kind == SQLITE {
        return (!tool::is_there("sqlite3")).then_some("sqlite3 is missing: install the package sqlite3");
    }
    cluster::programs().is_none().then_some("PostgreSQL is missing: install the package postgresql")
}
