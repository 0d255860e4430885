//! What happens to Envoy and to the module while a delivery is held for the provider's answer.

use super::{HOOK, configuration, confirms, gate, good, stranger, with_token};
use crate::failure::{by_file, is_back};
use crate::support::client::Protocol;
use crate::support::delivery::GENERATION;
use crate::support::{
    ClientResponse, H1, H2, Options, Reply, TestDelivery, TestGate, crashing_module, eventually,
    on_every_envoy,
};
use crate::{counts, log_line};
use blobgate::contract::header;
use serde_json::{Value, json};
use std::thread;
use std::time::Duration;

/// Sends a delivery to a provider that confirms it after `time`, and acts while it is held.
#[track_caller]
fn held(gate: &TestGate, protocol: Protocol, time: Duration, act: impl FnOnce()) -> ClientResponse {
    gate.provider.reply(Reply::After(time, Box::new(confirms(&stranger()))));
    let (before, mut client) = (gate.provider.heads(), gate.tls(protocol).open());
    thread::scope(|scope| {
        let held = scope.spawn(move || client.send(&stranger()));
        eventually("question", || (gate.provider.heads() > before).then_some(()));
        act();
        held.join().unwrap()
    })
}

#[test]
fn a_module_that_traps_lets_nothing_go_that_was_held() {
    on_every_envoy(|envoy| {
        let gate = TestGate::with(envoy, |shipped| shipped.module(crashing_module()));
        for protocol in Protocol::BOTH {
            let reply = Reply::After(Duration::from_millis(500), Box::new(confirms(&stranger())));
            gate.provider.reply(reply);
            let before = gate.provider.heads();
            gate.nothing_arrives(|| {
                let mut crashed = false;
                // Some Envoys answer what is held at once, and some not at all.
                gate.tls(protocol).open().leave(&stranger(), "end of the call", || {
                    if gate.provider.heads() > before && !crashed {
                        let crash = with_token(TestDelivery::completed(), &good());
                        let answer = gate.send(H1, &crash.header("x-crash-test", "headers"));
                        assert_eq!((answer.status, answer.reason()), (503, None), "{answer:?}");
                        crashed = true;
                    }
                    crashed && gate.envoy.stat("cluster.runblob_api.upstream_rq_active") == Some(0)
                });
            });
            is_back(&gate, protocol);
            gate.provider.reply(confirms(&stranger()));
            gate.accepts(protocol, &stranger());
        }
    });
}

#[test]
fn new_listeners_let_what_was_held_end_well() {
    on_every_envoy(|envoy| {
        let options = Options { listeners_by_file: true, ..Options::default() };
        let gate = TestGate::started(envoy, options, |shipped| shipped.gate(&named("first")));
        for (protocol, next) in [(H1, "second"), (H2, "third")] {
            gate.forget();
            let answer = held(&gate, protocol, Duration::from_secs(2), || {
                let bootstrap = TestGate::bootstrap(&gate.video, &gate.failure).gate(&named(next));
                gate.envoy.replace_listeners(&bootstrap);
                is_named(&gate, next);
                gate.forget();
            });
            assert_eq!((answer.status, answer.reason()), (200, None), "{answer:?}");
            let arrival = gate.take_one();
            assert_eq!((arrival.path.as_str(), arrival.body), (HOOK, stranger().body()));
        }
    });
}

#[test]
fn a_new_filter_lets_what_was_held_end_well() {
    on_every_envoy(|envoy| {
        let folder = tempfile::TempDir::with_prefix("blobgate-test-").unwrap();
        let (file, gate) = by_file(envoy, &folder, &named("first"));
        for (protocol, next) in [(H1, "second"), (H2, "third")] {
            let answer = held(&gate, protocol, Duration::from_secs(2), || {
                file.write(&named(next));
                is_named(&gate, next);
                gate.forget();
            });
            assert_eq!((answer.status, answer.reason()), (200, None), "{answer:?}");
            assert_eq!(gate.take_one().body, stranger().body());
            gate.provider.reply(confirms(&stranger()));
            gate.accepts(protocol, &stranger());
        }
    });
}

/// The shipped configuration, with another name for the open hook.
fn named(name: &str) -> Value {
    let mut configuration = configuration(&json!({}));
    configuration["hooks"][0]["name"] = name.into();
    configuration
}

#[track_caller]
fn is_named(gate: &TestGate, name: &str) {
    eventually("new configuration", || {
        gate.accepts(H1, &TestDelivery::completed()).header(header::HOOK).filter(|now| now == name)
    });
}

#[test]
fn what_the_time_for_the_request_leaves_is_all_the_provider_has() {
    on_every_envoy(|envoy| {
        let gate = TestGate::with(envoy, |shipped| {
            shipped.http(|manager| manager["request_timeout"] = "0.5s".into())
        });
        gate.provider.reply(Reply::Hang);
        for protocol in Protocol::BOTH {
            gate.refuses(protocol, &stranger(), 503, "confirm-unavailable");
            gate.refuses(protocol, &stranger().pieces_of(50).trailers(), 503, "confirm-unavailable");
        }
        let labels = [("hook", "veo3-token"), ("outcome", "no-answer")];
        counts(&gate.envoy, "blobgate_confirm_total", &labels, 4.0);
        let labels = [("reason", "confirm-unavailable"), ("verdict", "refused")];
        counts(&gate.envoy, "blobgate_deliveries_total", &labels, 4.0);
        log_line(
            &gate.envoy,
            &format!("reason=confirm-unavailable hook=veo3-token source=127.0.0.1 id={GENERATION}"),
        );
        // Nor do they keep their slots.
        gate.provider.reply(confirms(&stranger()));
        for _ in 0..17 {
            gate.accepts(H2, &stranger());
        }
    });
}

#[test]
fn the_largest_body_is_held() {
    const MOST_BODY_BYTES: usize = 1_000_000;
    on_every_envoy(|envoy| {
        let gate = gate(envoy, &json!({"hook": {"max_body_bytes": MOST_BODY_BYTES}}));
        gate.provider.reply(Reply::After(Duration::from_millis(300), Box::new(confirms(&stranger()))));
        for protocol in Protocol::BOTH {
            let largest = || TestDelivery::completed_of(MOST_BODY_BYTES).path(HOOK);
            gate.accepts(protocol, &largest());
            gate.accepts(protocol, &largest().pieces_of(50_000).trailers());
        }
        assert_eq!(gate.provider.heads(), 4);
    });
}
