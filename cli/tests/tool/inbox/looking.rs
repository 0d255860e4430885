//! `ls`, `show` and `stats`.

use super::{CLIENT, ForwardedDelivery, RunningInbox, TestStore, generation, on_each_store, until};
use crate::running::text;
use blobgate::contract::{Verdict, header};
use reqwest::Method;
use serde_json::{Value, json};

on_each_store! {
    lists_by_filter
    lists_in_pages
    shows_an_entry_without_its_body
    shows_unchanged_bytes
    shows_the_client_of_a_quarantined_entry
    counts_by_route
}

/// The ids in a list.
fn ids(lines: &[String]) -> Vec<i64> {
    lines[1..].iter().map(|line| line.split_whitespace().next().unwrap().parse().unwrap()).collect()
}

async fn lists_by_filter(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    let output = inbox.command(&["ls"]);
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), "no entry matches\n"));
    assert!(output.stdout.is_empty());

    let completed =
        inbox.stored(&ForwardedDelivery { job: Some("order-7"), ..ForwardedDelivery::completed(1) }).await;
    let failed = inbox.stored(&ForwardedDelivery { hook: "other", ..ForwardedDelivery::failed(2) }).await;
    let quarantined = inbox.stored(&ForwardedDelivery::quarantined(3)).await;
    let observed = inbox
        .stored(&ForwardedDelivery { verdict: Verdict::Observed, ..ForwardedDelivery::completed(4) })
        .await;
    inbox.wait_for(completed, "delivered").await;
    inbox.wait_for(failed, "delivered").await;
    inbox.wait_for(observed, "delivered").await;

    let lines = inbox.lines(&["ls"]);
    let head: Vec<_> = lines[0].split_whitespace().collect();
    assert_eq!(head, ["ID", "AGE", "STATE", "EVENT", "HOOK", "GENERATION", "ATTEMPTS", "ANSWER", "REASON"]);
    assert_eq!(ids(&lines), [observed, quarantined, failed, completed]);
    let cells: Vec<_> = lines[3].split_whitespace().skip(2).collect();
    assert_eq!(cells, ["delivered", "failed", "other", &generation(2), "1", "200", "-"]);

    let upper = generation(2).to_uppercase();
    for (args, expected) in [
        (&["--state", "quarantined"][..], &[quarantined][..]),
        (&["--state", "delivered", "--event", "completed"], &[observed, completed]),
        (&["--lane", "observed"], &[observed]),
        (&["--hook", "other"], &[failed]),
        (&["--event", "failed"], &[failed]),
        (&["--reason", "token-expired"], &[quarantined]),
        (&["--generation", &upper], &[failed]),
        (&["--job", "order-7"], &[completed]),
        (&["--since", "1h", "--state", "quarantined"], &[quarantined]),
        (&["--since", "2020-01-31T12:00:00Z", "--state", "quarantined"], &[quarantined]),
        (&["--since", "2020-01-31", "--state", "quarantined"], &[quarantined]),
        (&["--since", "2020-01-31 12:00+02", "--state", "quarantined"], &[quarantined]),
    ] {
        assert_eq!(ids(&inbox.lines(&[&["ls"], args].concat())), expected, "{args:?}");
    }
    for args in [&["--state", "dead"][..], &["--since", "2990-01-01"], &["--reason", "event-conflict"]] {
        assert!(inbox.lines(&[&["ls"], args].concat()).is_empty(), "{args:?}");
    }

    for (args, expected) in [
        (
            &["--state", "lost"][..],
            "[possible values: waiting, in_flight, delivered, dead, superseded, quarantined, dropped]",
        ),
        (&["--lane", "left"], "[possible values: deliver, quarantine, observed]"),
        (&["--event", "begun"], "[possible values: completed, failed, timeout]"),
        (&["--reason", "bad"], "token-reused, token-conflict, event-conflict]"),
        (&["--limit", "0"], "0 is not in 1.."),
        (&["--generation", "7"], "invalid generation \"7\": use a UUID in the 8-4-4-4-12 form\n"),
        (&["--since", "today"], "it names no time. Write 90m, 2026-01-31, or 2026-01-31T12:00:00Z\n"),
        (&["--colour"], "unexpected argument '--colour'"),
    ] {
        let message = inbox.refused(&[&["ls"], args].concat(), 2);
        assert!(message.contains(expected), "{args:?}: {message}");
    }
}

