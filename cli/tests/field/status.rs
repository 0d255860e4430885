//! `inbox stats` fails while the inbox refuses deliveries, or cannot deliver events.

use crate::{PROGRAM, on_each_store};
use blobgate::contract::signature::{SigningKey, SigningKeys};
use blobgate::contract::{Verdict, header};
use blobgate_testkit::inbox::{forwarded, fresh_generation};
use blobgate_testkit::{InboxProcess, Reply, TestDelivery, Upstream, eventually, metrics, pause};
use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;

on_each_store! {
    shows_a_full_store
    shows_a_full_quarantine
    shows_different_signing_keys
    shows_a_service_that_fails
    forgets_a_failure_whose_entry_is_dropped
}

const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// The smallest limit. A share is a tenth of it.
const LIMIT: &[&str] = &["--limit", "1MB"];
const OTHER_KEY: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// The exit code of `inbox stats`, its text and its JSON.
fn stats(inbox: &InboxProcess) -> (Option<i32>, String, Value) {
    let (text, json) = (inbox.command(&["stats"]), inbox.command(&["stats", "--json"]));
    (
        text.status.code(),
        String::from_utf8(text.stdout).unwrap(),
        serde_json::from_slice(&json.stdout).unwrap(),
    )
}

#[track_caller]
fn is_well(inbox: &InboxProcess) {
    let (code, text, json) = stats(inbox);
    assert_eq!(
        (code, &json["faults"], &json["refused"]),
        (Some(0), &Value::Array(vec![]), &Value::Null),
        "{text}"
    );
}

fn value(inbox: &InboxProcess, name: &str, labels: &[(&str, &str)]) -> f64 {
    let text = inbox.get("/metrics").unwrap().text();
    metrics::sum(&metrics::parse(&text), &format!("blobgate_inbox_{name}"), labels)
}

fn send(inbox: &InboxProcess, delivery: &TestDelivery) -> (u16, Option<String>) {
    let answer = inbox.receive(delivery).unwrap();
    (answer.status, answer.header(header::INBOX_REASON))
}

/// A delivery of a new generation, with a prompt of this length.
fn padded(prompt: usize) -> TestDelivery {
    let generation = fresh_generation();
    let url = format!("https://cdn.runblob.io/{generation}.mp4");
    let prompt = "A".repeat(prompt);
    let body =
        json!({"generation_id": generation, "status": "completed", "prompt": prompt, "video_url": url});
    let gate = forwarded(&generation);
    let with_body = TestDelivery::of(body.to_string()).path("/hooks/veo3");
    gate.headers()
        .iter()
        .fold(with_body, |delivery, (name, value)| delivery.without_header(name).header(name, value))
}

fn refused(reason: &str) -> (u16, Option<String>) {
    (503, Some(reason.to_owned()))
}

fn shows_a_full_store(store: &str) {
    let service = Upstream::start();
    service.reply(Reply::status(500));
    let inbox = InboxProcess::start(PROGRAM, store, service.port, LIMIT).ready();
    is_well(&inbox);
    let last = (0..50).map(|_| send(&inbox, &padded(100_000))).find(|answer| *answer != (200, None));
    assert_eq!(last, Some(refused("full")));
    let (code, text, json) = stats(&inbox);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("\nnot ready       full since 20"), "{text}");
    assert!(text.contains(": the store has reached its limit: raise --limit\n"), "{text}");
    assert!(text.contains("\nrefused         full at 20"), "{text}");
    assert_eq!(
        (&json["faults"][0]["reason"], &json["faults"][0]["partial"]),
        (&"full".into(), &false.into())
    );
    assert!(inbox.get("/readyz").unwrap().text().starts_with("full: "));
    assert_eq!(value(&inbox, "fault", &[("reason", "full")]), 1.0);
    // Retention frees the space once the event is delivered.
    service.reply(Reply::status(200));
    eventually("room", || (send(&inbox, &padded(10)).0 == 200).then_some(()));
    eventually("the end", || (stats(&inbox).0 == Some(0)).then_some(()));
    assert_eq!(value(&inbox, "fault", &[("reason", "full")]), 0.0);
}

/// A full quarantine refuses quarantined deliveries alone.
fn shows_a_full_quarantine(store: &str) {
    let service = Upstream::start();
    let inbox = InboxProcess::start(PROGRAM, store, service.port, LIMIT).ready();
    let quarantined = |number: usize| {
        padded(5_000)
            .without_header(header::VERDICT)
            .without_header(header::EVENT)
            .without_header(header::PROOFS)
            .header(header::VERDICT, Verdict::Quarantined.name())
            .header(header::REASON, "token-expired")
            .header(header::CLAIMED_EVENT, "completed")
            .header(header::TOKEN_ID, format!("token-{number}"))
    };
    let last =
        (0..200).map(|number| send(&inbox, &quarantined(number))).find(|answer| *answer != (200, None));
    assert_eq!(last, Some(refused("full")));
    let (code, text, json) = stats(&inbox);
    assert_eq!(code, Some(1), "{text}");
    let detail = "quarantined entries have reached their share of the store: release or drop some";
    assert!(text.contains("\nrefuses some    full since 20") && text.contains(detail), "{text}");
    assert_eq!(json["faults"][0]["partial"], true);
    assert_eq!(value(&inbox, "fault", &[("reason", "full")]), 1.0);
    // Other deliveries pass.
    assert_eq!(send(&inbox, &forwarded(&fresh_generation())), (200, None));
    assert_eq!(inbox.get("/readyz").unwrap().status, 200);
    assert_eq!(stats(&inbox).0, Some(1), "quarantined ones are refused still");
    assert!(inbox.log().contains("refuses deliveries reason=full: "), "{}", inbox.log());
}

