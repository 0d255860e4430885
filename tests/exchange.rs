//! The exchange's decisions outside of the policy: calls to the provider, the log's limit, and Envoy's own responses.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

#[path = "exchange/log.rs"]
mod log;
mod recording;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use blobgate::Config;
use blobgate::contract::header;
use blobgate::exchange::{Exchange, Flow, Gate, ProviderResponse};
use blobgate::head::Ending;
use hmac::{Hmac, KeyInit, Mac};
use recording::Recording;
use serde_json::{Value, json};
use sha2::Sha256;
use std::sync::Arc;
use std::time::Duration;

const DOCS: &str = "https://docs.example/blobgate";
const KEY: &str = "the key of the tests, of 32 bytes.";
/// The clock of the host, in seconds since the epoch.
const NOW: u64 = 1_800_000_000;
const ID: &str = "ffd473d5-5bef-4e14-bf22-8d559be3c19f";
const OTHER_ID: &str = "00000000-0000-4000-8000-000000000001";
const UNKNOWN: (&str, &str) = ("404", r#"{"detail": "TASK_NOT_FOUND"}"#);

/// A gate with one hook that takes a token or a confirmation, with changes of the hook.
fn gate(changes: Value) -> Arc<Gate> {
    let mut hook = json!({
        "name": "veo3", "path": "/hook/{token}", "dialect": "veo3", "source": "any",
        "trust": {"any_of": ["token", "confirmed"]}, "result_url": ["cdn.runblob.io"], "quarantine": "route",
    });
    for (key, value) in changes.as_object().unwrap() {
        hook[key] = value.clone();
    }
    let config = json!({
        "version": 1, "environment": "test", "docs": DOCS, "hooks": [hook],
        "token": {"keys": {"hs": {"alg": "HS256", "env": "KEY"}}},
        "confirm": {"cluster": "runblob_api", "authority": "platform.runblob.io", "per_minute": 5, "timeout": "2s"},
    });
    let config = Config::load(config.to_string().as_bytes(), &|_| Some(KEY.to_owned())).unwrap();
    Arc::new(Gate::new(config))
}

fn token() -> String {
    token_of("hs", KEY, NOW + 60)
}

fn token_of(kid: &str, key: &str, expires: u64) -> String {
    let claims = json!({"exp": expires, "aud": "test/veo3", "jti": "t-1"});
    let encode = |json: Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let signed = format!("{}.{}", encode(json!({"alg": "HS256", "kid": kid})), encode(claims));
    let mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap().chain_update(&signed);
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

fn completed(id: &str, url: &str) -> String {
    json!({
        "generation_id": id, "status": "completed", "prompt": "A cat", "video_url": url, "error": null, "seed": 7,
        "created_at": "2025-12-06T21:43:03.374000", "completed_at": "2025-12-06T21:44:06.143000",
    })
    .to_string()
}

fn url(name: &str) -> String {
    format!("https://cdn.runblob.io/{name}.mp4")
}

/// A POST over TLS.
fn host(path: &str, body: &str) -> Recording {
    let head = [
        (":method", "POST"),
        (":path", path),
        (":authority", "gate.test"),
        ("content-type", "application/json"),
    ];
    Recording {
        request: head.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec())).into(),
        body: body.as_bytes().to_vec(),
        source: Some("203.0.113.9:4711".to_owned()),
        is_tls: true,
        now: Duration::from_secs(NOW),
        ..Recording::default()
    }
}

fn unauthenticated(body: &str) -> Recording {
    host("/hook", body)
}

fn authenticated(body: &str) -> Recording {
    host(&format!("/hook/{}", token()), body)
}

/// Sends a whole request.
fn send(gate: &Arc<Gate>, host: &mut Recording) -> (Exchange, Flow) {
    let mut exchange = Exchange::new(Arc::clone(gate));
    assert_eq!(exchange.on_request_headers(host, Ending::Later), Flow::Pause);
    let size = host.body.len();
    let flow = exchange.on_request_body(host, size, Ending::Here);
    (exchange, flow)
}

fn response<'a>(status: &'a str, body: &'a str) -> Option<ProviderResponse<'a>> {
    Some(ProviderResponse { status: status.as_bytes(), body: body.as_bytes() })
}

/// Sends a request, and responds to a call with this status and body.
fn send_and_respond(gate: &Arc<Gate>, host: &mut Recording, (status, body): (&str, &str)) {
    let (mut exchange, _) = send(gate, host);
    if !host.calls.is_empty() {
        exchange.on_provider_response(host, response(status, body));
    }
}

