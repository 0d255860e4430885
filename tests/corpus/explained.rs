//! The explanation of every case is the gate's decision on it.

use super::{config, forwarded, gate, host, recording, response, send};
use crate::corpus::{Case, CaseOutcome, Corpus, GateSetup};
use blobgate::contract::header;
use blobgate::exchange::{Exchange, Flow};
use blobgate::explain::{
    ExplainedAnswer, ExplainedConfirmation, ExplainedEnding, ExplainedRequest, Explanation, HeaderList,
    explain,
};
use blobgate::head::Hop;
use blobgate::trace::StageVerdict;
use blobgate::{Config, Reason};
use recording::Recording;
use std::collections::BTreeSet;

/// The request of a case.
fn request(case: &Case) -> ExplainedRequest {
    let host = host(case);
    ExplainedRequest {
        method: case.method.clone(),
        path: case.path.clone().into_bytes(),
        headers: host.request.into_iter().filter(|(name, _)| !name.starts_with(':')).collect(),
        body: case.body.clone(),
        hop: if host.is_tls { Hop::Tls } else { Hop::Plaintext },
        source: host.source,
        peer: host.peer,
        now: host.now,
    }
}

/// Runs a case on the gate up to its end.
fn run(config: &Config, case: &Case) -> (Recording, Flow) {
    let (mut host, mut exchange) = (host(case), Exchange::new(gate(config)));
    let mut flow = send(&mut exchange, &mut host, case);
    if let Some(said) = &case.provider {
        flow = exchange.on_provider_response(&mut host, response(&said.status.to_string(), &said.body));
    }
    (host, flow)
}

/// The outcome of a case as its explanation tells it.
fn outcome(explanation: &Explanation) -> CaseOutcome {
    let logged = explanation.access_log.iter().find(|(key, _)| key == "blobgate_detail");
    let detail = logged.map(|(_, detail)| detail.clone());
    match &explanation.ending {
        ExplainedEnding::Refused { answer, request } => CaseOutcome::Refused {
            reason: value(&answer.headers, header::REASON).unwrap(),
            id: value(request, header::GENERATION_ID),
            detail,
        },
        ExplainedEnding::Forwarded { request, stored, .. } => CaseOutcome::Forwarded {
            headers: forwarded(&Recording { request: request.clone(), ..Recording::default() }),
            answer: value(&stored.headers, header::REASON),
            detail,
        },
        ExplainedEnding::NeedsConfirmation(call) => panic!("undecided: {call:?}"),
    }
}

fn value(list: &HeaderList, name: &str) -> Option<String> {
    let found = list.iter().find(|(other, _)| other == name);
    found.map(|(_, value)| String::from_utf8(value.clone()).unwrap())
}

fn sorted(list: &HeaderList) -> HeaderList {
    let is_unread = |name: &str| matches!(name, ":authority" | ":scheme");
    let mut list: HeaderList = list.iter().filter(|(name, _)| !is_unread(name)).cloned().collect();
    list.sort();
    list
}

#[test]
fn explains_every_case_as_the_gate_decides_it() {
    let corpus = Corpus::load();
    let config = config(&corpus);
    let mut stages = BTreeSet::new();
    let mut compared = 0;
    for case in corpus.cases.iter().filter(|case| case.gate == GateSetup::Shipped) {
        let name = &case.name;
        let (gate, flow) = run(&config, case);
        let request = request(case);
        let status = case.provider.as_ref().map(|said| said.status.to_string());
        let confirmation = case
            .provider
            .as_ref()
            .zip(status.as_ref())
            .map(|(said, status)| ExplainedConfirmation::Response { status, body: said.body.as_bytes() });
        if confirmation.is_some() {
            let ExplainedEnding::NeedsConfirmation(call) = explain(&config, &request, None).ending else {
                panic!("{name}: decided without the status API")
            };
            let called = &gate.calls[0];
            let sent = |name: &str| called.headers.iter().find(|(other, _)| other == name).unwrap().1.clone();
            assert_eq!(
                (call.cluster, call.authority, call.path),
                (called.cluster.clone(), sent(":authority"), sent(":path"))
            );
        }
        let explanation = explain(&config, &request, confirmation);

        // The table's outcome, and every part of the gate's own.
        match (outcome(&explanation), &case.expected) {
            // The service of an explanation answers 200. The detail of another answer is in the access log.
            (CaseOutcome::Forwarded { headers, .. }, CaseOutcome::Forwarded { headers: expected, .. })
                if case.upstream.is_some() =>
            {
                assert_eq!(headers, *expected, "{name}");
            }
            (outcome, expected) => assert_eq!(outcome, *expected, "{name}"),
        }
        assert_eq!(explanation.log, gate.log, "{name}");
        let access_log: HeaderList = explanation
            .access_log
            .iter()
            .map(|(key, value)| (key.clone(), value.clone().into_bytes()))
            .collect();
        let expected: HeaderList =
            gate.access_log.iter().map(|(key, value)| (key.clone(), value.clone().into_bytes())).collect();
        assert_eq!(sorted(&access_log), expected, "{name}");
        match (&explanation.ending, &gate.responded) {
            (ExplainedEnding::Refused { answer, request }, Some(response)) => {
                let expected = ExplainedAnswer {
                    status: response.status,
                    headers: response.headers.clone(),
                    body: Some(response.body.clone()),
                };
                assert_eq!(*answer, expected, "{name}");
                assert_eq!(sorted(request), sorted(&gate.request), "{name}");
            }
            (ExplainedEnding::Forwarded { request, stored, failed }, None) => {
                assert_eq!(flow, Flow::Continue, "{name}");
                assert_eq!(sorted(request), sorted(&gate.request), "{name}");
                let observes = value(request, header::VERDICT).as_deref() == Some("observed");
                let reason = (!observes).then(|| Reason::UpstreamError.code().to_owned());
                let answers =
                    [stored, failed].map(|answer| (answer.status, value(&answer.headers, header::REASON)));
                assert_eq!(answers, [(200, None), (503, reason)], "{name}");
            }
            other => panic!("{name}: {other:?}"),
        }
        traces_the_reason(&explanation, name);
        stages.extend(explanation.stages.iter().map(|report| report.stage.name()));
        compared += 1;
    }
    assert!(compared > 500, "{compared}");
    assert!(stages.len() >= 10, "{stages:?}");
}

/// A stage reports the reason of the end, and an accepted delivery breaks no rule of a stage that ends it.
#[track_caller]
fn traces_the_reason(explanation: &Explanation, name: &str) {
    let violations: Vec<_> =
        explanation.stages.iter().filter_map(|report| report.verdict.violation()).collect();
    let reason = match &explanation.ending {
        ExplainedEnding::Refused { answer, .. } => value(&answer.headers, header::REASON),
        ExplainedEnding::Forwarded { request, .. } => value(request, header::REASON),
        ExplainedEnding::NeedsConfirmation(_) => None,
    };
    let Some(reason) = reason else {
        return;
    };
    let logged = explanation.access_log.iter().find(|(key, _)| key == "blobgate_detail");
    let detail = logged.map(|(_, detail)| detail.clone());
    let is_reported =
        violations.iter().any(|violation| violation.reason.code() == reason && violation.text() == detail);
    assert!(is_reported, "{name}: no stage reports {reason}, {detail:?}: {:#?}", explanation.stages);
    assert!(!explanation.stages.iter().any(|report| report.verdict == StageVerdict::Skipped("")), "{name}");
}
