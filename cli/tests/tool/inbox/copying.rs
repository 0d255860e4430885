//! `backup` and `restore`.

use super::{ForwardedDelivery, RunningInbox, TestStore, until};
use crate::running::{blobgate, text};
use blobgate::contract::header;
use std::path::{Path, PathBuf};
use std::process::Output;

/// The file of an SQLite store.
fn file(place: &TestStore) -> PathBuf {
    place.url.strip_prefix("sqlite:").unwrap().into()
}

fn run(args: &[&str]) -> Output {
    blobgate(&[&["inbox"], args].concat()).output().unwrap()
}

#[track_caller]
fn lines(args: &[&str]) -> Vec<String> {
    let output = run(args);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout).lines().map(str::to_owned).collect()
}

#[track_caller]
fn refused(args: &[&str], code: i32) -> String {
    let output = run(args);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {message}");
    message
}

fn names(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn restores_a_copy_without_redelivering() {
    let place = TestStore::sqlite();
    let (url, path) = (place.url.clone(), file(&place));
    let inbox = RunningInbox::start(place).await;
    let known = ForwardedDelivery::completed(1);
    let done = inbox.stored(&known).await;
    inbox.wait_for(done, "delivered").await;
    inbox.service.answer(500);
    let waits = ForwardedDelivery { hook: "other", ..ForwardedDelivery::completed(2) };
    let waits_id = inbox.stored(&waits).await;
    inbox.store(&ForwardedDelivery::quarantined(3)).await;
    // The number of attempts varies.
    until("an attempt has failed", async || inbox.service.deliveries().len() > 1).await;

    // The inbox runs, with its newest events in the log.
    let away = tempfile::tempdir().unwrap();
    let copy = away.path().join("copy.db");
    let copy = copy.to_str().unwrap();
    let message = lines(&["backup", "--store", &url, "--to", copy]).join("\n");
    assert!(message.starts_with(&format!("copied to {copy}: 3 entries (1 delivered, 1 ")), "{message}");
    assert!(message.ends_with(", checked"), "{message}");
    assert_eq!(names(away.path()), ["copy.db"]);
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(copy).unwrap().permissions().mode() & 0o777, 0o600);
    let again = refused(&["backup", "--store", &url, "--to", copy], 1);
    assert_eq!(again, format!("blobgate: cannot write {copy}: the file exists. Name a new file\n"));
    let busy = refused(&["restore", "--from", copy, "--store", &url, "--yes"], 1);
    let sentence = "another inbox serves it. End that inbox, or name another store";
    assert_eq!(busy, format!("blobgate: cannot open {}: {sentence}\n", path.display()));

    // After the copy, it is delivered, and another event comes.
    inbox.service.answer(200);
    inbox.wait_for(waits_id, "delivered").await;
    let later = inbox.stored(&ForwardedDelivery::completed(4)).await;
    inbox.wait_for(later, "delivered").await;
    let RunningInbox { _running, _place: place, .. } = inbox;
    assert!(_running.end_by("TERM").0.success());

    let asks = refused(&["restore", "--from", copy, "--store", &url], 2);
    assert!(asks.ends_with("There is no terminal for the question: pass --yes\n"), "{asks}");
    let message = lines(&["restore", "--from", copy, "--store", &url, "--yes"]);
    assert!(
        message[0].starts_with(&format!("restored from {copy}: 3 entries (1 delivered, 1 ")),
        "{message:?}"
    );
    let aside = message[1].strip_prefix("the replaced store is now ").unwrap();
    assert!(aside.starts_with(&format!("{}.before-restore-2", path.display())), "{aside}");
    assert!(
        message[2].starts_with("hook other is paused, because its service may have the waiting events. "),
        "{message:?}"
    );
    assert_eq!(message.len(), 3);
    assert!(!names(path.parent().unwrap()).iter().any(|name| name.ends_with(".restoring")));

    // Known events are repeats, waiting ones are paused, new ones are delivered.
    let inbox = RunningInbox::start(place).await;
    inbox.store(&known).await;
    inbox.store(&waits).await;
    let new = inbox.stored(&ForwardedDelivery::completed(5)).await;
    inbox.wait_for(new, "delivered").await;
    let states: Vec<_> = inbox.entries("").await.iter().map(|it| it["state"].clone()).collect();
    assert_eq!(states, ["delivered", "quarantined", "waiting", "delivered"]);
    let held = inbox.entries("state=waiting").await[0]["id"].to_string();
    assert_eq!(inbox.lines(&["drop", &held, "--yes"]), ["1 entry dropped"]);
    inbox.lines(&["resume", "--hook", "other"]);
    let keys: Vec<_> = inbox
        .service
        .deliveries()
        .iter()
        .map(|it| it.header(header::IDEMPOTENCY_KEY).unwrap().to_owned())
        .collect();
    assert_eq!(keys, [ForwardedDelivery::completed(5).key()]);
    // The replaced store is complete.
    let replaced = format!("sqlite:{aside}");
    let inside = away.path().join("aside.db");
    let message = lines(&["backup", "--store", &replaced, "--to", inside.to_str().unwrap()]).join("\n");
    assert!(message.contains(": 4 entries (3 delivered, 1 quarantined), "), "{message}");
}

