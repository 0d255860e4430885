//! The settings of envoy.yaml at the edge.

use crate::support::client::Protocol;
use crate::support::delivery::RequestEnding;
use crate::support::{
    Bootstrap, Connector, H2, Length, Reply, TestDelivery, TestGate, Upstream, eventually, on_every_envoy,
    tls,
};
use crate::{access_line, log_line};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

#[test]
fn refuses_plaintext_without_a_redirect() {
    on_every_envoy(|envoy| {
        let gate = TestGate::start(envoy);
        for protocol in Protocol::BOTH {
            let plaintext = gate.envoy.plaintext(protocol);
            let answer = gate.refuses_from(&plaintext, &TestDelivery::completed(), 403, "https-required");
            assert_eq!(answer.header("location"), None);
            let claims = TestDelivery::completed().header("x-forwarded-proto", "https");
            gate.refuses_from(&plaintext, &claims, 403, "https-required");
        }
    });
}

#[test]
fn accepts_only_tls_1_2_and_1_3() {
    on_every_envoy(|envoy| {
        let gate = TestGate::start(envoy);
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let connect = Connector::tls_of(gate.envoy.port("edge"), H2, &tls::FIRST, &[version]);
            assert_eq!(connect.open().send(&TestDelivery::completed()).status, 200);
        }
        // rustls has no TLS 1.1, so the test writes each ClientHello itself. The one for 1.2 is the control.
        let [one_0, one_1, one_2] = [1, 2, 3].map(|minor| tls::hello(gate.envoy.port("edge"), [3, minor]));
        const ALERT: u8 = 21;
        const HANDSHAKE: u8 = 22;
        const PROTOCOL_VERSION: u8 = 70;
        for hello in [one_0, one_1] {
            assert_eq!((hello[0], hello[6]), (ALERT, PROTOCOL_VERSION), "{hello:?}");
        }
        assert_eq!(one_2[0], HANDSHAKE, "{one_2:?}");
    });
}

#[test]
fn uses_a_renewed_certificate_without_a_restart() {
    on_every_envoy(|envoy| {
        let gate = TestGate::start(envoy);
        let port = gate.envoy.port("edge");
        let renewed = tls::Certificate::fresh();
        let new = Connector::tls_of(port, H2, &renewed, rustls::ALL_VERSIONS);
        assert!(new.try_open().is_err(), "Envoy does not use the new certificate yet");
        assert_eq!(Connector::tls(port, H2).open().send(&TestDelivery::completed()).status, 200);
        renewed.write_to(gate.envoy.folder());
        let mut client = eventually("new certificate", || new.try_open().ok());
        assert_eq!(client.send(&TestDelivery::completed()).status, 200);
        assert!(Connector::tls(port, H2).try_open().is_err(), "Envoy has dropped the old certificate");
    });
}

#[test]
fn answers_408_to_a_stalled_sender() {
    on_every_envoy(|envoy| {
        let gate = TestGate::with(envoy, |bootstrap| {
            bootstrap.http(|manager| manager["request_timeout"] = "0.5s".into())
        });
        for protocol in Protocol::BOTH {
            let stalls = TestDelivery::of("{\"generation_id\":")
                .length(Length::Claimed(300))
                .ending(RequestEnding::Open);
            let answer = gate.nothing_arrives(|| gate.send(protocol, &stalls));
            assert_eq!((answer.status, answer.reason()), (408, None), "{answer:?}");
        }
        // The access log has Envoy's own refusals too.
        let line = access_line(&gate.envoy, |line| line["status"] == 408);
        assert_eq!(line["details"], "request_overall_timeout", "{line}");
    });
}

