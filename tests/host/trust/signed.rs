//! The gate's signatures, which the test computes on its own.

use super::{HOOK, bad, confirms, gate, good, token, tokenless, with_token};
use crate::support::client::Protocol;
use crate::support::delivery::{GENERATION, RequestEnding};
use crate::support::envoy::SIGNING_KEY;
use crate::support::{H2, ServiceRequest, TestDelivery, TestGate, on_every_envoy};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use blobgate::contract::{Verdict, header};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A second key, for a rotation.
const OLD_KEY: (&str, &str) = ("BLOBGATE_OLD_KEY", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDC2FVsBQIhrs=");

/// <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>
fn signature(key: &str, id: &str, time: &str, body: &[u8]) -> String {
    let key = STANDARD.decode(key.strip_prefix("whsec_").unwrap()).unwrap();
    let signed = [format!("{id}.{time}.").as_bytes(), body].concat();
    let mac = Hmac::<Sha256>::new_from_slice(&key).unwrap().chain_update(signed).finalize().into_bytes();
    format!("v1,{}", STANDARD.encode(mac))
}

/// Asserts the id, a current time, and the signatures of these keys over the body.
#[track_caller]
fn verify(arrival: &ServiceRequest, id: &str, keys: &[&str]) {
    let header = |name: &str| arrival.header(name).unwrap_or_else(|| panic!("no {name}: {arrival:?}"));
    assert_eq!(header(header::WEBHOOK_ID), id);
    let time = header(header::WEBHOOK_TIMESTAMP);
    let age = super::token::now().abs_diff(time.parse().unwrap());
    assert!(age <= 5, "{age} s");
    let all: Vec<String> = keys.iter().map(|key| signature(key, id, &time, &arrival.body)).collect();
    assert_eq!(header(header::WEBHOOK_SIGNATURE), all.join(" "));
    let names =
        arrival.headers.iter().filter(|(name, _)| name.replace('_', "-").starts_with(header::WEBHOOK_PREFIX));
    assert_eq!(names.count(), 3, "{arrival:?}");
    assert!(!format!("{:?}", arrival.headers).contains("f0rged"), "{arrival:?}");
    // The signature covers the body.
    let flipped = [&arrival.body[..], b" "].concat();
    assert_ne!(header(header::WEBHOOK_SIGNATURE), signature(keys[0], id, &time, &flipped));
}

fn idempotency_id(event: &str) -> String {
    format!("veo3:{GENERATION}:{event}")
}

/// Adds forged signature headers.
fn with_forged_signature(delivery: TestDelivery) -> TestDelivery {
    let time = super::token::now().to_string();
    delivery
        .header(header::WEBHOOK_ID, "f0rged")
        .header(header::WEBHOOK_TIMESTAMP, time)
        .header(header::WEBHOOK_SIGNATURE, "v1,f0rged")
        .header("webhook_signature", "v1,f0rged")
        .header("Webhook-Id".to_lowercase().as_str(), "f0rged-again")
        .header("webhook-anything", "f0rged")
}

#[test]
fn signs_accepted_deliveries() {
    on_every_envoy(|envoy| {
        let gate = TestGate::start(envoy);
        gate.provider.reply(confirms(&tokenless()));
        for protocol in Protocol::BOTH {
            for (delivery, event) in [
                (TestDelivery::completed(), "completed"),
                (TestDelivery::failed(), "failed"),
                (TestDelivery::timeout(), "timeout"),
                (with_token(TestDelivery::completed(), &good()), "completed"),
                (with_token(TestDelivery::failed(), &good()), "failed"),
                (with_token(TestDelivery::completed(), &bad()), "completed"),
                (tokenless(), "completed"),
                (
                    with_token(TestDelivery::completed_of(60_000).pieces_of(997).trailers(), &good()),
                    "completed",
                ),
                (
                    with_token(TestDelivery::completed().ending(RequestEnding::EmptyFrame), &good())
                        .undeclared(),
                    "completed",
                ),
            ] {
                let arrival = gate.accepts(protocol, &with_forged_signature(delivery));
                let id = arrival.header(header::IDEMPOTENCY_KEY).unwrap();
                assert!(id.starts_with("veo3:") && id.contains(GENERATION) && id.ends_with(event), "{id}");
                assert_eq!(id, idempotency_id(event));
                verify(&arrival, &id, &[SIGNING_KEY.1]);
            }
        }
    });
}

#[test]
fn signs_quarantined_deliveries() {
    on_every_envoy(|envoy| {
        let gate = gate(envoy, &json!({"hook": {"checks": {"prompt": "enforce"}}}));
        let hashed = |body: &[u8]| format!("veo3:{}:quarantined", hex::encode(Sha256::digest(body)));
        let elsewhere = || {
            let mut payload: Value = serde_json::from_slice(&TestDelivery::completed().body()).unwrap();
            payload["video_url"] = "https://evil.example/v.mp4".into();
            TestDelivery::json(&payload)
        };
        let other_prompt = token(&json!({"claims": {"ph": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}}));
        for protocol in Protocol::BOTH {
            for (delivery, id, reason) in [
                (with_token(TestDelivery::of("{"), &good()), hashed(b"{"), "json-invalid"),
                (
                    with_token(TestDelivery::of(b"\xff\0".to_vec()), &good()),
                    hashed(b"\xff\0"),
                    "json-invalid",
                ),
                (with_token(TestDelivery::of("{}"), &good()), hashed(b"{}"), "schema-invalid"),
                (with_token(elsewhere(), &good()), idempotency_id("completed"), "result-url-denied"),
                (
                    with_token(TestDelivery::completed(), &other_prompt),
                    idempotency_id("completed"),
                    "token-mismatch",
                ),
            ] {
                gate.forget();
                let answer = gate.send(protocol, &with_forged_signature(delivery.clone()));
                assert_eq!((answer.status, answer.reason()), (200, None), "{answer:?}");
                let arrival = gate.quarantine.take_one();
                assert_eq!(arrival.body, delivery.body());
                assert_eq!(arrival.path, HOOK);
                assert_eq!(arrival.header(header::VERDICT).as_deref(), Some(Verdict::Quarantined.name()));
                assert_eq!(arrival.header(header::REASON).as_deref(), Some(reason));
                verify(&arrival, &id, &[SIGNING_KEY.1]);
            }
        }
        assert_eq!((gate.video.heads(), gate.failure.heads()), (0, 0), "no other service gets one");
    });
}

#[test]
fn signs_observed_deliveries() {
    on_every_envoy(|envoy| {
        let gate = gate(envoy, &json!({"hook": {"mode": "observe"}}));
        for protocol in Protocol::BOTH {
            for delivery in [
                with_token(TestDelivery::completed(), &good()),
                with_token(TestDelivery::failed(), &bad()),
                TestDelivery::completed().path(HOOK),
            ] {
                gate.forget();
                gate.send(protocol, &with_forged_signature(delivery.clone()));
                let arrival = gate.take_one();
                assert_eq!(arrival.header(header::VERDICT).as_deref(), Some(Verdict::Observed.name()));
                assert_eq!(arrival.body, delivery.body());
                let event = arrival.header(header::EVENT).unwrap();
                verify(&arrival, &idempotency_id(&event), &[SIGNING_KEY.1]);
            }
        }
    });
}

#[test]
fn signs_with_both_keys_during_a_rotation() {
    on_every_envoy(|envoy| {
        let names = json!([SIGNING_KEY.0, OLD_KEY.0]);
        let gate = TestGate::with(envoy, |shipped| {
            let configuration = super::configuration(&json!({"sign": {"env": names}}));
            shipped.gate(&configuration).variable(OLD_KEY.0, OLD_KEY.1)
        });
        for protocol in Protocol::BOTH {
            let arrival = gate
                .accepts(protocol, &with_forged_signature(with_token(TestDelivery::completed(), &good())));
            verify(&arrival, &idempotency_id("completed"), &[SIGNING_KEY.1, OLD_KEY.1]);
        }
    });
}

#[test]
fn no_place_contains_a_key() {
    use super::secrecy::{places, places_with};
    use crate::support::envoy::TOKEN_KEY;
    on_every_envoy(|envoy| {
        let gate = TestGate::start(envoy);
        gate.accepts(H2, &with_token(TestDelivery::completed(), &good()));
        gate.send(H2, &with_token(TestDelivery::of("{"), &good()));
        let places = places(&gate);
        for (name, key) in [TOKEN_KEY, SIGNING_KEY] {
            assert_eq!(places_with(&places, key), [""; 0], "{name}");
            assert_eq!(places_with(&places, key.trim_start_matches("whsec_")), [""; 0], "{name}");
            assert_eq!(
                places_with(&places, name),
                ["/config_dump?include_eds"],
                "the control: names of variables"
            );
        }
    });
}
