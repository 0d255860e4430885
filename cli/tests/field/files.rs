//! The store's files change under a running inbox. It then refuses deliveries, and no acknowledged event is lost.

use crate::PROGRAM;
use blobgate::contract::header;
use blobgate_testkit::inbox::{blobgate, forwarded, fresh_generation, migrate};
use blobgate_testkit::{InboxProcess, SqliteFile, Upstream, eventually, needs, sql};
use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

const EVENTS: usize = 20;

/// The place of the acknowledged events after the change.
#[derive(Clone, Copy, PartialEq)]
enum EventLocation {
    InPlace,
    InACopy,
    /// Lost by overwriting. The inbox refuses all later deliveries.
    Refused,
}

use EventLocation::{InACopy, InPlace, Refused};

macro_rules! rows {
    ($($name:ident: $location:expr, $change:expr;)*) => {
        $(#[test]
        fn $name() {
            refuses_and_rescues($location, $change);
        })*
    };
}

rows! {
    log_removed: InPlace, |db| fs::remove_file(log(db)).unwrap();
    log_moved: InPlace, |db| fs::rename(log(db), db.with_extension("moved")).unwrap();
    log_replaced_by_a_copy: InPlace, |db| {
        fs::copy(log(db), db.with_extension("copied")).unwrap();
        fs::rename(db.with_extension("copied"), log(db)).unwrap();
    };
    index_removed: InPlace, |db| fs::remove_file(beside(db, "-shm")).unwrap();
    database_removed: InACopy, |db| fs::remove_file(db).unwrap();
    database_moved: InACopy, |db| fs::rename(db, db.with_extension("moved")).unwrap();
    all_files_removed: InACopy, |db| {
        for suffix in ["", "-wal", "-shm"] {
            fs::remove_file(beside(db, suffix)).unwrap();
        }
    };
    database_replaced: InACopy, |db| {
        let other = another(db);
        fs::rename(other, db).unwrap();
    };
    hard_link_replaced: InACopy, |db| {
        fs::hard_link(db, db.with_extension("link")).unwrap();
        fs::rename(another(db), db).unwrap();
    };
    folder_moved: InACopy, |db| fs::rename(db.parent().unwrap(), db.parent().unwrap().with_extension("moved")).unwrap();
    folder_removed: InACopy, |db| fs::remove_dir_all(db.parent().unwrap()).unwrap();
    log_cut_off: InACopy, |db| drop(OpenOptions::new().write(true).truncate(true).open(log(db)).unwrap());
    database_cut_off: Refused, |db| OpenOptions::new().write(true).open(db).unwrap().set_len(4096).unwrap();
    database_overwritten: Refused, |db| { fs::copy(another(db), db).unwrap(); };
    database_overwritten_by_a_backup: Refused, |db| {
        let (store, copy) = (format!("sqlite:{}", db.display()), db.with_extension("backup"));
        let made = blobgate(PROGRAM, &["inbox", "backup", "--store", &store, "--to", copy.to_str().unwrap()]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        fs::copy(copy, db).unwrap();
    };
}

fn refuses_and_rescues(location: EventLocation, change: impl Fn(&Path)) {
    let file = SqliteFile::migrated(PROGRAM);
    let (db, store) = (&file.path, &file.url);
    let down = Upstream::off();
    let mut inbox = InboxProcess::start(PROGRAM, store, down.port, &[]).ready();
    let acknowledged: BTreeSet<String> = (0..EVENTS).map(|_| fresh_generation()).collect();
    for generation in &acknowledged {
        assert_eq!(inbox.receive(&forwarded(generation)).unwrap().status, 200);
    }
    change(db);
    let answer = inbox.receive(&forwarded(&fresh_generation())).unwrap();
    assert_eq!(
        (answer.status, answer.header(header::INBOX_REASON).as_deref()),
        (503, Some("store-replaced"))
    );
    // The answer comes after the rescue, so the inbox may die now.
    inbox.kill();
    let log = inbox.log();
    assert_eq!(log.matches("not ready reason=store-replaced: ").count(), 1, "{log}");

    match location {
        Refused => return,
        InPlace => assert!(log.contains(&format!("every event is saved in {}", db.display())), "{log}"),
        InACopy => {
            let copies = find(file.above(), ".rescued-");
            let [copy] = &copies[..] else { panic!("{copies:?}: {log}") };
            assert!(
                log.contains(&format!("{EVENTS} entries are saved in ")) && log.contains(", checked. "),
                "{log}"
            );
            fs::create_dir_all(db.parent().unwrap()).unwrap();
            let from = copy.to_str().unwrap();
            let restored =
                blobgate(PROGRAM, &["inbox", "restore", "--from", from, "--store", store, "--yes"]);
            assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
        }
    }
    let service = Upstream::start();
    let inbox = InboxProcess::start(PROGRAM, store, service.port, &[]).ready();
    inbox.command(&["resume", "--hook", "veo3"]);
    eventually("every acknowledged event", || {
        let arrivals = service.arrivals();
        let arrived = arrivals.iter().filter_map(|arrival| arrival.header(header::GENERATION_ID)).collect();
        acknowledged.is_subset(&arrived).then_some(())
    });
}

#[test]
fn health_log_and_stats_report_the_reason() {
    for suffix in ["", "-wal"] {
        let file = SqliteFile::migrated(PROGRAM);
        let (db, store) = (&file.path, &file.url);
        let service = Upstream::start();
        let inbox = InboxProcess::start(PROGRAM, store, service.port, &[]).ready();
        assert_eq!(inbox.get("/healthz").unwrap().status, 200);
        fs::remove_file(beside(db, suffix)).unwrap();
        // At once, not when the last check of the store expires.
        for path in ["/healthz", "/readyz"] {
            let answer = inbox.get(path).unwrap();
            let expected = format!("store-replaced: {} was removed", beside(db, suffix).display());
            assert_eq!(answer.status, 503, "{path}");
            assert!(answer.text().starts_with(&expected), "{path}: {}", answer.text());
        }
        let stats = inbox.command(&["stats"]);
        let text = String::from_utf8_lossy(&stats.stdout);
        assert!(text.contains("store-replaced since "), "{text}");
        eventually("a rescue", || inbox.log().contains(" saved in ").then_some(()));
        // Until a restart the inbox refuses, and neither delivers nor changes anything.
        for _ in 0..3 {
            assert_eq!(inbox.receive(&forwarded(&fresh_generation())).unwrap().status, 503);
        }
        assert_eq!(inbox.get("/entries").unwrap().status, 503);
        assert_eq!(inbox.command(&["pause", "--hook", "veo3"]).status.code(), Some(1));
        assert!(service.arrivals().is_empty());
        let lines = inbox.log().matches("not ready reason=store-replaced: ").count();
        assert_eq!((lines, inbox.log().matches(" ERROR ").count()), (1, 1), "{}", inbox.log());
    }
}

#[needs(Sqlite3)]
#[test]
fn tolerates_checkpoints_and_vacuum() {
    let file = SqliteFile::migrated(PROGRAM);
    let store = &file.url;
    let service = Upstream::start();
    let inbox = InboxProcess::start(PROGRAM, store, service.port, &[]).ready();
    for statement in ["PRAGMA wal_checkpoint(TRUNCATE)", "VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"] {
        assert_eq!(inbox.receive(&forwarded(&fresh_generation())).unwrap().status, 200);
        service.take_one();
        sql(store, statement);
        assert_eq!(inbox.get("/readyz").unwrap().status, 200, "{}", inbox.log());
    }
    assert_eq!(inbox.receive(&forwarded(&fresh_generation())).unwrap().status, 200);
}

/// Another store in the same folder.
fn another(db: &Path) -> PathBuf {
    let other = db.with_extension("other");
    migrate(PROGRAM, &format!("sqlite:{}", other.display()));
    other
}

fn log(db: &Path) -> PathBuf {
    beside(db, "-wal")
}

fn beside(db: &Path, suffix: &str) -> PathBuf {
    let mut name = db.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn find(folder: &Path, part: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(find(&path, part));
        } else if path.to_string_lossy().contains(part) {
            found.push(path);
        }
    }
    found
}

