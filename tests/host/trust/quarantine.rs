//! Quarantine: the sender gets 200 only after the quarantine service has stored the delivery.

use super::{configuration, good, with_token};
use crate::hook_routes;
use crate::support::client::Protocol;
use crate::support::{ClientResponse, H2, Reply, TestDelivery, TestGate, Version, on_every_envoy};
use serde_json::{Value, json};

const ANSWERS: [&str; 2] = ["status", "receipt"];

/// A gate that waits half a second for the quarantine service.
#[track_caller]
fn gate_with_short_timeout(version: &Version, answers: &str, change: impl Fn(&mut Value)) -> TestGate {
    TestGate::with(version, |shipped| {
        let shipped = shipped.gate(&configuration(&json!({"hook": {"answers": answers}})));
        hook_routes(shipped, |route| {
            if route["name"] == "quarantined" {
                route["route"]["timeout"] = "0.5s".into();
                change(route);
            }
        })
    })
}

fn invalid_with_token() -> TestDelivery {
    with_token(TestDelivery::of("{"), &good())
}

#[track_caller]
fn assert_not_stored(answers: &str, answer: &ClientResponse) {
    assert_eq!((answer.status, answer.reason().as_deref()), (503, Some("upstream-error")), "{answer:?}");
    if answers == "receipt" {
        answer.assert_problem("upstream-error");
    }
}

#[test]
fn answers_200_once_stored() {
    on_every_envoy(|envoy| {
        for answers in ANSWERS {
            let gate = gate_with_short_timeout(envoy, answers, |_| {});
            for protocol in Protocol::BOTH {
                for status in [200, 201, 202, 204] {
                    gate.quarantine.reply(Reply::status(status).header("x-service", "q"));
                    let answer = gate.send(protocol, &invalid_with_token());
                    assert_eq!((answer.status, answer.reason()), (200, None), "{answer:?}");
                    assert_eq!(gate.quarantine.take_one().body, b"{");
                }
            }
            assert_eq!((gate.video.heads(), gate.failure.heads()), (0, 0));
        }
    });
}

#[test]
fn answers_503_when_not_stored() {
    on_every_envoy(|envoy| {
        for answers in ANSWERS {
            let mut gate = gate_with_short_timeout(envoy, answers, |_| {});
            for reply in [
                Reply::status(500),
                Reply::status(500).body("oops"),
                Reply::status(400),
                Reply::status(302).header("location", "/elsewhere"),
                Reply::Hang,
                Reply::Reset,
            ] {
                gate.quarantine.reply(reply);
                for protocol in Protocol::BOTH {
                    assert_not_stored(answers, &gate.send(protocol, &invalid_with_token()));
                    gate.quarantine.take_one();
                }
            }
            gate.quarantine.stop();
            for protocol in Protocol::BOTH {
                assert_not_stored(answers, &gate.send(protocol, &invalid_with_token()));
            }
            // The other services still get deliveries.
            gate.accepts(H2, &with_token(TestDelivery::completed(), &good()));
            gate.quarantine.reply(Reply::status(201));
            gate.quarantine.on();
            assert_eq!(gate.send(H2, &invalid_with_token()).status, 200);
        }
    });
}

#[test]
fn answers_503_without_a_route_for_quarantine() {
    on_every_envoy(|envoy| {
        for answers in ANSWERS {
            let gate = gate_with_short_timeout(envoy, answers, |route| {
                route["match"]["headers"][0]["string_match"]["exact"] = "no-verdict".into();
            });
            for protocol in Protocol::BOTH {
                let answer = gate.nothing_arrives(|| gate.send(protocol, &invalid_with_token()));
                assert_not_stored(answers, &answer);
            }
        }
    });
}