async fn lists_in_pages(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    let mut stored = Vec::new();
    for number in 0..5 {
        stored.push(inbox.stored(&ForwardedDelivery::quarantined(number)).await);
    }
    stored.reverse();
    let output = inbox.command(&["ls", "--limit", "2"]);
    let lines: Vec<_> = text(&output.stdout).lines().map(str::to_owned).collect();
    assert_eq!(ids(&lines), stored[..2]);
    let before = stored[1].to_string();
    assert_eq!(
        text(&output.stderr),
        format!("older entries may match. Pass --before {before}, or a higher --limit\n")
    );
    let output = inbox.command(&["ls", "--limit", "3", "--before", &before, "--json"]);
    assert!(output.stderr.is_empty());
    let entries: Vec<Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let found: Vec<_> = entries.iter().map(|entry| entry["id"].as_i64().unwrap()).collect();
    assert_eq!(found, stored[2..]);
    assert_eq!(entries[0]["reason"], "token-expired");
    assert_eq!(entries[0]["lane"], "quarantine");
}

async fn shows_an_entry_without_its_body(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    inbox.service.answer(500);
    let delivery = ForwardedDelivery { job: Some("order-7"), ..ForwardedDelivery::completed(1) };
    let id = inbox.stored(&delivery).await;
    until("its first attempt is written", async || {
        inbox.get(&format!("/entries/{id}")).await["status"] == 500
    })
    .await;
    let number = id.to_string();
    let lines = inbox.lines(&["show", &number]);
    let shown = lines.join("\n");
    for expected in [
        "  event       completed",
        &format!("  generation  {}", generation(1)),
        "  job         order-7",
        "  sender      authenticated",
        "  route       veo3/completed",
        "  last answer 500 scripted",
        "  POST /hooks/veo3",
        &format!("  {}: {}", header::IDEMPOTENCY_KEY, delivery.key()),
        &format!("body: `blobgate inbox show {number} --body --admin {}` prints it", inbox.admin),
    ] {
        assert!(shown.contains(expected), "{expected:?} is not in:\n{shown}");
    }
    assert!(!shown.contains("a cat that stays"), "{shown}");
    assert_eq!(inbox.command(&["show", &number, "--body"]).stdout, delivery.body);
    let json: Value = serde_json::from_slice(&inbox.command(&["show", &number, "--json"]).stdout).unwrap();
    assert_eq!((&json["body_encoding"], &json["path"]), (&"text".into(), &"/hooks/veo3".into()));
    assert_eq!(json["body"].as_str().unwrap().as_bytes(), delivery.body);

    assert_eq!(
        inbox.refused(&["show", "999999"], 1),
        "blobgate: no entry 999999: `blobgate inbox ls` lists the entries\n"
    );
    assert!(inbox.refused(&["show", "first"], 2).contains("invalid value 'first'"));
    assert!(inbox.refused(&["show", "1", "--json", "--body"], 2).contains("cannot be used with"));
}

async fn shows_unchanged_bytes(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    let body = vec![0, 0xff, b'\n', b'{', 0xc3];
    let id = inbox
        .stored(&ForwardedDelivery {
            body: body.clone(),
            reason: Some("json-invalid"),
            ..ForwardedDelivery::quarantined(1)
        })
        .await;
    assert_eq!(inbox.command(&["show", &id.to_string(), "--body"]).stdout, body);
    let shown = inbox.get(&format!("/entries/{id}")).await;
    assert_eq!((&shown["body_encoding"], &shown["body"]), (&"base64".into(), &"AP8Ke8M=".into()));
    assert_eq!(shown["digest"], crate::inbox::looking::sha256(&body));
}

async fn shows_the_client_of_a_quarantined_entry(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    let id = inbox.stored(&ForwardedDelivery::quarantined(1)).await;
    let accepted = inbox.stored(&ForwardedDelivery::completed(2)).await;
    inbox.wait_for(accepted, "delivered").await;
    let shown = inbox.lines(&["show", &id.to_string()]);
    assert!(shown.contains(&format!("  client      {CLIENT}")), "{shown:?}");
    assert!(!inbox.lines(&["show", &accepted.to_string()]).iter().any(|line| line.starts_with("  client")));
    inbox.until_followed(2).await;
    for args in [&["ls", "--json"][..], &["export"], &["export", "--bodies"]] {
        let lines = inbox.lines(args);
        let clients = lines.iter().map(|line| {
            let entry: Value = serde_json::from_str(line).unwrap();
            (entry["id"].as_i64().unwrap(), entry["client"].as_str().map(str::to_owned))
        });
        let mut clients: Vec<_> = clients.collect();
        clients.sort();
        assert_eq!(clients, [(id, Some(CLIENT.to_owned())), (accepted, None)], "{args:?}");
    }
    // The service gets every other header.
    inbox.lines(&["release", &id.to_string(), "--yes"]);
    let delivery = inbox.service.wait_for(2).await.pop().unwrap();
    assert_eq!(delivery.header(header::OVERRIDE), Some("token-expired"));
    assert_eq!(delivery.header(header::CLIENT), None);
    assert_eq!(inbox.get(&format!("/entries/{id}")).await["client"], CLIENT);
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    hex::encode(Sha256::digest(bytes))
}

