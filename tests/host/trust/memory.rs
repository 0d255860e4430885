//! The negative cache has a bound in bytes, whatever clients send.

use super::{HOOK, contradicts, gate, tokenless};
use crate::counts;
use crate::support::{H1, Reply, TestDelivery, on_every_envoy};
use serde_json::{Value, json};

/// Like [`tokenless`], with a result URL of 60 KB for each number.
fn with_long_url(number: usize) -> TestDelivery {
    let mut payload: Value = serde_json::from_slice(&tokenless().body()).unwrap();
    payload["video_url"] = format!("https://cdn.runblob.io/{number}/{}.mp4", "x".repeat(60_000)).into();
    TestDelivery::json(&payload).path(HOOK)
}

#[test]
fn large_denied_claims_use_little_memory() {
    const WARM_UP: usize = 100;
    // The URLs alone are 54 MB.
    const CLAIMS: usize = 900;
    const MAX_GROWTH: u64 = 16 << 20;
    on_every_envoy(|envoy| {
        let gate = gate(envoy, &json!({"confirm": {"per_minute": 6000}}));
        gate.provider.reply(contradicts(&tokenless()));
        let mut client = gate.tls(H1).open();
        let mut send = |number| {
            client.send(&with_long_url(number)).assert_refused(422, "result-url-denied");
        };
        (0..WARM_UP).for_each(&mut send);
        let before = gate.envoy.resident_bytes();
        (WARM_UP..WARM_UP + CLAIMS).for_each(&mut send);
        let grown = gate.envoy.resident_bytes().saturating_sub(before);
        assert!(grown < MAX_GROWTH, "{grown} bytes more after {CLAIMS} claims");
        // Each cost a call, and the last one is in the cache.
        let outcome = |outcome, times| {
            let labels = [("hook", "veo3-token"), ("outcome", outcome)];
            counts(&gate.envoy, "blobgate_confirm_total", &labels, times);
        };
        outcome("contradicted", 1000.0);
        send(WARM_UP + CLAIMS - 1);
        outcome("remembered", 1.0);
        // The cache also has unknown generations.
        gate.provider.reply(Reply::status(404).body(r#"{"detail":"TASK_NOT_FOUND"}"#));
        client.send(&tokenless()).assert_refused(403, "not-confirmed");
        outcome("unknown", 1.0);
    });
}
