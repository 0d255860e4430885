//! Faults of keys.

use crate::operator::Operator;
use crate::stack::{Stack, key_secret};
use crate::traffic::{TestEvent, TestToken};
use blobgate_testkit::envoy::SIGNING_KEY;
use blobgate_testkit::{needs, pause};
use std::fs;
use std::time::Duration;

const OTHER_SIGNING_KEY: &str = "whsec_T3RoZXIga2V5IG9mIHRoZSB0ZXN0cywgMzIgYg==";
/// The window of BlobgateTokenInvalid in seconds.
const WINDOW: f64 = 300.0;

#[needs(Prometheus)]
#[test]
fn api_key_is_revoked() {
    let mut stack = Stack::start(TestEvent::confirmed(TestToken::Absent));
    fs::write(stack.path("secrets/next-key"), "the-next-key-of-the-providers-api").unwrap();
    stack.start_sandbox("secrets/next-key");
    let operator = Operator::at_fault();
    operator.sees(&stack, "BlobgateConfirmUnauthorized");
    operator.runs(&stack, "confirm-unauthorized", &[], &["401"]);
    fs::write(stack.path("secrets/new.yaml"), key_secret("the-next-key-of-the-providers-api")).unwrap();
    operator.runs(&stack, "confirm-unauthorized-remedy", &[], &[]);
    stack.delivers();
    operator.runs(&stack, "confirm-unauthorized", &[], &["404", "TASK_NOT_FOUND"]);
    operator.sees_end(&stack, "BlobgateConfirmUnauthorized", 4);
    operator.was_woken_by(&["BlobgateConfirmUnauthorized"]);
}

#[needs(Prometheus)]
#[test]
fn minter_signs_with_an_unknown_key() {
    minter_signs_with(TestToken::UnknownKid, "token=kid kid=2026-11");
}

#[needs(Prometheus)]
#[test]
fn minter_signs_with_another_key_of_a_known_name() {
    minter_signs_with(TestToken::WrongKey, "token=signature kid=dev");
}

#[track_caller]
fn minter_signs_with(token: TestToken, line: &str) {
    const ALERT: &str = "BlobgateTokenInvalid";
    let stack = Stack::start(TestEvent::GOOD);
    // The other proof covers it.
    stack.traffic.change(TestEvent::confirmed(token));
    stack.delivers();
    let operator = Operator::at_fault();
    let alert = operator.sees(&stack, ALERT);
    assert_eq!(alert.label("hook"), "veo3-token");
    operator.runs(&stack, "token-invalid", &[], &[line]);
    stack.traffic.change(TestEvent::GOOD);
    pause(TestEvent::confirmed(token).every);
    stack.prometheus().scraped();
    let mended = stack.prometheus().query("time()").unwrap()[0].value;
    stack.delivers();
    pause(Duration::from_secs(10));
    stack.prometheus().scraped();
    // The alert's expression, for a window that begins after the remedy: five minutes are too long for a test.
    let rules = stack.prometheus().rules();
    let rule = rules.iter().find(|rule| rule["name"] == ALERT).unwrap();
    let query = rule["query"].as_str().unwrap();
    assert_eq!(stack.prometheus().query_at(query, mended).unwrap().len(), 1, "at the remedy");
    assert_eq!(
        stack.prometheus().query_at(query, mended + WINDOW).unwrap(),
        [],
        "five minutes after the remedy"
    );
    operator.was_woken_by(&[]);
}

#[needs(Prometheus)]
#[test]
fn signing_keys_differ() {
    let mut stack = Stack::start(TestEvent::GOOD);
    stack.inbox = None;
    stack.start_inbox(OTHER_SIGNING_KEY);
    let operator = Operator::at_fault();
    operator.sees(&stack, "BlobgateSigningKeysDiffer");
    let pids = [&stack.envoy, &stack.inbox].map(|part| part.as_ref().unwrap().pid().to_string());
    let shown =
        operator.runs(&stack, "signing-keys", &[("GATE_PID", &pids[0]), ("INBOX_PID", &pids[1])], &[]);
    let digests: Vec<&str> = shown.lines().collect();
    assert!(digests.len() == 2 && digests[0] != digests[1], "{shown}");
    stack.inbox = None;
    stack.start_inbox(SIGNING_KEY.1);
    stack.delivers();
    operator.sees_end(&stack, "BlobgateSigningKeysDiffer", 2);
    operator.was_woken_by(&["BlobgateSigningKeysDiffer"]);
}
