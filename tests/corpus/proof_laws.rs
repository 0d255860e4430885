//! Laws of proofs: by a token, by the provider's status API, and for a service by the gate's signature.

use crate::corpus::token::{self as tokens, HS_KEY};
use crate::corpus::{Case, CaseOutcome, Corpus, GENERATION, sample};
use crate::recording::Recording;
use crate::{config, gate, host, response, send};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use blobgate::confirm::{self, Outcome};
use blobgate::contract::header;
use blobgate::dialect::Dialect;
use blobgate::event::{self, Event, GenerationId};
use blobgate::exchange::{Exchange, SharedCell};
use blobgate::policy::{Proof, Verdict};
use blobgate::token::{self, Token};
use blobgate::{Config, json};
use hmac::{Hmac, KeyInit, Mac};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};
use sha2::Sha256;
use std::sync::{Arc, LazyLock};

static CONFIG: LazyLock<Config> = LazyLock::new(|| config(&Corpus::load()));

/// Mints a token from its form in `tests/cases`, for a hook.
fn mint(token: Value, hook: &str) -> String {
    serde_json::from_value::<tokens::TokenRow>(token).unwrap().mint(hook)
}

fn delivery(path: String, body: impl Into<Vec<u8>>) -> Case {
    Case::plain(String::new(), "", &path, body.into(), CaseOutcome::Cut)
}

fn flipped(bytes: &[u8], at: usize, bit: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1 << bit;
    bytes
}

/// Checks that a token with any one bit flipped is invalid.
#[track_caller]
fn rejects_each_flipped_bit(token: &Value, bits: impl Fn(usize) -> std::ops::Range<usize>) {
    let hook = CONFIG.hooks.iter().find(|hook| &*hook.name == "any-token").unwrap();
    let text = mint(token.clone(), "any-token");
    let check = |text: &[u8]| token::check(hook.token.as_ref(), Some(text), tokens::now());
    assert!(check(text.as_bytes()).claims().is_some(), "{text}");
    for at in 0..text.len() {
        for bit in bits(at) {
            let judged = check(&flipped(text.as_bytes(), at, bit));
            assert!(matches!(judged, Token::Invalid(_)), "bit {bit} of byte {at} of {text}: {judged:?}");
        }
    }
}

#[test]
fn rejects_a_token_with_a_flipped_bit() {
    let bound = r#"{"ph": "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"}"#;
    for token in [
        json!({}),
        json!({"expires_in": -3600}),
        json!({"claims": bound}),
        json!({"header": r#"{"typ": null}"#}),
    ] {
        rejects_each_flipped_bit(&token, |_| 0..8);
    }
    // EdDSA is slow without optimisation, so only two bits of each byte.
    for shift in 0..2 {
        rejects_each_flipped_bit(&json!({"kid": "ed"}), |at| (at + shift) % 8..(at + shift) % 8 + 1);
    }
}

fn event_of(body: &[u8]) -> Event {
    let payload = json::parse(body, 16, Dialect::Veo3.known()).unwrap();
    event::check(Dialect::Veo3.read(&payload).unwrap()).unwrap()
}

/// Checks that a response with one bit of `text` flipped does not confirm. The response contains `text` once.
#[track_caller]
fn no_flip_confirms(body: &str, text: &str) {
    let event = event_of(body.as_bytes());
    let read = |answer: &[u8]| confirm::read(Dialect::Veo3, &event, b"200", answer).outcome;
    assert_eq!(read(body.as_bytes()), Outcome::Confirmed);
    let start = body.find(text).unwrap();
    assert_eq!(body.rfind(text), Some(start));
    for at in start..start + text.len() {
        for bit in 0..8 {
            let answer = flipped(body.as_bytes(), at, bit);
            // Hexadecimal digits in another case are the same id.
            let same = text.len() == 36 && answer.eq_ignore_ascii_case(body.as_bytes());
            assert_eq!(read(&answer) == Outcome::Confirmed, same, "{}", String::from_utf8_lossy(&answer));
        }
    }
}

#[test]
fn denies_a_response_with_a_flipped_bit() {
    for name in ["completed", "failed", "timeout"] {
        let body = sample(name);
        let said: Value = serde_json::from_str(&body).unwrap();
        no_flip_confirms(&body, said["generation_id"].as_str().unwrap());
        no_flip_confirms(&body, &format!("\"{}\"", said["status"].as_str().unwrap()));
        if let Some(url) = said["video_url"].as_str() {
            no_flip_confirms(&body, url);
            no_flip_confirms(&body.replace(url, &format!("{url}?X-Amz-Expires=60")), &format!("{url}?"));
        }
        if let Some(code) = said["error"]["message"].as_str() {
            no_flip_confirms(&body, code);
        }
    }
}

/// Adds a violation of the head for which an authenticated sender's delivery goes to quarantine.
fn spoil(mut case: Case, violation: u8) -> Case {
    let mut header =
        |name: &str, value: &str| case.headers.push((name.to_owned(), value.as_bytes().to_vec()));
    match violation {
        1 => case.source = "198.51.100.7:1".to_owned(),
        2 => header("content-encoding", "gzip"),
        3 => (0..2).for_each(|_| header("content-encoding", "identity")),
        4 => header("content-type", "text/plain"),
        5 => case.body = None,
        6 => case.source = "nowhere".to_owned(),
        _ => {}
    }
    case
}

/// Any bytes, any text, or a body near a sample.
fn any_body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        1 => vec(any::<u8>(), 0..400),
        1 => any::<String>().prop_map(String::into_bytes),
        6 => crate::laws::near_a_sample(),
    ]
}

