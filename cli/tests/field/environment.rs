//! A full disk with small blocks, and a read-only root file system.

use crate::PROGRAM;
use blobgate_testkit::inbox::{forwarded, fresh_generation, migrate};
use blobgate_testkit::{Ext4Disk, InboxProcess, SqliteFile, Upstream, eventually, needs};
use std::fs::File;
use std::process::{Command, ExitStatus};

const KIB: u64 = 1 << 10;

/// The inbox starts, or logs why it does not. It never dies of a signal.
#[needs(Root)]
#[test]
fn survives_a_full_disk_with_small_blocks() {
    // With and without the log's index, and with space for none or a part of it.
    let cases = [(true, 0), (true, 40), (false, 0), (false, 9), (false, 24), (false, 48)];
    std::thread::scope(|scope| {
        for (has_index, left) in cases {
            scope.spawn(move || starts_or_logs_why(has_index, left * KIB));
        }
    });
}

fn starts_or_logs_why(has_index: bool, left: u64) {
    let case = format!("index: {has_index}, left: {left}");
    let down = Upstream::off();
    let disk = Ext4Disk::ext4(24 << 20, 1 << 10);
    let store = format!("sqlite:{}", disk.at("inbox.db").display());
    migrate(PROGRAM, &store);
    let mut inbox = InboxProcess::start(PROGRAM, &store, down.port, &[]);
    eventually("health", || inbox.get("/healthz").ok().filter(|answer| answer.status == 200));
    inbox.kill();
    if !has_index {
        std::fs::remove_file(disk.at("inbox.db-shm")).unwrap();
    }
    disk.fill_to(left);
    let refused = |status: ExitStatus, log: String| {
        assert_eq!(status.code(), Some(1), "{case}: {status}, {log}");
        assert!(log.contains("cannot open "), "{case}: {log}");
    };
    let mut inbox = match InboxProcess::try_spawn(0, Command::new(PROGRAM), PROGRAM, &store, down.port, &[]) {
        Ok(inbox) => inbox,
        Err((status, log)) => return refused(status, log),
    };
    // Once the admin listener answers, the store is open.
    let ended = eventually("response or exit", || match inbox.get("/metrics") {
        Ok(_) => Some(None),
        Err(_) => inbox.exited().map(Some),
    });
    if let Some(status) = ended {
        return refused(status, inbox.log());
    }
    // Another program takes the rest of the space. The log has space for one frame or none.
    for left in [0, 6 * KIB, 12 * KIB] {
        disk.empty();
        disk.fill_to(left);
        let _any = inbox.get("/healthz");
        let _any = inbox.receive(&forwarded(&fresh_generation()));
        assert_eq!(inbox.exited(), None, "{case}, then {left}: {}", inbox.log());
    }
    disk.empty();
    eventually("health again", || inbox.get("/healthz").ok().filter(|answer| answer.status == 200));
}

/// Makes everything read-only except the store's folder.
const READ_ONLY: &str = "
    mount --make-rprivate / &&
    for folder in /tmp /var/tmp /usr/tmp; do
        [ ! -d $folder ] || { mount --bind $folder $folder && mount -o remount,ro,bind $folder; } || exit
    done &&
    mount --bind \"$1\" \"$1\" && mount -o remount,rw,bind \"$1\" && mount -o remount,ro,bind / &&
    shift && cd / && unset TMPDIR SQLITE_TMPDIR && exec \"$0\" \"$@\"";

#[needs(Root)]
#[test]
fn writes_temporary_files_only_into_the_stores_folder() {
    const EVENTS: usize = 3_000;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store = format!("sqlite:{}", folder.path().join("inbox.db").display());
    migrate(PROGRAM, &store);
    let down = Upstream::off();
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", READ_ONLY, PROGRAM]).arg(folder.path());
    let inbox = InboxProcess::spawn(command, PROGRAM, &store, down.port, &[]).ready();
    assert!(inbox.command(&["pause", "--hook", "veo3"]).status.success());
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                for _ in 0..EVENTS / 20 {
                    assert_eq!(inbox.receive(&forwarded(&fresh_generation())).unwrap().status, 200);
                }
            });
        }
    });
    for args in [["drop", "--state", "waiting", "--yes"], ["replay", "--state", "dropped", "--yes"]] {
        let output = inbox.command(&args);
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success() && text.contains("3000"), "{args:?}: {text}{}", inbox.log());
    }
    assert!(!inbox.log().contains(" ERROR "), "{}", inbox.log());
}

/// A pipe whose reader does not read, as a log driver that hangs.
#[test]
fn a_stalled_reader_of_the_log_stops_nothing() {
    let service = Upstream::start();
    let file = SqliteFile::migrated(PROGRAM);
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("log");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let _reader = File::options().read(true).write(true).open(&pipe).unwrap();
    let mut command = Command::new("sh");
    command
        .args(["-c", "exec \"$0\" \"$@\" 2> \"$LOG\"", PROGRAM])
        .env("LOG", &pipe)
        .env("RUST_LOG", "trace");
    let mut inbox = InboxProcess::spawn_at(0, command, PROGRAM, &file.url, service.port, &[]).ready();
    for _ in 0..300 {
        assert_eq!(inbox.receive(&forwarded(&fresh_generation())).unwrap().status, 200);
    }
    assert_eq!(inbox.get("/livez").unwrap().status, 200);
    assert_eq!(inbox.get("/readyz").unwrap().status, 200);
    inbox.signal("TERM");
    let status = eventually("the end", || inbox.exited());
    assert!(status.success(), "{status}");
}
