//! Headers, trailers and queries of deliveries.

use crate::support::client::Protocol;
use crate::support::delivery::{GENERATION, PROMPT, RequestEnding};
use crate::support::{Bootstrap, H1, H2, Reply, TestDelivery, TestGate, on_every_envoy};
use crate::trust::{good, with_token};
use crate::{access_line, access_text, log_line};
use blobgate::contract::{self, Kind, Verdict, header};
use serde_json::json;

#[test]
fn replaces_forged_gate_headers() {
    const FORGED: &[&str] = &[
        header::EVENT,
        header::VERDICT,
        header::HOOK,
        header::GENERATION_ID,
        "blobgate-anything",
        header::WEBHOOK_ID,
        header::WEBHOOK_SIGNATURE,
        header::IDEMPOTENCY_KEY,
        "blobgate_event",
        "blobgate_verdict",
        "webhook_id",
        "idempotency_key",
    ];
    on_every_envoy(|envoy| {
        let gate = TestGate::start(envoy);
        for protocol in Protocol::BOTH {
            let mut delivery = TestDelivery::failed().header("x-own", "kept");
            for name in FORGED {
                delivery = delivery.header(name, "f0rged").header(name, "f0rged");
            }
            let arrival = gate.accepts(protocol, &delivery);
            for (name, value) in [
                (header::VERDICT, Verdict::Accepted.name()),
                (header::EVENT, Kind::Failed.name()),
                (header::HOOK, "veo3"),
                (header::DIALECT, "veo3"),
                (header::CONTRACT, contract::VERSION),
                (header::GENERATION_ID, GENERATION),
                (header::ERROR_CODE, "UNSAFE_CONTENT"),
                (header::ERROR_CLASS, "content"),
                (header::ERROR_RETRYABLE, "false"),
                ("content-type", "application/json"),
                ("x-own", "kept"),
            ] {
                assert_eq!(arrival.header(name).as_deref(), Some(value), "{name}");
            }
            assert_eq!(arrival.header(header::IDEMPOTENCY_KEY), Some(format!("veo3:{GENERATION}:failed")));
            let forged = arrival.headers.iter().find(|(_, value)| value == b"f0rged");
            assert_eq!(forged, None);
            // For a refused delivery the access log has the gate's headers, not the client's.
            gate.refuses(
                protocol,
                &TestDelivery { pieces: vec![b"{".to_vec()], ..delivery },
                400,
                "json-invalid",
            );
        }
        let line = access_line(&gate.envoy, |line| line["reason"] == "json-invalid");
        assert_eq!((line["hook"].as_str(), line["event"].as_str()), (Some("veo3"), None), "{line}");
        assert!(access_text(&gate.envoy).contains(GENERATION), "the control: the search works");
        assert!(!access_text(&gate.envoy).contains("f0rged"));
    });
}

#[test]
fn drops_headers_with_underscores() {
    on_every_envoy(|envoy| {
        let gate = TestGate::start(envoy);
        for protocol in Protocol::BOTH {
            let arrival =
                gate.accepts(protocol, &TestDelivery::completed().header("generation_id", GENERATION));
            assert_eq!(arrival.header("generation_id"), None);
            assert_eq!(arrival.header(header::GENERATION_ID).as_deref(), Some(GENERATION));
        }
    });
}

#[test]
fn removes_forged_headers_without_the_early_mutation() {
    on_every_envoy(|envoy| {
        let gate = TestGate::with(envoy, |bootstrap| {
            bootstrap.http(|manager| {
                let manager = manager.as_object_mut().unwrap();
                manager.remove("early_header_mutation_extensions").expect("the mutation");
                manager["common_http_protocol_options"]["headers_with_underscores_action"] = "ALLOW".into();
            })
        });
        for protocol in Protocol::BOTH {
            let forged = TestDelivery::completed()
                .header("blobgate-forged", "f0rged")
                .header("blobgate_event", "f0rged")
                .header("idempotency_key", "f0rged")
                .header(header::WEBHOOK_ID, "f0rged");
            let arrival = gate.accepts(protocol, &forged);
            assert_eq!(arrival.headers.iter().find(|(_, value)| value == b"f0rged"), None);
        }
    });
}

