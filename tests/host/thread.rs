//! One request id and one trace from the edge to the service.

use crate::support::client::Protocol;
use crate::support::delivery::{GENERATION, PROMPT};
use crate::support::{
    Connector, EnvoyProcess, H1, H2, ServiceRequest, TestDelivery, TestGate, TraceCollector, TraceSpan,
    Version, eventually, on_every_envoy,
};
use crate::trust::{bad, confirms, expired, good, tokenless, with_token};
use crate::{access_line, access_text, log_line};
use blobgate::contract::header::{self, REQUEST_ID, TRACEPARENT};
use blobgate::contract::{Kind, Verdict};
use serde_json::json;

/// Part of each unsafe value: no place has it.
const MARK: &str = "m4rk";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

/// A gate whose Envoy sends this percentage of the traces to a collector.
#[track_caller]
fn traced(version: &Version, percentage: u8) -> (TestGate, TraceCollector) {
    let collector = TraceCollector::start();
    let gate = TestGate::with(version, |shipped| shipped.tracing(collector.port(), percentage));
    (gate, collector)
}

/// Sets the percentage while Envoy runs, as docs/howto/tracing.md does.
#[track_caller]
fn set_percentage(envoy: &EnvoyProcess, to: u8) {
    let answer = envoy.admin("POST", &format!("/runtime_modify?tracing.global_enabled={to}"));
    assert_eq!((answer.status, answer.text().as_str()), (200, "OK\n"));
    // After this response the worker has the new value.
    assert_eq!(healthz(&envoy.tls(H1), ""), 200);
}

