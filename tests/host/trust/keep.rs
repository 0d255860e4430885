//! Quarantine: what is proven and wrong is answered well only once it is kept.

use super::{configuration, good, with_token};
use crate::hook_routes;
use crate::support::client::Protocol;
use crate::support::{ClientResponse, H2, Reply, TestDelivery, TestGate, Version, on_every_envoy};
use serde_json::{Value, json};

const ANSWERS: [&str; 2] = ["status", "receipt"];

/// A gate whose keeper is waited for half a second.
#[track_caller]
fn impatient(version: &Version, answers: &str, change: impl Fn(&mut Value)) -> TestGate {
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

fn flawed() -> TestDelivery {
    with_token(TestDelivery::of("{"), &good())
}

#[track_caller]
fn not_kept(answers: &str, answer: &ClientResponse) {
    assert_eq!((answer.status, answer.reason().as_deref()), (503, Some("upstream-error")), "{answer:?}");
    if answers == "receipt" {
        answer.assert_problem("upstream-error");
    }
}

#[test]
fn a_keeper_that_keeps() {
    on_every_envoy(|envoy| {
        for answers in ANSWERS {
            let gate = impatient(envoy, answers, |_| {});
            for protocol in Protocol::BOTH {
                for status in [200, 201, 202, 204] {
                    gate.quarantine.reply(Reply::status(status).header("x-keeper", "k"));
                    let answer = gate.send(protocol, &flawed());
                    assert_eq!((answer.status, answer.reason()), (200, None), "{answer:?}");
                    assert_eq!(gate.quarantine.take_one().body, b"{");
                }
            }
            assert_eq!((gate.video.heads(), gate.failure.heads()), (0, 0));
        }
    });
}

#[test]
fn a_keeper_that_fails_hangs_or_is_away() {
    on_every_envoy(|envoy| {
        for answers in ANSWERS {
            let mut gate = impatient(envoy, answers, |_| {});
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
                    not_kept(answers, &gate.send(protocol, &flawed()));
                    gate.quarantine.take_one();
                }
            }
            gate.quarantine.stop();
            for protocol in Protocol::BOTH {
                not_kept(answers, &gate.send(protocol, &flawed()));
            }
            // The services go on.
            gate.accepts(H2, &with_token(TestDelivery::completed(), &good()));
            gate.quarantine.reply(Reply::status(201));
            gate.quarantine.on();
            assert_eq!(gate.send(H2, &flawed()).status, 200);
        }
    });
}

#[test]
fn a_keeper_without_a_route() {
    on_every_envoy(|envoy| {
        for answers in ANSWERS {
            let gate = impatient(envoy, answers, |route| {
                route["match"]["headers"][0]["string_match"]["exact"] = "nobody".into();
            });
            for protocol in Protocol::BOTH {
                let answer = gate.nothing_arrives(|| gate.send(protocol, &flawed()));
                not_kept(answers, &answer);
            }
        }
    });
}
