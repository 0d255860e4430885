//! Release of quarantined deliveries in which the gate read no event.

use crate::{PROGRAM, on_each_store};
use blobgate::contract::{self, Kind, Proof, Verdict, header};
use blobgate_testkit::inbox::{forwarded, fresh_generation};
use blobgate_testkit::{InboxProcess, TestDelivery, Upstream, eventually};
use serde_json::{Value, json};
use std::process::Output;

on_each_store! {
    names_the_violated_field_and_delivers_the_event_once
    decides_a_release_like_an_arrival
    keeps_contradicting_entries_quarantined
    refuses_other_entries_with_one_sentence
}

/// A quarantined delivery of an authenticated sender without a readable event.
fn quarantined(generation: Option<&str>, body: &Value) -> TestDelivery {
    let delivery = TestDelivery::json(body)
        .path("/hooks/veo3")
        .header(header::CONTRACT, contract::VERSION)
        .header(header::VERDICT, Verdict::Quarantined.name())
        .header(header::HOOK, "veo3")
        .header(header::DIALECT, "veo3")
        .header(header::REASON, "schema-invalid")
        .header(header::DETAIL, STATUS)
        .header(header::PROOFS, Proof::Token.name())
        .header(header::TOKEN_ID, "t-1")
        .header(header::JOB, "order-17");
    match generation {
        Some(generation) => delivery.header(header::GENERATION_ID, generation),
        None => delivery,
    }
}

/// A body in which the provider has renamed the status.
fn renamed(generation: &str) -> Value {
    let url = format!("https://cdn.runblob.io/{generation}.mp4?signed=1");
    json!({"generation_id": generation, "status": "succeeded", "prompt": "A cat", "video_url": url, "error": null})
}

/// Stores a delivery and returns the id of its entry.
fn store(inbox: &InboxProcess, delivery: &TestDelivery) -> String {
    assert_eq!(inbox.receive(delivery).unwrap().status, 200);
    let entries = inbox.get("/entries?limit=1").unwrap().json();
    entries["entries"][0]["id"].to_string()
}

