//! Only one inbox serves a file: under any of its names, and also after other files in its folder are deleted.

use crate::PROGRAM;
use blobgate_testkit::inbox::{forwarded, fresh_generation, migrate};
use blobgate_testkit::{InboxProcess, Upstream, needs};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::{Command, Output};

#[needs(Root)]
#[test]
fn refuses_a_second_inbox_and_a_second_log() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let db = at("inbox.db");
    let store = format!("sqlite:{}", db.display());
    migrate(PROGRAM, &store);
    let service = Upstream::start();
    let inbox = InboxProcess::start(PROGRAM, &store, service.port, &[]).ready();
    let _none = fs::remove_file(at("inbox.db.lock"));

    // By its name, a symbolic link and a bind mount.
    let taken = "another inbox serves it. ";
    refuses(&serve(&db, None), taken);
    symlink(&db, at("link.db")).unwrap();
    refuses(&serve(&at("link.db"), None), taken);
    let bound = at("bound.db");
    fs::write(&bound, "").unwrap();
    refuses(&serve(&bound, Some(&db)), taken);

    // Commands work beside the inbox, but only by the name that has the log.
    assert!(command(&["migrate"], &db, None).status.success());
    let copy = |name: &str| ["backup".to_owned(), "--to".to_owned(), at(name).display().to_string()];
    let args = copy("copy.db");
    let backup: Vec<_> = args.iter().map(String::as_str).collect();
    assert!(command(&backup, &db, None).status.success());
    let from = at("copy.db").display().to_string();
    refuses(&command(&["restore", "--yes", "--from", &from], &db, None), taken);
    refuses(&command(&["restore", "--yes", "--from", &from], &at("link.db"), None), taken);
    refuses(&command(&["migrate"], &bound, Some(&db)), "another inbox serves it");
    let args = copy("second.db");
    let second: Vec<_> = args.iter().map(String::as_str).collect();
    refuses(&command(&second, &bound, Some(&db)), "another inbox serves it");

    fs::hard_link(&db, at("hard.db")).unwrap();
    refuses(&serve(&at("hard.db"), None), taken);
    refuses(&command(&["migrate"], &at("hard.db"), None), "has 2 names");
    fs::remove_file(at("hard.db")).unwrap();

    // The first inbox still serves, with all its locks.
    assert_eq!(inbox.receive(&forwarded(&fresh_generation())).unwrap().status, 200);
    service.take_one();
    let [posix, flock] = locks(&inbox, &db);
    assert!(posix > 0 && flock == 1, "{posix} POSIX locks, {flock} flock");
}

#[test]
fn refuses_a_file_with_two_names() {
    let folder = tempfile::tempdir().unwrap();
    let db = folder.path().join("inbox.db");
    migrate(PROGRAM, &format!("sqlite:{}", db.display()));
    fs::hard_link(&db, folder.path().join("hard.db")).unwrap();
    refuses(&serve(&db, None), "has 2 names (hard links)");
}

/// Runs `serve`. Mounts the file `mounted` at `db` first, if there is one.
fn serve(db: &Path, mounted: Option<&Path>) -> Output {
    command(&["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"], db, mounted)
}

fn command(args: &[&str], db: &Path, mounted: Option<&Path>) -> Output {
    let store = format!("sqlite:{}", db.display());
    let (name, rest) = args.split_first().unwrap();
    let all: Vec<&str> = ["inbox", name, "--store", &store].into_iter().chain(rest.iter().copied()).collect();
    // A command that is not refused would not end.
    let mut limited = Command::new("timeout");
    limited.arg("20");
    let Some(mounted) = mounted else { return limited.arg(PROGRAM).args(all).output().unwrap() };
    let script = "mount --make-rprivate / && mount --bind \"$1\" \"$2\" && shift 2 && exec \"$0\" \"$@\"";
    limited.args(["unshare", "-m", "sh", "-c", script, PROGRAM]).arg(mounted).arg(db).args(all);
    limited.output().unwrap()
}

#[track_caller]
fn refuses(output: &Output, sentence: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains(sentence), "{stderr}");
    assert_eq!(output.status.code(), Some(1), "{stderr}");
}

/// The number of POSIX locks and of flocks of a process on a file.
fn locks(inbox: &InboxProcess, db: &Path) -> [usize; 2] {
    let (pid, file) = (inbox.pid().to_string(), format!(":{}", fs::metadata(db).unwrap().ino()));
    let locks = fs::read_to_string("/proc/locks").unwrap();
    ["POSIX", "FLOCK"].map(|kind| {
        let lines = locks.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        lines.filter(|line| line[1] == kind && line[4] == pid && line[5].ends_with(&file)).count()
    })
}
