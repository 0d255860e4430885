//! The lines of the log, and the limit of each kind.

use super::{
    ID, KEY, NOW, Recording, authenticated, completed, gate, host, response, send, send_and_respond, token,
    token_of, unauthenticated, url,
};
use blobgate::contract::header;
use blobgate::exchange::{Exchange, Flow};
use blobgate::head::Ending;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn logs_10_lines_a_second_and_counts_the_rest() {
    let gate = gate(json!({}));
    let send_at = |milliseconds: u64| {
        let mut host = unauthenticated("{");
        host.uptime = Duration::from_millis(milliseconds);
        send(&gate, &mut host);
        host
    };
    let line = "blobgate verdict=refused reason=json-invalid hook=veo3 source=203.0.113.9 id=- environment=test \
        detail=\"body: has no whole JSON value, expected one JSON value in UTF-8\"";
    for number in 0..10 {
        let host = send_at(5_000 + number);
        assert_eq!((host.log, host.tick_period), (vec![line.to_owned()], Duration::ZERO));
    }
    for (at, tick) in [(5_010, 1), (5_500, 0), (5_999, 0)] {
        let host = send_at(at);
        assert_eq!((host.log, host.tick_period), (Vec::<String>::new(), Duration::from_secs(tick)), "{at}");
    }
    let tick = |milliseconds: u64| {
        let mut host = Recording { tick_period: Duration::from_secs(1), ..Recording::default() };
        host.uptime = Duration::from_millis(milliseconds);
        gate.on_tick(&mut host);
        (host.log, host.tick_period)
    };
    let second = Duration::from_secs(1);
    assert_eq!(tick(5_999), (vec![], second));
    assert_eq!(
        tick(6_000),
        (vec!["blobgate lines-left-out=3 kind=refused environment=test".to_owned()], Duration::ZERO)
    );
    assert_eq!(tick(6_500), (vec![], Duration::ZERO));
    // Without a tick in between, the count comes before the next line.
    (0..11).for_each(|_| drop(send_at(7_500)));
    let log = send_at(8_500).log;
    assert_eq!(log, ["blobgate lines-left-out=1 kind=refused environment=test", line]);
}

#[test]
fn logs_a_quarantined_generation() {
    let mut host = authenticated(&completed(ID, "https://evil.example/video.mp4"));
    let (_, flow) = send(&gate(json!({})), &mut host);
    assert_eq!(flow, Flow::Continue);
    let line = format!(
        "blobgate verdict=quarantined reason=result-url-denied hook=veo3 source=203.0.113.9 id={ID} environment=test \
         detail=\"video_url: host is none of 1 allowed hosts, expected a host of result_url\""
    );
    assert_eq!(host.log, [line]);
}

#[test]
fn a_kind_of_line_hides_no_other() {
    let gate = gate(json!({}));
    (0..50).for_each(|_| drop(send(&gate, &mut unauthenticated("{"))));
    let mut refused = unauthenticated("{");
    send(&gate, &mut refused);
    assert_eq!(refused.log, Vec::<String>::new());
    let mut quarantined = authenticated("{");
    let (mut exchange, _) = send(&gate, &mut quarantined);
    assert!(quarantined.log[0].starts_with("blobgate verdict=quarantined reason=json-invalid "));
    // The inbox is away, and the provider refuses the key.
    quarantined.response = vec![(":status".to_owned(), b"503".to_vec())];
    exchange.on_response_headers(&mut quarantined, Ending::Later);
    assert!(quarantined.log[1].contains(" reason=upstream-error "), "{:?}", quarantined.log);
    let mut unconfirmed = unauthenticated(&completed(ID, &url("one")));
    send_and_respond(&gate, &mut unconfirmed, ("401", ""));
    assert!(unconfirmed.log[0].contains(" confirm=unauthorized detail="), "{:?}", unconfirmed.log);
    let body = completed(ID, &url("two"));
    let mut covered = host(&format!("/hook/{}", token_of("hs", "another", NOW + 60)), &body);
    send_and_respond(&gate, &mut covered, ("200", &body));
    assert!(covered.log[0].contains(" token=signature kid=hs detail="), "{:?}", covered.log);
}

#[test]
fn reports_the_omitted_lines_of_each_kind() {
    let gate = gate(json!({}));
    let ticks: Vec<Duration> = (0..12)
        .flat_map(|_| {
            let (mut refused, mut quarantined) = (unauthenticated("{"), authenticated("{"));
            send(&gate, &mut refused);
            send(&gate, &mut quarantined);
            [refused.tick_period, quarantined.tick_period]
        })
        .collect();
    // To start a running tick again would postpone it.
    assert_eq!(ticks.iter().filter(|tick| !tick.is_zero()).count(), 1);
    let mut host = Recording { uptime: Duration::from_secs(1), ..Recording::default() };
    host.tick_period = Duration::from_secs(1);
    gate.on_tick(&mut host);
    let lines = ["refused", "quarantined"]
        .map(|kind| format!("blobgate lines-left-out=2 kind={kind} environment=test"));
    assert_eq!((&host.log[..], host.tick_period), (&lines[..], Duration::ZERO));
}

