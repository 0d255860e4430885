//! The corpus on the native exchange, and laws of the core with generated inputs.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod corpus;
#[path = "corpus/detail_laws.rs"]
mod detail_laws;
#[path = "corpus/explained.rs"]
mod explained;
#[path = "corpus/laws.rs"]
mod laws;
#[path = "corpus/proof_laws.rs"]
mod proof_laws;
mod recording;

use blobgate::contract::header;
use blobgate::exchange::{Exchange, Flow, ProviderResponse};
use blobgate::head::Ending;
use blobgate::{Config, Reason, exchange};
use corpus::{BodyLength, Case, CaseOutcome, Corpus, GENERATION, GateSetup, Listener};
use recording::Recording;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

/// For the module `corpus`, which two packages include.
const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

/// A new gate with this configuration.
fn gate(config: &Config) -> Arc<exchange::Gate> {
    let Config { environment, docs, hooks } = config;
    let config = Config { environment: environment.clone(), docs: docs.clone(), hooks: hooks.clone() };
    Arc::new(exchange::Gate::new(config))
}

/// A host with a case's request.
fn host(case: &Case) -> Recording {
    let mut request: recording::List = vec![
        (":authority".to_owned(), b"gate.test".to_vec()),
        (":path".to_owned(), case.path.clone().into_bytes()),
        (":method".to_owned(), case.method.clone().into_bytes()),
        (":scheme".to_owned(), b"https".to_vec()),
    ];
    request.extend(case.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())));
    let length = match case.length {
        BodyLength::Declared => Some(case.body.as_ref().map_or(0, Vec::len).to_string()),
        BodyLength::Claimed(length) => Some(length.to_string()),
        BodyLength::Undeclared => None,
    };
    request.extend(length.map(|length| ("content-length".to_owned(), length.into_bytes())));
    Recording {
        request,
        body: case.body.clone().unwrap_or_default(),
        source: Some(case.source.clone()),
        peer: (case.listener == Listener::Proxied).then(|| case.from.to_string()),
        is_tls: matches!(case.listener, Listener::Edge | Listener::Trusting),
        now: Duration::from_secs(corpus::token::now()),
        ..Recording::default()
    }
}

/// Sends the whole request of a case. The exchange responds, forwards it, or waits for a call.
fn send(exchange: &mut Exchange, host: &mut Recording, case: &Case) -> Flow {
    let ending = if case.body.is_none() { Ending::Here } else { Ending::Later };
    let flow = exchange.on_request_headers(host, ending);
    match &case.body {
        Some(body) if flow == Flow::Pause && host.responded.is_none() => {
            exchange.on_request_body(host, body.len(), Ending::Here)
        }
        _ => flow,
    }
}

fn response<'a>(status: &'a str, body: &'a str) -> Option<ProviderResponse<'a>> {
    Some(ProviderResponse { status: status.as_bytes(), body: body.as_bytes() })
}

/// Sends the service's response, 200 by default.
fn respond(exchange: &mut Exchange, host: &mut Recording, case: &Case) {
    let upstream = case.upstream.clone().unwrap_or_default();
    let status = match &case.upstream {
        None => 200,
        // Envoy's response after a reset connection.
        Some(upstream) => upstream.status.unwrap_or(503),
    };
    host.response = vec![(":status".to_owned(), status.to_string().into_bytes())];
    host.response.extend(upstream.headers.into_iter().map(|(name, value)| (name, value.into_bytes())));
    let ending = if upstream.body.is_some() { Ending::Later } else { Ending::Here };
    exchange.on_response_headers(host, ending);
}

fn judge(config: &Config, case: &Case) -> CaseOutcome {
    let (mut host, mut exchange) = (host(case), Exchange::new(gate(config)));
    let mut flow = send(&mut exchange, &mut host, case);
    assert_eq!(
        host.calls.len(),
        usize::from(case.provider.is_some()),
        "{}: calls to the provider",
        case.name
    );
    if let Some(said) = &case.provider {
        assert_eq!((flow, &host.responded), (Flow::Pause, &None), "{}", case.name);
        let status = said.status.to_string();
        flow = exchange.on_provider_response(&mut host, response(&status, &said.body));
    }
    if let Some(response) = &host.responded {
        let reason = host.answer(header::REASON).1.expect("a reason");
        let status = Reason::ALL.iter().find(|known| known.code() == reason).unwrap().status();
        assert_eq!((flow, response.status), (Flow::Pause, status), "{}", case.name);
        // Envoy runs the response callbacks on the gate's own response too.
        host.response = vec![(":status".to_owned(), status.to_string().into_bytes())];
        exchange.on_response_headers(&mut host, Ending::Later);
        counts_once(config, &mut exchange, &mut host, case);
        let detail = host.access_log.remove("blobgate_detail");
        return CaseOutcome::Refused { reason, id: host.sent(header::GENERATION_ID), detail };
    }
    assert_eq!(flow, Flow::Continue, "{}", case.name);
    let headers = forwarded(&host);
    respond(&mut exchange, &mut host, case);
    counts_once(config, &mut exchange, &mut host, case);
    let detail = host.access_log.remove("blobgate_detail");
    CaseOutcome::Forwarded { headers, answer: host.answer(header::REASON).1, detail }
}

