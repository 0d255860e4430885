//! Routes to and from the inbox: the gate forwards to it, and it delivers through the listener `services`. A recording
//! upstream plays the inbox.

use crate::support::client::Protocol;
use crate::support::delivery::GENERATION;
use crate::support::{
    Bootstrap, H1, H2, Reply, ServiceRequest, TestDelivery, TestGate, Upstream, Version, eventually,
    on_every_envoy, pause,
};
use crate::trust::{good, with_token};
use crate::{access_line, access_text, counts, hook_routes};
use blobgate::contract::{Kind, Verdict, header};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const OBSERVING: &str = "/observed";

/// A gate with the shipped hooks, an observing hook and this inbox.
#[track_caller]
fn gate(version: &Version, inbox: &Upstream, change: impl FnOnce(Bootstrap) -> Bootstrap) -> TestGate {
    TestGate::with(version, |shipped| change(shipped.gate(&configuration()).inbox(inbox.port)))
}

fn configuration() -> Value {
    let mut configuration = Bootstrap::shipped_gate();
    let hooks = configuration["hooks"].as_array_mut().unwrap();
    let mut observing = hooks[0].clone();
    observing["name"] = "veo3-observing".into();
    observing["path"] = OBSERVING.into();
    observing["mode"] = "observe".into();
    hooks.push(observing);
    configuration
}

/// Deliveries of every verdict, each with its service.
fn deliveries_by_verdict(gate: &TestGate) -> Vec<(TestDelivery, Verdict, &Upstream)> {
    vec![
        (TestDelivery::completed(), Verdict::Accepted, &gate.video),
        (TestDelivery::completed_of(60_000).pieces_of(7_000).undeclared(), Verdict::Accepted, &gate.video),
        (TestDelivery::failed(), Verdict::Accepted, &gate.failure),
        (TestDelivery::timeout(), Verdict::Accepted, &gate.failure),
        (with_token(TestDelivery::completed(), &good()), Verdict::Accepted, &gate.video),
        (with_token(TestDelivery::of(b"{\"\xff\0"), &good()), Verdict::Quarantined, &gate.quarantine),
        (TestDelivery::completed().path(OBSERVING), Verdict::Observed, &gate.video),
        (TestDelivery::of("{").path(OBSERVING), Verdict::Observed, &gate.failure),
    ]
}

/// Sets the runtime key `blobgate.inbox`.
#[track_caller]
fn set_inbox_runtime(gate: &TestGate, to: u8) {
    let answer = gate.envoy.admin("POST", &format!("/runtime_modify?blobgate.inbox={to}"));
    assert_eq!((answer.status, answer.text().as_str()), (200, "OK\n"));
    // After this response the worker has the new value.
    assert_eq!(gate.send(H1, &TestDelivery::without_body().method("GET").path("/healthz")).status, 200);
}

/// The headers of a delivery that do not change between attempts.
fn stable_headers(arrival: &ServiceRequest) -> Vec<(String, Vec<u8>)> {
    const VARYING: [&str; 5] = [
        "host",
        header::REQUEST_ID,
        header::TRACEPARENT,
        header::WEBHOOK_TIMESTAMP,
        header::WEBHOOK_SIGNATURE,
    ];
    for name in VARYING {
        assert!(arrival.header(name).is_some(), "{name} of {arrival:?}");
    }
    let mut headers = arrival.headers.clone();
    headers.retain(|(name, _)| !VARYING.contains(&&**name));
    headers
}

