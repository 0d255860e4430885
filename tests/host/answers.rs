//! The response to the sender, by the service's response.

use crate::hook_routes;
use crate::support::client::Protocol;
use crate::support::{ClientResponse, Reply, TestDelivery, TestGate, on_every_envoy};
use serde_json::json;

const PRIVATE_HEADERS: [&str; 4] = ["retry-after", "location", "set-cookie", "x-service"];

/// Replies of a service, each with whether the delivery counts as delivered.
fn replies() -> Vec<(Reply, bool)> {
    let leaky = |status| {
        PRIVATE_HEADERS
            .iter()
            .fold(Reply::status(status), |reply, name| reply.header(name, "1"))
            .body("{\"own\":true}")
    };
    let bare = Reply::status;
    vec![
        (leaky(200), true),
        (bare(200), true),
        (leaky(201), true),
        (bare(204), true),
        (leaky(301), false),
        (bare(301).header("location", "/elsewhere"), false),
        // The gate turns 304 into 503. A `content-length` without a body would hang the client.
        (bare(304).header("content-length", 12), false),
        (leaky(404), false),
        (leaky(429), false),
        (leaky(500), false),
        (bare(503).header("retry-after", 9), false),
        (Reply::Reset, false),
    ]
}

#[test]
fn maps_statuses_in_mode_status() {
    on_every_envoy(|envoy| {
        let gate = TestGate::start(envoy);
        for protocol in Protocol::BOTH {
            let mut client = gate.tls(protocol).open();
            for (reply, delivered) in replies() {
                gate.video.reply(reply.clone());
                let answer = client.send(&TestDelivery::completed());
                let expected = if delivered { (200, None) } else { (503, Some("upstream-error")) };
                assert_eq!((answer.status, answer.reason().as_deref()), expected, "{reply:?}");
                if let (Reply::Answer { status, body: Some(body), .. }, true) = (&reply, delivered) {
                    assert_eq!(&answer.body, body, "{status}");
                }
                if !delivered {
                    for name in ["retry-after", "location", "set-cookie"] {
                        assert_eq!(answer.header(name), None, "{name} of {reply:?}");
                    }
                }
            }
        }
    });
}

#[test]
fn sends_receipts_in_mode_receipt() {
    on_every_envoy(|envoy| {
        let gate = TestGate::with(envoy, |shipped| shipped.hook(&json!({"answers": "receipt"})));
        for protocol in Protocol::BOTH {
            let mut client = gate.tls(protocol).open();
            for (reply, delivered) in replies() {
                gate.video.reply(reply.clone());
                let answer = client.send(&TestDelivery::completed());
                if delivered {
                    assert_eq!((answer.status, answer.reason()), (200, None), "{reply:?}");
                    assert_eq!(answer.text(), "{\"status\":\"received\"}", "{reply:?}");
                } else {
                    assert_eq!(
                        (answer.status, answer.reason().as_deref()),
                        (503, Some("upstream-error")),
                        "{reply:?}"
                    );
                    assert_eq!(answer.json()["code"], "upstream-error", "{reply:?}");
                }
                for name in PRIVATE_HEADERS {
                    assert_eq!(answer.header(name), None, "{name} of {reply:?}");
                }
                assert_eq!(answer.header("x-envoy-upstream-service-time"), None);
            }
        }
    });
}

#[test]
fn replaces_a_large_response_with_the_receipt() {
    on_every_envoy(|envoy| {
        let gate = TestGate::with(envoy, |shipped| shipped.hook(&json!({"answers": "receipt"})));
        gate.video.reply(Reply::status(200).body(vec![b'x'; 3_000_000]));
        for protocol in Protocol::BOTH {
            let answer = gate.send(protocol, &TestDelivery::completed());
            assert_eq!((answer.status, answer.text().as_str()), (200, "{\"status\":\"received\"}"));
        }
    });
}

const ANSWERS: [&str; 2] = ["status", "receipt"];

/// Asserts a 503. `receipt` replaces Envoy's own body, `status` keeps it.
#[track_caller]
fn assert_not_delivered(answers: &str, answer: &ClientResponse) {
    assert_eq!((answer.status, answer.reason().as_deref()), (503, Some("upstream-error")), "{answer:?}");
    if answers == "receipt" {
        answer.assert_problem("upstream-error");
    }
}

#[test]
fn answers_503_while_the_service_hangs_or_is_down() {
    on_every_envoy(|envoy| {
        for answers in ANSWERS {
            let mut gate = TestGate::with(envoy, |shipped| {
                hook_routes(shipped.hook(&json!({"answers": answers})), |route| {
                    if let Some(action) = route.get_mut("route") {
                        action["timeout"] = "0.5s".into();
                    }
                })
            });
            gate.video.reply(Reply::Hang);
            for protocol in Protocol::BOTH {
                assert_not_delivered(answers, &gate.send(protocol, &TestDelivery::completed()));
            }
            assert_eq!(gate.video.take().len(), 2, "both requests reached the service");
            gate.video.stop();
            for protocol in Protocol::BOTH {
                assert_not_delivered(answers, &gate.send(protocol, &TestDelivery::completed()));
            }
        }
    });
}

#[test]
fn answers_503_without_a_route_for_an_accepted_delivery() {
    on_every_envoy(|envoy| {
        for answers in ANSWERS {
            // Only the last route is left, which serves requests without a verdict.
            let gate = TestGate::with(envoy, |shipped| {
                hook_routes(shipped.hook(&json!({"answers": answers})), |route| {
                    if route["name"] == "completed" {
                        route["match"]["headers"][0]["string_match"]["exact"] = "no-event".into();
                    }
                })
            });
            for protocol in Protocol::BOTH {
                let answer = gate.nothing_arrives(|| gate.send(protocol, &TestDelivery::completed()));
                assert_not_delivered(answers, &answer);
            }
        }
    });
}

#[test]
fn reuses_one_upstream_connection_for_100_deliveries() {
    on_every_envoy(|envoy| {
        for answers in ANSWERS {
            let gate = TestGate::with(envoy, |shipped| shipped.hook(&json!({"answers": answers})));
            for protocol in Protocol::BOTH {
                let mut client = gate.tls(protocol).open();
                let replies = [
                    Reply::status(200).body("{\"status\":\"received\"}"),
                    Reply::status(204),
                    Reply::status(500).body("oops"),
                    Reply::status(201),
                    Reply::status(404),
                ];
                for (number, reply) in replies.iter().cycle().take(50).enumerate() {
                    gate.video.reply(reply.clone());
                    let answer = client.send(&TestDelivery::completed());
                    assert_eq!(answer.status, if number % 5 == 2 || number % 5 == 4 { 503 } else { 200 });
                    if number % 5 == 0 {
                        // After an early response Envoy closes the sender's HTTP/1 connection, not the service's.
                        gate.send(protocol, &TestDelivery::of("{")).assert_refused(400, "json-invalid");
                    }
                }
            }
            assert_eq!(gate.video.arrivals().len(), 100);
            assert_eq!(gate.video.connections(), 1, "answers: {answers}");
        }
    });
}

#[test]
fn aborts_the_response_when_the_service_resets() {
    on_every_envoy(|envoy| {
        let gate = TestGate::start(envoy);
        for protocol in Protocol::BOTH {
            gate.video.reply(Reply::Cut);
            let answer = gate.tls(protocol).open().try_send(&TestDelivery::completed());
            assert!(answer.is_err(), "{answer:?}");
            assert_eq!(gate.take_one().body, TestDelivery::completed().body());
            gate.video.reply(Reply::status(200));
            gate.accepts(protocol, &TestDelivery::completed());
        }
    });
}