/// Calls a path that is no delivery, with this request id.
#[track_caller]
fn healthz(connect: &Connector, id: &str) -> u16 {
    let call = TestDelivery::without_body().method("GET").path("/healthz").header(REQUEST_ID, id);
    connect.open().send(&call).status
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<usize> = text.split('-').map(str::len).collect();
    groups == [8, 4, 4, 4, 12] && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

/// The trace id, the span id and the flags.
#[track_caller]
fn parts(traceparent: &str) -> (String, String, String) {
    let parts: Vec<&str> = traceparent.split('-').collect();
    let [version, trace, span, flags] = parts[..] else { panic!("{traceparent}") };
    assert_eq!((version, trace.len(), span.len(), flags.len()), ("00", 32, 16, 2), "{traceparent}");
    (trace.to_owned(), span.to_owned(), flags.to_owned())
}

#[track_caller]
fn traceparent(arrival: &ServiceRequest) -> (String, String, String) {
    parts(&arrival.header(TRACEPARENT).unwrap_or_else(|| panic!("no traceparent: {arrival:?}")))
}

#[test]
fn keeps_a_safe_request_id_and_replaces_others() {
    let at_limit = "a".repeat(64);
    let safe = [
        "4",
        "abc-DEF_1.2",
        "...",
        "4c9f1f3e-5a2b-4e6a-9f1d-2b3c4d5e6f70",
        "4C9F1F3E-5A2B-4E6A-FF1D-2B3C4D5E6F70",
        &at_limit,
    ];
    let (over, huge) = (format!("{MARK}{}", "a".repeat(61)), MARK.repeat(2_500));
    let unsafe_ids: [&[u8]; 15] = [
        b"",
        b"m4rk\"",
        b"m4rk\\",
        b"m4rk\\u0022",
        b"m4rk a",
        b"m4rk,m4rk",
        b"m4rk\tm4rk",
        b"m4rk=1 verdict=accepted",
        b"{m4rk}%REQ(x)%",
        b"m4rk/../m4rk",
        b"m4rk\xff",
        "m4rké".as_bytes(),
        "m4rk\u{2028}".as_bytes(),
        over.as_bytes(),
        huge.as_bytes(),
    ];
    on_every_envoy(|envoy| {
        let gate = TestGate::start(envoy);
        for protocol in Protocol::BOTH {
            for id in safe {
                let arrival = gate.accepts(protocol, &TestDelivery::completed().header(REQUEST_ID, id));
                assert_eq!(arrival.header(REQUEST_ID).as_deref(), Some(id));
                let line = access_line(&gate.envoy, |line| line["request_id"] == id);
                assert_eq!(line["verdict"], Verdict::Accepted.name(), "{line}");
            }
            let repeated = TestDelivery::completed().header(REQUEST_ID, "m4rk1").header(REQUEST_ID, "m4rk2");
            let mut deliveries = vec![TestDelivery::completed(), repeated];
            deliveries.extend(unsafe_ids.map(|id| TestDelivery::completed().header(REQUEST_ID, id)));
            // Envoy's own name for it.
            deliveries.push(TestDelivery::completed().header(header::CLIENT_REQUEST_ID, "m4rk"));
            for delivery in deliveries {
                let arrival = gate.accepts(protocol, &delivery);
                let id = arrival.header(REQUEST_ID).expect("one request id");
                assert!(is_uuid(&id), "{id} of {delivery:?}");
                assert!(!format!("{arrival:?}").contains(MARK), "{arrival:?}");
                access_line(&gate.envoy, |line| line["request_id"] == *id);
            }
            // A refused delivery too.
            let refused = TestDelivery::of("{").header(REQUEST_ID, "refused-1");
            gate.refuses(protocol, &refused, 400, "json-invalid");
            access_line(&gate.envoy, |line| line["request_id"] == "refused-1" && line["status"] == 400);
            log_line(&gate.envoy, "verdict=refused reason=json-invalid hook=veo3");
            log_line(&gate.envoy, "request_id=refused-1");
            gate.refuses(protocol, &TestDelivery::of("{").header(REQUEST_ID, "m4rk\""), 400, "json-invalid");
            let plaintext = gate.envoy.plaintext(protocol);
            let refused = TestDelivery::completed().header(REQUEST_ID, "refused-2");
            gate.refuses_from(&plaintext, &refused, 403, "https-required");
            access_line(&gate.envoy, |line| line["request_id"] == "refused-2" && line["status"] == 403);
            assert_eq!(healthz(&gate.tls(protocol), "healthz-1"), 200);
            access_line(&gate.envoy, |line| line["request_id"] == "healthz-1");
        }
        // Envoy refuses these before it changes headers.
        let raw = gate
            .tls(H1)
            .open()
            .raw(b"POST /webhook HTTP/1.1\r\nx-request-id: m4rk\"\r\nx-blobgate-request-id: m4rk\"\r\n\r\n")
            .unwrap();
        assert_eq!(raw.status, 400);
        let line = access_line(&gate.envoy, |line| line["details"] == "missing_host_header");
        assert_eq!(line["request_id"], "", "{line}");
        assert!(!(access_text(&gate.envoy) + &gate.envoy.log()).contains(MARK));
    });
}

#[test]
fn keeps_only_the_trace_id_of_a_valid_traceparent() {
    let zeros = "0".repeat(32);
    let valid = ["00", "01", "ff"].map(|flags| format!("00-{TRACE}-{SPAN}-{flags}"));
    let invalid = [
        format!("00-{TRACE}-{SPAN}-0"),
        format!("00-{TRACE}-{SPAN}-001"),
        format!("00-{TRACE}-{SPAN}-0g"),
        format!("01-{TRACE}-{SPAN}-01"),
        format!("ff-{TRACE}-{SPAN}-01"),
        format!("00-{zeros}-{SPAN}-01"),
        format!("00-{TRACE}-0000000000000000-01"),
        format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
        format!("00-{TRACE}{SPAN}--01"),
        format!("00-{TRACE}b-{}-01", &SPAN[1..]),
        format!("00-{TRACE}-{SPAN}-01-m4rk"),
        format!("00-{TRACE}-{SPAN}-01,00-{TRACE}-{SPAN}-01"),
        format!("00-{}-{SPAN}-01", "\u{e9}".repeat(16)),
        "m4rk".repeat(2_000),
        String::new(),
    ];
    on_every_envoy(|envoy| {
        let gate = TestGate::start(envoy);
        for protocol in Protocol::BOTH {
            for value in &valid {
                let delivery = TestDelivery::completed().header(TRACEPARENT, value);
                let delivery = delivery.header("tracestate", "a=m4rk").header("baggage", "a=m4rk");
                let arrival = gate.accepts(protocol, &delivery);
                let (trace, span, flags) = traceparent(&arrival);
                assert_eq!((&*trace, &*flags), (TRACE, "00"), "{value}");
                assert_ne!(span, SPAN, "the span is Envoy's");
                assert_eq!(
                    (arrival.header("baggage"), arrival.header("tracestate")),
                    (None, Some(String::new()))
                );
                access_line(&gate.envoy, |line| line["trace_id"] == TRACE);
            }
            let repeated = TestDelivery::completed().header(TRACEPARENT, &valid[0]);
            let mut deliveries = vec![repeated.header(TRACEPARENT, &valid[0])];
            deliveries
                .extend(invalid.iter().map(|value| TestDelivery::completed().header(TRACEPARENT, value)));
            let alone = TestDelivery::completed().header("tracestate", "a=m4rk").header("baggage", "a=m4rk");
            deliveries
                .push(alone.header("blobgate-traceparent", &valid[0]).header("blobgate-unsampled", "m4rk"));
            for delivery in deliveries {
                let arrival = gate.accepts(protocol, &delivery);
                let (trace, _, flags) = traceparent(&arrival);
                assert!(trace != TRACE && flags == "00", "{arrival:?} of {delivery:?}");
                assert!(!format!("{arrival:?}").contains(MARK), "{arrival:?}");
                access_line(&gate.envoy, |line| line["trace_id"] == *trace);
            }
        }
        assert!(!(access_text(&gate.envoy) + &gate.envoy.log()).contains(MARK));
    });
}

/// A delivery that asks for a trace in every way.
fn asking() -> TestDelivery {
    TestDelivery::completed()
        .header(TRACEPARENT, format!("00-{TRACE}-{SPAN}-01"))
        .header("x-client-trace-id", MARK)
        .header("x-envoy-force-trace", "true")
        .header("x-b3-sampled", "1")
        .header("x-b3-flags", "1")
        // The fifteenth digit is Envoy's mark of a forced trace.
        .header(REQUEST_ID, "4c9f1f3e-5a2b-aaaa-9f1d-2b3c4d5e6f70")
}

#[test]
fn traces_only_by_the_operators_percentage() {
    on_every_envoy(|envoy| {
        let (gate, collector) = traced(envoy, 0);
        let sends = |id: &str| {
            for protocol in Protocol::BOTH {
                gate.accepts(protocol, &asking());
                let by_header = asking().without_header(TRACEPARENT);
                gate.accepts(protocol, &by_header);
                gate.accepts(protocol, &TestDelivery::completed().header(REQUEST_ID, id));
            }
        };
        sends("off-1");
        set_percentage(&gate.envoy, 100);
        // The control. A client's own trace stays the client's.
        sends("on-1");
        let ids = |span: &TraceSpan| span.attributes.get("guid:x-request-id").cloned().unwrap_or_default();
        collector.wait_for(2, |span| ids(span) == "on-1");
        set_percentage(&gate.envoy, 0);
        sends("off-2");
        set_percentage(&gate.envoy, 100);
        sends("on-2");
        collector.wait_for(2, |span| ids(span) == "on-2");
        let spans = collector.spans();
        assert!(
            spans.iter().all(|span| span.trace_id != TRACE && !ids(span).starts_with("off")),
            "{spans:#?}"
        );
        // Each has a client's id in the form of Envoy's, without its effect.
        let forced = spans.iter().filter(|span| ids(span).starts_with("4c9f1f3e")).count();
        assert_eq!(forced, 4, "{spans:#?}");
        assert!(!collector.bytes().windows(MARK.len()).any(|bytes| bytes == MARK.as_bytes()));
    });
}

#[test]
fn calls_no_collector_while_tracing_is_off() {
    on_every_envoy(|envoy| {
        let collector = TraceCollector::start();
        let gate = TestGate::with(envoy, |shipped| {
            let mut bootstrap = shipped.endpoint("otel_collector", collector.port());
            let layer = &mut bootstrap.json["layered_runtime"]["layers"][0]["static_layer"];
            assert_eq!(layer["tracing.global_enabled"], 0, "off as shipped");
            layer["tracing.opentelemetry.flush_interval_ms"] = 20.into();
            bootstrap
        });
        gate.accepts(H2, &asking());
        // Until the timer of spans has run.
        eventually("a flush", || (gate.envoy.stat("tracing.opentelemetry.timer_flushed")? > 0).then_some(()));
        assert_eq!(gate.envoy.stat("tracing.opentelemetry.spans_sent"), Some(0));
        assert_eq!(gate.envoy.stat("cluster.otel_collector.upstream_cx_total"), Some(0));
    });
}

#[test]
fn a_span_has_the_gate_headers_and_no_secret() {
    let secrets = [good(), bad(), expired()];
    on_every_envoy(|envoy| {
        let collector = TraceCollector::start();
        let gate = TestGate::with(envoy, |shipped| shipped.tracing(collector.port(), 100));
        gate.provider.reply(confirms(&tokenless()));
        let mut sent = 0;
        for protocol in Protocol::BOTH {
            for token in &secrets {
                for body in [TestDelivery::completed(), TestDelivery::of("{")] {
                    let plain = with_token(body, token)
                        .header("user-agent", MARK)
                        .header("referer", MARK)
                        .header("x-envoy-original-path", MARK)
                        .header("x-envoy-decorator-operation", MARK)
                        .header("x-envoy-downstream-service-cluster", MARK)
                        .header("x-envoy-downstream-service-node", MARK)
                        .header("host", "m4rk.example")
                        .header(REQUEST_ID, "m4rk/");
                    let grpc = plain.clone().without_header("content-type");
                    let grpc = grpc.header("content-type", "application/grpc+m4rk");
                    let elsewhere = plain.clone().path(&format!("/else/{token}?{token}"));
                    for delivery in [&plain, &grpc, &elsewhere] {
                        gate.send(protocol, delivery);
                        gate.envoy.plaintext(protocol).open().send(delivery);
                        sent += 2;
                    }
                }
            }
        }
        let upgrade = format!(
            "POST /hooks/veo3/{} HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\ncontent-length: 0\r\n\r\n",
            good()
        );
        gate.tls(H1).open().raw(upgrade.as_bytes()).unwrap();
        collector.wait_for(sent + 1, |_| true);
        let bytes = String::from_utf8_lossy(&collector.bytes()).into_owned();
        for secret in secrets.iter().map(String::as_str).chain([MARK, PROMPT, "cdn.runblob.io"]) {
            assert!(!bytes.contains(secret), "{secret}");
            // Envoy may cut a path.
            assert!(!bytes.contains(&secret[..secret.len() / 2]), "{secret}");
        }
        // The control: the search would find it, and a span tells which delivery it is.
        let arrival = gate.accepts(H2, &TestDelivery::completed().header(REQUEST_ID, "control-1"));
        let (trace, span_id, flags) = traceparent(&arrival);
        let [span] =
            <[TraceSpan; 1]>::try_from(collector.wait_for(1, |span| span.trace_id == trace)).unwrap();
        assert_eq!((span.span_id, flags.as_str(), span.parent_id.as_str()), (span_id, "01", ""));
        assert_eq!(span.name, "ingress");
        for (name, value) in [
            ("guid:x-request-id", "control-1"),
            ("blobgate.hook", "veo3"),
            ("blobgate.event", "completed"),
            ("blobgate.verdict", "accepted"),
            ("blobgate.generation_id", GENERATION),
            ("http.status_code", "200"),
            ("upstream_cluster", "video_service"),
            ("peer.address", "127.0.0.1"),
        ] {
            assert_eq!(span.attributes.get(name).map(String::as_str), Some(value), "{name}");
        }
    });
}

/// An attempt of the inbox at the listener `services`.
fn attempt() -> TestDelivery {
    TestDelivery::completed()
        .header("host", "127.0.0.1:8090")
        .header(header::VERDICT, Verdict::Accepted.name())
        .header(header::HOOK, "veo3")
        .header(header::EVENT, Kind::Completed.name())
        .header(header::GENERATION_ID, GENERATION)
        .header(header::ATTEMPT, "2")
        .header(REQUEST_ID, "thread-1")
}

#[test]
fn an_attempt_continues_the_delivery() {
    on_every_envoy(|envoy| {
        // The edge decides: its flag lives on in the inbox.
        let (gate, collector) = traced(envoy, 0);
        for protocol in Protocol::BOTH {
            for (flags, count) in [("00", 0), ("01", 1)] {
                let before = collector.spans().len();
                let stored = format!("00-{TRACE}-{SPAN}-{flags}");
                let sent = attempt().header(TRACEPARENT, stored);
                assert_eq!(gate.envoy.services(protocol).open().send(&sent).status, 200);
                let arrival = gate.video.take_one();
                assert_eq!(arrival.header(REQUEST_ID).as_deref(), Some("thread-1"));
                let (trace, span, passed) = traceparent(&arrival);
                assert_eq!((&*trace, &*passed), (TRACE, flags));
                let spans = collector.wait_for(before + count, |_| true);
                if count == 1 {
                    let last = spans.last().unwrap();
                    assert_eq!((&*last.trace_id, &*last.parent_id, &last.span_id), (TRACE, SPAN, &span));
                    let number = last.attributes.get("blobgate.attempt").map(String::as_str);
                    assert_eq!(number, Some("2"));
                }
            }
        }
        let line = access_line(&gate.envoy, |line| line["attempt"] == "2");
        for (key, value) in [
            ("request_id", json!("thread-1")),
            ("trace_id", json!(TRACE)),
            ("generation_id", json!(GENERATION)),
            ("status", json!(200)),
        ] {
            assert_eq!(line[key], value, "{key} of {line}");
        }
        // Without a traceparent there is no edge to decide.
        set_percentage(&gate.envoy, 100);
        let id = "0f2d6c1e-93a0-4d0c-8f4e-5a0f6f3b7c11";
        let fetched = attempt().without_header(REQUEST_ID).header(REQUEST_ID, id);
        assert_eq!(gate.envoy.services(H2).open().send(&fetched).status, 200);
        let arrival = gate.video.take_one();
        assert_eq!(arrival.header(REQUEST_ID).as_deref(), Some(id));
        assert_eq!(traceparent(&arrival).2, "00");
        // The control.
        let before = collector.spans().len();
        let sampled = attempt().header(TRACEPARENT, format!("00-{TRACE}-{SPAN}-01"));
        assert_eq!(gate.envoy.services(H2).open().send(&sampled).status, 200);
        collector.wait_for(before + 1, |_| true);
    });
}

#[test]
fn the_provider_gets_no_id_of_a_delivery() {
    on_every_envoy(|envoy| {
        let (gate, collector) = traced(envoy, 100);
        gate.provider.reply(confirms(&tokenless()));
        gate.accepts(H2, &tokenless().header(REQUEST_ID, "thread-2"));
        let confirmation = gate.provider.take_one();
        let call = TestDelivery::without_body()
            .method("GET")
            .path(&format!("/v1/veo/generations/{GENERATION}"))
            .header("host", "127.0.0.1:8090")
            .header(REQUEST_ID, "thread-2")
            .header(TRACEPARENT, format!("00-{TRACE}-{SPAN}-01"));
        assert_eq!(gate.envoy.services(H1).open().send(&call).status, 200);
        let reconciled = gate.provider.take_one();
        for call in [confirmation, reconciled] {
            for name in [REQUEST_ID, TRACEPARENT, "tracestate"] {
                assert_eq!(call.header(name), None, "{name} of {call:?}");
            }
        }
        // The control: both were traced.
        collector
            .wait_for(1, |span| span.attributes.get("guid:x-request-id").is_some_and(|id| id == "thread-2"));
        collector.wait_for(1, |span| span.trace_id == TRACE);
    });
}

/// A delivery that waited for the collector would take longer than a client of these tests waits.
#[test]
fn a_collector_that_fails_delays_no_delivery() {
    const PATIENCE: &str = "600s";
    on_every_envoy(|envoy| {
        let collector = TraceCollector::start();
        collector.hang();
        let slow = TestGate::with(envoy, |shipped| {
            shipped.tracing(collector.port(), 100).http(|manager| {
                let exporter = &mut manager["tracing"]["provider"]["typed_config"]["http_service"];
                assert!(exporter["http_uri"]["timeout"].is_string(), "{exporter}");
                exporter["http_uri"]["timeout"] = PATIENCE.into();
            })
        });
        let away = TestGate::with(envoy, |shipped| shipped.tracing(1, 100));
        for gate in [&slow, &away] {
            for _ in 0..10 {
                gate.accepts(H2, &TestDelivery::completed());
            }
        }
        eventually("spans at the hanging collector", || (collector.requests() > 0).then_some(()));
        eventually("a failed connection", || {
            (away.envoy.stat("cluster.otel_collector.upstream_cx_connect_fail")? > 0).then_some(())
        });
    });
}