fn signed(delivery: &TestDelivery, id: &str, key: &str) -> TestDelivery {
    let now = u64::try_from(time::OffsetDateTime::now_utc().unix_timestamp()).unwrap();
    let keys = SigningKeys::new(vec![SigningKey::parse(key).unwrap()]);
    let headers = keys.headers(id.to_owned(), now, &delivery.body());
    headers.iter().fold(delivery.clone(), |delivery, (name, value)| delivery.header(name, value))
}

fn shows_different_signing_keys(store: &str) {
    let service = Upstream::start();
    let mut command = Command::new(PROGRAM);
    command.env("KEY", KEY);
    let inbox =
        InboxProcess::spawn(command, PROGRAM, store, service.port, &["--signing-key-env", "KEY"]).ready();
    let deliver = |key: &str| {
        let generation = fresh_generation();
        send(&inbox, &signed(&forwarded(&generation), &format!("veo3:{generation}:completed"), key))
    };
    // No gate sends a GET.
    assert_eq!(send(&inbox, &TestDelivery::without_body().method("GET").path("/")), refused("method"));
    is_well(&inbox);
    // Any client of the port can send an unsigned delivery: it is no fault.
    assert_eq!(send(&inbox, &forwarded(&fresh_generation())), refused("signature"));
    assert_eq!(inbox.get("/readyz").unwrap().status, 200);
    let (code, text, _) = stats(&inbox);
    assert!(code == Some(1) && text.contains("\nrefused         signature at 20"), "{code:?} {text}");
    assert_eq!(value(&inbox, "fault", &[("reason", "signature")]), 0.0);

    assert_eq!(deliver(OTHER_KEY), refused("signature"));
    let detail = "its signature is by another key: set the same signing key for the gate and the inbox";
    // Any client of the port can send such a signature too.
    assert_eq!(inbox.get("/readyz").unwrap().status, 200);
    let (code, text, json) = stats(&inbox);
    assert_eq!((code, &json["faults"][0]["reason"]), (Some(1), &"signature".into()), "{text}");
    assert!(text.contains("\nrefuses some    signature since 20") && text.contains(detail), "{text}");
    assert_eq!(value(&inbox, "fault", &[("reason", "signature")]), 1.0);
    assert!(inbox.log().contains("refuses deliveries reason=signature: "), "{}", inbox.log());
    assert_eq!(inbox.command(&["stats", "--json"]).status.code(), Some(1));

    assert_eq!(deliver(KEY), (200, None));
    assert_eq!(inbox.get("/readyz").unwrap().status, 200);
    service.take_one();
    eventually("a well inbox", || (stats(&inbox).0 == Some(0)).then_some(()));
    assert_eq!(value(&inbox, "fault", &[("reason", "signature")]), 0.0);
}

fn forgets_a_failure_whose_entry_is_dropped(store: &str) {
    let service = Upstream::start();
    let inbox = InboxProcess::start(PROGRAM, store, service.port, &[]).ready();
    service.reply(Reply::status(404));
    assert_eq!(send(&inbox, &forwarded(&fresh_generation())), (200, None));
    eventually("a failure", || (value(&inbox, "route_failing", &[]) == 1.0).then_some(()));
    // A longer time than the deliverer takes to look for entries: the failure stays while its entry waits.
    pause(Duration::from_secs(4));
    assert_eq!(value(&inbox, "route_failing", &[("outcome", "4xx")]), 1.0);
    // An entry in flight cannot be dropped.
    eventually("a dropped entry", || {
        inbox.command(&["drop", "--state", "waiting", "--yes"]);
        (value(&inbox, "route_failing", &[]) == 0.0).then_some(())
    });
    eventually("a well inbox", || (stats(&inbox).0 == Some(0)).then_some(()));
}

fn shows_a_service_that_fails(store: &str) {
    let service = Upstream::start();
    let inbox = InboxProcess::start(PROGRAM, store, service.port, &[]).ready();
    for (status, outcome, sentence) in [
        (404, "4xx", "answers 4xx since 20"),
        (500, "5xx", "answers 5xx since 20"),
        (302, "other", "answers another status since 20"),
    ] {
        service.reply(Reply::status(status));
        assert_eq!(send(&inbox, &forwarded(&fresh_generation())), (200, None));
        let (text, json) = eventually(sentence, || {
            let (code, text, json) = stats(&inbox);
            (code == Some(1) && text.contains(sentence)).then_some((text, json))
        });
        assert_eq!(json["routes"][0]["failing"]["outcome"], outcome, "{text}");
        let labels = [("route", "veo3/completed"), ("outcome", outcome)];
        assert_eq!(value(&inbox, "route_failing", &labels), 1.0);
        assert_eq!(value(&inbox, "route_failing", &[]), 1.0, "one outcome at a time");
        service.reply(Reply::status(200));
        eventually("a delivery", || (value(&inbox, "route_failing", &[]) == 0.0).then_some(()));
        eventually("a well inbox", || (stats(&inbox).0 == Some(0)).then_some(()));
    }
}