/// Checks that the response is counted once, and that the counter of a quarantined delivery exists at 0 from the start.
#[track_caller]
fn counts_once(config: &Config, exchange: &mut Exchange, host: &mut Recording, case: &Case) {
    exchange.on_end(host);
    let counted = host.counters.iter().filter(|(name, _)| name.starts_with("blobgate_responses_total"));
    let [(name, 1)] = counted.collect::<Vec<_>>()[..] else { panic!("{}: {:?}", case.name, host.counters) };
    let status = host.answer(header::REASON).0;
    let labels = [format!(".status={status}."), format!(".status={}xx.", status / 100)];
    assert!(labels.iter().any(|label| name.contains(label)), "{}: {name} after {status}", case.name);
    if name.contains(".status=200.") {
        let initial: BTreeSet<String> =
            gate(config).initial_counters().map(|counter| counter.name("test")).collect();
        assert!(initial.contains(name), "{}: {name} does not exist at 0", case.name);
    }
}

/// The gate headers and the content type, as a service gets them.
fn forwarded(host: &Recording) -> BTreeMap<String, String> {
    let path = host.sent(":path").unwrap();
    assert!(!path.contains('?') && !path.contains("eyJ"), "{path}");
    let mut headers = BTreeMap::new();
    for (name, value) in
        host.request.iter().filter(|(name, _)| corpus::is_the_gates(name) || name == "content-type")
    {
        let value = corpus::normal(name, &String::from_utf8_lossy(value));
        assert!(
            name == "content-type"
                || value
                    .bytes()
                    .all(|byte| byte.is_ascii_graphic() || name == header::DETAIL && byte == b' '),
            "{name}: {value}"
        );
        assert_eq!(headers.insert(name.clone(), value), None, "{name} stands twice");
    }
    headers
}

fn config(corpus: &Corpus) -> Config {
    let env = |name: &str| (name == "BLOBGATE_TOKEN_KEY").then(|| corpus::token::HS_KEY.to_owned());
    Config::load(corpus.configuration().to_string().as_bytes(), &env).unwrap()
}

#[test]
fn returns_the_outcome_of_every_case() {
    let corpus = Corpus::load();
    let config = config(&corpus);
    let (native, need_a_host): (Vec<&Case>, Vec<&Case>) =
        corpus.cases.iter().partition(|case| case.gate == GateSetup::Shipped);
    let mut failed = Vec::new();
    for case in &native {
        let outcome = judge(&config, case);
        if outcome != case.expected {
            failed.push(format!("{}\n   expected {:?}\n   but got  {outcome:?}", case.name, case.expected));
        }
    }
    let skipped: Vec<&str> = need_a_host.iter().map(|case| &*case.name).collect();
    // The test harness captures the output of `eprintln!`, but not this write.
    let report = format!(
        "corpus: {} cases on the native core; left to real Envoys: {}\n",
        native.len(),
        skipped.join("; ")
    );
    std::io::stderr().write_all(report.as_bytes()).unwrap();
    assert!(failed.is_empty(), "{} of {} failed:\n{}", failed.len(), native.len(), failed.join("\n"));
}

/// Only the cases of a gate that cannot judge need an Envoy.
#[test]
fn covers_all_reasons_but_two() {
    let corpus = Corpus::load();
    let native: BTreeSet<&str> = corpus
        .cases
        .iter()
        .filter(|case| case.gate == GateSetup::Shipped)
        .flat_map(|case| case.expected.reasons())
        .collect();
    let missing: Vec<&str> =
        Reason::ALL.iter().map(|reason| reason.code()).filter(|code| !native.contains(code)).collect();
    assert_eq!(missing, ["host-misconfigured", "not-judged"]);
}

#[test]
fn has_a_case_and_a_status_for_every_reason() {
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
fn sends_every_sample_unchanged() {
    let corpus = Corpus::load();
    let sent: BTreeSet<&str> = corpus
        .cases
        .iter()
        .filter(|case| matches!(case.expected, CaseOutcome::Forwarded { .. }))
        .filter_map(|case| case.verbatim.as_deref())
        .collect();
    let samples = corpus::samples();
    assert_eq!(sent, samples.iter().map(String::as_str).collect());
    assert_eq!(samples, ["completed", "failed", "timeout"]);
}

/// Rows have only differences from the defaults. This test has all headers once.
#[test]
fn forwards_all_headers_of_a_failure() {
    let corpus = Corpus::load();
    let case = corpus.cases.iter().find(|case| case.name == "samples: failed").unwrap();
    let CaseOutcome::Forwarded { headers, answer: None, detail: None } = judge(&config(&corpus), case) else {
        panic!("not forwarded")
    };
    let written = [
        (header::CONTRACT, "1"),
        (header::DIALECT, "veo3"),
        (header::ERROR_CLASS, "content"),
        (header::ERROR_CODE, "UNSAFE_CONTENT"),
        (header::ERROR_RETRYABLE, "false"),
        (header::EVENT, "failed"),
        (header::GENERATION_ID, GENERATION),
        (header::HOOK, "default"),
        (header::VERDICT, "accepted"),
        ("content-type", "application/json"),
        (header::IDEMPOTENCY_KEY, "veo3:ffd473d5-5bef-4e14-bf22-8d559be3c19f:failed"),
    ];
    assert_eq!(headers, written.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
}
