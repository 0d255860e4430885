//! The outcome of a row, and its differences from the expected one.

use super::delivery::{Channel, DemoDelivery};
use super::gate::SendOutcome;
use super::inbox::DemoEntry;
use super::rows::{QUARANTINE, Row, RowExpectation};
use crate::receiver::{ReceivedRequest, sha256};
use blobgate::contract::{header, idempotency_key};
use blobgate::dialect::Dialect;
use blobgate_inbox::service::{EntryState, EntrySummary, ExpectationState, ExpectationStatus};

pub(super) struct RowOutcome {
    pub(super) row: Row,
    pub(super) sent: SendOutcome,
    /// Arrivals, each with the name of its service.
    pub(super) arrived: Vec<(String, ReceivedRequest)>,
    /// Undelivered entries.
    pub(super) in_inbox: Vec<EntrySummary>,
    /// The inbox has an entry, or delivered one.
    pub(super) by_inbox: bool,
    /// It arrived at a service directly from the gate.
    pub(super) by_gate: bool,
    pub(super) expectation: Option<ExpectationStatus>,
    /// Each difference, as what was expected.
    pub(super) faults: Vec<String>,
}

impl RowOutcome {
    pub(super) fn new(
        row: Row,
        sent: SendOutcome,
        requests: &[(&str, ReceivedRequest)],
        entries: &[DemoEntry],
    ) -> Self {
        let arrived: Vec<_> = requests
            .iter()
            .filter(|(_, request)| is_of(request, &row))
            .map(|(service, request)| ((*service).to_owned(), request.clone()))
            .collect();
        let expectation =
            entries.iter().filter(|entry| entry.is_of(&row)).find_map(|entry| entry.expectation.clone());
        let (delivered, in_inbox): (Vec<_>, Vec<_>) =
            entries.iter().filter(|entry| entry.is_of(&row)).cloned().partition(DemoEntry::is_delivered);
        let in_inbox: Vec<_> = in_inbox.into_iter().map(|stored| stored.entry).collect();
        let is_attempt = |(_, request): &(String, ReceivedRequest)| request.header(header::ATTEMPT).is_some();
        let by_inbox = !delivered.is_empty() || !in_inbox.is_empty() || arrived.iter().any(is_attempt);
        let by_gate = !arrived.iter().all(is_attempt);
        let mut faults = Vec::new();
        faults.extend(answer_fault(row.expected, &sent));
        faults.extend(place_faults(&row, &sent, &arrived, &in_inbox));
        if by_inbox && !by_gate {
            faults.extend(expectation_fault(&row, expectation.as_ref()));
        }
        Self { row, sent, arrived, in_inbox, by_inbox, by_gate, expectation, faults }
    }

    pub(super) fn is_skipped(&self) -> bool {
        matches!(self.sent, SendOutcome::Skipped(_))
    }
}

fn answer_fault(expected: RowExpectation, sent: &SendOutcome) -> Option<String> {
    match sent {
        SendOutcome::Skipped(_) | SendOutcome::Uncalled(_) => None,
        SendOutcome::NotReconciled(why) => Some(why.clone()),
        SendOutcome::Unanswered(why) => Some(format!("no answer: {why}")),
        SendOutcome::Answered(answer) => {
            let status = expected.status()?;
            let is_right = answer.status == status && answer.code.as_deref() == expected.code();
            let code = expected.code().map(|code| format!(" {code}")).unwrap_or_default();
            (!is_right).then(|| format!("expected the answer {status}{code}"))
        }
    }
}

/// The gate and the inbox pass on the generation id, the idempotency key or the whole body.
fn is_of(request: &ReceivedRequest, row: &Row) -> bool {
    let delivery = &row.delivery;
    let id = delivery.id.to_string();
    request.header(header::GENERATION_ID) == Some(&id)
        || request.header(header::IDEMPOTENCY_KEY).is_some_and(|key| key.contains(&id))
        || request.sha256 == sha256(delivery.body.as_bytes())
}

