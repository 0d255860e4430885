//! Pins every name and value that crosses a process as a literal, so that a change of the wire needs a second edit.

#![allow(missing_docs)]

use blobgate::contract::signature::{KEY_PREFIX, TOLERANCE};
use blobgate::contract::{DOCS, EventSource, Kind, Proof, VERSION, Verdict};
use blobgate::contract::{idempotency_key, quarantine_key};
use blobgate::dialect::Dialect;
use blobgate::event::Class;
use blobgate::{Reason, answer};
use std::collections::BTreeMap;

/// The source, so that the test finds names that are missing here.
const HEADERS: &str = include_str!("../src/contract/header.rs");

#[test]
fn pins_header_names() {
    let written: Vec<(&str, &str)> = HEADERS
        .lines()
        .filter_map(|line| line.strip_prefix("pub const ")?.strip_suffix("\";")?.split_once(": &str = \""))
        .collect();
    let pinned = [
        ("PREFIX", "blobgate-"),
        ("VERDICT", "blobgate-verdict"),
        ("HOOK", "blobgate-hook"),
        ("DIALECT", "blobgate-dialect"),
        ("CONTRACT", "blobgate-contract"),
        ("REASON", "blobgate-reason"),
        ("OBSERVED", "blobgate-observed"),
        ("GENERATION_ID", "blobgate-generation-id"),
        ("EVENT", "blobgate-event"),
        ("CLAIMED_EVENT", "blobgate-claimed-event"),
        ("RESULT_HOST", "blobgate-result-host"),
        ("CLIENT", "blobgate-client"),
        ("DETAIL", "blobgate-detail"),
        ("DRIFT", "blobgate-drift"),
        ("PROOFS", "blobgate-proofs"),
        ("TOKEN_ID", "blobgate-token-id"),
        ("JOB", "blobgate-job"),
        ("ERROR_CODE", "blobgate-error-code"),
        ("ERROR_CLASS", "blobgate-error-class"),
        ("ERROR_RETRYABLE", "blobgate-error-retryable"),
        ("IDEMPOTENCY_KEY", "idempotency-key"),
        ("REQUEST_ID", "x-request-id"),
        ("CLIENT_REQUEST_ID", "x-blobgate-request-id"),
        ("TRACEPARENT", "traceparent"),
        ("WEBHOOK_PREFIX", "webhook-"),
        ("WEBHOOK_ID", "webhook-id"),
        ("WEBHOOK_TIMESTAMP", "webhook-timestamp"),
        ("WEBHOOK_SIGNATURE", "webhook-signature"),
        ("ATTEMPT", "blobgate-attempt"),
        ("REDELIVERY", "blobgate-redelivery"),
        ("SUPERSEDES", "blobgate-supersedes"),
        ("OVERRIDE", "blobgate-override"),
        ("SOURCE", "blobgate-source"),
        ("INBOX_REASON", "blobgate-inbox-reason"),
    ];
    assert_eq!(written, pinned);
}

/// Checks the names of an enum's values, and that each name parses as its value.
macro_rules! pinned {
    ($type:ident: $($name:literal)*) => {
        assert_eq!($type::ALL.iter().map(|value| value.name()).collect::<Vec<_>>(), [$($name),*]);
        assert!($type::ALL.iter().all(|value| $type::parse(value.name()) == Some(*value)));
        assert_eq!($type::parse(""), None);
    };
}

#[test]
fn pins_header_values() {
    pinned!(Verdict: "accepted" "quarantined" "observed");
    pinned!(Proof: "token" "confirmed");
    pinned!(Kind: "completed" "failed" "timeout");
    pinned!(EventSource: "reconcile" "tail");
    assert_eq!(VERSION, "1");
    assert_eq!(Dialect::Veo3.name(), "veo3");
    let classes = [Class::User, Class::Content, Class::System, Class::Unknown].map(Class::name);
    assert_eq!(classes, ["user", "content", "system", "unknown"]);
}

#[test]
fn pins_keys() {
    let id = "ffd473d5-5bef-4e14-bf22-8d559be3c19f";
    let key = "veo3:ffd473d5-5bef-4e14-bf22-8d559be3c19f:completed";
    assert_eq!(idempotency_key("veo3", id, Kind::Completed), key);
    assert_eq!(quarantine_key("veo3", b"\x00\xff"), "veo3:00ff:quarantined");
    assert_eq!((KEY_PREFIX, TOLERANCE), ("whsec_", 300));
}

/// The corpus has the literals.
#[test]
fn pins_reasons() {
    let pinned: BTreeMap<String, u16> = toml::from_str(include_str!("cases/reasons.toml")).unwrap();
    let written: BTreeMap<_, _> =
        Reason::ALL.iter().map(|reason| (reason.code().to_owned(), reason.status())).collect();
    assert_eq!(written, pinned);
}

#[test]
fn pins_responses() {
    assert_eq!((answer::RECEIPT, answer::RECEIPT_TYPE), (r#"{"status":"received"}"#, "application/json"));
    assert_eq!(answer::PROBLEM_TYPE, "application/problem+json");
    assert_eq!(
        answer::problem(Reason::UnknownHook, DOCS),
        r#"{"type":"https://docs.blobgate.example/reference/reasons.html#unknown-hook","title":"No webhook has this path.","status":404,"code":"unknown-hook"}"#
    );
}
