//! Announced generations.

use super::{ForwardedDelivery, RunningInbox, TestStore, generation, on_each_store};
use crate::running::text;
use blobgate::contract::header;
use reqwest::Method;
use serde_json::{Value, json};
use std::fs;

on_each_store! {
    announces_once
    refuses_wrong_announcements
    releases_an_explained_entry
    shows_a_job_mismatch
    announces_from_a_file
}

fn of(number: usize, job: &str) -> Value {
    json!({"hook": "veo3", "generation_id": generation(number), "job": job})
}

impl RunningInbox {
    async fn expect(&self, number: usize, job: &str) -> Value {
        let (status, message) = self.call(Method::POST, "/expect", &of(number, job)).await;
        assert_eq!(status, 200, "{message}");
        message
    }
}

async fn announces_once(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    let message = inbox.expect(1, "order-1").await;
    assert_eq!((&message["state"], &message["job"]), (&json!("expected"), &json!("order-1")));
    assert_eq!((&message["job_mismatch"], &message["released"]), (&Value::Null, &json!([])));
    assert_eq!(inbox.expect(1, "order-1").await, message);
    let id = generation(1);
    let command =
        |job| ["expect", "--hook", "veo3", "--generation", &generation(1), "--job", job].map(str::to_owned);
    let args = |command: &[String]| command.to_vec();
    let own = args(&command("order-1"));
    let own: Vec<_> = own.iter().map(String::as_str).collect();
    assert_eq!(inbox.lines(&own), [format!("{id}: job order-1, expected")]);
    let other = args(&command("order-2"));
    let other: Vec<_> = other.iter().map(String::as_str).collect();
    let sentence = format!(
        "generation {id} of hook veo3 already has the job \"order-1\", not \"order-2\": check the job"
    );
    assert_eq!(inbox.refused(&other, 1), format!("blobgate: {sentence}\n"));
    let (status, problem) = inbox.call(Method::POST, "/expect", &of(1, "order-2")).await;
    assert_eq!(
        (status, &problem["code"], &problem["detail"]),
        (409, &json!("job-conflict"), &json!(sentence))
    );

    let delivery =
        inbox.stored(&ForwardedDelivery { job: Some("order-1"), ..ForwardedDelivery::completed(1) }).await;
    assert_eq!(inbox.lines(&own), [format!("{id}: job order-1, arrived")]);
    let shown = inbox.lines(&["show", &delivery.to_string()]);
    assert!(shown.contains(&"  expected    job order-1, arrived".to_owned()), "{shown:?}");
}

async fn refuses_wrong_announcements(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    let id = generation(1);
    for (body, sentence) in [
        (
            json!({"hook": "veo3", "generation_id": id, "job": "a", "when": 1}),
            "the body is wrong: unknown field `when`, expected one of `hook`, `generation_id`, `job` at line 1 column 75",
        ),
        (
            json!({"hook": "veo3", "generation_id": "7", "job": "a"}),
            "invalid generation \"7\": use a UUID in the 8-4-4-4-12 form",
        ),
        (
            json!({"hook": "Veo 3", "generation_id": id, "job": "a"}),
            "invalid hook \"Veo 3\": use 1 to 32 of a-z 0-9 -",
        ),
        (
            json!({"hook": "veo3", "generation_id": id, "job": "a\n"}),
            "invalid job \"a\\n\": use 1 to 64 of A-Z a-z 0-9 . _ ~ -",
        ),
        (
            json!({"hook": "veo3", "generation_id": id, "job": ""}),
            "invalid job \"\": use 1 to 64 of A-Z a-z 0-9 . _ ~ -",
        ),
    ] {
        let (status, message) = inbox.call(Method::POST, "/expect", &body).await;
        let message = message["detail"].as_str().unwrap().to_owned();
        let start = sentence.split(" at line").next().unwrap();
        assert_eq!(status, 400, "{message}");
        assert!(message.starts_with(start), "{message}");
    }
    let sentence = json!("this inbox runs without a status API: start it with --provider");
    let (status, problem) = inbox.call(Method::POST, "/reconcile", &json!({})).await;
    assert_eq!((status, &problem["detail"]), (409, &sentence));
}

