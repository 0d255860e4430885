//! `tail` and `export`.

use super::{ForwardedDelivery, RunningInbox, StandInService, TestStore, generation, on_each_store, until};
use crate::running::{RunningTool, blobgate, text};
use blobgate::contract::{EventSource, Kind, Verdict, header};
use serde_json::{Value, json};
use standardwebhooks::Webhook;
use std::process::Stdio;

on_each_store! {
    shows_new_entries_beside_their_delivery
    continues_from_a_cursor
    copies_to_a_target
    continues_without_its_target
    exports_stored_entries
    exports_in_pages
}

const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

impl RunningInbox {
    /// A `tail` that has shown an entry.
    async fn tail(&self, args: &[&str]) -> RunningTool {
        let args = [&["inbox", "tail"], args, &["--admin", &self.admin]].concat();
        let mut command = blobgate(&args);
        command.env("KEY", KEY).stderr(Stdio::piped());
        let running = RunningTool::start(command);
        // `tail` shows entries from after its first request.
        let first = ForwardedDelivery { hook: "first", ..ForwardedDelivery::completed(900) };
        let mut number = 900;
        loop {
            self.store(&ForwardedDelivery { generation: Some(generation(number)), ..first.clone() }).await;
            number += 1;
            assert!(number < 1_500, "tail shows no entry");
            if running.has_line() {
                return running;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}

impl RunningInbox {
    /// Waits until a tail shows this many. Transactions of other tests on the same server delay entries.
    pub(super) async fn until_followed(&self, count: usize) {
        until(&format!("a tail shows {count}"), async || {
            let page = self.get("/tail?after=0.0&limit=500").await;
            page["entries"].as_array().unwrap().len() >= count.min(500)
        })
        .await;
    }
}

/// The next line of this hook.
#[track_caller]
fn next_of(running: &RunningTool, hook: &str) -> Value {
    for _ in 0..1_000 {
        let line: Value = serde_json::from_str(&running.next_line()).unwrap();
        if line["hook"] == hook {
            return line;
        }
    }
    panic!("no line of {hook}")
}

async fn shows_new_entries_beside_their_delivery(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    inbox.store(&ForwardedDelivery { hook: "before", ..ForwardedDelivery::completed(99) }).await;
    let tail = inbox.tail(&["--json"]).await;
    let first = inbox.stored(&ForwardedDelivery::completed(1)).await;
    let quarantined = inbox.stored(&ForwardedDelivery::quarantined(2)).await;
    inbox.store(&ForwardedDelivery::completed(1)).await;
    let third = inbox.stored(&ForwardedDelivery::failed(3)).await;
    for id in [first, quarantined, third] {
        let line = next_of(&tail, "veo3");
        assert_eq!(line["id"], id);
        assert!(line["cursor"].is_string() && line["body"].is_null(), "{line}");
    }
    inbox.wait_for(first, "delivered").await;
    inbox.wait_for(third, "delivered").await;
    let (status, rest) = tail.end_by("INT");
    assert!(status.success());
    assert!(!rest.iter().any(|line| line.contains("before")), "an old entry: {rest:?}");
}

async fn continues_from_a_cursor(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    let mut ids = Vec::new();
    for number in 0..3 {
        ids.push(inbox.stored(&ForwardedDelivery::quarantined(number)).await);
    }
    let tail =
        RunningTool::start(blobgate(&["inbox", "tail", "--after", "0.0", "--json", "--admin", &inbox.admin]));
    let lines: Vec<_> = ids.iter().map(|_| next_of(&tail, "veo3")).collect();
    assert_eq!(lines.iter().map(|line| line["id"].as_i64().unwrap()).collect::<Vec<_>>(), ids);
    drop(tail);
    let after = lines[0]["cursor"].as_str().unwrap();
    let args = ["inbox", "tail", "--after", after, "--reason", "token-expired", "--admin", &inbox.admin];
    let mut command = blobgate(&args);
    let tail = RunningTool::start({
        command.stderr(Stdio::piped());
        command
    });
    let line = tail.next_line();
    let cells: Vec<_> = line.split_whitespace().skip(1).collect();
    assert_eq!(
        cells,
        [&ids[1].to_string(), "quarantined", "completed", "veo3", &generation(1), "token-expired"]
    );
    assert!(tail.next_line().contains(&generation(2)));
    let message = tail.interrupted();
    assert!(message.starts_with("continue with --after "), "{message}");
    // No entry is behind the printed cursor.
    let after = message.trim().rsplit(' ').next().unwrap();
    let page = inbox.get(&format!("/tail?after={after}")).await;
    assert_eq!(page["entries"], json!([]));
    let tail =
        RunningTool::start(blobgate(&["inbox", "tail", "--since", "1h", "--json", "--admin", &inbox.admin]));
    assert_eq!(next_of(&tail, "veo3")["id"], ids[0]);
    let message = inbox.refused(&["tail", "--after", "here"], 2);
    assert!(message.contains("invalid cursor \"here\": use a cursor from an answer, or 0.0\n"), "{message}");
}

async fn copies_to_a_target(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    let (laptop, url) = StandInService::start().await;
    let url = format!("{url}/copy");
    let delivery = ForwardedDelivery {
        job: Some("order-7"),
        body: "{\"a\":  \"\u{e9}\"}\r\n".into(),
        ..ForwardedDelivery::completed(1)
    };
    let id = inbox.stored(&delivery).await;
    let quarantined = inbox.stored(&ForwardedDelivery::quarantined(2)).await;
    let args = ["inbox", "tail", "--after", "0.0", "--json", "--forward", &url, "--signing-key-env", "KEY"];
    let mut command = blobgate(&[&args[..], &["--admin", &inbox.admin]].concat());
    command.env("KEY", KEY).stderr(Stdio::piped());
    let tail = RunningTool::start(command);
    let request = &laptop.wait_for(1).await[0];
    assert_eq!((request.path.as_str(), &request.body[..]), ("/copy/hooks/veo3", &delivery.body[..]));
    for (name, value) in [
        (header::SOURCE, EventSource::Tail.name()),
        (header::ATTEMPT, "1"),
        (header::VERDICT, Verdict::Accepted.name()),
        (header::EVENT, Kind::Completed.name()),
        (header::JOB, "order-7"),
        ("content-type", "application/json"),
        (header::IDEMPOTENCY_KEY, &delivery.key()),
    ] {
        assert_eq!(request.header(name), Some(value), "{name}");
    }
    Webhook::new(KEY).unwrap().verify(&request.body, &request.headers).unwrap();
    let lines = [next_of(&tail, "veo3"), next_of(&tail, "veo3")];
    assert_eq!((&lines[0]["id"], &lines[0]["forwarded"]), (&json!(id), &json!(true)));
    assert_eq!((&lines[1]["id"], &lines[1]["forwarded"]), (&json!(quarantined), &json!(false)));
    assert_eq!(laptop.deliveries().len(), 1, "a quarantined entry has no route");
    // The service gets the entry once, without blobgate-source.
    inbox.wait_for(id, "delivered").await;
    let own = &inbox.service.wait_for(1).await[0];
    assert_eq!((own.path.as_str(), own.header(header::SOURCE)), ("/hooks/veo3", None));
    assert!(tail.interrupted().starts_with(&format!("copied 1 entry to {url}\n")));
}

async fn continues_without_its_target(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    let (laptop, url) = StandInService::start().await;
    laptop.answer(503);
    let first = inbox.stored(&ForwardedDelivery::completed(1)).await;
    let second = inbox.stored(&ForwardedDelivery::completed(2)).await;
    let args =
        ["inbox", "tail", "--after", "0.0", "--forward", &url, "--retry", "1s", "--admin", &inbox.admin];
    let mut command = blobgate(&args);
    command.stderr(Stdio::piped());
    let tail = RunningTool::start(command);
    for id in [first, second] {
        let line = tail.next_line();
        assert!(line.contains(&format!("  {id}  ")), "{line}");
        assert!(line.ends_with("  -> not copied: it answers 503"), "{line}");
    }
    let tried = laptop
        .deliveries()
        .iter()
        .filter(|request| request.body == ForwardedDelivery::completed(1).body)
        .count();
    assert!(tried > 1, "retried: {tried}");
    assert_eq!(laptop.deliveries().len() - tried, 1, "then one try each");
    // A refusal is an answer: the target is up.
    laptop.answer(418);
    inbox.store(&ForwardedDelivery::completed(3)).await;
    assert!(tail.next_line().ends_with("  -> 418"));
    laptop.answer(200);
    inbox.store(&ForwardedDelivery::completed(4)).await;
    assert!(tail.next_line().ends_with("  -> 200"));
    let message = tail.interrupted();
    assert!(
        message.contains(&format!(
            "{url}/ is down: it answers 503. Each entry is tried once until it answers\n"
        )),
        "{message}"
    );
    assert!(message.contains(&format!("copied 1 entry to {url}/, 3 failed\n")), "{message}");
    until("all are delivered", async || inbox.get("/stats").await["states"]["delivered"] == 4).await;
    assert_eq!(inbox.service.deliveries().len(), 4);
}

async fn exports_stored_entries(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    let output = inbox.command(&["export"]);
    assert!(output.stdout.is_empty());
    assert!(text(&output.stderr).starts_with("0 entries exported. Export later ones with --after "));
    let bytes = vec![0, 0xff, b'\n', b'{'];
    let delivery =
        ForwardedDelivery { body: bytes, reason: Some("json-invalid"), ..ForwardedDelivery::quarantined(1) };
    inbox.store(&delivery).await;
    let completed = inbox.stored(&ForwardedDelivery::completed(2)).await;
    inbox.wait_for(completed, "delivered").await;
    inbox.until_followed(2).await;
    let exported = |args: &[&str]| -> Vec<Value> {
        let lines = inbox.lines(&[&["export"], args].concat());
        lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let all = exported(&[]);
    assert_eq!(all.len(), 2);
    assert!(all[0]["body"].is_null() && all[0]["headers"].is_null());
    assert_eq!((&all[1]["id"], &all[1]["state"]), (&json!(completed), &json!("delivered")));
    assert_eq!(exported(&["--state", "quarantined"]).len(), 1);
    assert_eq!(exported(&["--hook", "other"]).len(), 0);
    let bodies = exported(&["--bodies"]);
    assert_eq!((&bodies[0]["body_encoding"], &bodies[0]["body"]), (&json!("base64"), &json!("AP8Kew==")));
    assert_eq!(bodies[1]["body_encoding"], "text");
    assert_eq!(bodies[1]["body"].as_str().unwrap().as_bytes(), ForwardedDelivery::completed(2).body);
    // The headers are the gate's, not those of an attempt.
    let names: Vec<_> =
        bodies[1]["headers"].as_array().unwrap().iter().map(|it| it["name"].clone()).collect();
    assert!(names.contains(&json!(header::HOOK)) && !names.contains(&json!(header::ATTEMPT)), "{names:?}");

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("all.ndjson");
    let name = file.to_str().unwrap();
    let output = inbox.command(&["export", "--out", name]);
    assert!(output.status.success() && output.stdout.is_empty());
    let message = text(&output.stderr);
    assert_eq!(text(&std::fs::read(&file).unwrap()).lines().count(), 2);
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let refused = inbox.refused(&["export", "--out", name], 1);
    assert_eq!(refused, format!("blobgate: cannot create {name}: it exists. Name a new file with --out\n"));
    // The next export has later entries only.
    let after = message.trim().rsplit(' ').next().unwrap();
    let new = inbox.stored(&ForwardedDelivery::quarantined(7)).await;
    inbox.until_followed(3).await;
    let since = exported(&["--after", after]);
    assert_eq!(since.iter().map(|it| it["id"].as_i64().unwrap()).collect::<Vec<_>>(), [new]);
    let message = inbox.refused(&["export", "--after", "x"], 2);
    assert!(message.contains("invalid cursor \"x\": use a cursor from an answer, or 0.0\n"), "{message}");
}

async fn exports_in_pages(place: TestStore) {
    const MANY: usize = 1_100;
    let inbox = RunningInbox::start(place).await;
    for numbers in (0..MANY).collect::<Vec<_>>().chunks(100) {
        let deliveries: Vec<_> = numbers.iter().map(|number| ForwardedDelivery::completed(*number)).collect();
        for stored in futures_util::future::join_all(deliveries.iter().map(|it| inbox.forward(it))).await {
            assert_eq!(stored.status(), 200);
        }
    }
    let last = inbox.stored(&ForwardedDelivery::quarantined(MANY)).await;
    until("a tail shows the last", async || {
        let page = inbox.get("/tail?after=0.0&state=quarantined").await;
        page["entries"][0]["id"] == last
    })
    .await;
    let lines = inbox.lines(&["export", "--bodies", "--event", "completed"]);
    let mut found: Vec<String> = lines
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["generation"].as_str().unwrap().to_owned())
        .collect();
    found.sort();
    assert_eq!(found, (0..=MANY).map(generation).collect::<Vec<_>>());
    let page = inbox.get("/tail?after=0.0&limit=10").await;
    assert_eq!(page["entries"].as_array().unwrap().len(), 10);
    assert_eq!(page["next"], page["entries"][9]["cursor"]);
}
