//! Memory stays flat over many requests of every kind.

use crate::support::client::Protocol;
use crate::support::{Client, H1, Options, TestDelivery, TestGate, metrics};
use crate::{confirms, native_with, on_every_envoy, tokenless};
use serde_json::{Value, json};
use std::thread;
use std::time::Instant;

/// The number of requests, if `SOAK` does not set it.
const REQUESTS: usize = 50_000;
/// The part of the requests after which memory must be flat.
const WARM_UP: usize = 4;
/// Senders, of which each has one connection.
const SENDERS: usize = 8;
const MAX_GROWTH: u64 = 8 << 20;

/// Deliveries of every outcome, each with its status.
fn mix() -> Vec<(TestDelivery, u16)> {
    let mut another: Value = serde_json::from_slice(&TestDelivery::completed().body()).unwrap();
    another["generation_id"] = "00000000-5bef-4e14-bf22-8d559be3c19f".into();
    vec![
        (TestDelivery::completed(), 200),
        (TestDelivery::failed(), 200),
        (TestDelivery::timeout().undeclared(), 200),
        (TestDelivery::completed_of(20_000), 200),
        (TestDelivery::completed().trailers(), 200),
        (TestDelivery::of("{"), 400),
        (TestDelivery::completed().method("GET"), 405),
        (TestDelivery::completed().path("/webhook/x"), 404),
        (TestDelivery::completed().header("content-type", "application/grpc"), 200),
        (tokenless(), 200),
        // Contradicts the status API. The gate caches the denial.
        (TestDelivery::json(&another).path(crate::TOKEN_HOOK), 403),
    ]
}

#[test]
fn memory_is_flat() {
    let requests = std::env::var("SOAK").map_or(REQUESTS, |number| number.parse().expect("SOAK is a number"));
    on_every_envoy(|version| {
        let options = Options { concurrency: 4, ..Options::default() };
        let gate = native_with(version, options, |shipped| {
            shipped.gate(&crate::named("veo3", &json!({"confirm": {"per_minute": 6000}})))
        });
        gate.provider.reply(confirms(&tokenless()));
        let begun = Instant::now();
        let mut at_warm_up = 0;
        for part in 0..WARM_UP {
            send(&gate, requests / WARM_UP);
            let now = gate.envoy.resident_bytes();
            eprintln!("soak: Envoy {}, part {part}: {} KB resident", version.name, now >> 10);
            if part == 0 {
                at_warm_up = now;
            }
        }
        let grown = gate.envoy.resident_bytes().saturating_sub(at_warm_up);
        eprintln!(
            "soak: {requests} requests took {:.1} s, {grown} bytes more",
            begun.elapsed().as_secs_f32()
        );
        assert!(grown < MAX_GROWTH, "{grown} bytes more after {requests} requests");
        assert_eq!(gate.envoy.crashes(), 0);
        let counted = metrics::sum(&gate.envoy.prometheus(), "blobgate_responses_total", &[]);
        assert!(counted > requests as f64 * 0.99, "the control: {counted} responses of the gate");
        gate.accepts(H1, &TestDelivery::completed());
    });
}

fn send(gate: &TestGate, requests: usize) {
    let mix = mix();
    thread::scope(|scope| {
        for sender in 0..SENDERS {
            let (connect, mix) = (gate.tls(Protocol::BOTH[sender % 2]), &mix);
            let own = requests / SENDERS;
            scope.spawn(move || {
                let mut client: Option<Client> = None;
                for number in 0..own {
                    let (delivery, status) = &mix[(number + sender) % mix.len()];
                    // A refusal before the end of the body ends an HTTP/1 connection.
                    let answer = client.get_or_insert_with(|| connect.open()).send(delivery);
                    assert!([*status, 503].contains(&answer.status), "{answer:?} to {delivery:?}");
                    if number % 500 == 0 {
                        gate.forget();
                        let _calls = gate.provider.take();
                    }
                    if answer.header("connection").as_deref() == Some("close") {
                        client = None;
                    }
                }
            });
        }
    });
}