#[test]
fn forwards_to_the_inbox_or_at_runtime_0_to_the_service() {
    on_every_envoy(|envoy| {
        let inbox = Upstream::start();
        let gate = gate(envoy, &inbox, |bootstrap| bootstrap);
        for protocol in Protocol::BOTH {
            for (delivery, verdict, service) in deliveries_by_verdict(&gate) {
                let (sent, heads) = (gate.sent(), gate.heads());
                assert_eq!(gate.send(protocol, &delivery).status, 200);
                let stored = inbox.take_one();
                assert_eq!((gate.sent(), gate.heads()), (sent + 1, heads), "one request");
                assert_eq!(stored.header(header::VERDICT).as_deref(), Some(verdict.name()));
                assert_eq!(stored.body, delivery.body());

                set_inbox_runtime(&gate, 0);
                assert_eq!(gate.send(protocol, &delivery).status, 200);
                let served = service.take_one();
                assert_eq!(gate.sent(), sent + 2, "one request");
                assert_eq!(inbox.take().len(), 0);
                assert_eq!(
                    (&stored.method, &stored.path, &stored.body),
                    (&served.method, &served.path, &served.body)
                );
                assert_eq!(
                    stable_headers(&stored),
                    stable_headers(&served),
                    "the inbox and the service get the same headers"
                );
                set_inbox_runtime(&gate, 100);
            }
        }
        let line = access_line(&gate.envoy, |line| line["verdict"] == Verdict::Quarantined.name());
        assert_eq!((&line["upstream"], &line["status"]), (&json!("inbox"), &json!(200)), "{line}");
    });
}

#[test]
fn refused_deliveries_reach_no_inbox() {
    on_every_envoy(|envoy| {
        let inbox = Upstream::start();
        let gate = gate(envoy, &inbox, |bootstrap| bootstrap);
        for protocol in Protocol::BOTH {
            let claims = |delivery: TestDelivery| {
                delivery
                    .header(header::VERDICT, Verdict::Accepted.name())
                    .header(header::EVENT, Kind::Completed.name())
            };
            gate.refuses(protocol, &claims(TestDelivery::of("{")), 400, "json-invalid");
            gate.refuses(
                protocol,
                &claims(TestDelivery::completed().path("/webhook/x")),
                404,
                "unknown-hook",
            );
            gate.refuses_from(
                &gate.envoy.plaintext(protocol),
                &claims(TestDelivery::completed()),
                403,
                "https-required",
            );
            // Another path is no delivery, whatever its headers.
            let answer = gate
                .nothing_arrives(|| gate.send(protocol, &claims(TestDelivery::completed().path("/else"))));
            assert_eq!(answer.status, 404);
            assert_eq!(gate.send(protocol, &claims(TestDelivery::completed().path("/app/x"))).status, 200);
            assert_eq!(gate.video.take_one().header(header::VERDICT), None);
        }
        assert_eq!(inbox.heads(), 0);
        // The control.
        assert_eq!(gate.send(H2, &TestDelivery::completed()).status, 200);
        assert_eq!(inbox.heads(), 1);
    });
}

#[test]
fn nothing_reaches_the_inbox_without_the_gate() {
    on_every_envoy(|envoy| {
        let inbox = Upstream::start();
        let gate = gate(envoy, &inbox, Bootstrap::without_gate);
        for protocol in Protocol::BOTH {
            let claims = TestDelivery::completed().header(header::VERDICT, Verdict::Accepted.name());
            let answer = gate.nothing_arrives(|| gate.send(protocol, &claims));
            assert_eq!((answer.status, answer.reason().as_deref()), (503, Some("not-judged")), "{answer:?}");
        }
        assert_eq!(inbox.heads(), 0);
    });
}

#[test]
fn answers_503_when_the_inbox_does_not_store() {
    on_every_envoy(|envoy| {
        let mut inbox = Upstream::start();
        let gate = gate(envoy, &inbox, |bootstrap| {
            hook_routes(bootstrap, |route| {
                if route["name"] == "inbox" {
                    route["route"]["timeout"] = "0.5s".into();
                }
            })
        });
        let assert_not_stored = || {
            for protocol in Protocol::BOTH {
                for delivery in [TestDelivery::completed(), with_token(TestDelivery::of("{"), &good())] {
                    let answer = gate.send(protocol, &delivery);
                    let expected = (503, Some("upstream-error"));
                    assert_eq!((answer.status, answer.reason().as_deref()), expected, "{answer:?}");
                }
            }
        };
        for reply in [Reply::status(503).body("full"), Reply::status(404), Reply::Hang, Reply::Reset] {
            inbox.reply(reply);
            assert_not_stored();
        }
        inbox.stop();
        assert_not_stored();
        assert_eq!(gate.heads(), 0, "no service gets the delivery instead");
    });
}