/// Exit status, stdout and stderr.
fn read_output(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn state(inbox: &InboxProcess, id: &str) -> String {
    inbox.get(&format!("/entries/{id}")).unwrap().json()["state"].as_str().unwrap().to_owned()
}

const STATUS: &str = "status: is another text, expected completed or failed";

fn names_the_violated_field_and_delivers_the_event_once(store_name: &str) {
    let service = Upstream::start();
    let inbox = InboxProcess::start(PROGRAM, store_name, service.port, &[]).ready();
    let generation = fresh_generation();
    let body = renamed(&generation);
    let id = store(&inbox, &quarantined(Some(&generation), &body));

    let (code, shown, _) = read_output(&inbox.command(&["show", &id]));
    assert_eq!(code, Some(0));
    assert!(shown.contains(&format!("  detail      {STATUS}\n")), "{shown}");
    let (code, _, refused) = read_output(&inbox.command(&["release", &id]));
    assert_eq!(code, Some(1));
    assert!(
        refused.starts_with(&format!("1 entry not released: {STATUS}; it claims no event: ")),
        "{refused}"
    );
    assert!(refused.contains("`blobgate inbox release ID --as completed`"), "{refused}");
    for text in [&shown, &refused] {
        assert!(!text.contains("succeeded"), "a value of the body is in {text}");
    }

    // Without --yes the command warns and changes nothing.
    let (code, out, warned) = read_output(&inbox.command(&["release", &id, "--as", "completed"]));
    assert_eq!((code, out.as_str()), (Some(2), ""), "{warned}");
    assert!(warned.contains("the inbox does not check its result URL"), "{warned}");
    assert!(warned.contains("pass --yes"), "{warned}");
    let (code, out, _) = read_output(&inbox.command(&["release", &id, "--as", "completed", "--dry-run"]));
    assert_eq!(code, Some(0));
    assert!(
        out.starts_with(&format!("would deliver entry {id} as completed of generation {generation}")),
        "{out}"
    );
    assert_eq!(state(&inbox, &id), "quarantined");
    assert_eq!(service.heads(), 0);

    let (code, out, warned) = read_output(&inbox.command(&["release", &id, "--as", "completed", "--yes"]));
    assert_eq!(
        (code, out),
        (
            Some(0),
            format!(
                "entry {id} is released as completed of generation {generation} on hook veo3, and waits for its delivery\n"
            )
        )
    );
    assert!(warned.contains("the inbox does not check its result URL"), "{warned}");
    let arrival = service.take_one();
    assert_eq!(arrival.body, body.to_string().into_bytes(), "the body is unchanged");
    for (name, value) in [
        (header::VERDICT, Verdict::Accepted.name()),
        (header::EVENT, Kind::Completed.name()),
        (header::OVERRIDE, "schema-invalid"),
        (header::GENERATION_ID, &generation),
        (header::JOB, "order-17"),
        (header::PROOFS, Proof::Token.name()),
        (header::IDEMPOTENCY_KEY, &format!("veo3:{generation}:completed")),
    ] {
        assert_eq!(arrival.header(name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(arrival.header(header::REASON), None);

    // The well-formed event is now a repeat, and a second release is refused.
    let genuine = forwarded(&generation).header(header::TOKEN_ID, "t-1").header(header::JOB, "order-17");
    assert_eq!(inbox.receive(&genuine).unwrap().status, 200);
    let (code, _, refused) = read_output(&inbox.command(&["release", &id, "--as", "completed", "--yes"]));
    assert_eq!(code, Some(1));
    let again = format!("entry {id} is already released: another entry has its event\n");
    assert!(refused.ends_with(&again), "{refused}");
    eventually("delivery", || {
        let stats = inbox.get("/entries?state=delivered").unwrap().json();
        (stats["entries"].as_array().unwrap().len() == 1).then_some(())
    });
    assert_eq!(service.heads(), 1, "one delivery");
}

fn decides_a_release_like_an_arrival(store_name: &str) {
    let service = Upstream::start();
    let inbox = InboxProcess::start(PROGRAM, store_name, service.port, &[]).ready();
    // The release meets an expectation.
    let generation = fresh_generation();
    let expect = json!({"hook": "veo3", "generation_id": generation, "job": "order-17"});
    assert_eq!(inbox.post("/expect", &expect).status, 200);
    let mut event = renamed(&generation);
    event["status"] = json!("completed");
    let id = store(&inbox, &quarantined(None, &json!({"type": "video.completed", "data": event})));
    let (_, shown, _) = read_output(&inbox.command(&["show", &id]));
    assert!(shown.contains(&format!("  detail      {STATUS}\n")), "{shown}");
    let released = inbox.post("/release", &json!({"id": id.parse::<i64>().unwrap(), "as": "completed"}));
    assert_eq!(released.status, 200, "{released:?}");
    let released = released.json();
    assert_eq!(
        (&released["generation"], &released["outcome"], &released["route"], &released["override"]),
        (&json!(generation), &json!("waiting"), &json!("veo3/completed"), &json!("schema-invalid"))
    );
    assert_eq!(service.take_one().header(header::EVENT).as_deref(), Some(Kind::Completed.name()));
    let entries = inbox.get(&format!("/entries?generation={generation}")).unwrap().json();
    let (_, shown, _) = read_output(&inbox.command(&["show", &entries["entries"][0]["id"].to_string()]));
    assert!(shown.contains("job order-17, arrived"), "{shown}");
    assert!(shown.contains(&format!("  {}: schema-invalid\n", header::OVERRIDE)), "{shown}");

    // A body without a generation and without an error code.
    let other = fresh_generation();
    let delivery = quarantined(None, &json!({"result": "no video"})).without_header(header::TOKEN_ID);
    let id = store(&inbox, &delivery.header(header::TOKEN_ID, "t-2"));
    let (code, _, refused) = read_output(&inbox.command(&["release", &id, "--as", "timeout", "--yes"]));
    assert_eq!(code, Some(1));
    assert!(refused.ends_with(&format!("entry {id} names no generation: pass --generation\n")), "{refused}");
    let request = json!({"id": id.parse::<i64>().unwrap(), "as": "timeout", "generation_id": other});
    let released = inbox.post("/release", &request);
    assert_eq!(released.status, 200, "{released:?}");
    let arrival = service.take_one();
    assert_eq!(arrival.header(header::EVENT).as_deref(), Some(Kind::Timeout.name()));
    assert_eq!(arrival.header(header::ERROR_CODE).as_deref(), Some("TIMEOUT"));
    assert_eq!(arrival.header(header::GENERATION_ID), Some(other));
}

fn keeps_contradicting_entries_quarantined(store_name: &str) {
    let service = Upstream::start();
    let inbox = InboxProcess::start(PROGRAM, store_name, service.port, &[]).ready();
    let generation = fresh_generation();
    assert_eq!(inbox.receive(&forwarded(&generation)).unwrap().status, 200);
    let _completed = service.take_one();
    let mut other = renamed(&generation);
    other["video_url"] = json!("https://cdn.runblob.io/another.mp4");
    let id = store(&inbox, &quarantined(Some(&generation), &other));
    for event in ["completed", "failed"] {
        let (code, _, refused) = read_output(&inbox.command(&["release", &id, "--as", event, "--yes"]));
        assert_eq!(code, Some(1));
        assert!(refused.contains("its reason is event-conflict"), "{refused}");
        assert_eq!(state(&inbox, &id), "quarantined");
    }
    // A token is for one generation, unless the application expects another.
    let second = fresh_generation();
    let mine = quarantined(Some(&second), &renamed(&second));
    let bound = fresh_generation();
    let binds = forwarded(&bound).header(header::TOKEN_ID, "t-1").header(header::JOB, "order-17");
    assert_eq!(inbox.receive(&binds).unwrap().status, 200);
    let _bound = service.take_one();
    let reused = store(&inbox, &mine);
    let (code, _, refused) = read_output(&inbox.command(&["release", &reused, "--as", "completed", "--yes"]));
    assert_eq!(code, Some(1));
    assert!(refused.contains("its reason is token-reused. `blobgate inbox expect"), "{refused}");
    let expect = json!({"hook": "veo3", "generation_id": second, "job": "order-17"});
    assert_eq!(inbox.post("/expect", &expect).status, 200);
    let (code, _, refused) = read_output(&inbox.command(&["release", &reused, "--as", "completed", "--yes"]));
    assert_eq!(code, Some(0), "{refused}");
    assert_eq!(service.take_one().header(header::GENERATION_ID), Some(second));
    // A release as an event that is delivered already is a repeat.
    let again = quarantined(Some(&generation), &renamed(&generation)).without_header(header::TOKEN_ID);
    let id = store(&inbox, &again);
    let (code, out, refused) = read_output(&inbox.command(&["release", &id, "--as", "completed", "--yes"]));
    assert_eq!(code, Some(0), "{refused}");
    assert!(
        out.starts_with(&format!("entry {id} is a repeat of completed of generation {generation}")),
        "{out}"
    );
    assert_eq!(state(&inbox, &id), "superseded");
    assert_eq!(service.heads(), 3, "one delivery of each generation");
}

fn refuses_other_entries_with_one_sentence(store_name: &str) {
    let service = Upstream::start();
    let inbox = InboxProcess::start(PROGRAM, store_name, service.port, &[]).ready();
    let generation = fresh_generation();
    let id = store(&inbox, &quarantined(Some(&generation), &renamed(&generation)));
    let number: i64 = id.parse().unwrap();
    let refused = |request: &Value, status: u16, sentence: &str| {
        let answer = inbox.post("/release", request);
        let text = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
        assert_eq!((answer.status, text.as_str()), (status, sentence));
    };
    refused(
        &json!({"id": 999_999, "as": "completed"}),
        404,
        "no entry 999999: `blobgate inbox ls` lists the entries",
    );
    refused(
        &json!({"id": number, "as": "succeeded"}),
        400,
        "the body is wrong: unknown event \"succeeded\": use one of completed, failed, timeout at line 1 column 17",
    );
    refused(
        &json!({"id": number, "as": "completed", "generation_id": "7"}),
        400,
        "invalid generation \"7\": use a UUID in the 8-4-4-4-12 form",
    );
    refused(
        &json!({"id": number, "as": "completed", "generation_id": fresh_generation()}),
        409,
        &format!(
            "entry {id} is about generation {generation}, and a release cannot change that: leave --generation out"
        ),
    );
    assert_eq!(inbox.post("/release", &json!({"id": number, "as": "completed", "route": "x"})).status, 400);
    let (code, _, text) = read_output(&inbox.command(&["release", &id, "--as", "succeeded"]));
    assert_eq!(code, Some(2), "{text}");

    let done = fresh_generation();
    let delivered = store(&inbox, &forwarded(&done));
    let _arrival = service.take_one();
    eventually("delivery", || (state(&inbox, &delivered) == "delivered").then_some(()));
    let request = |id: &str| json!({"id": id.parse::<i64>().unwrap(), "as": "completed"});
    refused(
        &request(&delivered),
        409,
        &format!(
            "entry {delivered} is not quarantined: it is delivered; \
             `blobgate inbox replay {delivered}` delivers it again"
        ),
    );
    assert_eq!(inbox.post("/drop", &json!({"ids": [number]})).status, 200);
    refused(&request(&id), 409, &format!("entry {id} is dropped"));
    let purged = store(&inbox, &quarantined(None, &json!({"purged": 1})));
    assert_eq!(inbox.post("/purge", &json!({"ids": [purged.parse::<i64>().unwrap()]})).status, 200);
    refused(&request(&purged), 409, &format!("entry {purged} is dropped"));
    assert_eq!(service.heads(), 1);
}
