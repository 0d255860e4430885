//! Proofs: tokens and confirmations; and the signatures of the gate.

#[path = "../corpus/token.rs"]
#[allow(dead_code, unreachable_pub, clippy::disallowed_methods, clippy::string_slice)]
mod token;

mod confirm;
mod key;
mod memory;
mod path;
mod quarantine;
mod secrecy;
mod signed;
mod status_call;
mod waiting;

use crate::support::bootstrap::merge;
use crate::support::{Bootstrap, Options, Reply, TestDelivery, TestGate, Version};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// The shipped token hook's path without a token.
const HOOK: &str = "/hooks/veo3";

/// A gate with the shipped configuration and these changes. The key `hook` changes the token hook.
#[track_caller]
pub(crate) fn gate(version: &Version, changes: &Value) -> TestGate {
    TestGate::with(version, |shipped| shipped.gate(&configuration(changes)))
}

/// Like [`gate`], with two workers.
#[track_caller]
fn gate_of_two(version: &Version, changes: &Value) -> TestGate {
    let options = Options { concurrency: 2, ..Options::default() };
    TestGate::started(version, options, |shipped| shipped.gate(&configuration(changes)))
}

pub(crate) fn configuration(changes: &Value) -> Value {
    let mut changes = changes.clone();
    let hook = changes.as_object_mut().unwrap().remove("hook");
    let mut configuration = Bootstrap::shipped_gate();
    assert_eq!(configuration["hooks"][1]["path"], "/hooks/veo3/{token}");
    merge(&mut configuration, &changes);
    merge(&mut configuration["hooks"][1], &hook.unwrap_or(json!({})));
    configuration
}

/// A token for the shipped hook and key, with changes to a row of the corpus.
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

/// A token with a signature of another key.
pub(crate) fn bad() -> String {
    token(&json!({"key": "other-hs"}))
}

/// A token that expired an hour ago.
pub(crate) fn expired() -> String {
    token(&json!({"expires_in": -3600}))
}

pub(crate) fn with_token(delivery: TestDelivery, token: &str) -> TestDelivery {
    delivery.path(&format!("{HOOK}/{token}"))
}

/// The provider's sample at the token hook, without a token.
pub(crate) fn tokenless() -> TestDelivery {
    TestDelivery::completed().path(HOOK)
}

/// Like [`tokenless`], with a generation for each number.
fn tokenless_of(number: usize) -> TestDelivery {
    let mut payload: Value = serde_json::from_slice(&TestDelivery::completed().body()).unwrap();
    payload["generation_id"] = format!("ffd473d5-5bef-4e14-bf22-{number:012x}").into();
    TestDelivery::json(&payload).path(HOOK)
}

/// The status API confirms the delivery.
pub(crate) fn confirms(delivery: &TestDelivery) -> Reply {
    Reply::status(200).header("content-type", "application/json").body(delivery.body())
}

/// The status API names another file.
pub(crate) fn contradicts(delivery: &TestDelivery) -> Reply {
    let mut payload: Value = serde_json::from_slice(&delivery.body()).unwrap();
    payload["video_url"] = "https://cdn.runblob.io/videos/another.mp4".into();
    Reply::status(200).body(payload.to_string())
}

/// The status API does not know the generation.
fn unknown_generation() -> Reply {
    Reply::status(404).body(r#"{"detail":"TASK_NOT_FOUND"}"#)
}

/// The `kid` of a corpus row that makes its token an EdDSA token.
const ED_KID: &str = "ed";

/// The public key of the corpus key `other-ed`.
fn other_public() -> String {
    let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes())
}