#[test]
fn waits_four_seconds_for_the_inbox() {
    const SENDERS: usize = 16;
    on_every_envoy(|envoy| {
        let mut inbox = Upstream::off();
        let gate = gate(envoy, &inbox, |bootstrap| bootstrap);
        std::thread::scope(|scope| {
            let senders: Vec<_> = (0..SENDERS)
                .map(|number| {
                    let connect = gate.tls(Protocol::BOTH[number % 2]);
                    scope.spawn(move || connect.open().send(&TestDelivery::completed()).status)
                })
                .collect();
            pause(Duration::from_secs(4));
            assert!(senders.iter().all(|sender| !sender.is_finished()), "every sender waits");
            inbox.on();
            for sender in senders {
                assert_eq!(sender.join().unwrap(), 200);
            }
        });
        assert_eq!(inbox.take().len(), SENDERS);
    });
}

/// A delivery of the inbox with this verdict and event.
fn delivered(verdict: Verdict, event: Option<&str>) -> TestDelivery {
    let delivery = TestDelivery::of(b"{\"\xff\0, byte for byte")
        .path("/hooks/veo3")
        .header("host", "127.0.0.1:8090")
        .header(header::VERDICT, verdict.name())
        .header(header::HOOK, "veo3-token")
        .header(header::GENERATION_ID, GENERATION)
        .header(header::ATTEMPT, "3")
        .header("blobgate-later", b"\xe4 b")
        .header(header::IDEMPOTENCY_KEY, "veo3:1:completed")
        .header(header::WEBHOOK_ID, "veo3:1:completed")
        .header(header::WEBHOOK_TIMESTAMP, "1700000000")
        .header(header::WEBHOOK_SIGNATURE, "v1,AAAA");
    match event {
        Some(event) => delivery.header(header::EVENT, event),
        None => delivery,
    }
}

#[test]
fn routes_the_inboxs_deliveries_unchanged() {
    on_every_envoy(|envoy| {
        let gate = TestGate::start(envoy);
        for protocol in Protocol::BOTH {
            let mut inbox = gate.envoy.services(protocol).open();
            for (verdict, event, service) in [
                (Verdict::Accepted, Some("completed"), &gate.video),
                (Verdict::Accepted, Some("failed"), &gate.failure),
                (Verdict::Accepted, Some("timeout"), &gate.failure),
                (Verdict::Quarantined, None, &gate.quarantine),
                (Verdict::Quarantined, Some("completed"), &gate.quarantine),
                (Verdict::Observed, Some("completed"), &gate.video),
                (Verdict::Observed, Some("failed"), &gate.failure),
                (Verdict::Observed, None, &gate.failure),
            ] {
                let delivery = delivered(verdict, event);
                let sent = gate.sent();
                assert_eq!(inbox.send(&delivery).status, 200);
                let mut arrival = service.take_one();
                assert_eq!(gate.sent(), sent + 1, "one request");
                assert_eq!((&*arrival.method, &*arrival.path), ("POST", "/hooks/veo3"));
                assert_eq!(arrival.body, delivery.body());
                // Envoy sets the trace.
                const OF_ENVOY: [&str; 4] = ["host", "content-length", header::TRACEPARENT, "tracestate"];
                arrival.headers.retain(|(name, _)| !OF_ENVOY.contains(&&**name));
                arrival.headers.sort();
                let mut expected = delivery.headers.clone();
                expected.retain(|(name, _)| name != "host");
                expected.sort();
                assert_eq!(arrival.headers, expected, "{arrival:?}");
            }
        }
        // The control: the gate counts only a delivery at the edge.
        gate.accepts(H2, &TestDelivery::completed());
        counts(&gate.envoy, "blobgate_responses_total", &[], 1.0);
    });
}

