//! Mode `observe` of a hook and of a single check.

use crate::counts;
use crate::support::client::Protocol;
use crate::support::{Reply, TestDelivery, TestGate, on_every_envoy};
use blobgate::contract::{Kind, Verdict, header};
use serde_json::json;

#[test]
fn observing_hook_refuses_and_changes_nothing() {
    on_every_envoy(|envoy| {
        let gate = TestGate::with(envoy, |shipped| {
            shipped.hook(&json!({"mode": "observe", "source": ["127.0.0.1"], "answers": "receipt"}))
        });
        let odd = Reply::status(418).header("retry-after", 7).body("own");
        gate.video.reply(odd.clone());
        gate.failure.reply(odd);
        for protocol in Protocol::BOTH {
            let large = || TestDelivery::completed_of(2_000_000).pieces_of(50_000);
            for (delivery, event, reason, service) in [
                (TestDelivery::completed(), Some("completed"), None, "video"),
                (TestDelivery::timeout(), Some("timeout"), None, "failure"),
                (TestDelivery::of("{"), None, Some("json-invalid"), "failure"),
                (TestDelivery::without_body(), None, Some("body-missing"), "failure"),
                (TestDelivery::without_body().method("GET"), None, Some("method-not-allowed"), "failure"),
                (
                    TestDelivery::completed().header("content-encoding", "gzip"),
                    Some("completed"),
                    Some("unsupported-encoding"),
                    "video",
                ),
                // Forwarded before its end comes.
                (large(), None, Some("body-too-large"), "failure"),
                (large().undeclared(), None, Some("body-too-large"), "failure"),
                (large().trailers(), None, Some("body-too-large"), "failure"),
            ] {
                let answer = gate.send(protocol, &delivery);
                assert_eq!(
                    (answer.status, answer.reason(), answer.text().as_str()),
                    (418, None, "own"),
                    "{reason:?}"
                );
                assert_eq!(answer.header("retry-after").as_deref(), Some("7"));
                let arrivals = if service == "video" { gate.video.take() } else { gate.failure.take() };
                let [arrival] = &arrivals[..] else { panic!("{} arrivals for {reason:?}", arrivals.len()) };
                assert_eq!(arrival.header(header::VERDICT).as_deref(), Some(Verdict::Observed.name()));
                assert_eq!(arrival.header(header::EVENT).as_deref(), event, "{reason:?}");
                assert_eq!(arrival.header(header::REASON).as_deref(), reason);
                assert_eq!(arrival.header("content-type").as_deref(), Some("application/json"));
                assert!(arrival.body == delivery.body(), "another body arrived for {reason:?}");
            }
            let mut unlisted = gate.tls(protocol).from([127, 0, 0, 2].into()).open();
            assert_eq!(
                unlisted.send(&TestDelivery::completed().header(header::EVENT, Kind::Failed.name())).status,
                418
            );
            let arrival = gate.video.take_one();
            assert_eq!(arrival.header(header::REASON).as_deref(), Some("source-denied"));
            gate.refuses(protocol, &TestDelivery::completed().path("/webhook/other"), 404, "unknown-hook");
        }
        counts(
            &gate.envoy,
            "blobgate_responses_total",
            &[("hook", "veo3"), ("status", "4xx"), ("reason", "-")],
            20.0,
        );
    });
}

#[test]
fn observing_check_only_sets_a_header() {
    on_every_envoy(|envoy| {
        let gate = TestGate::with(envoy, |shipped| {
            shipped.hook(&json!({"source": ["203.0.113.0/24"], "checks": {"source": "observe"}}))
        });
        for protocol in Protocol::BOTH {
            let arrival = gate.accepts(protocol, &TestDelivery::completed());
            assert_eq!(arrival.header(header::OBSERVED).as_deref(), Some("source-denied"));
            assert_eq!(arrival.header(header::REASON), None);
            // The other checks still refuse.
            gate.refuses(protocol, &TestDelivery::of("{"), 400, "json-invalid");
        }
        let labels = [("hook", "veo3"), ("reason", "source-denied"), ("environment", "development")];
        counts(&gate.envoy, "blobgate_observed_total", &labels, 2.0);
    });
}
