//! Rows: the reason, the body, and the outcome by today's configuration.

use super::*;
use crate::request_ids::RequestIds;

const ID: &str = "ffd473d5-5bef-4e14-bf22-8d559be3c19f";

/// A configuration with one hook.
fn config(hook: &str) -> String {
    let source = if hook.contains("source") { "" } else { r#""source":"any","# };
    format!(
        r#"{{"version":1,"environment":"test","token":{{"keys":{{"k":{{"alg":"HS256","env":"KEY"}}}}}},
            "sign":{{"env":["SIGN"]}},"confirm":{{"cluster":"api","authority":"a.example"}},
            "hooks":[{{"name":"veo3","path":"/hooks/veo3/{{token}}","dialect":"veo3",{source}"quarantine":"route",{hook}}}]}}"#
    )
}

const TOKEN: &str = r#""trust":{"any_of":["token"]},"result_url":["runblob.io","*.runblob.io"]"#;

fn body(url: &str) -> String {
    format!(r#"{{"generation_id":"{ID}","status":"completed","prompt":"p","video_url":"{url}"}}"#)
}

/// An entry with a valid token.
fn quarantined(reason: &str, body: &str) -> QuarantinedEntry {
    QuarantinedEntry {
        hook: "veo3".to_owned(),
        reason: Some(QuarantineReason::parse(reason)),
        client: None,
        token_id: Some("t".to_owned()),
        job: Some("order-17".to_owned()),
        ids: RequestIds::default(),
        path: b"/hooks/veo3".to_vec(),
        headers: b"blobgate-verdict: quarantined\r\nblobgate-proofs: token\r\nblobgate-of-tomorrow: 1\r\n\
                   content-type: application/json\r\nwebhook-id: veo3:x:quarantined\r\n"
            .to_vec(),
        body: body.as_bytes().to_vec(),
        reevaluated: None,
    }
}

/// An entry with an expired token.
fn expired(reason: &str, body: &str) -> QuarantinedEntry {
    QuarantinedEntry { headers: b"content-type: application/json\r\n".to_vec(), ..quarantined(reason, body) }
}

#[track_caller]
fn row(hook: &str, waived: &[&str], entry: QuarantinedEntry, expected: Result<(), &str>) {
    let waived: Vec<_> = waived.iter().map(|code| (*code).to_owned()).collect();
    let judge = Judge::new(config(hook).as_bytes(), &waived).unwrap();
    let judged = judge.judge(entry).map(|_| ()).map_err(|why| why.to_string());
    assert_eq!(judged, expected.map_err(str::to_owned));
}

const GOOD: &str = "https://cdn.runblob.io/a.mp4";
/// Today's detail of a violation follows its reason.
const DENIED: &str =
    "result-url-denied: video_url: host is none of 2 allowed hosts, expected a host of result_url";
const CUT: &str = "json-invalid: body: has no whole JSON value, expected one JSON value in UTF-8";
const STRICT: &str =
    "schema-invalid: error: is not as documented, expected the documented form, because the schema is strict";
const ELSEWHERE: &str = "https://cdn.example.com/a.mp4";

/// The arrival of an entry that passes without a confirmation.
#[track_caller]
fn passes(judge: &Judge, entry: QuarantinedEntry) -> Arrival {
    match judge.judge(entry).unwrap() {
        ReevaluatedEntry::Passes(arrival) => arrival,
        ReevaluatedEntry::NeedsConfirmation(_) => panic!("it needs a confirmation"),
    }
}

#[test]
fn judges_the_body_by_todays_rules() {
    row(TOKEN, &[], quarantined("result-url-denied", &body(ELSEWHERE)), Err(DENIED));
    let wider = r#""trust":{"any_of":["token"]},"result_url":["*.example.com"]"#;
    row(wider, &[], quarantined("result-url-denied", &body(ELSEWHERE)), Ok(()));
    row(TOKEN, &[], quarantined("json-invalid", "{"), Err(CUT));
    row(
        TOKEN,
        &[],
        quarantined("body-missing", ""),
        Err("body-missing: body: is empty, expected a JSON object"),
    );
    let strict = format!(r#"{TOKEN},"schema":"strict""#);
    row(&strict, &[], quarantined("schema-invalid", &body(GOOD)), Err(STRICT));
    row(TOKEN, &[], quarantined("schema-invalid", &body(GOOD)), Ok(()));
}

#[test]
fn keeps_violations_of_the_head_unless_waived() {
    for reason in ["source-denied", "header-invalid", "unsupported-encoding"] {
        row(TOKEN, &[], quarantined(reason, &body(GOOD)), Err(reason));
        row(TOKEN, &[reason], quarantined(reason, &body(GOOD)), Ok(()));
        // A waived reason of the head does not excuse the body.
        row(TOKEN, &[reason], quarantined(reason, &body(ELSEWHERE)), Err(DENIED));
    }
    for reason in ["token-expired", "token-audience"] {
        row(TOKEN, &[], expired(reason, &body(GOOD)), Err(reason));
        row(TOKEN, &[reason], expired(reason, &body(GOOD)), Ok(()));
        row(TOKEN, &["source-denied"], expired(reason, &body(GOOD)), Err(reason));
    }
    // Quarantined for its body, with an expired token.
    row(TOKEN, &[], expired("json-invalid", &body(GOOD)), Err("token-expired"));
}

#[test]
fn judges_the_stored_address_by_todays_allowlist() {
    let hook = format!(r#"{TOKEN},"source":["203.0.113.0/24","2001:db8::/32"]"#);
    let from = |client: Option<&str>, reason: &str| QuarantinedEntry {
        client: client.map(str::to_owned),
        ..quarantined(reason, &body(GOOD))
    };
    for (client, expected) in [
        (Some("203.0.113.9"), Ok(())),
        (Some("2001:db8::7"), Ok(())),
        (Some("198.51.100.7"), Err("source-denied")),
        (Some("no address"), Err("source-denied")),
        (None, Err("source-denied")),
    ] {
        row(&hook, &[], from(client, "source-denied"), expected);
        row(&hook, &["source-denied"], from(client, "source-denied"), Ok(()));
        // The address excuses no other violation.
        row(&hook, &[], from(client, "header-invalid"), Err("header-invalid"));
    }
    let judge = Judge::new(config(&hook).as_bytes(), &[]).unwrap();
    let arrival = passes(&judge, from(Some("203.0.113.9"), "source-denied"));
    assert_eq!(read_headers(&arrival.headers).get(header::OVERRIDE), None);
}

#[test]
fn keeps_a_prompt_mismatch_unless_waived() {
    let prompt = format!(r#"{TOKEN},"checks":{{"prompt":"enforce"}}"#);
    row(&prompt, &[], quarantined("token-mismatch", &body(GOOD)), Err("token-mismatch"));
    row(&prompt, &["token-mismatch"], quarantined("token-mismatch", &body(GOOD)), Ok(()));
    row(TOKEN, &[], quarantined("token-mismatch", &body(GOOD)), Ok(()));
}

#[test]
fn needs_a_confirmation_unless_the_entry_has_one() {
    let both = r#""trust":{"all_of":["token","confirmed"]},"result_url":"any""#;
    let judge = Judge::new(config(both).as_bytes(), &[]).unwrap();
    let Ok(ReevaluatedEntry::NeedsConfirmation(arrival)) =
        judge.judge(quarantined("not-confirmed", &body(GOOD)))
    else {
        panic!("it needs no confirmation");
    };
    // The headers of the confirmed event.
    let headers = read_headers(&arrival.headers);
    for (name, value) in [
        (header::VERDICT, Some("accepted")),
        (header::PROOFS, Some("token,confirmed")),
        (header::EVENT, Some("completed")),
        (header::REASON, None),
    ] {
        assert_eq!(headers.get(name).map(HeaderValue::as_bytes), value.map(str::as_bytes), "{name}");
    }
    // Without a confirmation where the entry stays in any case.
    row(both, &[], quarantined("json-invalid", "{"), Err(CUT));
    let mut confirmed = quarantined("result-url-denied", &body(GOOD));
    confirmed.headers.extend_from_slice(b"blobgate-proofs: token,confirmed\r\n");
    confirmed.headers = b"blobgate-proofs: token,confirmed\r\n".to_vec();
    row(both, &[], confirmed, Ok(()));
}

#[test]
fn refuses_an_entry_of_an_unknown_hook() {
    let other = QuarantinedEntry { hook: "gone".to_owned(), ..quarantined("json-invalid", &body(GOOD)) };
    row(TOKEN, &[], other, Err("this configuration has no hook gone"));
}

#[test]
fn sets_the_gate_headers_of_an_accepted_event() {
    let judge = Judge::new(config(TOKEN).as_bytes(), &["source-denied".to_owned()]).unwrap();
    let arrival = passes(&judge, quarantined("source-denied", &body(GOOD)));
    let headers = read_headers(&arrival.headers);
    let key = format!("veo3:{ID}:completed");
    for (name, value) in [
        (header::VERDICT, "accepted"),
        (header::EVENT, "completed"),
        (header::GENERATION_ID, ID),
        (header::PROOFS, "token"),
        (header::JOB, "order-17"),
        (header::TOKEN_ID, "t"),
        (header::RESULT_HOST, "cdn.runblob.io"),
        (header::OVERRIDE, "source-denied"),
        (header::IDEMPOTENCY_KEY, &key),
        (header::WEBHOOK_ID, &key),
        ("content-type", "application/json"),
    ] {
        assert_eq!(headers.get(name).map(HeaderValue::as_bytes), Some(value.as_bytes()), "{name}");
    }
    assert!(!headers.contains_key(header::REASON) && !headers.contains_key(header::CLAIMED_EVENT));
    assert_eq!(
        (arrival.verdict, arrival.authenticated, &*arrival.path),
        (Verdict::Accepted, true, "/hooks/veo3")
    );
    let not_waived = passes(&judge, quarantined("json-invalid", &body(GOOD)));
    assert!(!read_headers(&not_waived.headers).contains_key(header::OVERRIDE));
}

#[test]
fn lists_the_reasons_that_can_be_waived() {
    let error = Judge::new(config(TOKEN).as_bytes(), &["json-invalid".to_owned()]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot waive \"json-invalid\": use one of source-denied, header-invalid, \
         unsupported-encoding, token-expired, token-audience, token-mismatch"
    );
    let error = Judge::new(b"{\"version\":2}", &[]).unwrap_err();
    assert!(error.to_string().starts_with("cannot load the gate's configuration: version"), "{error}");
}
