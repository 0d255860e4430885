//! What a test needs of the machine. CI sets `BLOBGATE_LEAVE_NOTHING_OUT`, so that a missing part fails the test there.

use std::path::Path;
use std::process::Command;

/// A part that is not on every machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Postgres,
    Pgbouncer,
    Sqlite3,
    /// To mount disks and make namespaces.
    Root,
}

/// Whether this machine lacks one of these parts, so that the test is left out. It names what is missing.
///
/// # Panics
/// A part is missing, and nothing may be left out.
#[track_caller]
pub fn left_out(needs: &[Need]) -> bool {
    let missing: Vec<_> = needs.iter().filter(|need| !need.is_there()).map(|need| need.remedy()).collect();
    if missing.is_empty() {
        return false;
    }
    let remedies = missing.join("; ");
    assert!(std::env::var_os("BLOBGATE_LEAVE_NOTHING_OUT").is_none(), "a test needs more: {remedies}");
    eprintln!("left out: {remedies}");
    true
}

impl Need {
    fn is_there(self) -> bool {
        match self {
            Need::Postgres => super::postgres::newest().is_some(),
            Need::Pgbouncer => super::pgbouncer::program().is_some(),
            Need::Sqlite3 => std::env::var_os("PATH").is_some_and(|path| {
                std::env::split_paths(&path).any(|folder| folder.join("sqlite3").is_file())
            }),
            Need::Root => super::postgres::is_root() && can_mount(),
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Need::Postgres => "install the package postgresql",
            Need::Pgbouncer => "install the package pgbouncer",
            Need::Sqlite3 => "install the package sqlite3",
            Need::Root => "run it as root, where mounting is allowed",
        }
    }
}

/// Root in a container may not mount.
fn can_mount() -> bool {
    let made = Command::new("unshare").args(["-m", "true"]).output();
    made.is_ok_and(|made| made.status.success()) && Path::new("/dev/loop-control").exists()
}