#[test]
fn reads_header_values_that_are_not_text() {
    on_every_envoy(|envoy| {
        let gate = TestGate::start(envoy);
        for protocol in Protocol::BOTH {
            // Reading these as a String would make the Wasm module trap.
            gate.accepts(
                protocol,
                &TestDelivery::completed().header("x-any", b"\xff\xfe").header("user-agent", b"\x80"),
            );
            let encoding = TestDelivery::completed().header("content-encoding", b"\xff");
            gate.refuses(protocol, &encoding, 400, "header-invalid");
            let drifted =
                TestDelivery::completed().without_header("content-type").header("content-type", b"\xff");
            let arrival = gate.accepts(protocol, &drifted);
            assert_eq!(arrival.header(header::DRIFT).as_deref(), Some("content-type"));
            assert_eq!(arrival.header("content-type").as_deref(), Some("application/json"));
        }
        assert_eq!(gate.envoy.crashes(), 0);
    });
}

#[test]
fn refuses_repeated_headers() {
    on_every_envoy(|envoy| {
        let gate = TestGate::start(envoy);
        for protocol in Protocol::BOTH {
            let twice = TestDelivery::completed()
                .header("content-encoding", "identity")
                .header("content-encoding", "gzip");
            gate.refuses(protocol, &twice, 400, "header-invalid");
            let twice = TestDelivery::completed().header("content-type", "application/json");
            assert_eq!(gate.accepts(protocol, &twice).header(header::DRIFT).as_deref(), Some("content-type"));
        }
        // Envoy itself refuses two lengths, before any filter.
        const TWICE: &[u8] =
            b"POST /webhook HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\n{}";
        let answer = gate.nothing_arrives(|| gate.tls(H1).open().raw(TWICE)).expect("an answer");
        assert_eq!((answer.status, answer.reason()), (400, None));
    });
}

#[test]
fn logs_nothing_private() {
    on_every_envoy(|envoy| {
        let gate = TestGate::start(envoy);
        for protocol in [H1, H2] {
            let secret =
                |delivery: TestDelivery| delivery.path("/webhook?key=s3cret").header("x-any", "s3cret");
            gate.accepts(protocol, &secret(TestDelivery::completed()));
            gate.refuses(
                protocol,
                &secret(TestDelivery::of(format!("{{\"prompt\":\"{PROMPT}\""))),
                400,
                "json-invalid",
            );
            gate.refuses(protocol, &TestDelivery::completed().path("/webhook/s3cret"), 404, "unknown-hook");
        }
        log_line(&gate.envoy, "reason=unknown-hook");
        access_line(&gate.envoy, |line| line["reason"] == "unknown-hook");
        let written = gate.envoy.log()
            + &access_text(&gate.envoy)
            + &gate.envoy.admin("GET", "/stats/prometheus").text();
        assert!(written.contains("json-invalid"), "the control: the search works");
        for private in ["s3cret", PROMPT, "/webhook?"] {
            assert!(!written.contains(private), "{private} is in a log");
        }
    });
}

/// Connects to the services over HTTP/2, over which Envoy sends trailers.
fn over_http2(bootstrap: Bootstrap) -> Bootstrap {
    let mut bootstrap = bootstrap;
    for cluster in bootstrap.json["static_resources"]["clusters"].as_array_mut().unwrap() {
        if cluster["name"].as_str().unwrap().ends_with("_service") {
            let options = &mut cluster["typed_extension_protocol_options"];
            let options = &mut options["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"];
            options["explicit_http_config"] = json!({"http2_protocol_options": {}});
        }
    }
    bootstrap
}

