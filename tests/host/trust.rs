//! Proof: callback tokens, the provider's word, and what leaves the gate signed.

#[path = "../corpus/token.rs"]
#[allow(dead_code, unreachable_pub, clippy::disallowed_methods, clippy::string_slice)]
mod token;

mod ask;
mod confirm;
mod held;
mod keep;
mod key;
mod memory;
mod path;
mod secrecy;
mod signed;

use crate::support::bootstrap::merge;
use crate::support::{Bootstrap, Options, Reply, TestDelivery, TestGate, Version};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// The path of the shipped hook that takes a token, without one.
const HOOK: &str = "/hooks/veo3";

/// A gate whose configuration is the shipped one with these keys changed; those of `hook` in the hook with a token.
#[track_caller]
fn gate(version: &Version, changes: &Value) -> TestGate {
    TestGate::with(version, |shipped| shipped.gate(&configuration(changes)))
}

/// As [`gate`], on two workers.
#[track_caller]
fn gate_of_two(version: &Version, changes: &Value) -> TestGate {
    let options = Options { concurrency: 2, ..Options::default() };
    TestGate::started(version, options, |shipped| shipped.gate(&configuration(changes)))
}

fn configuration(changes: &Value) -> Value {
    let mut changes = changes.clone();
    let hook = changes.as_object_mut().unwrap().remove("hook");
    let mut configuration = Bootstrap::shipped_gate();
    assert_eq!(configuration["hooks"][1]["path"], "/hooks/veo3/{token}");
    merge(&mut configuration, &changes);
    merge(&mut configuration["hooks"][1], &hook.unwrap_or(json!({})));
    configuration
}

/// A token of the shipped hook and key, with these fields of a row changed.
fn token(changes: &Value) -> String {
    let mut row = json!({"header": {"kid": "dev"}, "claims": {"aud": "development/veo3-token"}});
    merge(&mut row, changes);
    for key in ["header", "claims"] {
        row[key] = row[key].to_string().into();
    }
    serde_json::from_value::<token::TokenRow>(row).unwrap().mint("veo3-token")
}

pub(crate) fn good() -> String {
    token(&json!({}))
}

/// With a signature of another key.
fn bad() -> String {
    token(&json!({"key": "other-hs"}))
}

/// Expired an hour ago.
fn late() -> String {
    token(&json!({"expires_in": -3600}))
}

pub(crate) fn with_token(delivery: TestDelivery, token: &str) -> TestDelivery {
    delivery.path(&format!("{HOOK}/{token}"))
}

/// The provider's sample, to the hook with a token, without one.
fn stranger() -> TestDelivery {
    TestDelivery::completed().path(HOOK)
}

/// As [`stranger`], of another generation for every number.
fn stranger_of(number: usize) -> TestDelivery {
    let mut payload: Value = serde_json::from_slice(&TestDelivery::completed().body()).unwrap();
    payload["generation_id"] = format!("ffd473d5-5bef-4e14-bf22-{number:012x}").into();
    TestDelivery::json(&payload).path(HOOK)
}

/// The provider says what the delivery says.
fn confirms(delivery: &TestDelivery) -> Reply {
    Reply::status(200).header("content-type", "application/json").body(delivery.body())
}

/// The provider names another file.
fn contradicts(delivery: &TestDelivery) -> Reply {
    let mut payload: Value = serde_json::from_slice(&delivery.body()).unwrap();
    payload["video_url"] = "https://cdn.runblob.io/videos/another.mp4".into();
    Reply::status(200).body(payload.to_string())
}

/// The provider knows no such generation.
fn knows_nothing() -> Reply {
    Reply::status(404).body(r#"{"detail":"TASK_NOT_FOUND"}"#)
}

/// What makes a row of tokens one with `EdDSA`.
const ED_KID: &str = "ed";

/// The public half of the key that rows of tokens call `other-ed`.
fn other_public() -> String {
    let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes())
}