fn place_faults(
    row: &Row,
    sent: &SendOutcome,
    arrived: &[(String, ReceivedRequest)],
    in_inbox: &[EntrySummary],
) -> Vec<String> {
    if matches!(sent, SendOutcome::Skipped(_) | SendOutcome::NotReconciled(_)) {
        return Vec::new();
    }
    match (row.expected.service(), arrived, in_inbox) {
        (None, [], []) => Vec::new(),
        (None, ..) => vec!["expected no arrival".to_owned()],
        (Some(service), [(at, request)], []) => {
            let elsewhere = (at != service).then(|| format!("expected it at {service}"));
            elsewhere.into_iter().chain(request_faults(row, request)).collect()
        }
        (Some(QUARANTINE), [], [entry]) => entry_faults(row, entry),
        (Some(service), [], [entry]) => {
            let reason = entry.reason.as_ref().map(|reason| format!(" for {reason}")).unwrap_or_default();
            vec![format!("expected it at {service}, not {} in the inbox{reason}", entry.state)]
        }
        (Some(service), ..) => vec![format!("expected it once at {service}")],
    }
}

/// An ordered generation that came through the inbox has an expectation.
fn expectation_fault(row: &Row, expectation: Option<&ExpectationStatus>) -> Option<String> {
    let DemoDelivery { channel, job, .. } = &row.delivery;
    if !channel.is_ordered() {
        return None;
    }
    let state =
        if *channel == Channel::Reconcile { ExpectationState::Reconciled } else { ExpectationState::Arrived };
    let is_right = expectation
        .is_some_and(|expectation| expectation.job.as_ref() == Some(job) && expectation.state == state);
    (!is_right).then(|| format!("expected an expectation of job {job} that is {state}"))
}

fn entry_faults(row: &Row, entry: &EntrySummary) -> Vec<String> {
    let mut faults = Vec::new();
    if entry.state != EntryState::Quarantined {
        faults.push(format!("expected it quarantined, not {}", entry.state));
    }
    if let Some(reason) = row.expected.reason()
        && entry.reason.as_deref() != Some(reason.code())
    {
        faults.push(format!("expected it quarantined for {}", reason.code()));
    }
    if entry.seen != 1 {
        faults.push(format!("expected one delivery to the inbox, not {}", entry.seen));
    }
    if entry.digest != sha256(row.delivery.body.as_bytes()) {
        faults.push("expected the sent body in the inbox, byte for byte".to_owned());
    }
    faults
}

fn request_faults(row: &Row, request: &ReceivedRequest) -> Vec<String> {
    let (expected, mut faults) = (row.expected, Vec::new());
    let id = row.delivery.id;
    let event = expected.event();
    let mut headers = vec![
        (header::VERDICT, expected.verdict().map(|verdict| verdict.name().to_owned())),
        (header::REASON, expected.reason().map(|reason| reason.code().to_owned())),
        (header::EVENT, event.map(|event| event.name().to_owned())),
        (header::SOURCE, expected.source().map(str::to_owned)),
    ];
    // A quarantined body may be unreadable. The gate then sets none of these.
    if let Some(event) = event {
        headers.push((header::GENERATION_ID, Some(id.to_string())));
        headers.push((
            header::IDEMPOTENCY_KEY,
            Some(idempotency_key(Dialect::Veo3.name(), &id.to_string(), event)),
        ));
        headers.push((header::JOB, row.delivery.known_job().map(str::to_owned)));
        headers.push((header::PROOFS, expected.proof().map(|proof| proof.name().to_owned())));
    }
    for (name, right) in headers {
        match (request.header(name), right) {
            (actual, Some(right)) if actual != Some(&right) => {
                faults.push(format!("expected {name}: {right}"))
            }
            (Some(_), None) => faults.push(format!("expected no {name}")),
            _ => (),
        }
    }
    if request.sha256 != sha256(row.delivery.body.as_bytes()) {
        faults.push("expected the sent body, byte for byte".to_owned());
    }
    faults
}