/// The outcome of the only counted confirmation.
#[track_caller]
fn outcome(host: &Recording) -> &str {
    let mut names = host
        .counters
        .keys()
        .filter_map(|name| name.strip_prefix("blobgate_confirm_total.environment=test.hook=veo3.outcome="));
    let outcome = names.next().expect("a confirmation was counted");
    assert_eq!(names.next(), None);
    outcome
}

/// Sends a claim with this response, and another claim some seconds later.
#[track_caller]
fn remembers(first: &str, answer: (&str, &str), second: &str, after: u64, calls: usize, reason: &str) {
    let gate = gate(json!({}));
    send_and_respond(&gate, &mut unauthenticated(first), answer);
    let mut host = unauthenticated(second);
    host.uptime = Duration::from_secs(after);
    send_and_respond(&gate, &mut host, answer);
    assert_eq!(host.calls.len(), calls, "{second} after {after} s");
    assert_eq!(host.answer(header::REASON), (403, Some(reason.to_owned())));
    assert_eq!(host.counted("outcome=remembered"), u64::from(calls == 0));
}

#[test]
fn remembers_a_denial_for_20_s() {
    let (one, other) = (completed(ID, &url("one")), completed(ID, &url("other")));
    let another = completed(OTHER_ID, &url("one"));
    let third = completed(ID, &url("third"));
    let contradiction = ("200", third.as_str());
    remembers(&one, contradiction, &one, 0, 0, "not-confirmed");
    remembers(&one, contradiction, &one, 19, 0, "not-confirmed");
    remembers(&one, contradiction, &one, 20, 1, "not-confirmed");
    remembers(&one, contradiction, &other, 1, 1, "not-confirmed");
    remembers(&one, UNKNOWN, &other, 19, 0, "not-confirmed");
    remembers(&one, UNKNOWN, &other, 20, 1, "not-confirmed");
    remembers(&one, UNKNOWN, &another, 1, 1, "not-confirmed");
}

