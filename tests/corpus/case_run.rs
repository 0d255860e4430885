//! Compares the outcome of a case on a real Envoy with the expected one.

use crate::corpus::{self, Case, CaseOutcome, Corpus};
use crate::support::{ClientResponse, H1, H2, Protocol, ServiceRequest};
use blobgate::contract::{DOCS, header, problem_type};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Headers of a service's response that must not reach the sender.
const REMOVED: [&str; 3] = ["retry-after", "location", "set-cookie"];

/// The default body of a service. It differs from every body of the gate.
pub(crate) const USUAL_BODY: &str = r#"{"from":"service"}"#;

/// A case that ran: the sender's response and the services' requests.
#[derive(Clone)]
pub(crate) struct CaseRun<'c> {
    pub(crate) corpus: &'c Corpus,
    pub(crate) case: &'c Case,
    pub(crate) protocol: Protocol,
    pub(crate) answers: AnswerMode,
    pub(crate) answer: Result<ClientResponse, String>,
    pub(crate) arrivals: Vec<(RoutedService, ServiceRequest)>,
}

/// The effect of the hook's `answers` and `mode` on the sender's response.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum AnswerMode {
    Status,
    Receipt,
    Untouched,
}

/// The services behind the routes of `envoy.yaml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RoutedService {
    /// Gets completed events.
    Video,
    /// Gets failures and timeouts, and observed deliveries without a readable event.
    Failure,
    /// Gets quarantined deliveries.
    Quarantine,
}

