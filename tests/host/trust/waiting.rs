//! Reloads and timeouts while a delivery waits for its confirmation.

use super::{HOOK, configuration, confirms, gate, tokenless};
use crate::failure::by_file;
use crate::support::client::Protocol;
use crate::support::delivery::GENERATION;
use crate::support::{
    ClientResponse, H1, H2, Options, Reply, TestDelivery, TestGate, eventually, on_every_envoy,
};
use crate::{counts, log_line};
use blobgate::contract::header;
use serde_json::{Value, json};
use std::thread;
use std::time::Duration;

/// Sends a delivery that the provider confirms after `time`, and runs `act` while the delivery waits.
#[track_caller]
fn act_while_waiting(
    gate: &TestGate,
    protocol: Protocol,
    time: Duration,
    act: impl FnOnce(),
) -> ClientResponse {
    gate.provider.reply(Reply::After(time, Box::new(confirms(&tokenless()))));
    let (before, mut client) = (gate.provider.heads(), gate.tls(protocol).open());
    thread::scope(|scope| {
        let waiting = scope.spawn(move || client.send(&tokenless()));
        eventually("status call", || (gate.provider.heads() > before).then_some(()));
        act();
        waiting.join().unwrap()
    })
}

#[test]
fn finishes_waiting_deliveries_after_new_listeners() {
    on_every_envoy(|envoy| {
        let options = Options { listeners_by_file: true, ..Options::default() };
        let gate = TestGate::started(envoy, options, |shipped| shipped.gate(&named("first")));
        for (protocol, next) in [(H1, "second"), (H2, "third")] {
            gate.forget();
            let answer = act_while_waiting(&gate, protocol, Duration::from_secs(2), || {
                let bootstrap = TestGate::bootstrap(&gate.video, &gate.failure).gate(&named(next));
                gate.envoy.replace_listeners(&bootstrap);
                wait_for_name(&gate, next);
                gate.forget();
            });
            assert_eq!((answer.status, answer.reason()), (200, None), "{answer:?}");
            let arrival = gate.take_one();
            assert_eq!((arrival.path.as_str(), arrival.body), (HOOK, tokenless().body()));
        }
    });
}

#[test]
fn finishes_waiting_deliveries_after_a_new_filter() {
    on_every_envoy(|envoy| {
        let folder = tempfile::TempDir::with_prefix("blobgate-test-").unwrap();
        let (file, gate) = by_file(envoy, &folder, &named("first"));
        for (protocol, next) in [(H1, "second"), (H2, "third")] {
            let answer = act_while_waiting(&gate, protocol, Duration::from_secs(2), || {
                file.write(&named(next));
                wait_for_name(&gate, next);
                gate.forget();
            });
            assert_eq!((answer.status, answer.reason()), (200, None), "{answer:?}");
            assert_eq!(gate.take_one().body, tokenless().body());
            gate.provider.reply(confirms(&tokenless()));
            gate.accepts(protocol, &tokenless());
        }
    });
}

/// The shipped configuration with another name for the first hook.
fn named(name: &str) -> Value {
    let mut configuration = configuration(&json!({}));
    configuration["hooks"][0]["name"] = name.into();
    configuration
}

#[track_caller]
fn wait_for_name(gate: &TestGate, name: &str) {
    eventually("new configuration", || {
        gate.accepts(H1, &TestDelivery::completed()).header(header::HOOK).filter(|now| now == name)
    });
}

#[test]
fn request_timeout_limits_the_status_call() {
    on_every_envoy(|envoy| {
        let gate = TestGate::with(envoy, |shipped| {
            shipped.http(|manager| manager["request_timeout"] = "0.5s".into())
        });
        gate.provider.reply(Reply::Hang);
        for protocol in Protocol::BOTH {
            gate.refuses(protocol, &tokenless(), 503, "confirm-unavailable");
            gate.refuses(protocol, &tokenless().pieces_of(50).trailers(), 503, "confirm-unavailable");
        }
        let labels = [("hook", "veo3-token"), ("outcome", "no-answer")];
        counts(&gate.envoy, "blobgate_confirm_total", &labels, 4.0);
        let labels = [("reason", "confirm-unavailable"), ("status", "503")];
        counts(&gate.envoy, "blobgate_responses_total", &labels, 4.0);
        log_line(
            &gate.envoy,
            &format!("reason=confirm-unavailable hook=veo3-token source=127.0.0.1 id={GENERATION}"),
        );
        // The timed-out deliveries have freed their slots.
        gate.provider.reply(confirms(&tokenless()));
        for _ in 0..17 {
            gate.accepts(H2, &tokenless());
        }
    });
}

#[test]
fn confirms_the_largest_body() {
    const MAX_BODY_BYTES: usize = 1_000_000;
    on_every_envoy(|envoy| {
        let gate = gate(envoy, &json!({"hook": {"max_body_bytes": MAX_BODY_BYTES}}));
        gate.provider.reply(Reply::After(Duration::from_millis(300), Box::new(confirms(&tokenless()))));
        for protocol in Protocol::BOTH {
            let largest = || TestDelivery::completed_of(MAX_BODY_BYTES).path(HOOK);
            gate.accepts(protocol, &largest());
            gate.accepts(protocol, &largest().pieces_of(50_000).trailers());
        }
        assert_eq!(gate.provider.heads(), 4);
    });
}
