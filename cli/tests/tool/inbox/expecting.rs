//! What the application says of its generations.

use super::{ForwardedDelivery, RunningInbox, TestStore, generation, on_each_store};
use crate::running::text;
use blobgate::contract::header;
use reqwest::Method;
use serde_json::{Value, json};
use std::fs;

on_each_store! {
    is_said_once
    is_refused_in_a_sentence
    releases_what_it_explains
    shows_a_mismatch
    comes_in_a_file
}

fn of(number: usize, job: &str) -> Value {
    json!({"hook": "veo3", "generation_id": generation(number), "job": job})
}

impl RunningInbox {
    async fn expect(&self, number: usize, job: &str) -> Value {
        let (status, said) = self.ask(Method::POST, "/expect", &of(number, job)).await;
        assert_eq!(status, 200, "{said}");
        said
    }
}

async fn is_said_once(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    let said = inbox.expect(1, "order-1").await;
    assert_eq!((&said["state"], &said["job"]), (&json!("expected"), &json!("order-1")));
    assert_eq!((&said["job_mismatch"], &said["released"]), (&Value::Null, &json!([])));
    assert_eq!(inbox.expect(1, "order-1").await, said);
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
        "generation {id} of hook veo3 is expected of job \"order-1\", not of \"order-2\": check the job"
    );
    assert_eq!(inbox.refused(&other, 1), format!("blobgate: {sentence}\n"));
    let (status, problem) = inbox.ask(Method::POST, "/expect", &of(1, "order-2")).await;
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

async fn is_refused_in_a_sentence(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    let id = generation(1);
    for (body, sentence) in [
        (
            json!({"hook": "veo3", "generation_id": id, "job": "a", "when": 1}),
            "invalid body: unknown field `when`, expected one of `hook`, `generation_id`, `job` at line 1 column 75",
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
        let (status, said) = inbox.ask(Method::POST, "/expect", &body).await;
        let said = said["detail"].as_str().unwrap().to_owned();
        let start = sentence.split(" at line").next().unwrap();
        assert_eq!(status, 400, "{said}");
        assert!(said.starts_with(start), "{said}");
    }
    let sentence = json!("this inbox runs without a status API: start it with --provider");
    let (status, problem) = inbox.ask(Method::POST, "/reconcile", &json!({})).await;
    assert_eq!((status, &problem["detail"]), (409, &sentence));
}

/// Its token has been used for something else first.
async fn releases_what_it_explains(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    let with_token = |number| ForwardedDelivery {
        job: Some("order-1"),
        token: Some("token-1"),
        ..ForwardedDelivery::completed(number)
    };
    inbox.store(&with_token(2)).await;
    inbox.service.wait_for(1).await;
    let kept = inbox.stored(&with_token(1)).await;
    assert_eq!(inbox.entries("state=quarantined").await[0]["reason"], "token-reused");
    let said = inbox.expect(1, "order-1").await;
    assert_eq!((&said["state"], &said["released"]), (&json!("arrived"), &json!([kept])));
    let came = inbox.service.wait_for(2).await;
    assert_eq!(came[1].header(header::GENERATION_ID), Some(generation(1).as_str()));
    assert_eq!(came[1].header(header::OVERRIDE), None);
    let released = inbox.get(&format!("/entries/{kept}")).await;
    assert_eq!((&released["state"], &released["lane"]), (&json!("superseded"), &json!("quarantine")));
    assert_eq!(released["answer"], "released: its generation is expected of its job");
    assert_eq!(inbox.expect(1, "order-1").await["released"], json!([]));
    // A stranger's token for it is kept, and no expectation explains that.
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

async fn shows_a_mismatch(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    let entry =
        inbox.stored(&ForwardedDelivery { job: Some("order-9"), ..ForwardedDelivery::completed(1) }).await;
    let said = inbox.expect(1, "order-1").await;
    assert_eq!(said["job_mismatch"], json!({"entry": entry, "job": "order-9"}));
    assert_eq!(inbox.expect(1, "order-1").await["job_mismatch"], said["job_mismatch"]);
    let shown = inbox.lines(&["show", &entry.to_string()]);
    let line = format!(
        "  expected    job order-1, arrived; job-mismatch: entry {entry} was accepted with job order-9"
    );
    assert!(shown.contains(&line), "{shown:?}");
    let metrics =
        inbox.client.get(format!("{}/metrics", inbox.admin)).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("blobgate_inbox_job_mismatch_total 1\n"), "{metrics}");
}

async fn comes_in_a_file(place: TestStore) {
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

    // Some lines are refused, and the others are said all the same.
    fs::write(
        &file,
        [row(1, "order-1"), row(2, "order-2"), "veo3,7,order-3\n".to_owned(), row(40, "order-4")].concat(),
    )
    .unwrap();
    let output = inbox.command(&["expect", "--csv", name]);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(1), "2 expected, 2 refused\n"));
    let said = text(&output.stderr);
    let lines: Vec<_> = said.lines().collect();
    let other = format!(
        "line 2: generation {} of hook veo3 is expected of job \"order-1\", not of \"order-2\": check the job",
        generation(2)
    );
    assert_eq!(
        lines,
        [other.as_str(), "line 3: invalid generation \"7\": use a UUID in the 8-4-4-4-12 form"]
    );
    assert_eq!(inbox.expect(40, "order-4").await["state"], "expected");

    // A file that is none is not begun.
    fs::write(&file, format!("{}veo3;7;order-3\n", row(50, "order-5"))).unwrap();
    let said = inbox.refused(&["expect", "--csv", name], 1);
    assert_eq!(
        said,
        format!("blobgate: cannot read line 2 of {name}: \"veo3;7;order-3\". Write hook,generation_id,job\n")
    );
    let dry = inbox.ask(Method::POST, "/reconcile", &json!({"dry_run": true})).await.1;
    assert_eq!(dry["questions"].as_array().unwrap().len(), 31);
    assert_eq!(dry["per_minute"], Value::Null);
}