#[test]
fn refuses_files_that_are_no_copy() {
    let place = TestStore::sqlite();
    let (url, path) = (place.url.clone(), file(&place));
    let before = std::fs::read(&path).unwrap();
    let folder = path.parent().unwrap();
    let there = names(folder);
    let away = tempfile::tempdir().unwrap();
    let bad = away.path().join("bad.db");
    let name = bad.to_str().unwrap();
    let restore = ["restore", "--from", name, "--store", &url, "--yes"];
    let missing = refused(&restore, 1);
    let sentence =
        "No such file or directory (os error 2). Check the path, its permissions and the free space";
    assert_eq!(missing, format!("blobgate: cannot use {name}: {sentence}\n"));
    for (content, sentence) in [
        (&b"not at all"[..], "file is not a database"),
        (b"", "it is not an inbox's store"),
        (&before[..before.len() / 2], "malformed"),
    ] {
        std::fs::write(&bad, content).unwrap();
        let message = refused(&restore, 1);
        assert!(message.starts_with(&format!("blobgate: cannot restore {name}: ")), "{message}");
        assert!(message.contains(sentence), "{message}");
    }
    let itself = refused(&["restore", "--from", path.to_str().unwrap(), "--store", &url, "--yes"], 2);
    assert!(itself.contains(": it is the store itself. Name a copy"), "{itself}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert_eq!(names(folder), there);
    // A new store needs no question.
    let copy = away.path().join("copy.db");
    lines(&["backup", "--store", &url, "--to", copy.to_str().unwrap()]);
    let new = format!("sqlite:{}", folder.join("new.db").display());
    assert!(lines(&["restore", "--from", copy.to_str().unwrap(), "--store", &new])[0].contains("0 entries"));
}

#[test]
fn refuses_postgresql_and_missing_stores() {
    let postgres = "postgres://nobody@127.0.0.1/none";
    let sentence = "blobgate: cannot copy a PostgreSQL store: PostgreSQL has its own tools. docs/howto/backup.md has the commands\n";
    assert_eq!(refused(&["backup", "--store", postgres, "--to", "x"], 2), sentence);
    assert_eq!(refused(&["restore", "--store", postgres, "--from", "x"], 2), sentence);
    let nothing = refused(&["backup", "--store", "sqlite:/nowhere/inbox.db", "--to", "x"], 1);
    assert_eq!(
        nothing,
        "blobgate: cannot open /nowhere/inbox.db: the directory does not exist. Create it, or name another path with --store\n"
    );
    for command in ["backup", "restore"] {
        let message = text(&run(&[command, "--help"]).stdout);
        assert!(message.contains(&format!("Examples:\n  blobgate inbox {command} ")), "{message}");
        assert!(message.contains("Exit code: 0 when "), "{message}");
    }
}