async fn counts_by_route(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    inbox.store(&ForwardedDelivery::completed(1)).await;
    inbox.service.wait_for(1).await;
    inbox.store(&ForwardedDelivery::quarantined(2)).await;
    inbox.store(&ForwardedDelivery::quarantined(3)).await;
    inbox.lines(&["pause", "--event", "completed"]);
    inbox.service.answer(503);
    for number in 10..16 {
        inbox.store(&ForwardedDelivery::failed(number)).await;
    }
    until("the failures' service is down", async || {
        let stats = inbox.get("/stats").await;
        stats["routes"].as_array().unwrap().iter().any(|route| route["down"] == true)
    })
    .await;
    let stats = inbox.get("/stats").await;
    assert_eq!(stats["quarantined"], serde_json::json!({"token-expired": 2}));
    assert_eq!(stats["routes"][0]["delivered_last_day"], 1);
    assert_eq!(stats["tombstones"], 0);
    assert!(stats["bytes"].as_i64().unwrap() > 500);

    // Exit code 1: a route is down.
    let printed = inbox.command(&["stats"]);
    assert_eq!(printed.status.code(), Some(1));
    let lines: Vec<_> = text(&printed.stdout).lines().map(str::to_owned).collect();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(&lines[0]), ["ROUTE", "WAITING", "IN", "FLIGHT", "DELIVERED", "DEAD"]);
    assert_eq!(words(&lines[1]), ["veo3/completed", "0", "0", "1", "0", "paused"]);
    let failed = words(&lines[2]);
    assert_eq!((failed[0].as_str(), failed[3].as_str(), failed[5].as_str()), ("veo3/failed", "0", "down,"));
    assert!(lines[2].contains("down, answers 5xx since 20"), "{}", lines[2]);
    let numbers: Vec<i64> = failed[1..3].iter().map(|number| number.parse().unwrap()).collect();
    assert_eq!(numbers.iter().sum::<i64>(), 6);
    let message = lines.join("\n");
    assert!(message.contains("\nquarantined     2 token-expired\n"), "{message}");
    assert!(message.contains("\npaused          completed of every hook since 20"), "{message}");
    let json: Value = serde_json::from_slice(&inbox.command(&["stats", "--json"]).stdout).unwrap();
    assert_eq!(json["pauses"][0]["event"], "completed");
}

/// A list, a preview and a change each reach entries behind 20,000 other ones.
#[blobgate_testkit::needs(Sqlite3)]
#[tokio::test(flavor = "multi_thread")]
async fn finds_old_entries_among_many() {
    let place = TestStore::sqlite();
    blobgate_testkit::fill(place.url(), 60_000);
    let inbox = RunningInbox::start(place).await;
    let page = inbox.get("/entries?job=order-10000").await;
    assert_eq!(page, json!({"entries": [], "next": 40_001, "examined": true}));
    let listed = inbox.lines(&["ls", "--job", "order-10000", "--json"]);
    let ids: Vec<_> =
        listed.iter().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].clone()).collect();
    assert_eq!(ids, [30_002, 30_001, 30_000]);
    let what = json!({"filter": {"job": "order-10000"}, "dry_run": true});
    let preview = inbox.call(Method::POST, "/replay", &what).await.1;
    assert_eq!(preview, json!({"would_change": [], "would_refuse": [], "until": 60_000, "next": 20_000}));
    let replayed = inbox.lines(&["replay", "--job", "order-10000", "--yes", "--json"]);
    let replayed: Value = serde_json::from_str(&replayed.concat()).unwrap();
    assert_eq!(replayed["changed"], json!([30_000, 30_001]));
    let output = inbox.command(&["ls", "--job", "none"]);
    assert_eq!((text(&output.stdout).as_str(), text(&output.stderr).as_str()), ("", "no entry matches\n"));
}
