//! `#[needs(Postgres)]` above `#[test]`: the test is ignored, with the reason, where the machine lacks a part.
//!
//! libtest reads the attribute `#[ignore]`, so this macro checks the machine when the test is compiled. The Makefile exports
//! `BLOBGATE_MACHINE`, which changes with the machine, so that `make` compiles these tests again.
//! CI sets `BLOBGATE_LEAVE_NOTHING_OUT`: then a missing part is a compile error.

use proc_macro::TokenStream;
use std::path::Path;
use std::process::Command;

/// Names the parts that a test needs: `#[needs(Postgres, Root)]`.
#[proc_macro_attribute]
pub fn needs(parts: TokenStream, test: TokenStream) -> TokenStream {
    let parts = parts.to_string();
    let mut missing = Vec::new();
    for part in parts.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        match remedy(part) {
            Some((_, true)) => {}
            Some((remedy, false)) => missing.push(remedy),
            None => {
                return with(&format!("compile_error!(\"unknown part {part}: add it to `remedy`\");"), test);
            }
        }
    }
    let reason = missing.join(", ");
    let tracked = "const _: [Option<&str>; 2] =
        [option_env!(\"BLOBGATE_MACHINE\"), option_env!(\"BLOBGATE_LEAVE_NOTHING_OUT\")];";
    if missing.is_empty() {
        with(tracked, test)
    } else if std::env::var_os("BLOBGATE_LEAVE_NOTHING_OUT").is_some() {
        with(
            &format!(
                "{tracked} compile_error!(\"cannot run this test, and BLOBGATE_LEAVE_NOTHING_OUT is set: {reason}\");"
            ),
            test,
        )
    } else {
        with(&format!("{tracked} #[ignore = \"{reason}\"]"), test)
    }
}

/// The remedy for a missing part, and whether the part is present.
fn remedy(part: &str) -> Option<(&'static str, bool)> {
    match part {
        "Postgres" => Some(("install the package postgresql", has_postgres())),
        "Pgbouncer" => Some(("install the package pgbouncer", has_program("pgbouncer"))),
        "Nginx" => Some(("install the package nginx", has_program("nginx"))),
        "Prometheus" => Some(("install the package prometheus", has_program("prometheus"))),
        "Sqlite3" => Some(("install the package sqlite3", has_program("sqlite3"))),
        "Node" => Some(("install the package nodejs", has_program("node"))),
        "Chromium" => Some((
            "install the packages chromium and chromium-driver",
            has_program("chromium") && has_program("chromedriver"),
        )),
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

/// Debian installs daemons in /usr/sbin, which a user's `PATH` lacks.
fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain(["/usr/sbin".into()]).any(|folder| folder.join(name).is_file())
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n")
}

/// Root in a container may lack the right to mount.
fn can_mount() -> bool {
    let made = Command::new("unshare").args(["-m", "true"]).status();
    made.is_ok_and(|status| status.success()) && Path::new("/dev/loop-control").exists()
}

fn with(before: &str, test: TokenStream) -> TokenStream {
    let mut tokens: TokenStream = before.parse().unwrap_or_default();
    tokens.extend(test);
    tokens
}
