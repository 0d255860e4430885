//! Rows: why it was kept, what came, what it is by today's configuration.

use super::*;

const ID: &str = "ffd473d5-5bef-4e14-bf22-8d559be3c19f";

/// A configuration with one hook.
fn config(hook: &str) -> String {
    format!(
        r#"{{"version":1,"environment":"test","token":{{"keys":{{"k":{{"alg":"HS256","env":"KEY"}}}}}},
            "sign":{{"env":["SIGN"]}},"confirm":{{"cluster":"api","authority":"a.example"}},
            "hooks":[{{"name":"veo3","path":"/hooks/veo3/{{token}}","dialect":"veo3","source":"any","quarantine":"route",{hook}}}]}}"#
    )
}

const TOKEN: &str = r#""trust":{"any_of":["token"]},"result_url":["runblob.io","*.runblob.io"]"#;

fn body(url: &str) -> String {
    format!(r#"{{"generation_id":"{ID}","status":"completed","prompt":"p","video_url":"{url}"}}"#)
}

/// An entry that came with a good token.
fn kept(reason: &str, body: &str) -> QuarantinedEntry {
    QuarantinedEntry {
        hook: "veo3".to_owned(),
        reason: Some(QuarantineReason::parse(reason)),
        token_id: Some("t".to_owned()),
        job: Some("order-17".to_owned()),
        path: b"/hooks/veo3".to_vec(),
        headers: b"blobgate-verdict: quarantined\r\nblobgate-proofs: token\r\nblobgate-of-tomorrow: 1\r\n\
                   content-type: application/json\r\nwebhook-id: veo3:x:quarantined\r\n"
            .to_vec(),
        body: body.as_bytes().to_vec(),
        reevaluated: None,
    }
}

fn late(reason: &str, body: &str) -> QuarantinedEntry {
    QuarantinedEntry { headers: b"content-type: application/json\r\n".to_vec(), ..kept(reason, body) }
}

#[track_caller]
fn row(hook: &str, waived: &[&str], kept: QuarantinedEntry, expected: Result<(), &str>) {
    let waived: Vec<_> = waived.iter().map(|code| (*code).to_owned()).collect();
    let judge = Judge::new(config(hook).as_bytes(), &waived).unwrap();
    let judged = judge.judge(kept).map(|_| ()).map_err(|why| why.to_string());
    assert_eq!(judged, expected.map_err(str::to_owned));
}

const GOOD: &str = "https://cdn.runblob.io/a.mp4";
const ELSEWHERE: &str = "https://cdn.example.com/a.mp4";

/// What holds now, without anybody's word.
#[track_caller]
fn holds(judge: &Judge, kept: QuarantinedEntry) -> Arrival {
    match judge.judge(kept).unwrap() {
        Reevaluation::Passes(arrival) => arrival,
        Reevaluation::NeedsConfirmation(_) => panic!("the provider is not to be asked"),
    }
}

#[test]
fn the_body_is_judged_by_todays_rules() {
    row(TOKEN, &[], kept("result-url-denied", &body(ELSEWHERE)), Err("result-url-denied"));
    let wider = r#""trust":{"any_of":["token"]},"result_url":["*.example.com"]"#;
    row(wider, &[], kept("result-url-denied", &body(ELSEWHERE)), Ok(()));
    row(TOKEN, &[], kept("json-invalid", "{"), Err("json-invalid"));
    row(TOKEN, &[], kept("body-missing", ""), Err("body-missing"));
    let strict = format!(r#"{TOKEN},"schema":"strict""#);
    row(&strict, &[], kept("schema-invalid", &body(GOOD)), Err("schema-invalid"));
    row(TOKEN, &[], kept("schema-invalid", &body(GOOD)), Ok(()));
}

#[test]
fn what_only_the_head_shows_is_as_it_was() {
    for reason in ["source-denied", "header-invalid", "unsupported-encoding"] {
        row(TOKEN, &[], kept(reason, &body(GOOD)), Err(reason));
        row(TOKEN, &[reason], kept(reason, &body(GOOD)), Ok(()));
        // A waived head does not mend a body.
        row(TOKEN, &[reason], kept(reason, &body(ELSEWHERE)), Err("result-url-denied"));
    }
    for reason in ["token-expired", "token-audience"] {
        row(TOKEN, &[], late(reason, &body(GOOD)), Err(reason));
        row(TOKEN, &[reason], late(reason, &body(GOOD)), Ok(()));
        row(TOKEN, &["source-denied"], late(reason, &body(GOOD)), Err(reason));
    }
    // Kept for its body, with a token that was late besides.
    row(TOKEN, &[], late("json-invalid", &body(GOOD)), Err("token-expired"));
}

#[test]
fn the_prompt_of_a_token_is_on_no_record() {
    let prompt = format!(r#"{TOKEN},"checks":{{"prompt":"enforce"}}"#);
    row(&prompt, &[], kept("token-mismatch", &body(GOOD)), Err("token-mismatch"));
    row(&prompt, &["token-mismatch"], kept("token-mismatch", &body(GOOD)), Ok(()));
    row(TOKEN, &[], kept("token-mismatch", &body(GOOD)), Ok(()));
}

#[test]
fn the_provider_s_word_counts_where_it_is_on_record() {
    let both = r#""trust":{"all_of":["token","confirmed"]},"result_url":"any""#;
    let judge = Judge::new(config(both).as_bytes(), &[]).unwrap();
    let Ok(Reevaluation::NeedsConfirmation(arrival)) = judge.judge(kept("not-confirmed", &body(GOOD))) else {
        panic!("the provider has to be asked");
    };
    // As it is once the provider says the same.
    let headers = read_headers(&arrival.headers);
    for (name, value) in [
        (header::VERDICT, Some("accepted")),
        (header::PROOFS, Some("token,confirmed")),
        (header::EVENT, Some("completed")),
        (header::REASON, None),
    ] {
        assert_eq!(headers.get(name).map(HeaderValue::as_bytes), value.map(str::as_bytes), "{name}");
    }
    // Nobody is asked about what would stay whatever is said.
    row(both, &[], kept("json-invalid", "{"), Err("json-invalid"));
    let mut confirmed = kept("result-url-denied", &body(GOOD));
    confirmed.headers.extend_from_slice(b"blobgate-proofs: token,confirmed\r\n");
    confirmed.headers = b"blobgate-proofs: token,confirmed\r\n".to_vec();
    row(both, &[], confirmed, Ok(()));
}

#[test]
fn a_hook_that_is_gone_judges_nothing() {
    let other = QuarantinedEntry { hook: "gone".to_owned(), ..kept("json-invalid", &body(GOOD)) };
    row(TOKEN, &[], other, Err("no hook is called gone in this configuration"));
}

#[test]
fn what_passes_is_marked_as_the_gate_does() {
    let judge = Judge::new(config(TOKEN).as_bytes(), &["source-denied".to_owned()]).unwrap();
    let arrival = holds(&judge, kept("source-denied", &body(GOOD)));
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
    let not_waived = holds(&judge, kept("json-invalid", &body(GOOD)));
    assert!(!read_headers(&not_waived.headers).contains_key(header::OVERRIDE));
}

#[test]
fn what_cannot_be_waived_is_said() {
    let error = Judge::new(config(TOKEN).as_bytes(), &["json-invalid".to_owned()]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "\"json-invalid\" cannot be waived: only what the head shows can, source-denied, header-invalid, \
         unsupported-encoding, token-expired, token-audience, token-mismatch"
    );
    let error = Judge::new(b"{\"version\":2}", &[]).unwrap_err();
    assert!(error.to_string().starts_with("version"), "{error}");
}
