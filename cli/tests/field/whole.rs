//! A start, an event and stats make no sequential scan, by PostgreSQL's own count.

use crate::PROGRAM;
use blobgate_testkit::inbox::{forwarded, fresh_generation, migrate};
use blobgate_testkit::{Cluster, InboxProcess, Upstream, eventually, needs};
use serde_json::Value;

#[needs(Postgres)]
#[test]
fn start_event_and_stats_scan_no_table() {
    const SCANS: &str = "SELECT coalesce(sum(seq_scan), 0) FROM pg_stat_user_tables
        WHERE schemaname = 'blobgate_inbox' AND relname IN ('entry', 'generation', 'token', 'payload', 'expectation')";
    let cluster = Cluster::shared();
    let store = cluster.database();
    migrate(PROGRAM, &store);
    // The migration may scan. A connection reports its scans at its end at the latest.
    let open = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'blobgate-inbox' AND datname = current_database()";
    let closed = || eventually("end of connections", || (cluster.sql(&store, open) == "0").then_some(()));
    closed();
    let before = cluster.sql(&store, SCANS);
    let service = Upstream::start();
    let mut inbox = InboxProcess::start(PROGRAM, &store, service.port, &[]).ready();
    let generation = fresh_generation();
    assert_eq!(inbox.receive(&forwarded(&generation)).unwrap().status, 200);
    service.take_one();
    let delivered = || {
        let stats: Value = serde_json::from_slice(&inbox.get("/stats").unwrap().body).unwrap();
        stats["states"]["delivered"] == 1 && stats["routes"][0]["delivered_last_day"] == 1
    };
    eventually("delivery in stats", || delivered().then_some(()));
    inbox.kill();
    closed();
    assert_eq!(cluster.sql(&store, SCANS), before);
    // The control: a scan is counted.
    cluster.sql(&store, "SELECT count(*) FROM blobgate_inbox.entry");
    eventually("counted control", || (cluster.sql(&store, SCANS) != before).then_some(()));
}
