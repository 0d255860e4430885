//! The defaults of a control plane: small buffers and windows, other rules for paths and headers. `docs/howto` names Envoy
//! Gateway's.

use crate::support::client::Protocol;
use crate::support::{Bootstrap, H1, H2, Reply, TestDelivery, TestGate};
use crate::{TOKEN_HOOK, confirms, native, on_every_envoy};
use serde_json::{Value, json};

/// The largest `max_body_bytes`.
const LARGEST: usize = 1_000_000;

/// As Envoy Gateway generates it.
fn of_gateway(mut bootstrap: Bootstrap) -> Bootstrap {
    for listener in bootstrap.json["static_resources"]["listeners"].as_array_mut().unwrap() {
        listener["per_connection_buffer_limit_bytes"] = 32_768.into();
    }
    for cluster in bootstrap.json["static_resources"]["clusters"].as_array_mut().unwrap() {
        cluster["per_connection_buffer_limit_bytes"] = 32_768.into();
    }
    bootstrap.http(|http| {
        http["common_http_protocol_options"]["headers_with_underscores_action"] = "REJECT_REQUEST".into();
        http["path_with_escaped_slashes_action"] = "UNESCAPE_AND_REDIRECT".into();
        http["http2_protocol_options"] = json!({
            "max_concurrent_streams": 100,
            "initial_stream_window_size": 65_536,
            "initial_connection_window_size": 1_048_576,
        });
    })
}

fn configuration() -> Value {
    let mut configuration = Bootstrap::shipped_gate();
    for hook in configuration["hooks"].as_array_mut().unwrap() {
        hook["max_body_bytes"] = LARGEST.into();
    }
    configuration
}

#[test]
fn bodies_up_to_the_gates_limit_pass() {
    on_every_envoy(|version| {
        let gate = native(version, |shipped| of_gateway(shipped.gate(&configuration())));
        for protocol in Protocol::BOTH {
            for size in [32_000, 33_000, 65_535, 65_537, 150_000, LARGEST] {
                gate.accepts(protocol, &TestDelivery::completed_of(size));
            }
            gate.accepts(protocol, &TestDelivery::completed_of(LARGEST).pieces_of(10_007).undeclared());
            gate.accepts(protocol, &TestDelivery::completed_of(LARGEST).pieces_of(50_000).trailers());
            let larger = TestDelivery::completed_of(LARGEST + 1);
            gate.refuses(protocol, &larger, 413, "body-too-large");
            gate.refuses(protocol, &larger.clone().undeclared(), 413, "body-too-large");
            // The provider's longest prompt of 4,000 characters, escaped: 48 KB.
            let prompt = "\\ud83c\\udfac".repeat(4_000);
            let sample = String::from_utf8(TestDelivery::completed().body()).unwrap();
            let escaped = sample.replace(crate::support::delivery::PROMPT, &prompt);
            assert!(escaped.len() > 48_000);
            gate.accepts(protocol, &TestDelivery::of(escaped));
        }
    });
}

/// The control: without the gate's own limit Envoy refuses such a body on other paths.
#[test]
fn confirmed_bodies_up_to_the_gates_limit_pass() {
    on_every_envoy(|version| {
        let gate = native(version, |shipped| of_gateway(shipped.gate(&configuration())));
        gate.provider.reply(confirms(&TestDelivery::completed()));
        for protocol in Protocol::BOTH {
            let largest = TestDelivery::completed_of(LARGEST).path(TOKEN_HOOK);
            gate.accepts(protocol, &largest);
            gate.accepts(protocol, &largest.pieces_of(30_011).undeclared());
        }
    });
}

/// A body over the hook's limit also passes Envoy's limit. The gate decides first, and Envoy does not respond with its own 413.
#[test]
fn the_gate_judges_bodies_over_its_limit() {
    const LIMIT: usize = 65_536;
    on_every_envoy(|version| {
        for mode in ["enforce", "observe"] {
            let hook = json!({"mode": mode, "max_body_bytes": LIMIT});
            let gate = native(version, |shipped| of_gateway(shipped.hook(&hook)));
            for protocol in Protocol::BOTH {
                for size in [LIMIT + 1, 70_000, 97_000, 131_073, 400_000] {
                    let plain = TestDelivery::completed_of(size);
                    let forms =
                        [plain.clone(), plain.clone().undeclared(), plain.pieces_of(9_001).undeclared()];
                    for delivery in forms {
                        if mode == "enforce" {
                            gate.refuses(protocol, &delivery, 413, "body-too-large");
                            continue;
                        }
                        gate.forget();
                        assert_eq!(gate.send(protocol, &delivery).status, 200, "{size} bytes");
                        assert!(gate.take_one().body == delivery.body(), "{size} bytes arrive unchanged");
                    }
                }
            }
        }
    });
}

#[test]
fn large_responses_pass_and_become_receipts() {
    on_every_envoy(|version| {
        for answers in ["status", "receipt"] {
            let gate = native(version, |shipped| of_gateway(shipped.hook(&json!({"answers": answers}))));
            for size in [40_000, 3_000_000] {
                gate.video.reply(Reply::status(200).body(vec![b'x'; size]));
                for protocol in Protocol::BOTH {
                    let answer = gate.send(protocol, &TestDelivery::completed());
                    assert_eq!(answer.status, 200, "{answers} {size}");
                    match answers {
                        "status" => assert!(answer.body == vec![b'x'; size], "{} bytes", answer.body.len()),
                        _ => assert_eq!(answer.text(), "{\"status\":\"received\"}"),
                    }
                }
            }
        }
    });
}

#[test]
fn each_kind_of_delivery_works() {
    on_every_envoy(|version| {
        let gate: TestGate = native(version, of_gateway);
        for protocol in [H1, H2] {
            gate.accepts(protocol, &TestDelivery::failed());
            gate.refuses(protocol, &TestDelivery::of("{"), 400, "json-invalid");
            gate.refuses(protocol, &TestDelivery::completed().method("GET"), 405, "method-not-allowed");
            gate.provider.reply(Reply::status(404).body(r#"{"detail":"TASK_NOT_FOUND"}"#));
            gate.refuses(protocol, &TestDelivery::completed().path(TOKEN_HOOK), 403, "not-confirmed");
        }
    });
}