/// The lines of a delivery with a token or without one, after a response of the status API and one of the service.
#[track_caller]
fn lines(token: Option<String>, body: &str, provider: (&str, &str), service: &str, expected: &[&str]) {
    let gate = gate(json!({}));
    let path = token.as_ref().map_or("/hook".to_owned(), |token| format!("/hook/{token}"));
    let mut host = host(&path, body);
    let (mut exchange, mut flow) = send(&gate, &mut host);
    if !host.calls.is_empty() {
        flow = exchange.on_provider_response(&mut host, response(provider.0, provider.1));
    }
    if flow == Flow::Continue {
        host.response = vec![(":status".to_owned(), service.as_bytes().to_vec())];
        host.response_code_details = Some("upstream_reset_before_response_started{connection failure}");
        exchange.on_response_headers(&mut host, Ending::Later);
    }
    let expected: Vec<String> = expected
        .iter()
        .map(|line| {
            let (line, detail) = line.rsplit_once(" ! ").unwrap();
            let (verdict, cause) = line.split_once(" | ").unwrap_or((line, ""));
            let (verdict, id) = match verdict.strip_suffix(" -") {
                Some(verdict) => (verdict, "-"),
                None => (verdict, ID),
            };
            let space = if cause.is_empty() { "" } else { " " };
            let tail = format!("{space}{cause} detail=\"{detail}\"");
            format!("blobgate {verdict} hook=veo3 source=203.0.113.9 id={id} environment=test{tail}")
        })
        .collect();
    assert_eq!(host.log, expected);
    if let Some(signature) = token.as_ref().and_then(|token| token.rsplit('.').next()) {
        assert!(!host.log.concat().contains(signature));
    }
}

#[test]
fn names_the_cause() {
    let body = completed(ID, &url("one"));
    let confirmed = ("200", body.as_str());
    lines(Some(token()), &body, confirmed, "200", &[]);
    lines(None, &body, confirmed, "204", &[]);
    // Another proof covers for the token.
    let wrong_key = || Some(token_of("hs", "another key", NOW + 60));
    let covered = |reason: &str, cause: &str| {
        let detail = match cause.split(' ').next().unwrap() {
            "signature" => "has an invalid signature, expected a signature by its key",
            "kid" => "has an unknown kid, expected the kid of a configured key",
            "form" => "is not three parts of base64url, expected a compact JWT",
            "expired" => "has expired, expected an exp in the future",
            other => panic!("{other}"),
        };
        format!("verdict=accepted reason={reason} | token={cause} ! token: {detail}")
    };
    lines(wrong_key(), &body, confirmed, "200", &[&covered("token-invalid", "signature kid=hs")]);
    let unknown = |kid: &str| Some(token_of(kid, KEY, NOW + 60));
    lines(unknown("old_Key-1"), &body, confirmed, "200", &[&covered("token-invalid", "kid kid=old_Key-1")]);
    for kid in ["", "a b", "a\nb", "a=b", "ключ", &"k".repeat(33)] {
        lines(unknown(kid), &body, confirmed, "200", &[&covered("token-invalid", "kid kid=-")]);
    }
    lines(Some("x.y".to_owned()), &body, confirmed, "200", &[&covered("token-invalid", "form kid=-")]);
    let expired = || Some(token_of("hs", KEY, NOW - 3_600));
    lines(expired(), &body, confirmed, "200", &[&covered("token-expired", "expired kid=hs")]);
    // A failed confirmation.
    const REFUSED_KEY: &str =
        "status API refused the API key, expected a valid key in the cluster of confirm";
    for (status, outcome, detail) in [
        ("401", "unauthorized", REFUSED_KEY),
        ("429", "limited", "status API responded 429, expected 200"),
        ("500", "status", "status API responded 500, expected 200"),
        ("504", "no-answer", "no response in time, expected 200"),
    ] {
        let refused =
            format!("verdict=refused reason=confirm-unavailable | confirm={outcome} ! confirm: {detail}");
        lines(None, &body, (status, ""), "200", &[&refused]);
        let quarantined = format!(
            "verdict=quarantined reason=token-expired | confirm={outcome} token=expired kid=hs ! token: has expired, expected an exp in the future"
        );
        lines(expired(), &body, (status, ""), "200", &[&quarantined]);
    }
    let refused = "verdict=refused reason=confirm-unavailable | confirm=unauthorized token=signature kid=hs";
    lines(wrong_key(), &body, ("403", ""), "200", &[&format!("{refused} ! confirm: {REFUSED_KEY}")]);
    // The service does not accept the event.
    let details = "details=upstream_reset_before_response_started{connection_failure}";
    let upstream = |verdict: &str, id: &str, status: &str| {
        let detail = format!("response: status is {status}, expected 2xx");
        format!("verdict={verdict} reason=upstream-error{id} | response={status} {details} ! {detail}")
    };
    lines(Some(token()), &body, confirmed, "503", &[&upstream("accepted", "", "503")]);
    lines(None, &body, confirmed, "404", &[&upstream("accepted", "", "404")]);
    let quarantined = "verdict=quarantined reason=json-invalid - ! body: has no whole JSON value, expected one JSON value in UTF-8";
    lines(Some(token()), "{", confirmed, "500", &[quarantined, &upstream("quarantined", " -", "500")]);
}

