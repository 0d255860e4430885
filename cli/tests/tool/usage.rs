//! Wrong usage exits with 2, other failures with 1. No inbox runs: wrong usage is found before a connection.

use crate::running::{blobgate, text};
use blobgate_testkit::closed_port;

const GENERATION: &str = "5f1c8c1e-7c0c-4b0a-9a5e-000000000001";

/// Arguments that are wrong by themselves.
const WRONG: &[&[&str]] = &[
    &[],
    &["--colour"],
    &["watch"],
    &["check"],
    &["check", "--fix", "envoy.yaml"],
    &["completions"],
    &["completions", "csh"],
    &["schema", "envoy"],
    &["schema", "--for", "istio"],
    &["demo", "--gate", "gate.example"],
    &["demo", "--inbox", "nowhere"],
    &["demo", "--service", "video"],
    &["demo", "--service", "video=http://127.0.0.1:1"],
    &["inbox"],
    &["inbox", "list"],
    &["inbox", "serve"],
    &["inbox", "serve", "--store", "inbox.db"],
    &["inbox", "serve", "--store", "mysql://db/blobgate"],
    &["inbox", "serve", "--store", "postgres://db/blobgate?sslmod=require"],
    &["inbox", "serve", "--store", "sqlite:x", "--limit", "10"],
    &["inbox", "serve", "--store", "sqlite:x", "--limit", "999999B"],
    &["inbox", "serve", "--store", "sqlite:x", "--batch", "0"],
    &["inbox", "serve", "--store", "sqlite:x", "--batch", "513"],
    &["inbox", "serve", "--store", "sqlite:x", "--concurrency", "0"],
    &["inbox", "serve", "--store", "sqlite:x", "--drain-rate", "0"],
    &["inbox", "serve", "--store", "sqlite:x", "--timeout", "0s"],
    &["inbox", "serve", "--store", "sqlite:x", "--listen", "localhost:9084"],
    &["inbox", "serve", "--store", "sqlite:x", "--listen", "0.0.0.0:9084"],
    &["inbox", "serve", "--store", "sqlite:x", "--admin", "0.0.0.0:9085"],
    &["inbox", "serve", "--store", "sqlite:x", "--access-log", "0.0.0.0:9087"],
    &["inbox", "serve", "--store", "sqlite:x", "--insecure-access-log"],
    &["inbox", "serve", "--store", "sqlite:x", "--listen", "127.0.0.1:9085"],
    &["inbox", "serve", "--store", "sqlite:x", "--deliver-to", "https://127.0.0.1:8090"],
    &["inbox", "serve", "--store", "sqlite:x", "--signing-key-env", "UNSET"],
    &["inbox", "serve", "--store", "sqlite:x", "--signing-key-env", "WORDS"],
    &["inbox", "serve", "--store", "sqlite:x", "--signing-key-env", "BYTES"],
    &["inbox", "serve", "--store", "sqlite:x", "--admin-token", "KEY"],
    &["inbox", "serve", "--store", "sqlite:x", "--admin-token", "ops:admin:KEY"],
    &["inbox", "serve", "--store", "sqlite:x", "--admin-token", "ops:operate:UNSET"],
    &["inbox", "serve", "--store", "sqlite:x", "--admin-token", "ops:operate:EMPTY"],
    &["inbox", "serve", "--store", "sqlite:x", "--admin-token", "ops:operate:WORDS"],
    &["inbox", "serve", "--store", "sqlite:x", "--admin-token", "a:read:KEY", "--admin-token", "b:read:KEY"],
    &[
        "inbox",
        "serve",
        "--store",
        "sqlite:x",
        "--signing-key-env",
        "KEY",
        "--admin-token",
        "ops:operate:KEY",
    ],
    &["inbox", "serve", "--store", "sqlite:x", "--log-format", "xml"],
    &["inbox", "migrate"],
    &["inbox", "migrate", "--store", "sqlite:"],
    &["inbox", "ls", "--admin", "9085"],
    &["inbox", "ls", "--admin", "http://me:secret@127.0.0.1:9085"],
    &["inbox", "ls", "--admin-token-env", "UNSET"],
    &["inbox", "ls", "--admin-token-env", "BYTES"],
    &["inbox", "ls", "--admin-token-env", "WORDS"],
    &["inbox", "ls", "--since", "yesterday"],
    &["inbox", "ls", "--since", "2026-01-31T12:00:00"],
    &["inbox", "ls", "--generation", "7"],
    &["inbox", "ls", "--hook", "Veo 3"],
    &["inbox", "ls", "--job", "a b"],
    &["inbox", "ls", "--limit", "0"],
    &["inbox", "ls", "--before", "-1"],
    &["inbox", "show"],
    &["inbox", "show", "first"],
    &["inbox", "show", "1", "--json", "--body"],
    &["inbox", "stats", "1"],
    &["inbox", "pause"],
    &["inbox", "pause", "--hook", "Veo 3"],
    &["inbox", "pause", "--event", "begun"],
    &["inbox", "resume"],
    &["inbox", "replay"],
    &["inbox", "replay", "0"],
    &["inbox", "replay", "1", "--state", "dead"],
    &["inbox", "retry"],
    &["inbox", "retry", "1", "--hook", "veo3"],
    &["inbox", "retry", "--hook", "veo3", "--dry-run", "--yes"],
    &["inbox", "release", "1", "2", "--as", "completed"],
    &["inbox", "release", "--state", "quarantined", "--as", "completed"],
    &["inbox", "release", "1", "--as", "completed", "--generation", "7"],
    &["inbox", "reevaluate", "1"],
    &["inbox", "reevaluate", "1", "--config", "envoy.yaml", "--waive", "json-invalid"],
    &["inbox", "drop"],
    &["inbox", "expect"],
    &["inbox", "expect", "--hook", "veo3"],
    &["inbox", "expect", "--hook", "veo3", "--generation", "7", "--job", "a"],
    &["inbox", "expect", "--hook", "veo3", "--generation", GENERATION, "--job", "a b"],
    &["inbox", "expect", "--hook", "veo3", "--csv", "x.csv"],
    &["inbox", "tail", "--after", "here"],
    &["inbox", "tail", "--after", "0.1", "--since", "1h"],
    &["inbox", "tail", "--signing-key-env", "KEY"],
    &["inbox", "tail", "--forward", "http://127.0.0.1:1", "--signing-key-env", "UNSET"],
    &["inbox", "tail", "--forward", "http://127.0.0.1:1", "--signing-key-env", "WORDS"],
    &["inbox", "export", "--after", "here"],
    &["inbox", "purge"],
    &["inbox", "purge", "--hook", "veo3"],
    &["inbox", "purge", "--generation", "7"],
    &["inbox", "backup", "--store", "sqlite:x"],
    &["inbox", "backup", "--store", "postgres://db/blobgate", "--to", "x"],
    &["inbox", "restore", "--store", "postgres://db/blobgate", "--from", "x"],
    &["mint"],
    &["mint", "--new-key", "--ttl", "1h"],
    &["receiver", "--listen", "9081"],
    &["sandbox", "--tls-cert", "x"],
    &["sandbox", "--speed", "0"],
    &["sandbox"],
    &["why"],
    &["why", "7"],
    &["why", GENERATION, "--entry", "1"],
    &["why", "--entry", "0"],
    &["why", "--job", "a b"],
    &["why", GENERATION, "--hook", "Veo 3"],
    &["why", GENERATION, "--admin", "9085"],
    &["why", GENERATION, "--admin-token-env", "UNSET"],
    &["explain"],
    &["explain", "no-such-reason"],
    &["explain", "result-url-denied", "--config", "envoy.yaml"],
    &["explain", "--config", "envoy.yaml", "--entry", "x"],
    &["explain", "--config", "envoy.yaml", "--entry", "1", "--hook", "veo3"],
    &["up", "--no-inbox"],
    &["up", "--dev", "--sandbox"],
    &["up", "--dev", "--setup", "blobgate.yaml"],
    &["up", "--admin", "127.0.0.1:0"],
    &["up", "--dev", "--admin", "localhost:9085"],
];

