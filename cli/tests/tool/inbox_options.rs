//! The options of `blobgate inbox serve` in the environment, as `blobgate render` writes them into inbox.env.

use crate::running::{RunningTool, blobgate, text};
use std::process::Command;

const FIRST_KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const SECOND_KEY: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

fn serve(folder: &tempfile::TempDir, variables: &[(&str, &str)], more: &[&str]) -> Command {
    let mut command = blobgate(&[&["inbox", "serve"], more].concat());
    command.current_dir(folder.path()).envs(variables.iter().copied());
    command.env("FIRST_KEY", FIRST_KEY).env("SECOND_KEY", SECOND_KEY);
    command
}

const WHOLE: [(&str, &str); 7] = [
    ("BLOBGATE_INBOX_STORE", "sqlite:inbox.db"),
    ("BLOBGATE_INBOX_LISTEN", "127.0.0.1:0"),
    ("BLOBGATE_INBOX_ADMIN", "127.0.0.1:0"),
    ("BLOBGATE_INBOX_ACCESS_LOG", "127.0.0.1:0"),
    ("BLOBGATE_INBOX_DELIVER_TO", "http://127.0.0.1:8090"),
    ("BLOBGATE_INBOX_PROVIDER", "http://127.0.0.1:8090"),
    ("BLOBGATE_INBOX_SIGNING_KEY_ENV", "FIRST_KEY,SECOND_KEY"),
];

/// WHOLE with another value of a variable.
fn with(name: &str, value: &'static str) -> Vec<(&'static str, &'static str)> {
    WHOLE.iter().map(|&(known, old)| (known, if known == name { value } else { old })).collect()
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let migrated = blobgate(&["inbox", "migrate", "--store", "sqlite:inbox.db"]);
    assert!({ migrated }.current_dir(folder.path()).output().unwrap().status.success());
    folder
}

#[test]
fn serves_with_variables_alone() {
    let folder = folder();
    let inbox = RunningTool::start(serve(&folder, &WHOLE, &[]));
    inbox.first_line_after("inbox listens on http://127.0.0.1:");
    // One inbox at a time has the store.
    drop(inbox);
    // Empty, `--provider` is off, as without the variable.
    let empty = with("BLOBGATE_INBOX_PROVIDER", "");
    let inbox = RunningTool::start(serve(&folder, &empty, &["--metrics", "127.0.0.1:0"]));
    inbox.first_line_after("inbox listens on http://127.0.0.1:");
}

#[test]
fn takes_the_option_before_the_variable() {
    let folder = folder();
    for (variable, option, value) in [
        ("BLOBGATE_INBOX_STORE", "--store", "sqlite:inbox.db"),
        ("BLOBGATE_INBOX_LISTEN", "--listen", "127.0.0.1:0"),
        ("BLOBGATE_INBOX_ADMIN", "--admin", "127.0.0.1:0"),
        ("BLOBGATE_INBOX_ACCESS_LOG", "--access-log", "127.0.0.1:0"),
        ("BLOBGATE_INBOX_DELIVER_TO", "--deliver-to", "http://127.0.0.1:1"),
        ("BLOBGATE_INBOX_PROVIDER", "--provider", "http://127.0.0.1:1"),
        ("BLOBGATE_INBOX_SIGNING_KEY_ENV", "--signing-key-env", "FIRST_KEY"),
    ] {
        let wrong = with(variable, "wrong value");
        let refused = serve(&folder, &wrong, &[]).output().unwrap();
        assert_eq!(refused.status.code(), Some(2), "{variable}: {}", text(&refused.stderr));
        let inbox = RunningTool::start(serve(&folder, &wrong, &[option, value]));
        inbox.first_line_after("inbox listens on http://127.0.0.1:");
    }
}

#[test]
fn needs_a_store_where_its_variable_is_empty() {
    let folder = folder();
    let empty = with("BLOBGATE_INBOX_STORE", "");
    let refused = serve(&folder, &empty, &[]).output().unwrap();
    let stderr = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("--store <STORE>"), "{stderr}");
}

#[test]
fn uses_each_signing_key() {
    let folder = folder();
    let missing = with("BLOBGATE_INBOX_SIGNING_KEY_ENV", "FIRST_KEY,THIRD_KEY");
    let refused = serve(&folder, &missing, &[]).output().unwrap();
    let stderr = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("the environment variable THIRD_KEY is unset or empty"), "{stderr}");
}