#[test]
fn logs_a_safe_request_id_alone() {
    let longest = "a".repeat(64);
    for (id, expected) in [
        ("5f1c2b8e-6b0a-4c3f-9a55-0d9a3c1b7e11", true),
        ("01J.a_b", true),
        (&*longest, true),
        ("", false),
        ("a b", false),
        ("a\"b", false),
        ("a\nblobgate verdict=accepted", false),
        ("\u{e9}", false),
        (&format!("{longest}a"), false),
    ] {
        let mut host = unauthenticated("{");
        host.request.push((header::REQUEST_ID.to_owned(), id.as_bytes().to_vec()));
        send(&gate(json!({})), &mut host);
        let shown = if expected {
            format!(" request_id={id} detail=")
        } else {
            " environment=test detail=".to_owned()
        };
        assert!(host.log[0].contains(&shown), "{id:?}: {:?}", host.log);
    }
    for (client, expected) in [("safe", "safe"), ("not safe", "of-envoy"), ("", "of-envoy")] {
        let mut host = unauthenticated("{");
        host.request.push((header::CLIENT_REQUEST_ID.to_owned(), client.as_bytes().to_vec()));
        host.request.push((header::REQUEST_ID.to_owned(), b"of-envoy".to_vec()));
        send(&gate(json!({})), &mut host);
        assert!(host.log[0].contains(&format!(" request_id={expected} detail=")), "{:?}", host.log);
    }
}

/// The detail is for the operator alone: it is in the log, in the access log and in the header of a quarantined delivery.
#[test]
fn the_sender_gets_the_reason_without_the_detail() {
    const DETAIL: &str = "body: has no whole JSON value, expected one JSON value in UTF-8";
    let mut refused = unauthenticated("{");
    send(&gate(json!({})), &mut refused);
    assert_eq!(refused.access_log["blobgate_detail"], DETAIL);
    assert!(refused.log[0].ends_with(&format!(" detail=\"{DETAIL}\"")));
    let response = refused.responded.unwrap();
    assert!(response.body.contains("json-invalid"));
    assert!(!format!("{response:?}").contains("ends inside"), "{response:?}");
    let mut quarantined = authenticated("{");
    let (mut exchange, _) = send(&gate(json!({})), &mut quarantined);
    assert_eq!(quarantined.sent(header::DETAIL).as_deref(), Some(DETAIL));
    assert_eq!(quarantined.access_log["blobgate_detail"], DETAIL);
    quarantined.response = vec![(":status".to_owned(), b"500".to_vec())];
    exchange.on_response_headers(&mut quarantined, Ending::Later);
    assert_eq!(quarantined.access_log["blobgate_detail"], "response: status is 500, expected 2xx");
    assert!(!format!("{:?}", quarantined.response).contains("expected"), "{:?}", quarantined.response);
    let mut accepted = authenticated(&completed(ID, &url("one")));
    accepted.request.push((header::DETAIL.to_owned(), b"of the client".to_vec()));
    send(&gate(json!({})), &mut accepted);
    assert_eq!((accepted.sent(header::DETAIL), accepted.access_log.get("blobgate_detail")), (None, None));
}

#[test]
fn names_the_confirmation_in_the_access_log_only_if_it_failed() {
    let body = completed(ID, &url("one"));
    for (answer, expected) in
        [(("200", body.as_str()), None), (("401", ""), Some("unauthorized")), (("500", ""), Some("status"))]
    {
        let mut host = unauthenticated(&body);
        send_and_respond(&gate(json!({})), &mut host, answer);
        assert_eq!(host.access_log.get("blobgate_confirm").map(String::as_str), expected);
        assert!(!format!("{:?}{:?}", host.request, host.responded).contains("unauthorized"));
    }
}

#[test]
fn logs_envoys_own_response_to_an_authenticated_sender() {
    for (mut host, expected) in [(authenticated("{}"), 1), (unauthenticated("{}"), 0)] {
        let mut exchange = Exchange::new(Arc::clone(&gate(json!({}))));
        exchange.on_request_headers(&mut host, Ending::Later);
        exchange.on_request_body(&mut host, 1, Ending::Later);
        host.response = vec![(":status".to_owned(), b"413".to_vec())];
        host.response_code_details = Some("request_payload_too_large");
        exchange.on_response_headers(&mut host, Ending::Later);
        assert_eq!(host.log.len(), expected);
        for line in host.log {
            let tail = "hook=veo3 source=203.0.113.9 id=- environment=test response=413 details=request_payload_too_large";
            assert_eq!(line, format!("blobgate verdict=- reason=- {tail}"));
        }
    }
}
