//! Proves that nothing is lost: kills the inbox, its database and its disk under load, and judges by logs and by the store.
//!
//! `ROUNDS` rounds on each store of `STORE`, then each check by itself. Arguments name the parts that are wanted.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects
)]

mod chance;
mod cluster;
mod judge;
mod load;
mod log;
mod program;
mod receiver;
mod rounds;
mod sender;
mod store;
mod tool;

use std::path::PathBuf;
use std::process::ExitCode;
use store::{POSTGRES, SQLITE};

fn main() -> ExitCode {
    let program = PathBuf::from(std::env::var_os("BLOBGATE").expect("BLOBGATE is the path of the tool"));
    let number = |name: &str, default| {
        std::env::var(name).ok().filter(|text| !text.is_empty()).map_or(default, |text| text.parse().unwrap())
    };
    let rounds = usize::try_from(number("ROUNDS", 300)).unwrap();
    let seed = number("SEED", u64::from(std::process::id()));
    println!("seed {seed}");
    let mut ok = true;
    for kind in [SQLITE, POSTGRES] {
        if std::env::var("STORE").is_ok_and(|store| !store.is_empty() && store != kind) {
            continue;
        }
        let report = rounds::run(&program, kind, rounds, seed, std::env::var("BROKEN").ok().as_deref());
        report.print(kind);
        println!("never hit: {:?}", report.never_hit());
        ok &= report.is_clean();
    }
    if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
