//! The inbox in the path: what the gate marked goes there, and from there by the listener `services`. A recording
//! upstream stands in for the inbox.

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

/// The shipped hooks, and one that observes, before this inbox.
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

/// Deliveries of every verdict, and the service that each is for.
fn marked(gate: &TestGate) -> Vec<(TestDelivery, Verdict, &Upstream)> {
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

/// Sets the runtime's `blobgate.inbox`, as an operator does.
#[track_caller]
fn switch(gate: &TestGate, to: u8) {
    let answer = gate.envoy.admin("POST", &format!("/runtime_modify?blobgate.inbox={to}"));
    assert_eq!((answer.status, answer.text().as_str()), (200, "OK\n"));
    // The worker has been through its event loop, and so has heard of it.
    assert_eq!(gate.send(H1, &TestDelivery::without_body().method("GET").path("/healthz")).status, 200);
}

/// What is the same of one delivery wherever it arrives.
fn lasting(arrival: &ServiceRequest) -> Vec<(String, Vec<u8>)> {
    const OF_THE_MOMENT: [&str; 4] =
        ["host", "x-request-id", header::WEBHOOK_TIMESTAMP, header::WEBHOOK_SIGNATURE];
    for name in OF_THE_MOMENT {
        assert!(arrival.header(name).is_some(), "{name} of {arrival:?}");
    }
    let mut headers = arrival.headers.clone();
    headers.retain(|(name, _)| !OF_THE_MOMENT.contains(&&**name));
    headers
}

#[test]
fn every_mark_goes_to_the_inbox_and_with_the_runtime_at_0_to_its_service() {
    on_every_envoy(|envoy| {
        let inbox = Upstream::start();
        let gate = gate(envoy, &inbox, |bootstrap| bootstrap);
        for protocol in Protocol::BOTH {
            for (delivery, verdict, service) in marked(&gate) {
                let (sent, heads) = (gate.sent(), gate.heads());
                assert_eq!(gate.send(protocol, &delivery).status, 200);
                let kept = inbox.take_one();
                assert_eq!((gate.sent(), gate.heads()), (sent + 1, heads), "it goes nowhere else");
                assert_eq!(kept.header(header::VERDICT).as_deref(), Some(verdict.name()));
                assert_eq!(kept.body, delivery.body());

                switch(&gate, 0);
                assert_eq!(gate.send(protocol, &delivery).status, 200);
                let served = service.take_one();
                assert_eq!(gate.sent(), sent + 2, "it goes nowhere else");
                assert_eq!(inbox.take().len(), 0);
                assert_eq!(
                    (&kept.method, &kept.path, &kept.body),
                    (&served.method, &served.path, &served.body)
                );
                assert_eq!(lasting(&kept), lasting(&served), "the inbox gets what the service would");
                switch(&gate, 100);
            }
        }
        let line = access_line(&gate.envoy, |line| line["verdict"] == Verdict::Quarantined.name());
        assert_eq!((&line["upstream"], &line["status"]), (&json!("inbox"), &json!(200)), "{line}");
    });
}

#[test]
fn what_is_refused_reaches_no_inbox() {
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
            // No hook's, and so no delivery, whatever it claims.
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
fn without_a_gate_nothing_reaches_the_inbox() {
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
fn what_the_inbox_did_not_keep_comes_back() {
    on_every_envoy(|envoy| {
        let mut inbox = Upstream::start();
        let gate = gate(envoy, &inbox, |bootstrap| {
            hook_routes(bootstrap, |route| {
                if route["name"] == "inbox" {
                    route["route"]["timeout"] = "0.5s".into();
                }
            })
        });
        let not_kept = || {
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
            not_kept();
        }
        inbox.stop();
        not_kept();
        assert_eq!(gate.heads(), 0, "no service is asked in its place");
    });
}

#[test]
fn an_inbox_away_for_seconds_costs_no_attempt() {
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
            assert!(senders.iter().all(|sender| !sender.is_finished()), "all of them wait");
            inbox.on();
            for sender in senders {
                assert_eq!(sender.join().unwrap(), 200);
            }
        });
        assert_eq!(inbox.take().len(), SENDERS);
    });
}

/// What an inbox delivers, with these marks.
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
fn the_inbox_delivers_to_each_service_and_nothing_is_added() {
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
                assert_eq!(gate.sent(), sent + 1, "it goes nowhere else");
                assert_eq!((&*arrival.method, &*arrival.path), ("POST", "/hooks/veo3"));
                assert_eq!(arrival.body, delivery.body());
                arrival.headers.retain(|(name, _)| !["host", "content-length"].contains(&&**name));
                arrival.headers.sort();
                let mut expected = delivery.headers.clone();
                expected.retain(|(name, _)| name != "host");
                expected.sort();
                assert_eq!(arrival.headers, expected, "{arrival:?}");
            }
        }
        // A delivery at the edge is the first that the gate has judged.
        gate.accepts(H2, &TestDelivery::completed());
        counts(&gate.envoy, "blobgate_deliveries_total", &[], 1.0);
    });
}

/// Without a mark of the gate.
fn to_services() -> TestDelivery {
    TestDelivery::completed().header("host", "127.0.0.1:8090")
}

#[test]
fn what_has_no_service_is_404() {
    on_every_envoy(|envoy| {
        let gate = TestGate::start(envoy);
        let of_no_verdict = delivered(Verdict::Accepted, Some("completed")).without_header(header::VERDICT);
        let of_no_verdict = of_no_verdict.header(header::VERDICT, "refused");
        for protocol in Protocol::BOTH {
            for delivery in [
                to_services(),
                to_services().path("/app/x"),
                to_services().header(header::EVENT, Kind::Completed.name()),
                delivered(Verdict::Accepted, None),
                delivered(Verdict::Accepted, Some("other")),
                delivered(Verdict::Accepted, Some("")),
                of_no_verdict.clone(),
            ] {
                let answer = gate.nothing_arrives(|| gate.envoy.services(protocol).open().send(&delivery));
                let expected = (404, Some("no-route"));
                assert_eq!((answer.status, answer.reason().as_deref()), expected, "{delivery:?}");
            }
        }
    });
}

#[test]
fn the_inbox_hears_a_services_own_answer() {
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
        // Nobody to ask is soon said: to try for long is the inbox's own part.
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
fn each_attempt_is_a_line_in_the_access_log() {
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
        assert!(text.contains("veo3-token") && !text.contains("/hooks"), "never a path: {text}");
    });
}
