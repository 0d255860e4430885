//! The corpus on the native core, and the laws that no list of cases can show.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod corpus;
#[path = "corpus/laws.rs"]
mod laws;
#[path = "corpus/proof_laws.rs"]
mod proof_laws;

use blobgate::confirm;
use blobgate::head::{Ending, Head, Hop};
use blobgate::headers::Headers;
use blobgate::hook::{self, Asks};
use blobgate::policy::{self, Delivery, Judged, Refusal};
use blobgate::{Config, Reason, answer, forward, sanitize};
use corpus::{Case, Corpus, GENERATION, Gate, Length, Listener, Outcome};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

/// For `corpus`, which is read by two packages.
const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

/// The same sequence as in `src/filter.rs`, up to a question to the provider.
fn judge_until_asked(config: &Config, case: &Case) -> (Judged, Vec<(String, Vec<u8>)>) {
    let mut sent: Vec<(String, Vec<u8>)> = vec![
        (":authority".to_owned(), b"gate.test".to_vec()),
        (":path".to_owned(), case.path.clone().into_bytes()),
        (":method".to_owned(), case.method.clone().into_bytes()),
        (":scheme".to_owned(), b"https".to_vec()),
    ];
    sent.extend(case.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())));
    let length = match case.length {
        Length::Declared => Some(case.body.as_ref().map_or(0, Vec::len).to_string()),
        Length::Claimed(length) => Some(length.to_string()),
        Length::Undeclared => None,
    };
    sent.extend(length.map(|length| ("content-length".to_owned(), length.into_bytes())));

    let mut headers = Headers::new(sent.clone());
    let removed = sanitize::head(&mut headers);
    sent.retain(|(name, _)| !removed.contains(name));
    if let Some(clean) = sanitize::path(&config.hooks, case.path.as_bytes()) {
        assert!(!clean.contains('?') && config.hooks.iter().any(|hook| hook.path == clean), "{clean}");
    }
    let from = case.from.to_string();
    // As the filter does: what is not asked for is not known.
    let found = hook::find(&config.hooks, headers.first(":path"));
    let asks = found.map_or_else(|_| Asks::default(), |(hook, _)| hook.asks());
    let head = Head {
        method: headers.first(":method"),
        headers: &headers,
        hop: match case.listener {
            Listener::Edge | Listener::Trusting if asks.hop => Hop::Tls,
            _ => Hop::Plaintext,
        },
        source: asks.source.then_some(case.source.as_bytes()),
        peer: (asks.peer && case.listener == Listener::Proxied).then_some(from.as_bytes()),
        ending: if case.body.is_none() { Ending::Here } else { Ending::Later },
        now: if asks.time { corpus::token::now() } else { 0 },
    };
    let body = case.body.as_deref().unwrap_or_default();
    let judged = match policy::admit(found, &head) {
        Err(refusal) => Judged::Refuse(refusal),
        Ok(admitted) => match policy::check_size(&admitted, body.len()) {
            Err(reason) => policy::give_up(admitted, reason),
            Ok(()) => policy::accept(admitted, body),
        },
    };
    (judged, sent)
}

fn judge(config: &Config, case: &Case) -> Outcome {
    let (judged, sent) = judge_until_asked(config, case);
    let judged = match (judged, &case.provider) {
        (Judged::Ask(question), Some(said)) => {
            let dialect = question.hook().dialect;
            let event = question.event().expect("what is asked about");
            let status = said.status.to_string();
            let outcome = confirm::read(dialect, event, status.as_bytes(), said.body.as_bytes());
            policy::conclude(question, outcome)
        }
        (Judged::Ask(_), None) => panic!("{}: the provider is asked", case.name),
        (_, Some(_)) => panic!("{}: the provider is not asked", case.name),
        (judged, None) => judged,
    };
    match judged {
        Judged::Forward(delivery) => {
            Outcome::Forwarded { headers: forwarded(sent, &delivery), answer: heard(case, &delivery) }
        }
        Judged::Refuse(Refusal { reason, generation_id, .. }) => {
            Outcome::Refused { reason: reason.code().to_owned(), id: generation_id.map(|id| id.to_string()) }
        }
        Judged::Ask(_) => panic!("asked twice"),
    }
}

/// What a service would get of the gate's headers, and the content type.
fn forwarded(mut head: Vec<(String, Vec<u8>)>, delivery: &Delivery) -> BTreeMap<String, String> {
    for (name, value) in forward::headers(delivery) {
        assert!(value.bytes().all(|byte| byte.is_ascii_graphic()), "{name}: {value}");
        head.retain(|(other, _)| other != name);
        head.push((name.to_owned(), value.into_owned().into_bytes()));
    }
    let mut headers = BTreeMap::new();
    for (name, value) in
        head.into_iter().filter(|(name, _)| corpus::is_the_gates(name) || name == "content-type")
    {
        let value = corpus::normal(&name, &String::from_utf8_lossy(&value));
        assert_eq!(headers.insert(name.clone(), value), None, "{name} stands twice");
    }
    headers
}

