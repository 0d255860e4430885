//! What becomes of a service's answer.

use crate::hook_routes;
use crate::support::client::Protocol;
use crate::support::{ClientResponse, Reply, TestDelivery, TestGate, on_every_envoy};
use serde_json::json;

const LEAKS: [&str; 4] = ["retry-after", "location", "set-cookie", "x-service"];

/// Every answer a service may give, and whether the delivery counts as handed over.
fn replies() -> Vec<(Reply, bool)> {
    let leaky = |status| {
        LEAKS.iter().fold(Reply::status(status), |reply, name| reply.header(name, "1")).body("{\"own\":true}")
    };
    let bare = Reply::status;
    vec![
        (leaky(200), true),
        (bare(200), true),
        (leaky(201), true),
        (bare(204), true),
        (leaky(301), false),
        (bare(301).header("location", "/elsewhere"), false),
        // Turned into a 503, the length of a body that does not come hangs the client.
        (bare(304).header("content-length", 12), false),
        (leaky(404), false),
        (leaky(429), false),
        (leaky(500), false),
        (bare(503).header("retry-after", 9), false),
        (Reply::Reset, false),
    ]
}

#[test]
fn by_status() {
    on_every_envoy(|envoy| {
        let gate = TestGate::start(envoy);
        for protocol in Protocol::BOTH {
            let mut client = gate.tls(protocol).open();
            for (reply, handed_over) in replies() {
                gate.video.reply(reply.clone());
                let answer = client.send(&TestDelivery::completed());
                let expected = if handed_over { (200, None) } else { (503, Some("upstream-error")) };
                assert_eq!((answer.status, answer.reason().as_deref()), expected, "{reply:?}");
                if let (Reply::Answer { status, body: Some(body), .. }, true) = (&reply, handed_over) {
                    assert_eq!(&answer.body, body, "{status}");
                }
                if !handed_over {
                    for name in ["retry-after", "location", "set-cookie"] {
                        assert_eq!(answer.header(name), None, "{name} of {reply:?}");
                    }
                }
            }
        }
    });
}

#[test]
fn by_receipt() {
    on_every_envoy(|envoy| {
        let gate = TestGate::with(envoy, |shipped| shipped.hook(&json!({"answers": "receipt"})));
        for protocol in Protocol::BOTH {
            let mut client = gate.tls(protocol).open();
            for (reply, handed_over) in replies() {
                gate.video.reply(reply.clone());
                let answer = client.send(&TestDelivery::completed());
                if handed_over {
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
                for name in LEAKS {
                    assert_eq!(answer.header(name), None, "{name} of {reply:?}");
                }
                assert_eq!(answer.header("x-envoy-upstream-service-time"), None);
            }
        }
    });
}

#[test]
fn a_large_answer_is_replaced_whole() {
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

/// Where Envoy answers for the service, its own words are left to `status` and replaced by `receipt`.
#[track_caller]
fn not_handed_over(answers: &str, answer: &ClientResponse) {
    assert_eq!((answer.status, answer.reason().as_deref()), (503, Some("upstream-error")), "{answer:?}");
    if answers == "receipt" {
        answer.assert_problem("upstream-error");
    }
}

#[test]
fn a_service_that_hangs_or_is_not_there() {
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
                not_handed_over(answers, &gate.send(protocol, &TestDelivery::completed()));
            }
            assert_eq!(gate.video.take().len(), 2, "both reached the service that hangs");
            gate.video.stop();
            for protocol in Protocol::BOTH {
                not_handed_over(answers, &gate.send(protocol, &TestDelivery::completed()));
            }
        }
    });
}

#[test]
fn an_accepted_delivery_without_a_route() {
    on_every_envoy(|envoy| {
        for answers in ANSWERS {
            // Only the last route is left, which is not for what was judged.
            let gate = TestGate::with(envoy, |shipped| {
                hook_routes(shipped.hook(&json!({"answers": answers})), |route| {
                    if route["name"] == "completed" {
                        route["match"]["headers"][0]["string_match"]["exact"] = "nobody".into();
                    }
                })
            });
            for protocol in Protocol::BOTH {
                let answer = gate.nothing_arrives(|| gate.send(protocol, &TestDelivery::completed()));
                not_handed_over(answers, &answer);
            }
        }
    });
}

#[test]
fn a_hundred_mixed_deliveries_over_one_upstream_connection() {
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
                        // After an early answer Envoy closes the sender's HTTP/1 connection, not the service's.
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
fn an_answer_that_breaks_off_is_no_answer() {
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