/// A request to the listener `services` without gate headers.
fn to_services() -> TestDelivery {
    TestDelivery::completed().header("host", "127.0.0.1:8090")
}

#[test]
fn answers_404_without_a_matching_route() {
    on_every_envoy(|envoy| {
        let gate = TestGate::start(envoy);
        let with_unknown_verdict =
            delivered(Verdict::Accepted, Some("completed")).without_header(header::VERDICT);
        let with_unknown_verdict = with_unknown_verdict.header(header::VERDICT, "refused");
        for protocol in Protocol::BOTH {
            for delivery in [
                to_services(),
                to_services().path("/app/x"),
                to_services().header(header::EVENT, Kind::Completed.name()),
                delivered(Verdict::Accepted, None),
                delivered(Verdict::Accepted, Some("other")),
                delivered(Verdict::Accepted, Some("")),
                with_unknown_verdict.clone(),
            ] {
                let answer = gate.nothing_arrives(|| gate.envoy.services(protocol).open().send(&delivery));
                let expected = (404, Some("no-route"));
                assert_eq!((answer.status, answer.reason().as_deref()), expected, "{delivery:?}");
            }
        }
    });
}

#[test]
fn passes_the_services_response_to_the_inbox() {
    on_every_envoy(|envoy| {
        let mut gate = TestGate::start(envoy);
        for protocol in Protocol::BOTH {
            let mut inbox = gate.envoy.services(protocol).open();
            for status in [200, 202, 204, 301, 400, 404, 409, 410, 429, 500, 503] {
                let own = Reply::status(status).header("retry-after", 7).header("x-service", "s");
                gate.video.reply(if status == 204 { own } else { own.body("own") });
                let answer = inbox.send(&delivered(Verdict::Accepted, Some("completed")));
                assert_eq!((answer.status, answer.reason()), (status, None), "{answer:?}");
                assert_eq!(answer.text(), if status == 204 { "" } else { "own" });
                for (name, value) in [("retry-after", "7"), ("x-service", "s")] {
                    assert_eq!(answer.header(name).as_deref(), Some(value), "{status}");
                }
                gate.video.take_one();
            }
        }
        // A service that is down is an early 503: the inbox itself does the long retries.
        gate.video.stop();
        let open = "cluster.video_service.upstream_cx_active";
        eventually("end of the connections", || (gate.envoy.stat(open) == Some(0)).then_some(()));
        let since = Instant::now();
        let answer = gate.envoy.services(H1).open().send(&delivered(Verdict::Accepted, Some("completed")));
        assert_eq!((answer.status, answer.reason()), (503, None), "{answer:?}");
        assert!(since.elapsed() < Duration::from_secs(10), "long before the timeout of 20 s");
        eventually("four retries", || {
            (gate.envoy.stat("cluster.video_service.upstream_rq_retry") == Some(4)).then_some(())
        });
    });
}

#[test]
fn logs_each_attempt() {
    on_every_envoy(|envoy| {
        let gate = TestGate::start(envoy);
        gate.failure.reply(Reply::status(410));
        let failed = delivered(Verdict::Accepted, Some("failed")).header(header::REDELIVERY, "true");
        assert_eq!(gate.envoy.services(H2).open().send(&failed).status, 410);
        let line = access_line(&gate.envoy, |line| line["attempt"] == "3");
        for (key, value) in [
            ("hook", json!("veo3-token")),
            ("event", json!("failed")),
            ("verdict", json!(Verdict::Accepted.name())),
            ("generation_id", json!(GENERATION)),
            ("redelivery", json!("true")),
            ("reason", json!(null)),
            ("status", json!(410)),
            ("details", json!("via_upstream")),
            ("flags", json!("-")),
            ("upstream", json!("failure_service")),
        ] {
            assert_eq!(line[key], value, "{key} of {line}");
        }
        let text = access_text(&gate.envoy);
        assert!(text.contains("veo3-token") && !text.contains("/hooks"), "no path: {text}");
    });
}