/// What the sender hears instead of 200, where the row says what the service answers.
fn heard(case: &Case, delivery: &Delivery) -> Option<String> {
    let upstream = case.upstream.as_ref()?;
    if delivery.verdict() == policy::Verdict::Observed {
        return None;
    }
    let status = upstream.status.unwrap_or(503).to_string(); // Envoy's own words for a reset connection
    answer::check(status.as_bytes()).err().map(|reason| reason.code().to_owned())
}

fn config(corpus: &Corpus) -> Config {
    let env = |name: &str| (name == "BLOBGATE_TOKEN_KEY").then(|| corpus::token::HS_KEY.to_owned());
    Config::load(corpus.configuration().to_string().as_bytes(), &env).unwrap()
}

#[test]
fn every_case() {
    let corpus = Corpus::load();
    let config = config(&corpus);
    let (native, need_a_host): (Vec<&Case>, Vec<&Case>) =
        corpus.cases.iter().partition(|case| case.gate == Gate::Shipped);
    let mut failed = Vec::new();
    for case in &native {
        let outcome = judge(&config, case);
        if outcome != case.expected {
            failed.push(format!("{}\n   expected {:?}\n   but got  {outcome:?}", case.name, case.expected));
        }
    }
    let skipped: Vec<&str> = need_a_host.iter().map(|case| &*case.name).collect();
    // Past the harness, which would keep it to itself.
    let report = format!(
        "corpus: {} cases on the native core; left to real Envoys: {}\n",
        native.len(),
        skipped.join("; ")
    );
    std::io::stderr().write_all(report.as_bytes()).unwrap();
    assert!(failed.is_empty(), "{} of {} failed:\n{}", failed.len(), native.len(), failed.join("\n"));
}

/// What needs an Envoy whose gate cannot judge is left out above, and nothing else is.
#[test]
fn only_two_reasons_are_left_to_real_envoys() {
    let corpus = Corpus::load();
    let native: BTreeSet<&str> = corpus
        .cases
        .iter()
        .filter(|case| case.gate == Gate::Shipped)
        .flat_map(|case| case.expected.reasons())
        .collect();
    let missing: Vec<&str> =
        Reason::ALL.iter().map(|reason| reason.code()).filter(|code| !native.contains(code)).collect();
    assert_eq!(missing, ["host-misconfigured", "not-judged"]);
}

#[test]
fn every_reason_has_a_case_and_its_status() {
    let corpus = Corpus::load();
    let told: BTreeSet<&str> = corpus.cases.iter().flat_map(|case| case.expected.reasons()).collect();
    let known: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.code()).collect();
    assert_eq!(told, known);
    let statuses: BTreeMap<&str, u16> =
        Reason::ALL.iter().map(|reason| (reason.code(), reason.status())).collect();
    let expected: BTreeMap<&str, u16> =
        corpus.statuses.iter().map(|(code, status)| (&**code, *status)).collect();
    assert_eq!(statuses, expected);
}

#[test]
fn every_sample_is_sent_as_it_is() {
    let corpus = Corpus::load();
    let sent: BTreeSet<&str> = corpus
        .cases
        .iter()
        .filter(|case| matches!(case.expected, Outcome::Forwarded { .. }))
        .filter_map(|case| case.verbatim.as_deref())
        .collect();
    let samples = corpus::samples();
    assert_eq!(sent, samples.iter().map(String::as_str).collect());
    assert_eq!(samples, ["completed", "failed", "timeout"]);
}

/// The rows write what differs; here, once, stands all that a service gets.
#[test]
fn the_headers_of_a_failure_in_full() {
    let corpus = Corpus::load();
    let case = corpus.cases.iter().find(|case| case.name == "samples: failed").unwrap();
    let Outcome::Forwarded { headers, answer: None } = judge(&config(&corpus), case) else {
        panic!("not forwarded")
    };
    let written = [
        ("blobgate-contract", "1"),
        ("blobgate-dialect", "veo3"),
        ("blobgate-error-class", "content"),
        ("blobgate-error-code", "UNSAFE_CONTENT"),
        ("blobgate-error-retryable", "false"),
        ("blobgate-event", "failed"),
        ("blobgate-generation-id", GENERATION),
        ("blobgate-hook", "default"),
        ("blobgate-verdict", "accepted"),
        ("content-type", "application/json"),
        ("idempotency-key", "veo3:ffd473d5-5bef-4e14-bf22-8d559be3c19f:failed"),
    ];
    assert_eq!(headers, written.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
}