impl CaseRun<'_> {
    pub(crate) fn expected(&self) -> &CaseOutcome {
        let host = match self.protocol {
            H1 => &self.case.hosts[0],
            H2 => &self.case.hosts[1],
        };
        host.as_ref().unwrap_or(&self.case.expected)
    }

    /// The difference from the expected outcome.
    pub(crate) fn difference(&self) -> Option<String> {
        let error = self.compare(self.expected()).err()?;
        Some(format!("{}, {}: {error}", self.case.name, self.protocol.alpn()))
    }

    pub(crate) fn compare(&self, expected: &CaseOutcome) -> Result<(), String> {
        let seen = || format!("{:?}\n{:?}", self.answer, self.arrivals);
        match (expected, &self.arrivals[..]) {
            (CaseOutcome::Forwarded { headers, answer, .. }, [(service, arrival)]) => {
                let expected = match headers.get(header::EVENT).map(String::as_str) {
                    _ if headers.get(header::VERDICT).is_some_and(|verdict| verdict == "quarantined") => {
                        RoutedService::Quarantine
                    }
                    Some("completed") => RoutedService::Video,
                    _ => RoutedService::Failure,
                };
                ensure(*service == expected, || format!("went to {service:?}: {arrival:?}"))?;
                self.compare_arrival(headers, arrival)?;
                self.compare_answer(answer.as_deref(), headers[header::VERDICT] == "observed")
            }
            (CaseOutcome::Forwarded { .. }, []) => Err(format!("reached no service: {}", seen())),
            (_, [_, ..]) => Err(format!("reached a service: {}", seen())),
            (CaseOutcome::Refused { reason, .. }, []) => self.compare_refusal(reason),
            (CaseOutcome::Host { status }, []) => match &self.answer {
                Ok(answer) if answer.status == *status && answer.reason().is_none() => Ok(()),
                _ => Err(format!("expected Envoy's own {status}: {}", seen())),
            },
            (CaseOutcome::Cut, []) => match &self.answer {
                Err(_) => Ok(()),
                Ok(_) => Err(format!("expected no answer: {}", seen())),
            },
        }
    }

    fn compare_arrival(
        &self,
        expected: &BTreeMap<String, String>,
        arrival: &ServiceRequest,
    ) -> Result<(), String> {
        let mut headers = BTreeMap::new();
        for (name, value) in &arrival.headers {
            if corpus::is_the_gates(name) || name == "content-type" {
                let value = settled(&corpus::normal(name, &String::from_utf8_lossy(value))).to_owned();
                ensure(headers.insert(name.clone(), value).is_none(), || format!("{name} stands twice"))?;
            }
        }
        let settled_value = |(name, value): (&String, &String)| (name.clone(), settled(value).to_owned());
        let expected: BTreeMap<String, String> = expected.iter().map(settled_value).collect();
        ensure(headers == expected, || format!("expected {expected:?}\n   but arrived {headers:?}"))?;
        ensure(arrival.body == self.case.body.clone().unwrap_or_default(), || {
            "another body arrived".to_owned()
        })?;
        ensure(arrival.method == self.case.method, || format!("{} arrived", arrival.method))?;
        let own = |headers: &[(String, Vec<u8>)]| -> Vec<(String, Vec<u8>)> {
            headers.iter().filter(|(name, _)| name.starts_with("x-own")).cloned().collect()
        };
        ensure(own(&arrival.headers) == own(&self.case.headers), || {
            format!("other own headers arrived: {arrival:?}")
        })
    }

    /// Compares the sender's response to a forwarded delivery.
    fn compare_answer(&self, reason: Option<&str>, observed: bool) -> Result<(), String> {
        let answer = self.answer.as_ref().map_err(|error| format!("no answer: {error}"))?;
        let upstream = self.case.upstream.as_ref();
        let untouched = upstream.map_or(200, |upstream| upstream.status.unwrap_or(503));
        let status = match reason {
            _ if observed => untouched,
            Some(_) => 503,
            None => 200,
        };
        let seen = || format!("expected {status} {reason:?}: {answer:?}");
        ensure((answer.status, answer.reason().as_deref()) == (status, reason), seen)?;
        let has = |name: &&str| answer.headers.iter().any(|(other, _)| other == name);
        let of_service = upstream.is_none_or(|upstream| upstream.status.is_some());
        let body = match upstream {
            None => Some(USUAL_BODY.to_owned()),
            Some(upstream) => upstream.body.clone(),
        };
        match (self.answers, reason) {
            (AnswerMode::Receipt, Some(reason)) => problem(answer, reason)?,
            (AnswerMode::Receipt, None) => {
                ensure(answer.body == br#"{"status":"received"}"#, || format!("no receipt: {answer:?}"))?;
                ensure(answer.header("content-type").as_deref() == Some("application/json"), seen)?;
            }
            _ if of_service => {
                ensure(answer.body == body.unwrap_or_default().into_bytes(), || {
                    format!("another body: {answer:?}")
                })?;
            }
            _ => {}
        }
        if self.answers == AnswerMode::Receipt {
            ensure(!has(&"x-service"), || format!("has a header of the service: {answer:?}"))?;
        }
        if self.answers == AnswerMode::Untouched {
            let passed =
                upstream.iter().flat_map(|upstream| &upstream.headers).all(|(name, _)| has(&name.as_str()));
            return ensure(passed, || format!("the service's headers are gone: {answer:?}"));
        }
        let bad = REMOVED.iter().find(|name| has(name));
        ensure(bad.is_none(), || format!("{bad:?} reached the sender: {answer:?}"))
    }

    fn compare_refusal(&self, reason: &str) -> Result<(), String> {
        let answer =
            self.answer.as_ref().map_err(|error| format!("expected {reason}, but no answer: {error}"))?;
        let status = self.corpus.status(reason);
        ensure((answer.status, answer.reason()) == (status, Some(reason.to_owned())), || {
            format!("expected {status} {reason}: {answer:?}")
        })?;
        let allow = (reason == "method-not-allowed").then(|| "POST".to_owned());
        ensure(answer.header("allow") == allow, || format!("allow: {answer:?}"))?;
        let bad = REMOVED.iter().find(|name| answer.header(name).is_some());
        ensure(bad.is_none(), || format!("{bad:?} reached the sender: {answer:?}"))?;
        let is_grpc = self.case.headers.iter().any(|(_, value)| value.starts_with(b"application/grpc"));
        // The last route's response has no problem document, a response to HEAD has no body, and gRPC leaves only the head.
        if reason == "not-judged" || self.case.method == "HEAD" || is_grpc {
            return Ok(());
        }
        problem(answer, reason)
    }

    /// The line in the access log, if the gate or the last route handled the case.
    pub(crate) fn log_line(&self) -> Option<Value> {
        let method = &self.case.method;
        match self.expected() {
            CaseOutcome::Forwarded { headers, answer, detail } => {
                let detail = detail.as_deref().map(settled);
                let status = self.answer.as_ref().map_or(0, |answer| answer.status);
                let id = headers.get(header::GENERATION_ID);
                let (hook, event) = (&headers[header::HOOK], headers.get(header::EVENT));
                let (verdict, marked) = (&headers[header::VERDICT], headers.get(header::REASON));
                Some(json!([hook, event, verdict, answer, marked, detail, id, method, status]))
            }
            CaseOutcome::Refused { reason, id, detail } => {
                let detail = detail.as_deref().map(settled);
                let hook = (!matches!(&**reason, "unknown-hook" | "not-judged")).then_some(&self.case.hook);
                Some(json!([hook, null, null, reason, null, detail, id, method, self.corpus.status(reason)]))
            }
            CaseOutcome::Host { .. } | CaseOutcome::Cut => None,
        }
    }
}

/// The detail of a denial, or another text unchanged. The gate remembers a denial, so the second protocol of a case has another
/// detail.
pub(crate) fn settled(text: &str) -> &str {
    let denials = ["has another ", "has no such generation", "denied this event seconds ago"];
    match text.strip_prefix("confirm: status API ") {
        Some(found) if denials.iter().any(|denial| found.starts_with(denial)) => "confirm: denied",
        _ => text,
    }
}

fn ensure(holds: bool, error: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(error()) }
}

/// Checks that the response is the problem document of this reason.
fn problem(answer: &ClientResponse, reason: &str) -> Result<(), String> {
    let error = || format!("no problem document of {reason}: {answer:?}");
    ensure(answer.header("content-type").as_deref() == Some("application/problem+json"), error)?;
    ensure(answer.is_whole(), error)?;
    let problem: Value = serde_json::from_slice(&answer.body).map_err(|_| error())?;
    let title = problem["title"].as_str().filter(|title| !title.is_empty()).ok_or_else(error)?;
    let expected = json!({
        "type": problem_type(DOCS, reason), "title": title, "status": answer.status, "code": reason,
    });
    ensure(problem == expected, error)
}
