//! The demo announces its generations to the inbox, and the inbox reconciles the one without a callback.

use super::{
    GENERATED, InboxStandIn, ReconcileBehaviour, SHIPPED, UNCALLED, claims, demo, demo_by, demo_by_inbox,
    expected, fails,
};
use crate::running::text;
use blobgate::contract::{EventSource, Kind, Proof, header};
use serde_json::{Value, json};

const ROW: &str = "generated, without a callback";

async fn demo_with(reconciles: ReconcileBehaviour) -> (Option<i32>, String) {
    let end = demo_by(&InboxStandIn::with(reconciles), SHIPPED.to_vec(), &[]).await.0;
    assert_eq!(text(&end.stderr), "", "{}", text(&end.stdout));
    (end.status.code(), text(&end.stdout))
}

/// The lines of a row in the table.
#[track_caller]
fn row<'a>(table: &'a str, sent: &str) -> Vec<&'a str> {
    let mut lines = table.lines().skip_while(|line| !line.contains(&format!("  {sent} ")));
    let first = lines.next().unwrap_or_else(|| panic!("no row {sent}: {table}"));
    std::iter::once(first).chain(lines.take_while(|line| line.starts_with("        "))).collect()
}

#[tokio::test]
async fn announces_ordered_generations_with_their_jobs() {
    let entries = InboxStandIn::default();
    let (end, paths) = demo_by(&entries, SHIPPED.to_vec(), &[]).await;
    let (table, told) = (text(&end.stdout), entries.announced());
    let ids: Vec<_> = told.iter().map(|told| told["generation_id"].as_str().unwrap()).collect();
    assert_eq!(ids, [UNCALLED, GENERATED[0], GENERATED[1]], "{table}");
    let jobs: Vec<_> = told.iter().map(|told| told["job"].as_str().unwrap()).collect();
    assert!(jobs[0] != jobs[1] && jobs[1] != jobs[2] && jobs[0] != jobs[2], "{jobs:?}");
    assert_eq!(claims(&paths[0]).unwrap()["job"], jobs[1], "the job of the token");
    for (told, (sent, state)) in told.iter().zip([
        (ROW, "reconciled"),
        ("generated, with a token", "arrived"),
        ("generated, without a token", "arrived"),
    ]) {
        let job = told["job"].as_str().unwrap();
        assert_eq!(told, &json!({"hook": "veo3-token", "generation_id": told["generation_id"], "job": job}));
        assert!(
            row(&table, sent).contains(&&*format!("        expectation of job {job}: {state}")),
            "{table}"
        );
    }
}

#[tokio::test]
async fn shows_the_reconciled_generation() {
    let (code, table) = demo_with(ReconcileBehaviour::Right).await;
    assert_eq!(code, Some(0), "{table}");
    let lines = row(&table, ROW);
    assert!(
        lines[0].starts_with("ok ") && lines[0].ends_with(" -       -                      video"),
        "{table}"
    );
    for (name, value) in [
        (header::EVENT, Kind::Completed.name()),
        (header::SOURCE, EventSource::Reconcile.name()),
        (header::PROOFS, Proof::Confirmed.name()),
    ] {
        assert!(lines.contains(&&*format!("        {name}: {value}")), "{table}");
    }
}

#[tokio::test]
async fn prints_the_reconciliation_in_json() {
    let end = demo_by_inbox(SHIPPED.to_vec(), &["--json"]).await;
    let report: Value = serde_json::from_slice(&end.stdout).unwrap();
    let rows = report["rows"].as_array().unwrap();
    let row = rows.iter().find(|row| row["sent"] == ROW).unwrap();
    assert_eq!((&row["answer"], &row["generation_id"]), (&Value::Null, &json!(UNCALLED)));
    assert_eq!(row["arrived"][0]["headers"][header::SOURCE], EventSource::Reconcile.name());
    assert_eq!(row["expected"], json!({"answer": null, "code": null, "service": "video"}));
    assert_eq!(row["expectation"]["state"], "reconciled");
    assert_eq!(row["expectation"]["job"], row["arrived"][0]["headers"][header::JOB]);
}

#[tokio::test]
async fn skips_the_row_without_a_timely_inbox() {
    let alone = demo(SHIPPED.to_vec(), &[]).await;
    let none = "without an inbox in the path, nothing reconciles it";
    let no_provider = "the inbox has no --provider, and does not reconcile";
    let late = "the inbox reconciles after 780 s (--reconcile-after), the demo waits at most 60 s";
    for ((code, table), why) in [
        ((alone.status.code(), text(&alone.stdout)), none),
        (demo_with(ReconcileBehaviour::NotInPath).await, none),
        (demo_with(ReconcileBehaviour::NoProvider).await, no_provider),
        (demo_with(ReconcileBehaviour::AfterMinutes).await, late),
    ] {
        let lines = row(&table, ROW);
        assert_eq!((code, lines[1].trim_start()), (Some(0), why), "{table}");
        assert!(lines[0].starts_with("- ") && lines[0].ends_with(" skipped"), "{table}");
    }
}

#[tokio::test]
async fn marks_a_wrong_reconciliation() {
    let demo = async |reconciles| {
        let (code, table) = demo_with(reconciles).await;
        assert_eq!(code, Some(1), "{table}");
        table
    };
    let refused = "the provider's answer to the inbox is unauthorized";
    fails(&demo(ReconcileBehaviour::Gets("unauthorized")).await, ROW, refused);
    fails(
        &demo(ReconcileBehaviour::AsAWebhook).await,
        ROW,
        &expected(header::SOURCE, EventSource::Reconcile.name()),
    );
    fails(&demo(ReconcileBehaviour::DeliversTwice).await, ROW, "expected it once at video");
    let table = demo(ReconcileBehaviour::Forgets).await;
    let missing = |state: &str| {
        let is_missing = |line: &&str| line.contains("expected an expectation of job demo-");
        table.lines().filter(is_missing).filter(|line| line.ends_with(&format!(" that is {state}"))).count()
    };
    assert_eq!((missing("reconciled"), missing("arrived")), (1, 2), "{table}");
}
