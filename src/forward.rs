//! Stage 11: the gate headers, which tell a service the verdict and the event.

use crate::contract::{self, Verdict, header};
use crate::dialect::Dialect;
use crate::event::{Event, Failure};
use crate::policy::Delivery;
use crate::request::ContentType;
use crate::result_url;
use std::borrow::Cow;

/// The headers that the gate sets on a forwarded delivery. Every value is visible ASCII, and spaces in the detail.
pub fn headers(delivery: &Delivery) -> Vec<(&'static str, Cow<'_, str>)> {
    let hook = delivery.hook();
    // A completed delivery has at most ten. A failure has more and is rare.
    let mut set: Vec<(&'static str, Cow<'_, str>)> = Vec::with_capacity(10);
    set.push((header::VERDICT, delivery.verdict().name().into()));
    set.push((header::HOOK, Cow::Borrowed(&hook.name)));
    set.push((header::DIALECT, hook.dialect.name().into()));
    set.push((header::CONTRACT, contract::VERSION.into()));
    if delivery.verdict() == Verdict::Accepted && delivery.content_type() != ContentType::Json {
        // The body of an accepted delivery is JSON, also where the sender declares another type.
        set.push(("content-type", "application/json".into()));
    }
    if let Some(violation) = delivery.violation() {
        set.push((header::REASON, violation.reason.code().into()));
        set.extend(violation.text().map(|detail| (header::DETAIL, detail.into())));
    }
    if !delivery.observed().is_empty() {
        set.push((
            header::OBSERVED,
            join(delivery.observed().iter().map(|violation| violation.reason.code())),
        ));
    }
    add_proof(delivery, &mut set);
    if let Some(id) = delivery.generation_id() {
        set.push((header::GENERATION_ID, id.text().into()));
    }
    if let Some(event) = delivery.event() {
        add_event(delivery.verdict(), hook.dialect, event, &mut set);
    }
    set
}

/// Adds the headers about an event.
pub fn add_event<'a>(
    verdict: Verdict,
    dialect: Dialect,
    event: &'a Event,
    set: &mut Vec<(&'static str, Cow<'a, str>)>,
) {
    let name = match verdict {
        // The service routes match on `blobgate-event`. A quarantined delivery must not match.
        Verdict::Quarantined => header::CLAIMED_EVENT,
        Verdict::Accepted | Verdict::Observed => header::EVENT,
    };
    set.push((name, event.kind.name().into()));
    set.push((header::IDEMPOTENCY_KEY, event.idempotency_key(dialect.name()).into()));
    if let Some(host) = event.result_url.as_deref().and_then(result_url::host) {
        set.push((header::RESULT_HOST, host.into()));
    }
    add_failure(event, set);
    if !event.drift.is_empty() {
        set.push((header::DRIFT, join(event.drift.names().iter().copied())));
    }
}

fn add_proof<'a>(delivery: &'a Delivery, set: &mut Vec<(&'static str, Cow<'a, str>)>) {
    if !delivery.proofs().is_empty() {
        set.push((header::PROOFS, join(delivery.proofs().iter().map(|proof| proof.name()))));
    }
    if let Some(claims) = delivery.token().claims() {
        set.push((header::TOKEN_ID, claims.id.as_str().into()));
        set.extend(claims.job.as_deref().map(|job| (header::JOB, job.into())));
    }
}

fn add_failure<'a>(event: &'a Event, set: &mut Vec<(&'static str, Cow<'a, str>)>) {
    let Some(Failure { code, class, retryable }) = &event.failure else {
        return;
    };
    if let Some(code) = code {
        set.push((header::ERROR_CODE, code.as_str().into()));
    }
    set.push((header::ERROR_CLASS, class.name().into()));
    if let Some(retryable) = retryable {
        set.push((header::ERROR_RETRYABLE, if *retryable { "true" } else { "false" }.into()));
    }
}

fn join(codes: impl Iterator<Item = &'static str>) -> Cow<'static, str> {
    codes.collect::<Vec<_>>().join(",").into()
}