/// Its token was used for another generation before.
async fn releases_an_explained_entry(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    let with_token = |number| ForwardedDelivery {
        job: Some("order-1"),
        token: Some("token-1"),
        ..ForwardedDelivery::completed(number)
    };
    inbox.store(&with_token(2)).await;
    inbox.service.wait_for(1).await;
    let quarantined = inbox.stored(&with_token(1)).await;
    assert_eq!(inbox.entries("state=quarantined").await[0]["reason"], "token-reused");
    let message = inbox.expect(1, "order-1").await;
    assert_eq!((&message["state"], &message["released"]), (&json!("arrived"), &json!([quarantined])));
    let requests = inbox.service.wait_for(2).await;
    assert_eq!(requests[1].header(header::GENERATION_ID), Some(generation(1).as_str()));
    assert_eq!(requests[1].header(header::OVERRIDE), None);
    let released = inbox.get(&format!("/entries/{quarantined}")).await;
    assert_eq!((&released["state"], &released["lane"]), (&json!("superseded"), &json!("quarantine")));
    assert_eq!(released["answer"], "released: its generation is announced with its job");
    assert_eq!(inbox.expect(1, "order-1").await["released"], json!([]));
    // An expectation does not explain another job's token, which stays quarantined.
    inbox
        .store(&ForwardedDelivery {
            job: Some("order-9"),
            token: Some("token-9"),
            ..ForwardedDelivery::completed(1)
        })
        .await;
    assert_eq!(inbox.expect(1, "order-1").await["released"], json!([]));
    assert_eq!(inbox.entries("state=quarantined").await[0]["reason"], "token-conflict");
}

async fn shows_a_job_mismatch(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    let entry =
        inbox.stored(&ForwardedDelivery { job: Some("order-9"), ..ForwardedDelivery::completed(1) }).await;
    let message = inbox.expect(1, "order-1").await;
    assert_eq!(message["job_mismatch"], json!({"entry": entry, "job": "order-9"}));
    assert_eq!(inbox.expect(1, "order-1").await["job_mismatch"], message["job_mismatch"]);
    let shown = inbox.lines(&["show", &entry.to_string()]);
    let line = format!(
        "  expected    job order-1, arrived; job-mismatch: entry {entry} was accepted with job order-9"
    );
    assert!(shown.contains(&line), "{shown:?}");
    let metrics =
        inbox.client.get(format!("{}/metrics", inbox.admin)).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("blobgate_inbox_job_mismatch_total 1\n"), "{metrics}");
}

async fn announces_from_a_file(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("generations.csv");
    let name = file.to_str().unwrap();
    let row = |number, job: &str| format!("veo3,{},{job}\n", generation(number));
    let rows: String = (1..=30).map(|number| row(number, "order-1")).collect();
    fs::write(&file, format!("hook,generation_id,job\n{rows}\n")).unwrap();
    assert_eq!(inbox.lines(&["expect", "--csv", name]), ["30 expected"]);
    assert_eq!(inbox.lines(&["expect", "--csv", name]), ["30 expected"]);
    assert_eq!(inbox.lines(&["expect", "--csv", name, "--json"]).len(), 30);

    // A refused line does not stop the others.
    fs::write(
        &file,
        [row(1, "order-1"), row(2, "order-2"), "veo3,7,order-3\n".to_owned(), row(40, "order-4")].concat(),
    )
    .unwrap();
    let output = inbox.command(&["expect", "--csv", name]);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(1), "2 expected, 2 refused\n"));
    let message = text(&output.stderr);
    let lines: Vec<_> = message.lines().collect();
    let other = format!(
        "line 2: generation {} of hook veo3 already has the job \"order-1\", not \"order-2\": check the job",
        generation(2)
    );
    assert_eq!(
        lines,
        [
            other.as_str(),
            "line 3: invalid generation \"7\": use a UUID in the 8-4-4-4-12 form",
            "this inbox does not reconcile: it does not fetch an event whose webhook never comes. Start it with --provider",
        ]
    );
    assert_eq!(inbox.expect(40, "order-4").await["state"], "expected");

    // A malformed file announces nothing.
    fs::write(&file, format!("{}veo3;7;order-3\n", row(50, "order-5"))).unwrap();
    let message = inbox.refused(&["expect", "--csv", name], 1);
    assert_eq!(
        message,
        format!("blobgate: cannot read line 2 of {name}: \"veo3;7;order-3\". Write hook,generation_id,job\n")
    );
    let dry = inbox.call(Method::POST, "/reconcile", &json!({"dry_run": true})).await.1;
    assert_eq!(dry["questions"].as_array().unwrap().len(), 31);
    assert_eq!(dry["per_minute"], Value::Null);
}
