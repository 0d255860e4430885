//! Confirmed deliveries, the status call, and the counters and log lines of both.

use super::{HOOK, bad, confirms, contradicts, expired, gate, good, tokenless, with_token};
use crate::log_line;
use crate::support::client::Protocol;
use crate::support::delivery::{GENERATION, RequestEnding};
use crate::support::{H1, H2, Reply, TestDelivery, TestGate, on_every_envoy};
use blobgate::contract::{Proof, header};
use serde_json::json;
use std::time::Duration;

#[test]
fn forwards_the_body_unchanged_after_confirmation() {
    on_every_envoy(|envoy| {
        let gate = gate(envoy, &json!({"confirm": {"per_minute": 6000}}));
        let mut seen = 0;
        let mut first = None;
        for size in [TestDelivery::completed().body().len(), 60_000] {
            let whole = || TestDelivery::completed_of(size).path(HOOK);
            gate.provider.reply(Reply::After(Duration::from_millis(50), Box::new(confirms(&whole()))));
            let cut = |bytes| whole().pieces_of(bytes);
            for protocol in Protocol::BOTH {
                for delivery in [
                    whole(),
                    cut(100),
                    cut(997).undeclared(),
                    cut(5_000).trailers(),
                    whole().trailers(),
                    cut(1_000).undeclared().ending(RequestEnding::EmptyFrame),
                    whole().ending(RequestEnding::EmptyFrame),
                ] {
                    let arrival = gate.accepts(protocol, &delivery);
                    seen += 1;
                    assert_eq!(arrival.path, HOOK);
                    assert_eq!(arrival.header(header::PROOFS).as_deref(), Some(Proof::Confirmed.name()));
                    assert_eq!(
                        *first.get_or_insert(arrival.connection),
                        arrival.connection,
                        "one connection"
                    );
                }
            }
        }
        assert_eq!(gate.provider.heads(), seen, "one call for each");
        assert_eq!(gate.video.connections(), 1);
    });
}

#[test]
fn status_call_contains_only_the_generation() {
    on_every_envoy(|envoy| {
        let gate = gate(envoy, &json!({}));
        gate.provider.reply(confirms(&tokenless()));
        let delivery =
            with_token(TestDelivery::completed(), &bad()).header("x-mark", "m4rk").header("cookie", "m4rk");
        gate.accepts(H2, &delivery);
        let call = gate.provider.take_one();
        assert_eq!((call.method.as_str(), call.body.len()), ("GET", 0));
        assert!(call.path.contains(GENERATION), "{call:?}");
        assert_eq!(call.header("host").as_deref(), Some("platform.runblob.io"));
        let mut names: Vec<&str> = call.headers.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        // The headers that Envoy adds, and the key.
        for name in &names {
            let known = [
                "accept",
                "authorization",
                "host",
                "x-forwarded-proto",
                "x-forwarded-for",
                "x-envoy-internal",
                "x-envoy-expected-rq-timeout-ms",
                "x-envoy-upstream-rq-timeout-ms",
                "content-length",
            ];
            assert!(known.contains(name), "{call:?}");
        }
        assert!(!format!("{call:?}").contains("m4rk"), "{call:?}");
    });
}

#[test]
fn counts_tokens_and_confirmations_with_labels() {
    on_every_envoy(|envoy| {
        let gate = gate(envoy, &json!({}));
        gate.provider.reply(confirms(&tokenless()));
        gate.accepts(H2, &with_token(TestDelivery::completed(), &good()));
        gate.accepts(H1, &with_token(TestDelivery::completed(), &expired()));
        gate.accepts(H1, &with_token(TestDelivery::completed(), &bad()));
        gate.provider.reply(contradicts(&tokenless()));
        gate.refuses(H2, &tokenless(), 403, "not-confirmed");
        gate.refuses(H2, &TestDelivery::of("{").path(HOOK), 400, "json-invalid");
        let quarantined = gate.send(H1, &with_token(TestDelivery::of("{"), &good()));
        assert_eq!(quarantined.status, 200, "{quarantined:?}");
        let text = gate.envoy.admin("GET", "/stats/prometheus").text();
        let labels = "environment=\"development\",hook=\"veo3-token\"";
        let token = |kid, outcome, count| {
            format!("blobgate_token_total{{{labels},kid=\"{kid}\",outcome=\"{outcome}\"}} {count}")
        };
        let confirm =
            |outcome, count| format!("blobgate_confirm_total{{{labels},outcome=\"{outcome}\"}} {count}");
        for line in [
            token("dev", "good", 2),
            token("dev", "expired", 1),
            token("-", "signature", 1),
            token("-", "absent", 2),
            confirm("confirmed", 2),
            confirm("contradicted", 1),
            format!("blobgate_responses_total{{{labels},status=\"200\",reason=\"json-invalid\"}} 1"),
        ] {
            assert!(text.lines().any(|have| have == line), "{line} is not in\n{text}");
        }
    });
}

#[test]
fn logs_a_quarantined_delivery() {
    on_every_envoy(|envoy| {
        let gate = TestGate::start(envoy);
        let answer = gate.send(H2, &with_token(TestDelivery::of("{"), &good()));
        assert_eq!((answer.status, answer.reason()), (200, None), "{answer:?}");
        let tail = "blobgate verdict=quarantined reason=json-invalid hook=veo3-token source=127.0.0.1 id=- \
                    environment=development";
        let line = log_line(&gate.envoy, "verdict=quarantined reason=json-invalid");
        let (_, rest) = line.split_once(tail).unwrap_or_else(|| panic!("{line}"));
        let detail = "body: has no whole JSON value, expected one JSON value in UTF-8";
        assert!(rest.ends_with(&format!(" detail=\"{detail}\"")), "{line}");
        let line = crate::access_line(&gate.envoy, |line| line["verdict"] == "quarantined");
        assert_eq!((&line["request_reason"], &line["reason"]), (&json!("json-invalid"), &json!(null)));
        assert_eq!((&line["detail"], &line["upstream"]), (&json!(detail), &json!("quarantine_service")));
    });
}
