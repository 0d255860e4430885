//! `#[needs(Postgres)]` above `#[test]`: the test is ignored, with the reason, where the machine lacks a part.
//!
//! libtest decides this from an attribute, so the machine is looked at when the test is compiled. The Makefile exports
//! `BLOBGATE_MACHINE`, which changes with the machine, so that `make` compiles these tests again.
//! With `BLOBGATE_LEAVE_NOTHING_OUT`, which CI sets, a missing part is a compile error.

use proc_macro::TokenStream;
use std::path::Path;
use std::process::Command;

/// Names what a test needs of the machine: `#[needs(Postgres, Root)]`.
#[proc_macro_attribute]
pub fn needs(parts: TokenStream, test: TokenStream) -> TokenStream {
    let parts = parts.to_string();
    let mut missing = Vec::new();
    for part in parts.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        match remedy(part) {
            Some((_, true)) => {}
            Some((remedy, false)) => missing.push(remedy),
            None => return with(&format!("compile_error!(\"there is no part {part}\");"), test),
        }
    }
    let reason = missing.join(", ");
    let tracked = "const _: [Option<&str>; 2] =
        [option_env!(\"BLOBGATE_MACHINE\"), option_env!(\"BLOBGATE_LEAVE_NOTHING_OUT\")];";
    if missing.is_empty() {
        with(tracked, test)
    } else if std::env::var_os("BLOBGATE_LEAVE_NOTHING_OUT").is_some() {
        with(&format!("{tracked} compile_error!(\"this test must not be left out: {reason}\");"), test)
    } else {
        with(&format!("{tracked} #[ignore = \"{reason}\"]"), test)
    }
}

/// What to do about a part, and whether it is there.
fn remedy(part: &str) -> Option<(&'static str, bool)> {
    match part {
        "Postgres" => Some(("install the package postgresql", has_postgres())),
        "Pgbouncer" => Some(("install the package pgbouncer", has_program("pgbouncer"))),
        "Sqlite3" => Some(("install the package sqlite3", has_program("sqlite3"))),
        "Node" => Some(("install the package nodejs", has_program("node"))),
        "Python3" => Some(("install the package python3", has_program("python3"))),
        // To mount disks and make namespaces.
        "Root" => Some(("run as root, where mounting is allowed", is_root() && can_mount())),
        _ => None,
    }
}

fn has_postgres() -> bool {
    let versions = std::fs::read_dir("/usr/lib/postgresql");
    versions
        .is_ok_and(|versions| versions.flatten().any(|version| version.path().join("bin/initdb").exists()))
}

/// Debian's daemons are where a user's `PATH` does not lead.
fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain(["/usr/sbin".into()]).any(|folder| folder.join(name).is_file())
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n")
}

/// Root in a container may not.
fn can_mount() -> bool {
    let made = Command::new("unshare").args(["-m", "true"]).status();
    made.is_ok_and(|status| status.success()) && Path::new("/dev/loop-control").exists()
}

fn with(before: &str, test: TokenStream) -> TokenStream {
    let mut tokens: TokenStream = before.parse().unwrap_or_default();
    tokens.extend(test);
    tokens
}
