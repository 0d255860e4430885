//! `blobgate_responses_total`: each response once, and series that exist at 0.

use crate::access_line;
use crate::counts;
use crate::hook_routes;
use crate::support::client::Protocol;
use crate::support::delivery::RequestEnding;
use crate::support::{
    Bootstrap, EnvoyProcess, H1, H2, Length, Options, Reply, TestDelivery, TestGate, on_every_envoy,
};
use crate::trust::{configuration, contradicts, gate, good, tokenless, with_token};
use serde_json::json;
use std::collections::BTreeMap;

const RESPONSES: &str = "blobgate_responses_total";

/// The series about the module itself. The second one is the native module's.
const OF_MODULE: [&str; 2] = ["blobgate_info", "blobgate_module_panics_total"];

/// The series of the gate about requests, with their values.
fn series(envoy: &EnvoyProcess) -> BTreeMap<String, String> {
    let text = envoy.admin("GET", "/stats/prometheus").text();
    let lines = text
        .lines()
        .filter(|line| line.starts_with("blobgate_") && !OF_MODULE.iter().any(|name| line.starts_with(name)));
    lines
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn series_exist_at_0_before_the_first_request() {
    on_every_envoy(|envoy| {
        let gate = TestGate::start(envoy);
        let mut expected = BTreeMap::new();
        let mut add = |metric: &str, hook: &str, labels: &str| {
            let name =
                format!("blobgate_{metric}_total{{environment=\"development\",hook=\"{hook}\",{labels}}}");
            expected.insert(name, "0".to_owned());
        };
        let refusals = [("200", "-"), ("503", "upstream-error"), ("503", "confirm-unavailable")];
        let quarantined = [
            "source-denied",
            "header-invalid",
            "unsupported-encoding",
            "body-missing",
            "token-audience",
            "token-expired",
            "json-invalid",
            "json-too-deep",
            "json-duplicate-key",
            "schema-invalid",
            "generation-id-invalid",
            "result-url-denied",
        ];
        for (hook, reasons) in [("veo3", &[][..]), ("veo3-token", &quarantined)] {
            for (status, reason) in refusals.into_iter().chain(reasons.iter().map(|reason| ("200", *reason)))
            {
                add("responses", hook, &format!("status=\"{status}\",reason=\"{reason}\""));
            }
        }
        for (kid, outcome) in [("dev", "good"), ("-", "kid"), ("-", "signature"), ("-", "algorithm")] {
            add("token", "veo3-token", &format!("kid=\"{kid}\",outcome=\"{outcome}\""));
        }
        for outcome in ["confirmed", "unauthorized", "budget", "no-answer", "status", "limited", "unreadable"]
        {
            add("confirm", "veo3-token", &format!("outcome=\"{outcome}\""));
        }
        assert_eq!(series(&gate.envoy), expected);
        // The first event moves the same series.
        gate.accepts(H2, &TestDelivery::completed());
        counts(&gate.envoy, RESPONSES, &[("hook", "veo3"), ("status", "200"), ("reason", "-")], 1.0);
        assert_eq!(series(&gate.envoy).len(), expected.len());
    });
}

/// Checks that these series have counted, and no other series has.
#[track_caller]
fn counted(gate: &TestGate, hook: &str, expected: &[(&str, &str, f64)]) {
    for (status, reason, count) in expected {
        counts(&gate.envoy, RESPONSES, &[("hook", hook), ("status", status), ("reason", reason)], *count);
    }
    let sum: f64 = expected.iter().map(|(_, _, count)| count).sum();
    counts(&gate.envoy, RESPONSES, &[], sum);
}

#[test]
fn counts_the_response_and_not_the_release() {
    on_every_envoy(|envoy| {
        for answers in ["status", "receipt"] {
            let mut gate = TestGate::with(envoy, |shipped| {
                hook_routes(shipped.hook(&json!({"answers": answers})), |route| {
                    if let Some(action) = route.get_mut("route") {
                        action["timeout"] = "0.5s".into();
                    }
                })
            });
            let replies = [
                Reply::status(200).body("{}"),
                Reply::status(204),
                Reply::Trailer("x-end", "1"),
                Reply::status(404).body("no"),
                Reply::status(304).header("content-length", 12),
                Reply::Hang,
                Reply::Reset,
            ];
            for protocol in Protocol::BOTH {
                for reply in &replies {
                    gate.video.reply(reply.clone());
                    gate.send(protocol, &TestDelivery::completed());
                }
                // gRPC: Envoy turns statuses into 200 with a `grpc-status`, and the gate turns them back.
                let grpc = TestDelivery::of("{").without_header("content-type");
                let answer = gate.send(protocol, &grpc.header("content-type", "application/grpc"));
                assert_eq!((answer.status, answer.reason().as_deref()), (400, Some("json-invalid")));
            }
            gate.video.stop();
            gate.send(H2, &TestDelivery::completed());
            counted(
                &gate,
                "veo3",
                &[("200", "-", 6.0), ("503", "upstream-error", 9.0), ("400", "json-invalid", 2.0)],
            );
        }
    });
}

#[test]
fn counts_a_client_that_leaves_in_any_state() {
    on_every_envoy(|envoy| {
        let gate = gate(envoy, &json!({}));
        let requests = || gate.envoy.stat("http.edge.downstream_rq_total");
        for protocol in Protocol::BOTH {
            let unfinished =
                || TestDelivery::completed().length(Length::Claimed(5_000)).ending(RequestEnding::Open);
            let begun = requests();
            gate.tls(protocol).open().leave(&unfinished(), "request", || requests() > begun);
            gate.provider.reply(Reply::Hang);
            let before = gate.provider.heads();
            gate.tls(protocol).open().leave(&tokenless(), "status call", || gate.provider.heads() > before);
            gate.video.reply(Reply::Hang);
            let before = gate.video.heads();
            gate.tls(protocol)
                .open()
                .leave(&TestDelivery::completed(), "delivery", || gate.video.heads() > before);
        }
        counts(&gate.envoy, RESPONSES, &[("hook", "veo3"), ("status", "-"), ("reason", "-")], 4.0);
        counts(&gate.envoy, RESPONSES, &[("hook", "veo3-token"), ("status", "-"), ("reason", "-")], 2.0);
        counts(&gate.envoy, RESPONSES, &[], 6.0);
    });
}

#[test]
fn counts_an_observing_hooks_responses_by_their_status() {
    on_every_envoy(|envoy| {
        let gate = TestGate::with(envoy, |shipped| shipped.hook(&json!({"mode": "observe"})));
        for (status, number) in [(200, 1), (418, 2), (599, 1), (302, 1), (202, 1)] {
            gate.video.reply(Reply::status(status));
            for _ in 0..number {
                assert_eq!(gate.send(H1, &TestDelivery::completed()).status, status);
            }
        }
        gate.video.reply(Reply::Hang);
        let before = gate.video.heads();
        gate.tls(H2).open().leave(&TestDelivery::completed(), "delivery", || gate.video.heads() > before);
        let rows = [("200", 1.0), ("4xx", 2.0), ("5xx", 1.0), ("3xx", 1.0), ("2xx", 1.0), ("-", 1.0)];
        counted(&gate, "veo3", &rows.map(|(status, count)| (status, "-", count)));
    });
}

#[test]
fn counts_envoys_own_responses() {
    on_every_envoy(|envoy| {
        let timeout =
            |bootstrap: Bootstrap| bootstrap.http(|manager| manager["request_timeout"] = "0.5s".into());
        let gate = TestGate::started(envoy, Options::default(), |shipped| {
            timeout(shipped.gate(&configuration(&json!({}))))
        });
        for protocol in Protocol::BOTH {
            // The client stalls. An authenticated sender gets 503.
            let stalled =
                |delivery: TestDelivery| delivery.length(Length::Claimed(5_000)).ending(RequestEnding::Open);
            let answer = gate.send(protocol, &stalled(TestDelivery::completed()));
            assert_eq!((answer.status, answer.reason()), (408, None), "{answer:?}");
            let answer = gate.send(protocol, &stalled(with_token(TestDelivery::completed(), &good())));
            assert_eq!((answer.status, answer.reason()), (503, None), "{answer:?}");
            // Envoy answers gRPC with 200 and a `grpc-status`. A count of 200 would stand for a stored event.
            let grpc = TestDelivery::completed().without_header("content-type");
            let answer = gate.send(protocol, &stalled(grpc.header("content-type", "application/grpc")));
            assert_eq!((answer.status, answer.reason()), (503, None), "{answer:?}");
        }
        counts(&gate.envoy, RESPONSES, &[("hook", "veo3"), ("status", "408"), ("reason", "-")], 2.0);
        counts(&gate.envoy, RESPONSES, &[("hook", "veo3-token"), ("status", "503"), ("reason", "-")], 2.0);
        counts(&gate.envoy, RESPONSES, &[("hook", "veo3"), ("status", "503"), ("reason", "-")], 2.0);
        counts(&gate.envoy, RESPONSES, &[], 6.0);
    });
}

#[test]
fn counts_a_quarantined_delivery_by_the_response_of_its_service() {
    on_every_envoy(|envoy| {
        let gate = gate(envoy, &json!({}));
        gate.quarantine.reply(Reply::status(200));
        let invalid = || with_token(TestDelivery::of("{"), &good());
        assert_eq!(gate.send(H2, &invalid()).status, 200);
        gate.quarantine.reply(Reply::status(500));
        assert_eq!(gate.send(H2, &invalid()).status, 503);
        gate.provider.reply(contradicts(&tokenless()));
        gate.refuses(H1, &tokenless(), 403, "not-confirmed");
        let rows =
            [("200", "json-invalid", 1.0), ("503", "upstream-error", 1.0), ("403", "not-confirmed", 1.0)];
        counted(&gate, "veo3-token", &rows);
        let line = access_line(&gate.envoy, |line| line["reason"] == "not-confirmed");
        assert_eq!(line["confirm"], "contradicted");
    });
}