#[test]
fn forgets_responses_without_a_denial() {
    let body = completed(ID, &url("one"));
    for answer in [("200", r#"{"status": "processing"}"#), ("503", ""), ("429", ""), ("401", ""), ("404", "")]
    {
        let gate = gate(json!({}));
        send_and_respond(&gate, &mut unauthenticated(&body), answer);
        let mut host = unauthenticated(&body);
        send_and_respond(&gate, &mut host, ("200", &body));
        assert_eq!((host.calls.len(), outcome(&host)), (1, "confirmed"), "{answer:?}");
        assert_eq!(host.sent(header::VERDICT).as_deref(), Some("accepted"), "{answer:?}");
    }
}

#[test]
fn calls_the_status_api_as_configured() {
    let mut host = unauthenticated(&completed(ID, &url("one")));
    let (_, flow) = send(&gate(json!({})), &mut host);
    assert_eq!((flow, host.calls.len()), (Flow::Pause, 1));
    let call = &host.calls[0];
    let path = format!("/v1/veo/generations/{ID}");
    let headers: Vec<(&str, &str)> =
        call.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let expected = [
        (":method", "GET"),
        (":path", path.as_str()),
        (":authority", "platform.runblob.io"),
        ("accept", "application/json"),
    ];
    assert_eq!(headers, expected);
    assert_eq!((call.cluster.as_str(), call.timeout), ("runblob_api", Duration::from_secs(2)));
}

/// Sends deliveries until the budget is spent. Returns the number of calls, and the host of the first delivery without one.
fn spend(gate: &Arc<Gate>, shared: &Recording, body: &dyn Fn(usize) -> String) -> (usize, Recording) {
    let (mut calls, mut cells) = (0, shared.shared.clone());
    loop {
        let mut host = Recording { shared: cells, ..unauthenticated(&body(calls)) };
        send_and_respond(gate, &mut host, ("503", ""));
        if host.calls.is_empty() {
            return (calls, host);
        }
        calls += 1;
        cells = host.shared;
    }
}

#[test]
fn leaves_half_of_the_budget_to_valid_deliveries() {
    let invalid = |number| completed(ID, &format!("https://evil.example/{number}"));
    let valid = |number: usize| completed(ID, &url(&number.to_string()));
    let gate = gate(json!({}));
    // 5 a minute: 3 of them for unauthenticated senders of invalid deliveries.
    let (calls, host) = spend(&gate, &Recording::default(), &invalid);
    assert_eq!((calls, outcome(&host)), (3, "budget"));
    assert_eq!(host.answer(header::REASON), (503, Some("confirm-unavailable".to_owned())));
    let (calls, host) = spend(&gate, &host, &valid);
    assert_eq!((calls, outcome(&host)), (2, "budget"));
    // After a minute and the longest call.
    let mut later = unauthenticated(&valid(9));
    (later.shared, later.now) = (host.shared, host.now + Duration::from_secs(65));
    send(&gate, &mut later);
    assert_eq!(later.calls.len(), 1);
}

#[test]
fn retries_the_budget_after_another_workers_write() {
    let body = completed(ID, &url("one"));
    for (races, calls) in [(0, 1), (7, 1), (8, 0)] {
        let mut host = Recording { races, ..unauthenticated(&body) };
        send(&gate(json!({})), &mut host);
        assert_eq!(host.calls.len(), calls, "{races} races");
        assert_eq!(host.counted("outcome=budget"), u64::from(calls == 0), "{races} races");
    }
}

#[test]
fn frees_the_slot_of_a_call_at_its_end() {
    let gate = gate(json!({}));
    let start = |number: usize| {
        let mut host = unauthenticated(&completed(ID, &url(&number.to_string())));
        let (exchange, _) = send(&gate, &mut host);
        (exchange, host)
    };
    let mut waiting: Vec<(Exchange, Recording)> = (0..16).map(start).collect();
    assert!(waiting.iter().all(|(_, host)| host.calls.len() == 1));
    assert_eq!(outcome(&start(16).1), "in-flight");
    // A client leaves.
    waiting.pop();
    let (exchange, host) = start(17);
    assert_eq!(host.calls.len(), 1);
    waiting.push((exchange, host));
    assert_eq!(outcome(&start(18).1), "in-flight");
    // A response comes.
    let (exchange, host) = &mut waiting[0];
    exchange.on_provider_response(host, None);
    assert_eq!(outcome(host), "no-answer");
    assert_eq!(start(19).1.calls.len(), 1);
}

#[test]
fn refuses_as_unavailable_where_no_call_starts() {
    let mut host = Recording { starts_no_call: true, ..unauthenticated(&completed(ID, &url("one"))) };
    let (_, flow) = send(&gate(json!({})), &mut host);
    assert_eq!((flow, outcome(&host)), (Flow::Pause, "not-started"));
    assert_eq!(host.answer(header::REASON), (503, Some("confirm-unavailable".to_owned())));
}

/// Envoy responds itself while the exchange waits for the body.
#[track_caller]
fn envoy_responds(mut host: Recording, mode: &str, status: &str, expected: u16) {
    let mut exchange = Exchange::new(gate(json!({"mode": mode})));
    exchange.on_request_headers(&mut host, Ending::Later);
    exchange.on_request_body(&mut host, 1, Ending::Later);
    host.response = vec![(":status".to_owned(), status.as_bytes().to_vec())];
    assert_eq!(exchange.on_response_headers(&mut host, Ending::Later), Flow::Continue);
    assert_eq!(host.answer(header::REASON), (expected, None), "{mode} {status}");
}

#[test]
fn authenticated_senders_retry_after_envoys_refusals_except_413() {
    for (status, expected) in [("408", 503), ("400", 503), ("504", 503), ("503", 503), ("413", 413)] {
        envoy_responds(authenticated("{}"), "enforce", status, expected);
    }
    for (status, expected) in [("408", 408), ("413", 413), ("503", 503)] {
        envoy_responds(unauthenticated("{}"), "enforce", status, expected);
        envoy_responds(authenticated("{}"), "observe", status, expected);
    }
}

fn timed_out(host: &mut Recording) {
    host.response = vec![
        (":status".to_owned(), b"504".to_vec()),
        ("content-length".to_owned(), b"22".to_vec()),
        ("x-own".to_owned(), b"1".to_vec()),
    ];
    host.response_body = b"stream timeout response".to_vec();
    host.response_code_details = Some("request_overall_timeout");
}

/// Checks that the whole response is the gate's problem document.
#[track_caller]
fn is_problem(host: &Recording, reason: &str) {
    assert_eq!(host.answer(header::REASON), (503, Some(reason.to_owned())));
    assert_eq!(host.answer("content-type").1.as_deref(), Some("application/problem+json"));
    assert_eq!(host.answer("x-own").1, None);
    let body: Value = serde_json::from_slice(&host.response_body).unwrap();
    assert_eq!((&body["code"], &body["status"]), (&json!(reason), &json!(503)));
    assert_eq!(body["type"], format!("{DOCS}/reference/reasons.html#{reason}"));
    assert_eq!(host.answer("content-length").1, Some(host.response_body.len().to_string()));
}

#[test]
fn refuses_a_timeout_before_any_body_as_a_missing_host_flag() {
    let mut host = unauthenticated("");
    let mut exchange = Exchange::new(gate(json!({})));
    exchange.on_request_headers(&mut host, Ending::Later);
    timed_out(&mut host);
    assert_eq!(exchange.on_response_headers(&mut host, Ending::Later), Flow::Continue);
    let (first, size) = (10, host.response_body.len());
    exchange.on_response_body(&mut host, first);
    // Envoy's body comes in two parts.
    let rest = size - first;
    let at = host.response_body.len() - rest;
    let mut tail = Recording { response_body: host.response_body.split_off(at), ..Recording::default() };
    exchange.on_response_body(&mut tail, rest);
    assert_eq!(tail.response_body, b"");
    is_problem(&host, "host-misconfigured");
    assert_eq!(host.sent(header::HOOK).as_deref(), Some("veo3"));
    assert_eq!(host.counted("reason=host-misconfigured"), 1);
}

#[test]
fn refuses_a_timeout_during_a_call_and_ignores_a_late_result() {
    let mut host = unauthenticated(&completed(ID, &url("one")));
    let (mut exchange, _) = send(&gate(json!({})), &mut host);
    timed_out(&mut host);
    assert_eq!(exchange.on_response_headers(&mut host, Ending::Later), Flow::Continue);
    assert_eq!(exchange.on_provider_response(&mut host, response("404", "{}")), Flow::Pause);
    let size = host.response_body.len();
    exchange.on_response_body(&mut host, size);
    is_problem(&host, "confirm-unavailable");
    assert_eq!(outcome(&host), "no-answer");
    assert_eq!(host.sent(header::VERDICT), None);
    assert!(
        host.log[0].contains(&format!("reason=confirm-unavailable hook=veo3 source=203.0.113.9 id={ID}"))
    );
}

#[test]
fn passes_another_504_on() {
    let mut host = unauthenticated(&completed(ID, &url("one")));
    let (mut exchange, _) = send(&gate(json!({})), &mut host);
    timed_out(&mut host);
    host.response_code_details = Some("upstream_per_try_timeout");
    exchange.on_response_headers(&mut host, Ending::Later);
    assert_eq!(host.answer(header::REASON), (504, None));
}

#[test]
fn refuses_plaintext_before_reading_the_token() {
    for (token, path) in [("absent", "/hook".to_owned()), ("good", format!("/hook/{}", token()))] {
        let mut host = Recording { is_tls: false, ..host(&path, "{}") };
        let mut exchange = Exchange::new(gate(json!({})));
        assert_eq!(exchange.on_request_headers(&mut host, Ending::Later), Flow::Pause);
        assert_eq!(host.answer(header::REASON), (403, Some("https-required".to_owned())), "{token}");
        assert_eq!(host.counted("blobgate_token_total"), 0, "{token}");
    }
    // In observe mode the gate judges all stages.
    let mut host = Recording { is_tls: false, ..authenticated(&completed(ID, &url("one"))) };
    let (_, flow) = send(&gate(json!({"mode": "observe"})), &mut host);
    assert_eq!(flow, Flow::Continue);
    assert_eq!(host.sent(header::REASON).as_deref(), Some("https-required"));
    assert_eq!(host.counted("blobgate_token_total.environment=test.hook=veo3.kid=hs.outcome=good"), 1);
}

#[test]
fn judges_a_body_that_ends_with_trailers() {
    let body = completed(ID, &url("one"));
    let mut host = authenticated(&body);
    let mut exchange = Exchange::new(gate(json!({})));
    exchange.on_request_headers(&mut host, Ending::Later);
    assert_eq!(exchange.on_request_body(&mut host, body.len(), Ending::Later), Flow::Pause);
    assert_eq!(exchange.on_request_trailers(&mut host), Flow::Continue);
    assert_eq!(host.sent(header::VERDICT).as_deref(), Some("accepted"));
    assert!(host.has_no_trailers);
}