#[test]
fn wrong_usage_exits_with_2() {
    use std::os::unix::ffi::OsStrExt;
    let port = closed_port();
    let closed = port.address.to_string();
    for args in WRONG {
        let mut args = args.to_vec();
        let is_client = args.first() == Some(&"inbox")
            && args
                .get(1)
                .is_some_and(|command| !["list", "serve", "migrate", "backup", "restore"].contains(command));
        if is_client && !args.contains(&"--admin") {
            args.extend(["--admin", &closed]);
        }
        let mut command = blobgate(&args);
        for unset in ["UNSET", "RUNBLOB_API_KEY", "BLOBGATE_INBOX_STORE", "BLOBGATE_LOG_FORMAT"] {
            command.env_remove(unset);
        }
        command.env("EMPTY", "").env("WORDS", "two words").env("BYTES", std::ffi::OsStr::from_bytes(b"\xff"));
        command.env("KEY", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqr");
        let output = command.current_dir(env!("CARGO_TARGET_TMPDIR")).output().unwrap();
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {message}");
        assert!(output.stdout.is_empty() && !message.is_empty(), "{args:?}: {message}");
    }
}

#[test]
fn other_failures_exit_with_1() {
    let port = closed_port();
    let closed = port.address.to_string();
    for args in [
        &["inbox", "ls", "--admin", &closed][..],
        &["inbox", "ls", "--since", "2026-01-31", "--admin", &closed],
        &[
            "inbox",
            "serve",
            "--store",
            "sqlite:/nowhere/inbox.db",
            "--listen",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
        ],
        &["inbox", "migrate", "--store", "sqlite:/nowhere/inbox.db"],
        &["inbox", "backup", "--store", "sqlite:/nowhere/inbox.db", "--to", "x"],
        &["inbox", "restore", "--from", "/nowhere", "--store", "sqlite:x"],
        &["inbox", "reevaluate", "1", "--config", "/nowhere", "--admin", &closed],
        &["inbox", "expect", "--csv", "/nowhere", "--admin", &closed],
        &["inbox", "export", "--out", "/nowhere/x", "--admin", &closed],
        &["why", GENERATION, "--admin", &closed],
        &["explain", "--hook", "veo3", "--config", "/nowhere"],
        &["mint", "--new-key", "--out", "/nowhere/key"],
        &["sandbox", "--api-key-file", "/nowhere"],
        &["receiver", "--listen", "127.0.0.1:0", "--keep", "/dev/null/x"],
        &["demo", "--secrets", "/nowhere"],
        &["up", "--dev"],
        &["up"],
    ] {
        let output = blobgate(args).current_dir(env!("CARGO_TARGET_TMPDIR")).output().unwrap();
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {message}");
        assert!(message.starts_with("blobgate: "), "{args:?}: {message}");
    }
}