/// The outcomes of a confirmation, with and without a call.
const OUTCOMES: [Outcome; 8] = [
    Outcome::Confirmed,
    Outcome::Contradicted,
    Outcome::Unknown,
    Outcome::StillWorking,
    Outcome::Unreadable,
    Outcome::NoAnswer,
    Outcome::Budget,
    Outcome::Remembered,
];

/// The verdict and the reason, or the reason of a refusal.
type CaseResult = Result<(String, Option<String>), String>;

fn result(config: &Config, case: &Case, outcome: Outcome) -> CaseResult {
    let host = exchanged(config, case, outcome);
    match host.responded {
        Some(_) => Err(host.answer(header::REASON).1.unwrap()),
        None => Ok((host.sent(header::VERDICT).unwrap(), host.sent(header::REASON))),
    }
}

/// Runs an exchange of a case whose confirmation has this outcome.
fn exchanged(config: &Config, case: &Case, outcome: Outcome) -> Recording {
    let (gate, mut host) = (gate(config), host(case));
    match outcome {
        Outcome::Budget => spend_budget(&mut host),
        Outcome::Remembered => {
            let (mut host, mut exchange) = (host.clone(), Exchange::new(Arc::clone(&gate)));
            send(&mut exchange, &mut host, case);
            exchange.on_provider_response(&mut host, response("404", UNKNOWN));
        }
        _ => {}
    }
    let mut exchange = Exchange::new(gate);
    send(&mut exchange, &mut host, case);
    if host.calls.is_empty() {
        return host;
    }
    let other = sample("completed").replace(GENERATION, "00000000-0000-4000-8000-000000000001");
    let body = String::from_utf8_lossy(case.body.as_deref().unwrap_or_default());
    let result = match outcome {
        Outcome::Confirmed => response("200", &body),
        Outcome::Contradicted => response("200", &other),
        Outcome::Unknown => response("404", UNKNOWN),
        Outcome::StillWorking => response("200", r#"{"status": "processing"}"#),
        Outcome::Unreadable => response("200", "{"),
        Outcome::NoAnswer => None,
        other => panic!("{other:?} comes without a call"),
    };
    exchange.on_provider_response(&mut host, result);
    let outcome = format!("outcome={}", outcome.name());
    assert_eq!(host.counted(&outcome), 1, "{outcome}: {:?}", host.counters);
    host
}

/// The verdict of an authenticated sender's delivery.
fn verdict_of(reason: Option<&str>) -> &'static str {
    reason.map_or(Verdict::Accepted, |_| Verdict::Quarantined).name()
}

const UNKNOWN: &str = r#"{"detail": "TASK_NOT_FOUND"}"#;

