//! SQLite's log grows with a burst of events, and shrinks once no more arrive.

use crate::PROGRAM;
use blobgate_testkit::inbox::{forwarded, fresh_generation};
use blobgate_testkit::{InboxProcess, SqliteFile, TestDelivery, Upstream, eventually, needs, sql};
use serde_json::json;

const EVENTS: usize = 300;
const BODY: usize = 60_000;
const MIB: u64 = 1 << 20;

fn large() -> TestDelivery {
    let generation = fresh_generation();
    let url = format!("https://cdn.runblob.io/{generation}.mp4");
    let prompt = "x".repeat(BODY);
    let body =
        json!({"generation_id": generation, "status": "completed", "prompt": prompt, "video_url": url});
    TestDelivery { pieces: vec![body.to_string().into_bytes()], ..forwarded(&generation) }
}

#[needs(Sqlite3)]
#[test]
fn shrinks_after_a_burst() {
    let file = SqliteFile::migrated(PROGRAM);
    let log_size = || std::fs::metadata(file.beside("inbox.db-wal")).unwrap().len();
    let down = Upstream::off();
    let mut inbox = InboxProcess::start(PROGRAM, &file.url, down.port, &[]).ready();
    for round in 1..=2 {
        std::thread::scope(|scope| {
            for _ in 0..10 {
                scope.spawn(|| {
                    for _ in 0..EVENTS / 10 {
                        assert_eq!(inbox.receive(&large()).unwrap().status, 200);
                    }
                });
            }
        });
        let peak = log_size();
        assert!(peak > 10 * MIB, "round {round}: {peak}");
        eventually("a small log", || (log_size() < MIB).then_some(()));
        assert_eq!(inbox.get("/readyz").unwrap().status, 200);
        assert_eq!(inbox.receive(&large()).unwrap().status, 200);
    }
    assert!(!inbox.log().contains("ERROR"), "{}", inbox.log());
    inbox.kill();
    assert_eq!(sql(&file.url, "SELECT count(*) FROM entry"), (2 * EVENTS + 2).to_string());
    assert_eq!(sql(&file.url, "PRAGMA integrity_check"), "ok");
}
