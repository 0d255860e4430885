//! A panic in the module costs one request, and nothing else.

use crate::support::client::Protocol;
use crate::support::{Bootstrap, H1, H2, Reply, TestDelivery, TestGate, eventually};
use crate::{confirms, native, on_every_envoy, tokenless};
use std::thread;
use std::time::Duration;

fn crash(place: &str) -> TestDelivery {
    TestDelivery::completed().header("x-crash-test", place)
}

#[track_caller]
fn assert_crashes(gate: &TestGate, expected: u64) {
    eventually("the line of a panic", || (gate.envoy.crashes() == expected).then_some(()));
}

#[test]
fn a_panic_is_a_503_and_the_next_request_passes() {
    on_every_envoy(|version| {
        let gate = native(version, Bootstrap::crashing);
        let mut crashes = 0;
        for protocol in Protocol::BOTH {
            for place in ["headers", "body"] {
                let answer = gate.nothing_arrives(|| gate.send(protocol, &crash(place)));
                assert_eq!((answer.status, answer.reason()), (503, None), "{answer:?}");
                // At once, on another connection.
                gate.accepts(protocol, &TestDelivery::completed());
                crashes += 1;
            }
        }
        let grpc = crash("headers").without_header("content-type").header("content-type", "application/grpc");
        for protocol in Protocol::BOTH {
            let answer = gate.nothing_arrives(|| gate.send(protocol, &grpc));
            assert_eq!((answer.status, answer.header("grpc-status")), (503, None), "{answer:?}");
            crashes += 1;
        }
        // On the same connection, between two others.
        let mut client = gate.tls(H2).open();
        for (delivery, status) in
            [(TestDelivery::completed(), 200), (crash("body"), 503), (TestDelivery::completed(), 200)]
        {
            assert_eq!(client.send(&delivery).status, status);
        }
        assert_crashes(&gate, crashes + 1);
        crate::support::eventually("the access log", || {
            let log = gate.envoy.access_log();
            let of_panics = log.iter().filter(|line| line["details"] == "blobgate_panicked").count();
            (of_panics == 5).then_some(())
        });
    });
}

#[test]
fn a_panic_leaves_other_requests() {
    on_every_envoy(|version| {
        let gate = native(version, Bootstrap::crashing);
        for (number, protocol) in (1..).zip(Protocol::BOTH) {
            gate.forget();
            let before = gate.provider.heads();
            gate.provider.reply(Reply::After(Duration::from_millis(800), Box::new(confirms(&tokenless()))));
            let mut client = gate.tls(protocol).open();
            thread::scope(|scope| {
                let waiting = scope.spawn(move || client.send(&tokenless()));
                eventually("status call", || (gate.provider.heads() > before).then_some(()));
                assert_eq!(gate.send(H1, &crash("headers")).status, 503);
                assert_eq!(gate.send(H2, &crash("body")).status, 503);
                assert!(!waiting.is_finished(), "it waits during the panics");
                assert_eq!(waiting.join().unwrap().status, 200);
            });
            assert_eq!(gate.take_one().body, tokenless().body());
            assert_crashes(&gate, number * 2);
        }
    });
}

/// After the forward the service has the delivery, so the sender's retry may be a repeat. It gets 503, and no 200 without a check.
#[test]
fn a_panic_on_the_response_is_a_503() {
    on_every_envoy(|version| {
        let gate = native(version, Bootstrap::crashing);
        for protocol in Protocol::BOTH {
            gate.video.reply(Reply::status(200).header("set-cookie", "s").body("own"));
            let answer = gate.send(protocol, &crash("response"));
            assert_eq!(answer.status, 503, "{answer:?}");
            assert_eq!(answer.header("set-cookie"), None);
            gate.video.take_one();
            gate.accepts(protocol, &TestDelivery::completed());
        }
        assert_crashes(&gate, 2);
    });
}

#[test]
fn a_panic_on_the_confirmation_is_a_503() {
    on_every_envoy(|version| {
        let gate = native(version, Bootstrap::crashing);
        gate.provider.reply(confirms(&tokenless()));
        for protocol in Protocol::BOTH {
            let crash = tokenless().header("x-crash-test", "confirm");
            let answer = gate.nothing_arrives(|| gate.send(protocol, &crash));
            assert_eq!((answer.status, answer.reason()), (503, None), "{answer:?}");
            gate.accepts(protocol, &tokenless());
        }
        assert_crashes(&gate, 2);
    });
}

/// A thousand panics on four workers, among accepted deliveries.
#[test]
fn many_panics_leak_nothing() {
    const ROUNDS: usize = 250;
    const MAX_GROWTH: u64 = 8 << 20;
    on_every_envoy(|version| {
        let options = crate::support::Options { concurrency: 4, ..Default::default() };
        let gate = crate::native_with(version, options, Bootstrap::crashing);
        let round = || {
            thread::scope(|scope| {
                for number in 0..4 {
                    let connect = gate.tls(Protocol::BOTH[number % 2]);
                    scope.spawn(move || {
                        for _ in 0..ROUNDS {
                            assert_eq!(connect.open().send(&crash("body")).status, 503);
                        }
                        assert_eq!(connect.open().send(&TestDelivery::completed()).status, 200);
                    });
                }
            });
        };
        round();
        let before = gate.envoy.resident_bytes();
        round();
        let grown = gate.envoy.resident_bytes().saturating_sub(before);
        assert!(grown < MAX_GROWTH, "{grown} bytes more");
        assert_crashes(&gate, 8 * u64::try_from(ROUNDS).unwrap());
    });
}
