//! What came of a row, and in what that is not what was expected.

use super::delivery::{Delivery, Door};
use super::expect::Expectation;
use super::gate::Sent;
use super::inbox::Entry;
use super::rows::{Expected, QUARANTINE, Row};
use crate::receiver::{Arrival, sha256};
use blobgate::contract::{header, idempotency_key};
use blobgate::dialect::Dialect;

/// A row, what came of it, and in what that differs from what was expected.
pub(super) struct Outcome {
    pub(super) row: Row,
    pub(super) sent: Sent,
    pub(super) arrived: Vec<(String, Arrival)>,
    /// What the inbox has, and has not delivered.
    pub(super) in_inbox: Vec<Entry>,
    /// Whether the inbox had it, and whether it came past it.
    pub(super) ways: [bool; 2],
    /// What the inbox was told to expect, and has.
    pub(super) expectation: Option<Expectation>,
    pub(super) faults: Vec<String>,
}

/// Of [`Outcome::ways`].
const BY_INBOX: [bool; 2] = [true, false];

impl Outcome {
    pub(super) fn new(row: Row, sent: Sent, arrivals: &[(&str, Arrival)], entries: &[Entry]) -> Self {
        let arrived: Vec<_> = arrivals
            .iter()
            .filter(|(_, arrival)| is_of(arrival, &row))
            .map(|(service, arrival)| ((*service).to_owned(), arrival.clone()))
            .collect();
        let expectation =
            entries.iter().filter(|entry| entry.is_of(&row)).find_map(|entry| entry.expectation.clone());
        let (delivered, in_inbox): (Vec<_>, Vec<_>) =
            entries.iter().filter(|entry| entry.is_of(&row)).cloned().partition(Entry::is_delivered);
        let by_inbox = |(_, arrival): &(String, Arrival)| arrival.header(header::ATTEMPT).is_some();
        let ways = [
            !delivered.is_empty() || !in_inbox.is_empty() || arrived.iter().any(by_inbox),
            !arrived.iter().all(by_inbox),
        ];
        let mut faults = Vec::new();
        faults.extend(about_answer(row.expected, &sent));
        faults.extend(about_place(&row, &sent, &arrived, &in_inbox));
        if ways == BY_INBOX {
            faults.extend(about_expectation(&row, expectation.as_ref()));
        }
        Self { row, sent, arrived, in_inbox, ways, expectation, faults }
    }

    pub(super) fn is_left_out(&self) -> bool {
        matches!(self.sent, Sent::LeftOut(_))
    }
}

fn about_answer(expected: Expected, sent: &Sent) -> Option<String> {
    let right = |status: u16, code: Option<&str>| match code {
        Some(code) => format!("{status} {code}"),
        None => status.to_string(),
    };
    match sent {
        Sent::LeftOut(_) | Sent::Uncalled(_) => None,
        Sent::NotReconciled(why) => Some(why.clone()),
        Sent::Unanswered(why) => Some(format!("no answer: {why}")),
        Sent::Answered(answer) => {
            let status = expected.status()?;
            let is_right = answer.status == status && answer.code.as_deref() == expected.code();
            (!is_right).then(|| format!("the answer should be {}", right(status, expected.code())))
        }
    }
}

/// By what the gate and the inbox pass on.
fn is_of(arrival: &Arrival, row: &Row) -> bool {
    let delivery = &row.delivery;
    let id = delivery.id.to_string();
    arrival.header(header::GENERATION_ID) == Some(&id)
        || arrival.header(header::IDEMPOTENCY_KEY).is_some_and(|key| key.contains(&id))
        || arrival.sha256 == sha256(delivery.body.as_bytes())
}

fn about_place(row: &Row, sent: &Sent, arrived: &[(String, Arrival)], in_inbox: &[Entry]) -> Vec<String> {
    if matches!(sent, Sent::LeftOut(_) | Sent::NotReconciled(_)) {
        return Vec::new();
    }
    let expected = row.expected;
    match (expected.service(), arrived, in_inbox) {
        (None, [], []) => Vec::new(),
        (None, ..) => vec!["it should arrive nowhere".to_owned()],
        (Some(service), [(at, arrival)], []) => {
            let elsewhere = (at != service).then(|| format!("it should arrive at {service}"));
            elsewhere.into_iter().chain(about_arrival(row, arrival)).collect()
        }
        (Some(QUARANTINE), [], [entry]) => about_entry(row, entry),
        (Some(service), [], [entry]) => {
            let reason = entry.reason.as_ref().map(|reason| format!(", {reason}")).unwrap_or_default();
            vec![format!("it should arrive at {service}, and is {} in the inbox{reason}", entry.state)]
        }
        (Some(service), ..) => vec![format!("it should arrive at {service}, once")],
    }
}

/// Of what was ordered, and came by the inbox.
fn about_expectation(row: &Row, expectation: Option<&Expectation>) -> Option<String> {
    let Delivery { door, job, .. } = &row.delivery;
    if !door.is_ordered() {
        return None;
    }
    let state = if *door == Door::Reconcile { "reconciled" } else { "arrived" };
    let is_right = expectation
        .is_some_and(|expectation| expectation.job.as_ref() == Some(job) && expectation.state == state);
    (!is_right).then(|| format!("the inbox should have it as expected of job {job}, and {state}"))
}

/// Of what the inbox keeps.
fn about_entry(row: &Row, entry: &Entry) -> Vec<String> {
    let mut faults = Vec::new();
    if entry.state != "quarantined" {
        faults.push(format!("it should be quarantined, and is {}", entry.state));
    }
    if let Some(reason) = row.expected.reason()
        && entry.reason.as_deref() != Some(reason.code())
    {
        faults.push(format!("it should be quarantined for {}", reason.code()));
    }
    if entry.seen != 1 {
        faults.push(format!("it should have come once, and came {} times", entry.seen));
    }
    if entry.digest != sha256(row.delivery.body.as_bytes()) {
        faults.push("the body that is kept should be the one that was sent, byte for byte".to_owned());
    }
    faults
}

fn about_arrival(row: &Row, arrival: &Arrival) -> Vec<String> {
    let (expected, mut faults) = (row.expected, Vec::new());
    let id = row.delivery.id;
    let event = expected.event();
    let mut headers = vec![
        (header::VERDICT, expected.verdict().map(|verdict| verdict.name().to_owned())),
        (header::REASON, expected.reason().map(|reason| reason.code().to_owned())),
        (header::EVENT, event.map(|event| event.name().to_owned())),
        (header::SOURCE, expected.source().map(str::to_owned)),
    ];
    if let Some(event) = event {
        // What is kept may be unreadable, and then has none of these.
        headers.push((header::GENERATION_ID, Some(id.to_string())));
        headers.push((
            header::IDEMPOTENCY_KEY,
            Some(idempotency_key(Dialect::Veo3.name(), &id.to_string(), event)),
        ));
        headers.push((header::JOB, row.delivery.known_job().map(str::to_owned)));
        headers.push((header::PROOFS, expected.proof().map(|proof| proof.name().to_owned())));
    }
    for (name, right) in headers {
        match (arrival.header(name), right) {
            (came, Some(right)) if came != Some(&right) => faults.push(format!("{name} should be {right}")),
            (Some(_), None) => faults.push(format!("{name} should not be there")),
            _ => (),
        }
    }
    if arrival.sha256 != sha256(row.delivery.body.as_bytes()) {
        faults.push("the body that arrived should be the one that was sent, byte for byte".to_owned());
    }
    faults
}