#[test]
fn drops_trailers_of_deliveries() {
    const TRAILERS: [&str; 6] = [
        header::VERDICT,
        header::EVENT,
        header::WEBHOOK_ID,
        header::IDEMPOTENCY_KEY,
        "content-type",
        "x-any",
    ];
    on_every_envoy(|envoy| {
        let gate = TestGate::with(envoy, |shipped| {
            let mut configuration = Bootstrap::shipped_gate();
            let hooks = configuration["hooks"].as_array_mut().unwrap();
            let mut observing = hooks[0].clone();
            observing["name"] = "observing".into();
            observing["path"] = "/observing".into();
            observing["mode"] = "observe".into();
            hooks.push(observing);
            over_http2(shipped.gate(&configuration))
        });
        let with_trailers = |delivery: TestDelivery| {
            let trailers = TRAILERS.iter().map(|name| ((*name).to_owned(), b"f0rged".to_vec()));
            delivery.undeclared().ending(RequestEnding::Trailers(trailers.collect()))
        };
        // The control: at another path they arrive.
        assert_eq!(gate.send(H2, &with_trailers(TestDelivery::completed().path("/app"))).status, 200);
        assert_eq!(gate.video.take_one().trailers.len(), TRAILERS.len());
        gate.provider.reply(Reply::status(200).body(TestDelivery::completed().body()));
        for protocol in Protocol::BOTH {
            for delivery in [
                TestDelivery::completed(),
                TestDelivery::failed().pieces_of(10),
                with_token(TestDelivery::completed(), &good()),
                with_token(TestDelivery::of("{"), &good()),
                // Waits for the confirmation.
                TestDelivery::completed().path("/hooks/veo3"),
                TestDelivery::of("{").path("/observing"),
                // Forwarded before its trailers come.
                TestDelivery::completed_of(2_000_000).pieces_of(50_000).path("/observing"),
            ] {
                let delivery = with_trailers(delivery);
                assert_eq!(gate.send(protocol, &delivery).status, 200, "{}", delivery.path);
                let arrival = gate.take_one();
                assert_eq!(arrival.trailers, [], "{arrival:?}");
                assert_eq!(arrival.headers.iter().find(|(_, value)| value == b"f0rged"), None);
                assert!(arrival.body == delivery.body(), "another body arrived");
            }
        }
    });
}

#[test]
fn drops_trailers_of_services_from_receipts() {
    on_every_envoy(|envoy| {
        let gate = TestGate::with(envoy, |shipped| over_http2(shipped.hook(&json!({"answers": "receipt"}))));
        gate.video.reply(Reply::Trailer("x-service", "private"));
        // The control: at another path the client gets it.
        let own = gate.send(H2, &TestDelivery::completed().path("/app"));
        assert_eq!(own.trailers, [("x-service".to_owned(), b"private".to_vec())]);
        let receipt = gate.send(H2, &TestDelivery::completed());
        assert_eq!((receipt.status, receipt.text().as_str()), (200, "{\"status\":\"received\"}"));
        assert_eq!(receipt.trailers, []);
    });
}

#[test]
fn drops_queries() {
    on_every_envoy(|envoy| {
        let gate = TestGate::start(envoy);
        for protocol in Protocol::BOTH {
            // Over HTTP/1.1 Envoy itself answers 400 to bytes beyond ASCII in a path.
            for query in ["", "a=\"b\"", "a={}|^`<>\\", "a=%zz&b=%", "a=b?c=d", "a=/../x"] {
                for delivery in [TestDelivery::completed(), with_token(TestDelivery::completed(), &good())] {
                    let (path, clean) = (delivery.path.clone(), delivery.path.starts_with("/webhook"));
                    let clean = if clean { "/webhook" } else { "/hooks/veo3" };
                    // The HTTP/2 client cannot send these bytes.
                    if protocol == H2 && query.contains(['"', '{', '<', '\\', '^']) {
                        continue;
                    }
                    let arrival = gate.accepts(protocol, &delivery.path(&format!("{path}?{query}")));
                    assert_eq!(arrival.path, clean, "?{query}");
                }
            }
        }
        let utf8 = TestDelivery::completed().path("/webhook?prompt=\u{e9}");
        assert_eq!(gate.accepts(H2, &utf8).path, "/webhook");
    });
}
