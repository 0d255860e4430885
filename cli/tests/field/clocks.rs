//! The clocks of gate and inbox differ.

use crate::{PROGRAM, on_each_store};
use blobgate::contract::header;
use blobgate::contract::signature::{SigningKey, SigningKeys};
use blobgate_testkit::inbox::{forwarded, fresh_generation};
use blobgate_testkit::{InboxProcess, TestDelivery};
use std::process::Command;

const KEY: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const VARIABLE: &str = "FIELD_SIGNING_KEY";

on_each_store! { reports_the_clock_offset }

/// A delivery that a gate signs whose clock is ahead by this many seconds.
fn signed(generation: &str, offset: i64, key: &str) -> TestDelivery {
    let delivery = forwarded(generation);
    let keys = SigningKeys::new(vec![SigningKey::parse(key).unwrap()]);
    let time = u64::try_from(time::OffsetDateTime::now_utc().unix_timestamp() + offset).unwrap();
    let headers = keys.headers(format!("veo3:{generation}:completed"), time, &delivery.body());
    headers.into_iter().fold(delivery, |delivery, (name, value)| delivery.header(name, value))
}

fn metric(inbox: &InboxProcess) -> i64 {
    let text = inbox.get("/metrics").unwrap().text();
    let line = text.lines().find(|line| line.starts_with("blobgate_inbox_clock_offset_seconds ")).unwrap();
    line.split(' ').nth(1).unwrap().parse().unwrap()
}

fn reports_the_clock_offset(store: &str) {
    let mut command = Command::new(PROGRAM);
    command.env(VARIABLE, KEY);
    let inbox = InboxProcess::spawn(command, PROGRAM, store, 9, &["--signing-key-env", VARIABLE]).ready();
    let is_ready = || inbox.get("/readyz").unwrap().status == 200;
    let send = |delivery: &TestDelivery| {
        let answer = inbox.receive(delivery).unwrap();
        (answer.status, answer.header(header::INBOX_REASON))
    };
    let code = |code: &str| Some(code.to_owned());

    // A sender without the key has no effect on the offset.
    let other = format!("whsec_{}", "A".repeat(32));
    let (status, reason) = send(&signed(&fresh_generation(), -600, &other));
    assert_eq!((status, reason), (503, code("signature")));
    let (status, reason) = send(&forwarded(&fresh_generation()).header(header::WEBHOOK_TIMESTAMP, "1"));
    assert_eq!((status, reason), (503, code("signature")));
    assert!(is_ready());

    let old = signed(&fresh_generation(), -600, KEY);
    let (status, reason) = send(&old);
    assert_eq!((status, reason), (503, code("clock-offset")));
    let log = inbox.log();
    assert!(log.contains("600 s behind") || log.contains("601 s behind"), "{log}");
    let ready = inbox.get("/readyz").unwrap();
    assert_eq!(ready.status, 503);
    assert!(ready.text().starts_with("clock-offset: the time of its signature is 60"), "{}", ready.text());
    assert!(inbox.log().contains("not ready reason=clock-offset: "), "{}", inbox.log());
    assert!((-605..=-600).contains(&metric(&inbox)));
    assert!(inbox.get("/stats").unwrap().text().contains("clock-offset"));
    // The store itself is healthy.
    assert_eq!(inbox.get("/healthz").unwrap().status, 200);

    // A current signature ends the fault. Old signatures do not start it again.
    assert_eq!(send(&signed(&fresh_generation(), -2, KEY)).0, 200);
    assert!(is_ready() && (-5..=0).contains(&metric(&inbox)));
    assert_eq!(send(&old).1, code("clock-offset"));
    assert_eq!(send(&signed(&fresh_generation(), -900, KEY)).1, code("clock-offset"));
    assert!(is_ready());
}
