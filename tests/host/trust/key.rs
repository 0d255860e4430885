//! The key of the provider's API: added by Envoy, known to nobody else; and keys of tokens, changed while it runs.

use super::secrecy::{found, heard, places};
use super::{ED_KID, configuration, confirms, gate, stranger, stranger_of, token, with_token};
use crate::support::client::Protocol;
use crate::support::envoy::API_KEY;
use crate::support::tls::{Certificate, TlsFront};
use crate::support::{H1, H2, Options, Reply, TestDelivery, TestGate, Upstream, eventually, on_every_envoy};
use serde_json::{Value, json};

#[test]
fn the_api_key_is_in_the_call_and_nowhere_else() {
    const NEXT: &str = "the-next-key-of-the-providers-api";
    on_every_envoy(|envoy| {
        let gate = gate(envoy, &json!({"confirm": {"per_minute": 6000}}));
        let mut heard_by_senders = Vec::new();
        let mut ask = |number: usize, reply: Reply| {
            gate.provider.reply(reply);
            let claims = stranger_of(number).header("authorization", "Bearer of-a-stranger");
            heard_by_senders.push(gate.send(Protocol::BOTH[number % 2], &claims));
            let calls = gate.provider.arrivals();
            assert_eq!(calls.len(), heard_by_senders.len(), "a call each");
            calls.last().unwrap().header("authorization")
        };
        let said = |key: &str| Some(format!("Bearer {key}"));
        assert_eq!(ask(1, confirms(&stranger_of(1))), said(API_KEY));
        assert_eq!(ask(2, Reply::status(401).body("{}")), said(API_KEY));
        assert_eq!(ask(3, Reply::Reset), said(API_KEY));
        gate.envoy.replace_api_key(NEXT);
        let mut number = 3;
        eventually("call with the new key", || {
            number += 1;
            let key = ask(number, confirms(&stranger_of(number)));
            assert!(key == said(API_KEY) || key == said(NEXT), "{key:?}");
            (key == said(NEXT)).then_some(())
        });
        assert_eq!(ask(number + 1, confirms(&stranger_of(number + 1))), said(NEXT));
        let mut places = places(&gate);
        places.extend(heard_by_senders.iter().map(|answer| ("an answer".to_owned(), heard(answer))));
        for key in [API_KEY, NEXT] {
            assert_eq!(found(&places, key), ["the provider"], "{key}");
        }
        assert_eq!(found(&places, "runblob_key").len(), 3, "its name is no secret");
        // A stranger's own goes to the service as it came, and is not the provider's business.
        assert_eq!(found(&places, "of-a-stranger"), ["a service"]);
    });
}

#[test]
fn only_a_provider_with_the_right_certificate_gets_the_key() {
    on_every_envoy(|envoy| {
        let (right, other) = (Certificate::named("localhost"), Certificate::named("localhost"));
        let elsewhere = Certificate::named("elsewhere.test");
        for (shown, trusted, good) in
            [(&right, &right, true), (&other, &right, false), (&elsewhere, &elsewhere, false)]
        {
            let behind = Upstream::start();
            behind.reply(confirms(&stranger()));
            let front = TlsFront::start(shown, behind.port);
            let folder = tempfile::TempDir::with_prefix("blobgate-test-").unwrap();
            trusted.write_to(folder.path());
            let ca = folder.path().join("edge.pem");
            let gate = TestGate::with(envoy, |shipped| shipped.provider_with_tls(front.port, &ca));
            for protocol in Protocol::BOTH {
                if good {
                    gate.accepts(protocol, &stranger());
                    let key = behind.take_one().header("authorization");
                    assert_eq!(key, Some(format!("Bearer {API_KEY}")));
                } else {
                    gate.refuses(protocol, &stranger(), 503, "confirm-unavailable");
                }
            }
            let failed = gate.envoy.stats(r"^cluster\.runblob_api\.ssl\.fail_verify_(error|san)$");
            assert_eq!(failed.values().sum::<u64>() > 0, !good, "{failed:?}");
            assert_eq!(behind.connections() > 0, good, "what came through TLS");
        }
    });
}

#[test]
fn a_provider_without_tls_gets_no_key() {
    on_every_envoy(|envoy| {
        let plaintext = Upstream::start();
        plaintext.reply(confirms(&stranger()));
        let folder = tempfile::TempDir::with_prefix("blobgate-test-").unwrap();
        Certificate::named("localhost").write_to(folder.path());
        let ca = folder.path().join("edge.pem");
        let gate = TestGate::with(envoy, |shipped| shipped.provider_with_tls(plaintext.port, &ca));
        gate.refuses(H1, &stranger(), 503, "confirm-unavailable");
        assert!(plaintext.connections() > 0, "it was tried");
        assert_eq!(plaintext.heads(), 0);
    });
}

#[test]
fn keys_of_tokens_rotate_without_a_restart() {
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
        // The name of the one with the key of the other.
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