#[test]
fn reports_a_rescue_copy_until_it_is_moved() {
    let file = SqliteFile::migrated(PROGRAM);
    let (db, store) = (&file.path, &file.url);
    let down = Upstream::off();
    let inbox = InboxProcess::start(PROGRAM, store, down.port, &[]).ready();
    assert_eq!(inbox.receive(&forwarded(&fresh_generation())).unwrap().status, 200);
    fs::rename(another(db), db).unwrap();
    let rescued = || {
        let files = fs::read_dir(db.parent().unwrap()).unwrap();
        files.map(|file| file.unwrap().path().display().to_string()).find(|path| {
            path.contains("inbox.db.rescued-") && !path.ends_with("-wal") && !path.ends_with("-shm")
        })
    };
    eventually("rescue", || inbox.log().contains("entries are saved in").then_some(()));
    let copy = rescued().unwrap();
    drop(inbox);
    // A supervisor restarts the inbox.
    let inbox = InboxProcess::start(PROGRAM, store, down.port, &[]).ready();
    assert!(inbox.log().contains(&copy), "{}", inbox.log());
    let stats = inbox.command(&["stats"]);
    let text = String::from_utf8(stats.stdout).unwrap();
    assert!(text.contains(&format!("rescued         {copy}. ")), "{text}");
    fs::rename(&copy, file.beside("looked-at.db")).unwrap();
    let text = String::from_utf8(inbox.command(&["stats"]).stdout).unwrap();
    assert!(!text.contains("rescued"), "{text}");
}

#[needs(Sqlite3)]
#[test]
fn refuses_with_a_damaged_store() {
    let file = SqliteFile::migrated(PROGRAM);
    let (db, store) = (&file.path, &file.url);
    let down = Upstream::off();
    let mut inbox = InboxProcess::start(PROGRAM, store, down.port, &[]).ready();
    assert_eq!(inbox.receive(&forwarded(&fresh_generation())).unwrap().status, 200);
    inbox.signal("TERM");
    eventually("end", || inbox.exited());
    let page = "SELECT rootpage FROM sqlite_master WHERE name = 'payload'";
    let page: u64 = sql(store, page).parse().unwrap();
    let file = OpenOptions::new().write(true).open(db).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0xff; 4096], (page - 1) * 4096).unwrap();
    drop(file);
    // The first claim of a waiting entry finds the damage, before any event comes.
    let inbox = InboxProcess::start(PROGRAM, store, down.port, &[]);
    let text = eventually("fault", || {
        let answer = inbox.get("/readyz").unwrap();
        (answer.status == 503 && answer.text().starts_with("store-damaged")).then(|| answer.text())
    });
    assert_eq!(inbox.get("/healthz").unwrap().text(), text);
    let answer = inbox.receive(&forwarded(&fresh_generation())).unwrap();
    assert_eq!((answer.status, answer.header(header::INBOX_REASON).as_deref()), (503, Some("store-damaged")));
    assert!(inbox.log().contains("not ready reason=store-damaged: "), "{}", inbox.log());
    let stats = String::from_utf8(inbox.command(&["stats"]).stdout).unwrap();
    assert!(stats.contains("not ready       store-damaged since "), "{stats}");
}