#[test]
fn refuses_unlisted_and_forwarded_addresses() {
    on_every_envoy(|envoy| {
        let listed = json!({"source": ["127.0.0.1", "203.0.113.0/24"]});
        let gate = TestGate::with(envoy, |shipped| shipped.hook(&listed.clone()));
        let trusting = TestGate::with(envoy, |bootstrap| {
            bootstrap.hook(&listed).http(|manager| {
                manager.as_object_mut().unwrap().remove("use_remote_address").expect("the setting");
            })
        });
        for protocol in Protocol::BOTH {
            gate.accepts(protocol, &TestDelivery::completed());
            let unlisted = gate.tls(protocol).from([127, 0, 0, 2].into());
            gate.refuses_from(&unlisted, &TestDelivery::completed(), 403, "source-denied");
            let claims = TestDelivery::completed().header("x-forwarded-for", "203.0.113.9");
            let unlisted = gate.tls(protocol).from([127, 0, 0, 2].into());
            gate.refuses_from(&unlisted, &claims, 403, "source-denied");
            // With Envoy's default, any client's x-forwarded-for becomes the source address, with port 0.
            trusting.refuses(protocol, &claims, 403, "source-denied");
        }
        log_line(&gate.envoy, "reason=source-denied hook=veo3 source=127.0.0.2 id=-");
        log_line(&trusting.envoy, "reason=source-denied hook=veo3 source=203.0.113.9 id=-");
    });
}

#[test]
fn ignores_timeout_headers_of_external_clients() {
    on_every_envoy(|envoy| {
        let external = TestGate::start(envoy);
        // Envoy obeys the same headers of an internal address.
        let internal = TestGate::with(envoy, |bootstrap| {
            bootstrap.http(|manager| {
                manager["internal_address_config"]["cidr_ranges"] =
                    json!([{"address_prefix": "127.0.0.0", "prefix_len": 8}]);
            })
        });
        for (gate, status) in [(&external, 200), (&internal, 503)] {
            gate.video.reply(Reply::After(Duration::from_millis(500), Box::new(Reply::status(200))));
            for protocol in Protocol::BOTH {
                let with_short_timeout = TestDelivery::completed()
                    .header("x-envoy-upstream-rq-timeout-ms", "20")
                    .header("x-envoy-expected-rq-timeout-ms", "20");
                assert_eq!(gate.send(protocol, &with_short_timeout).status, status);
            }
        }
    });
}

#[test]
fn all_timeouts_fit_into_the_senders_30_seconds() {
    let seconds = |duration: &Value| -> f64 {
        duration.as_str().and_then(|text| text.strip_suffix('s')).unwrap().parse().unwrap()
    };
    let mut budgets = Vec::new();
    Bootstrap::shipped().http(|manager| {
        // This timeout includes the status call.
        let request = seconds(&manager["request_timeout"]);
        let routes = manager["route_config"]["virtual_hosts"][0]["routes"].as_array().unwrap();
        let hooks = routes.iter().filter(|route| route["typed_per_filter_config"]["blobgate"].is_object());
        let answering = hooks.filter(|route| route["route"].is_object());
        budgets.extend(answering.map(|route| request + seconds(&route["route"]["timeout"])));
    });
    assert!(budgets.len() >= 10, "five routes on each of two listeners: {budgets:?}");
    const SENDERS_MAX_WAIT: f64 = 30.0;
    const CONNECTING_AND_SLACK: f64 = 2.0;
    assert!(budgets.iter().all(|budget| budget + CONNECTING_AND_SLACK < SENDERS_MAX_WAIT), "{budgets:?}");
}

#[test]
fn waits_ten_seconds_for_a_service() {
    const SENDERS: usize = 24;
    on_every_envoy(|envoy| {
        let mut gate = TestGate::start(envoy);
        gate.video.stop();
        let since = Instant::now();
        std::thread::scope(|scope| {
            let senders: Vec<_> = (0..SENDERS)
                .map(|number| {
                    let connect = gate.tls(Protocol::BOTH[number % 2]);
                    scope.spawn(move || connect.open().send(&TestDelivery::completed()).status)
                })
                .collect();
            let video: &mut Upstream = &mut gate.video;
            crate::support::pause(Duration::from_secs(10));
            assert!(senders.iter().all(|sender| !sender.is_finished()), "every sender waits");
            video.on();
            for sender in senders {
                assert_eq!(sender.join().unwrap(), 200);
            }
        });
        assert!(since.elapsed() < Duration::from_secs(20), "within one attempt");
        assert_eq!(gate.video.take().len(), SENDERS);
    });
}
