//! The provider's API key, which Envoy adds to the status call; and the rotation of token keys.

use super::secrecy::{places, places_with, response_bytes};
use super::{ED_KID, configuration, confirms, gate, token, tokenless, tokenless_of, with_token};
use crate::support::client::Protocol;
use crate::support::envoy::API_KEY;
use crate::support::tls::{Certificate, TlsFront};
use crate::support::{H1, H2, Options, Reply, TestDelivery, TestGate, Upstream, eventually, on_every_envoy};
use serde_json::{Value, json};

#[test]
fn only_the_status_call_contains_the_api_key() {
    const NEXT: &str = "the-next-key-of-the-providers-api";
    on_every_envoy(|envoy| {
        let gate = gate(envoy, &json!({"confirm": {"per_minute": 6000}}));
        let mut responses = Vec::new();
        let mut call = |number: usize, reply: Reply| {
            gate.provider.reply(reply);
            let claims = tokenless_of(number).header("authorization", "Bearer of-the-sender");
            responses.push(gate.send(Protocol::BOTH[number % 2], &claims));
            let calls = gate.provider.arrivals();
            assert_eq!(calls.len(), responses.len(), "one call for each delivery");
            calls.last().unwrap().header("authorization")
        };
        let bearer = |key: &str| Some(format!("Bearer {key}"));
        assert_eq!(call(1, confirms(&tokenless_of(1))), bearer(API_KEY));
        assert_eq!(call(2, Reply::status(401).body("{}")), bearer(API_KEY));
        assert_eq!(call(3, Reply::Reset), bearer(API_KEY));
        gate.envoy.replace_api_key(NEXT);
        let mut number = 3;
        eventually("call with the new key", || {
            number += 1;
            let key = call(number, confirms(&tokenless_of(number)));
            assert!(key == bearer(API_KEY) || key == bearer(NEXT), "{key:?}");
            (key == bearer(NEXT)).then_some(())
        });
        assert_eq!(call(number + 1, confirms(&tokenless_of(number + 1))), bearer(NEXT));
        let mut places = places(&gate);
        places.extend(responses.iter().map(|answer| ("a response".to_owned(), response_bytes(answer))));
        for key in [API_KEY, NEXT] {
            assert_eq!(places_with(&places, key), ["the provider"], "{key}");
        }
        assert_eq!(places_with(&places, "runblob_key").len(), 3, "the control: the name of the secret");
        // The sender's own header reaches the service and not the provider.
        assert_eq!(places_with(&places, "of-the-sender"), ["a service"]);
    });
}

#[test]
fn calls_only_a_provider_with_the_right_certificate() {
    on_every_envoy(|envoy| {
        let (right, other) = (Certificate::named("localhost"), Certificate::named("localhost"));
        let elsewhere = Certificate::named("elsewhere.test");
        for (shown, trusted, good) in
            [(&right, &right, true), (&other, &right, false), (&elsewhere, &elsewhere, false)]
        {
            let behind = Upstream::start();
            behind.reply(confirms(&tokenless()));
            let front = TlsFront::start(shown, behind.port);
            let folder = tempfile::TempDir::with_prefix("blobgate-test-").unwrap();
            trusted.write_to(folder.path());
            let ca = folder.path().join("edge.pem");
            let gate = TestGate::with(envoy, |shipped| shipped.provider_with_tls(front.port, &ca));
            for protocol in Protocol::BOTH {
                if good {
                    gate.accepts(protocol, &tokenless());
                    let key = behind.take_one().header("authorization");
                    assert_eq!(key, Some(format!("Bearer {API_KEY}")));
                } else {
                    gate.refuses(protocol, &tokenless(), 503, "confirm-unavailable");
                }
            }
            let failed = gate.envoy.stats(r"^cluster\.runblob_api\.ssl\.fail_verify_(error|san)$");
            assert_eq!(failed.values().sum::<u64>() > 0, !good, "{failed:?}");
            assert_eq!(behind.connections() > 0, good, "connections through TLS");
        }
    });
}

#[test]
fn sends_no_key_without_tls() {
    on_every_envoy(|envoy| {
        let plaintext = Upstream::start();
        plaintext.reply(confirms(&tokenless()));
        let folder = tempfile::TempDir::with_prefix("blobgate-test-").unwrap();
        Certificate::named("localhost").write_to(folder.path());
        let ca = folder.path().join("edge.pem");
        let gate = TestGate::with(envoy, |shipped| shipped.provider_with_tls(plaintext.port, &ca));
        gate.refuses(H1, &tokenless(), 503, "confirm-unavailable");
        assert!(plaintext.connections() > 0, "Envoy has connected");
        assert_eq!(plaintext.heads(), 0);
    });
}

#[test]
fn rotates_token_keys_without_a_restart() {
    on_every_envoy(|envoy| {
        let keys = |kids: &[&str]| {
            let mut keys: Value = json!({"dev": null});
            for kid in kids {
                let public =
                    if *kid == "old" { super::token::ED_PUBLIC.to_owned() } else { super::other_public() };
                keys[*kid] = json!({"alg": "EdDSA", "public": public});
            }
            let only = json!({"any_of": ["token"], "all_of": null});
            configuration(&json!({"hook": {"trust": only}, "token": {"keys": keys}}))
        };
        let options = Options { listeners_by_file: true, ..Options::default() };
        let gate = TestGate::started(envoy, options, |shipped| shipped.gate(&keys(&["old"])));
        let replace = |kids: &[&str]| {
            gate.envoy.replace_listeners(&TestGate::bootstrap(&gate.video, &gate.failure).gate(&keys(kids)));
        };
        let of = |kid: &str, key: &str| {
            let token = token(&json!({"kid": ED_KID, "key": key, "header": {"kid": kid}}));
            with_token(TestDelivery::completed(), &token)
        };
        let (old, new) = (of("old", "ed"), of("new", "other-ed"));
        let invalid = |delivery: &TestDelivery| gate.refuses(H2, delivery, 401, "token-invalid");
        gate.accepts(H2, &old);
        invalid(&new);
        replace(&["old", "new"]);
        eventually("new key", || (gate.send(H2, &new).status == 200).then_some(()));
        for protocol in Protocol::BOTH {
            gate.accepts(protocol, &old);
            gate.accepts(protocol, &new);
        }
        // One key id with the other key.
        invalid(&of("old", "other-ed"));
        invalid(&of("new", "ed"));
        replace(&["new"]);
        eventually("end of the old key", || (gate.send(H2, &old).status == 401).then_some(()));
        for protocol in Protocol::BOTH {
            gate.refuses(protocol, &old, 401, "token-invalid");
            gate.accepts(protocol, &new);
        }
    });
}