/// Records the largest possible number of recent calls.
fn spend_budget(host: &mut Recording) {
    let now = u64::try_from(host.now.as_millis()).unwrap();
    let value = now.to_le_bytes().repeat(6000);
    host.shared.insert("blobgate.confirm.runblob_api".to_owned(), SharedCell { value, version: 1 });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn forwards_every_delivery_of_an_authenticated_sender(
        body in any_body(),
        hook in select(&["any-token", "any-both", "all-both", "prompt"][..]),
        late in 0_u8..4,
        violation in 0_u8..8,
        outcome in select(&OUTCOMES[..]),
    ) {
        let token = match late {
            0 => json!({"expires_in": -3600}),
            1 => json!({"claims": r#"{"aud": "elsewhere/hook"}"#}),
            2 => json!({"claims": r#"{"ph": "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"}"#}),
            _ => json!({}),
        };
        let case = spoil(delivery(format!("/{hook}/{}", mint(token, hook)), body), violation);
        let result = result(&CONFIG, &case, outcome);
        prop_assert!(
            matches!(&result, Ok((verdict, reason)) if *verdict == verdict_of(reason.as_deref())),
            "{result:?} of {case:?}"
        );
        if late < 2 && hook != "any-both" {
            prop_assert!(matches!(&result, Ok((_, Some(_)))), "{result:?} of {case:?}");
        }
    }

    #[test]
    fn refuses_without_a_token_where_the_rule_needs_one(
        body in any_body(),
        hook in select(&["any-token", "all-both", "all-both-no-quarantine", "prompt"][..]),
        token in prop_oneof![
            Just(String::new()),
            Just(mint(json!({"key": "other-hs"}), "any-token")),
            Just(mint(json!({"kid": "ed", "key": "other-ed"}), "any-token")),
            "[A-Za-z0-9_-]{0,20}\\.[A-Za-z0-9_-]{0,20}\\.[A-Za-z0-9_-]{0,44}",
        ],
        violation in 0_u8..8,
    ) {
        let result = result(&CONFIG, &spoil(delivery(format!("/{hook}/{token}"), body), violation), Outcome::Confirmed);
        prop_assert!(result.is_err(), "{result:?}");
    }

    #[test]
    fn signs_each_bit_of_id_time_and_body(
        body in vec(any::<u8>(), 1..300),
        now in 0_u64..100_000_000_000,
        id in any::<u128>().prop_filter("no id", |id| *id != 0 && *id != u128::MAX),
        known in any::<bool>(),
        at in any::<Index>(),
        bit in 0_usize..8,
        time_bit in 0_usize..36,
        id_bit in 0_usize..128,
    ) {
        let event = |id: u128| {
            let uuid = uuid::Uuid::from_u128(id).to_string();
            let generation_id = GenerationId::parse(&uuid)?;
            Some(Event { generation_id, ..event_of(sample("completed").as_bytes()) })
        };
        let signer = SIGNING.hooks[0].sign.as_ref().unwrap();
        let sign = |event: Option<&Event>, body: &[u8], now: u64| {
            signer.headers(Dialect::Veo3, event, body, now).map(|(_, value)| value)
        };
        let first = event(id).filter(|_| known);
        let [webhook_id, time, signatures] = sign(first.as_ref(), &body, now);
        prop_assert_eq!(&time, &now.to_string());
        let parts: Vec<&str> = signatures.split(' ').collect();
        prop_assert_eq!(parts.len(), KEYS.len());
        let holds = |webhook_id: &str, time: &str, body: &[u8]| {
            let held = KEYS.iter().zip(&parts).filter(|(key, signature)| {
                let mac = STANDARD.decode(signature.strip_prefix("v1,").unwrap()).unwrap();
                Hmac::<Sha256>::new_from_slice(key)
                    .unwrap()
                    .chain_update(format!("{webhook_id}.{time}."))
                    .chain_update(body)
                    .verify_slice(&mac)
                    .is_ok()
            });
            held.count()
        };
        prop_assert_eq!(holds(&webhook_id, &time, &body), 2);
        let other_body = flipped(&body, at.index(body.len()), bit);
        let other_time = now ^ (1 << time_bit);
        prop_assert_eq!(holds(&webhook_id, &time, &other_body), 0);
        prop_assert_eq!(holds(&webhook_id, &other_time.to_string(), &body), 0);
        prop_assert_ne!(&sign(first.as_ref(), &other_body, now)[2], &signatures);
        prop_assert_ne!(&sign(first.as_ref(), &body, other_time)[2], &signatures);
        if let (true, Some(other)) = (known, event(id ^ (1 << id_bit))) {
            prop_assert_eq!(holds(&other.idempotency_key(Dialect::Veo3.name()), &time, &body), 0);
            prop_assert_ne!(&sign(Some(&other), &body, now)[2], &signatures);
        }
    }
}

const KEYS: [&[u8]; 2] = [b"the new key of the tests, signing", b"the old key of the tests, signing"];

static SIGNING: LazyLock<Config> = LazyLock::new(|| {
    let config = json!({
        "version": 1, "environment": "test", "sign": {"env": ["KEY_0", "KEY_1"]},
        "hooks": [{
            "name": "default", "path": "/webhook", "dialect": "veo3", "source": "any",
            "trust": "open", "result_url": "any", "quarantine": "none",
        }],
    });
    let env = |name: &str| {
        let key = KEYS[name.strip_prefix("KEY_")?.parse::<usize>().ok()?];
        Some(format!("whsec_{}", STANDARD.encode(key)))
    };
    Config::load(config.to_string().as_bytes(), &env).unwrap()
});

/// A violation of each check in `checks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CheckViolation {
    Source,
    ResultUrl,
    Trust,
    Prompt,
}

const CHECK_VIOLATIONS: [(CheckViolation, &str); 4] = [
    (CheckViolation::Source, "source"),
    (CheckViolation::ResultUrl, "result_url"),
    (CheckViolation::Trust, "trust"),
    (CheckViolation::Prompt, "prompt"),
];

fn hook_with(trust: &Value, observed: Option<&str>) -> Config {
    let mut checks = json!({"prompt": "enforce"});
    if let Some(check) = observed {
        checks[check] = "observe".into();
    }
    let config = json!({
        "version": 1, "environment": "test",
        "token": {"keys": {"hs": {"alg": "HS256", "env": "KEY"}}},
        "confirm": {"cluster": "runblob_api", "authority": "platform.runblob.io"},
        "hooks": [{
            "name": "hook", "path": "/hook/{token}", "dialect": "veo3", "source": ["127.0.0.0/8"],
            "trust": trust, "result_url": ["*.runblob.io"], "quarantine": "route", "checks": checks,
        }],
    });
    Config::load(config.to_string().as_bytes(), &|_| Some(HS_KEY.to_owned())).unwrap()
}

fn with_violations(violations: &[CheckViolation], untrusted: &Value) -> Case {
    let mut token = if violations.contains(&CheckViolation::Trust) { untrusted.clone() } else { json!({}) };
    if violations.contains(&CheckViolation::Prompt) {
        token["claims"] = r#"{"ph": "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"}"#.into();
    }
    let mut body = sample("completed");
    if violations.contains(&CheckViolation::ResultUrl) {
        body = body.replace("cdn.runblob.io", "evil.example");
    }
    let mut case = delivery(format!("/hook/{}", mint(token, "hook")), body);
    if violations.contains(&CheckViolation::Source) {
        case.source = "198.51.100.7:1".to_owned();
    }
    case
}

/// A check in observe mode changes nothing for deliveries that pass it, with any other violations.
///
/// The gate does not call the status API if the trust rule only observes. So for a rule with `confirmed` the test compares only
/// deliveries that the status API confirms.
#[test]
fn observing_one_check_changes_no_other() {
    let untrusted = [json!({"key": "other-hs"}), json!({"expires_in": -3600})];
    for trust in [
        json!({"any_of": ["token"]}),
        json!({"any_of": ["token", "confirmed"]}),
        json!({"all_of": ["token", "confirmed"]}),
    ] {
        let all = hook_with(&trust, None);
        for (set, untrusted) in
            (0..1 << CHECK_VIOLATIONS.len()).flat_map(|set| untrusted.iter().map(move |token| (set, token)))
        {
            let violations: Vec<CheckViolation> =
                (0..4).filter(|at| set & (1 << at) != 0).map(|at| CHECK_VIOLATIONS[at].0).collect();
            let case = with_violations(&violations, untrusted);
            for (other, check) in
                CHECK_VIOLATIONS.iter().filter(|(violation, _)| !violations.contains(violation))
            {
                for outcome in OUTCOMES {
                    let calls = trust["all_of"].is_array() && violations.is_empty();
                    if *other == CheckViolation::Trust && calls && outcome != Outcome::Confirmed {
                        continue;
                    }
                    let (before, after) = (
                        result(&all, &case, outcome),
                        result(&hook_with(&trust, Some(check)), &case, outcome),
                    );
                    assert_eq!(before, after, "{trust}, {violations:?}, {check} observed, {outcome:?}");
                }
            }
        }
    }
}

#[test]
fn names_each_proof_that_held() {
    for (hook, token, outcome, expected) in [
        ("any-both", json!({}), Outcome::Confirmed, &[Proof::Token][..]),
        ("any-both", json!({"expires_in": -3600}), Outcome::Confirmed, &[Proof::Confirmed]),
        ("any-both", json!({"key": "other-hs"}), Outcome::Confirmed, &[Proof::Confirmed]),
        ("all-both", json!({}), Outcome::Confirmed, &[Proof::Token, Proof::Confirmed]),
        ("all-both", json!({}), Outcome::Contradicted, &[Proof::Token]),
        ("all-both", json!({"expires_in": -3600}), Outcome::Confirmed, &[]),
    ] {
        let case = delivery(format!("/{hook}/{}", mint(token, hook)), sample("completed"));
        let host = exchanged(&CONFIG, &case, outcome);
        let proofs: Vec<&str> = expected.iter().map(|proof| proof.name()).collect();
        let expected = (!proofs.is_empty()).then(|| proofs.join(","));
        assert_eq!(host.sent(header::PROOFS), expected, "{hook}, {outcome:?}");
        assert_eq!(host.responded, None, "{hook}, {outcome:?}");
    }
}
