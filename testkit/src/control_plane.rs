//! What every control plane makes of the gate's manifests.

use crate::client::Protocol;
use crate::{TestDelivery, TestGate, tls};
use blobgate::contract::{Kind, Verdict, header};

/// Asserts that the hook behind a control plane judges and routes deliveries. `removed` are the headers that this control plane
/// removes besides those of every one.
#[track_caller]
pub fn assert_judges_and_routes(gate: &TestGate, removed: &[&str]) {
    for protocol in Protocol::BOTH {
        let mut events = vec![
            (TestDelivery::completed(), "completed"),
            // A body of the maximum size, of declared and of unknown length.
            (TestDelivery::completed_of(65_536), "completed"),
            (TestDelivery::completed_of(65_536).undeclared().pieces_of(9_000), "completed"),
            (TestDelivery::failed(), "failed"),
            (TestDelivery::timeout(), "timeout"),
            // Forged headers, and paths that Envoy rewrites without a redirect.
            (TestDelivery::failed().header(header::EVENT, Kind::Completed.name()), "failed"),
            (TestDelivery::completed().header("blobgate_event", "failed"), "completed"),
            (TestDelivery::completed().header("traceparent", "a").header("tracestate", "a"), "completed"),
            (TestDelivery::completed().header("x-request-id", "a\"").header("baggage", "a"), "completed"),
            (TestDelivery::completed().path("//webhook"), "completed"),
            (TestDelivery::completed().header("host", format!("{}:443", tls::NAME)), "completed"),
            (TestDelivery::completed().path("/x%2F..%2Fwebhook"), "completed"),
        ];
        events.extend(removed.iter().map(|name| (TestDelivery::completed().header(name, "1"), "completed")));
        for (delivery, event) in events {
            let arrival = gate.accepts(protocol, &delivery);
            assert_eq!(arrival.header(header::EVENT).as_deref(), Some(event));
            assert_eq!(arrival.header(header::HOOK).as_deref(), Some("veo3"));
            for name in ["blobgate_event", "traceparent", "tracestate", "baggage"].iter().chain(removed) {
                assert_eq!(arrival.header(name), None, "{name}");
            }
            assert_eq!(arrival.header("x-request-id").map(|id| id.len()), Some(36));
        }
        let accepted = |delivery: TestDelivery| {
            delivery
                .header(header::VERDICT, Verdict::Accepted.name())
                .header(header::EVENT, Kind::Completed.name())
        };
        gate.refuses(protocol, &accepted(TestDelivery::of("{")), 400, "json-invalid");
        gate.refuses(protocol, &TestDelivery::of("{}"), 422, "schema-invalid");
        gate.refuses(protocol, &accepted(TestDelivery::completed().method("GET")), 405, "method-not-allowed");
        gate.refuses(protocol, &TestDelivery::completed_of(65_537), 413, "body-too-large");
        gate.refuses(protocol, &TestDelivery::completed_of(200_000).undeclared(), 413, "body-too-large");
        gate.refuses(protocol, &TestDelivery::completed().path("/webhook/other"), 404, "unknown-hook");
        let elsewhere = gate.tls(protocol).from([127, 0, 0, 2].into());
        gate.refuses_from(&elsewhere, &TestDelivery::completed(), 403, "source-denied");
    }
    gate.forget();
    let failed = gate.send(Protocol::H1, &TestDelivery::failed());
    assert_eq!(failed.status, 200);
    assert_eq!((gate.video.take().len(), gate.failure.take().len()), (0, 1));
}
