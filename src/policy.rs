//! The policy: [`admit`] judges the head, [`decide`] judges the delivery, and [`conclude`] applies the outcome of a
//! confirmation. It is pure: time, keys and outcomes are arguments.

use crate::confirm::JudgedOutcome;
use crate::enforcement::{Check, Mode};
use crate::event::{self, Event, GenerationId, InvalidPayload};
use crate::head::Head;
use crate::hook::{Hook, HookMatch};
use crate::request::ContentType;
use crate::token::{self, Token};
use crate::trace::Observer;
use crate::violation::Violation;
use crate::{json, request, result_url, source, transport};
use std::sync::Arc;

mod delivery;
mod evaluation;
mod reevaluate;
mod report;
mod trust_table;

pub use crate::contract::{Proof, Verdict};
pub use delivery::{Content, Delivery, Disposition, Refusal};
pub use evaluation::ConfirmationRequest;
use evaluation::{Evaluation, Payload};
pub use reevaluate::{OriginalFindings, OriginalToken, reevaluate};

/// Judges the head of a delivery. [`crate::sanitize`] runs before, and `found` is the result of [`crate::hook::find`].
///
/// # Errors
/// A [`Refusal`] with the first violation in stage order, unless the delivery may still go to quarantine. A hook in observe
/// mode refuses only an unknown path. It passes the violation on with the delivery.
pub fn admit(
    found: Result<HookMatch<'_, '_>, Violation>,
    head: &Head<'_>,
    observer: &mut impl Observer,
) -> Result<AdmittedHead, Refusal> {
    observer.stage(|| report::hook(found.map(|(hook, _)| hook), head));
    let (hook, token) = found.map_err(Refusal::unknown_hook)?;
    let encrypted = transport::check(&hook.transport, head);
    observer.stage(|| report::transport(hook, head, encrypted));
    if let (Err(violation), Mode::Enforce) = (encrypted, hook.mode) {
        return Err(Refusal::before_token(hook, violation));
    }
    let mut admitted = AdmittedHead {
        hook: Arc::clone(hook),
        violation: None,
        token: token::check(hook.token.as_ref(), token, head.now),
        observed: Vec::new(),
        content_type: request::content_type(head),
    };
    let checked = encrypted.and_then(|()| admitted.check_head(head, observer));
    observer.stage(|| report::token(hook, &admitted.token));
    let checked = checked.map_err(|violation| admitted.reported(violation));
    if hook.mode == Mode::Observe {
        admitted.violation = checked.err().or(admitted.violation);
        return Ok(admitted);
    }
    if let Err(violation) = checked {
        return Err(admitted.refuse(violation, None));
    }
    if hook.trust.may_authenticate(hook.checks.trust, &admitted.token) {
        return Ok(admitted);
    }
    let needs_token = hook.trust.needs_token() && hook.checks.trust == Check::Enforce;
    let rejection = if needs_token { admitted.token.rejection() } else { None };
    match admitted.violation.or(rejection) {
        Some(violation) => Err(admitted.refuse(violation, None)),
        None => Ok(admitted),
    }
}

/// Judges a complete delivery.
pub fn decide(mut admitted: AdmittedHead, body: &[u8], observer: &mut impl Observer) -> Decision {
    if admitted.check_size(body.len()).is_err() {
        return decide_oversized(admitted, body.len(), observer);
    }
    observer.stage(|| report::size(&admitted, body.len()));
    let body = check_body(&mut admitted, body, observer).into();
    let (mode, trust) = (admitted.hook.mode, admitted.hook.checks.trust);
    let evaluation = Evaluation { admitted, body };
    let decision = match (mode, trust) {
        (Mode::Observe, _) => evaluation.observe(),
        (Mode::Enforce, Check::Enforce) => trust_table::decide(evaluation),
        (Mode::Enforce, Check::Observe | Check::Off) => evaluation.with_trust_observed(),
    };
    match &decision {
        // [`conclude`] reports it.
        Decision::Confirm(_) => {}
        decided => observer.stage(|| report::unconfirmed(decided)),
    }
    decision
}

/// Decides on a delivery with a body over the limit, of which `size` bytes have arrived. The gate reads no further, and refuses
/// every sender.
pub fn decide_oversized(admitted: AdmittedHead, size: usize, observer: &mut impl Observer) -> Decision {
    observer.stage(|| report::size(&admitted, size));
    let violation = admitted.reported(request::too_large(request::BODY, admitted.hook.max_body_bytes));
    match admitted.hook.mode {
        Mode::Enforce => admitted.reject(violation, None),
        Mode::Observe if admitted.is_authenticated() => {
            admitted.observe(Some(violation), Content::Unreadable)
        }
        Mode::Observe => Evaluation { admitted, body: Payload::Unreadable(violation, None) }.observe(),
    }
}

/// Decides on a delivery by the outcome of its confirmation.
///
/// # Errors
/// A [`Refusal`] with the first violation in stage order.
pub fn conclude(
    request: ConfirmationRequest,
    outcome: impl Into<JudgedOutcome>,
    observer: &mut impl Observer,
) -> Result<Delivery, Refusal> {
    let outcome = outcome.into();
    observer.stage(|| report::confirmed(outcome));
    trust_table::conclude(request, outcome)
}

fn check_body(
    admitted: &mut AdmittedHead,
    body: &[u8],
    observer: &mut impl Observer,
) -> Result<Event, InvalidPayload> {
    let AdmittedHead { hook, token, observed, content_type, .. } = admitted;
    let parsed = match body {
        [] => Err(request::NO_BODY),
        body => json::parse(body, hook.max_depth, hook.dialect.known()),
    };
    observer.stage(|| report::json(hook, body, parsed.as_ref()));
    let payload = parsed?;
    let read = hook.dialect.read(&payload).map(|mut claim| {
        claim.drift.expect("content-type", *content_type != ContentType::Other);
        claim
    });
    let drifted = read.as_ref().map_or(Ok(()), |claim| hook.schema.check(&claim.drift));
    observer.stage(|| report::dialect(hook, &payload, read.as_ref(), drifted));
    let checked = event::check(read?);
    observer.stage(|| report::generation_id(hook, checked.as_ref()));
    let event = checked
        .map_err(|unfit| InvalidPayload { violation: drifted.err().unwrap_or(unfit.violation), ..unfit })?;
    let prompt = hook.dialect.prompt(&payload);
    match drifted.and_then(|()| check_event(hook, &event, token, prompt, observed, observer)) {
        Ok(()) => Ok(event),
        Err(violation) => Err(InvalidPayload {
            violation,
            generation_id: Some(event.generation_id),
            event: Some(event.into()),
        }),
    }
}

fn check_event(
    hook: &Hook,
    event: &Event,
    token: &Token,
    prompt: Option<&str>,
    observed: &mut Vec<Violation>,
    observer: &mut impl Observer,
) -> Result<(), Violation> {
    if let Some(url) = &event.result_url {
        let judged = result_url::check(&hook.result_url, hook.dialect.result_field(), url);
        observer.stage(|| report::result_url(hook, url, judged));
        apply(hook.checks.result_url, judged, observed)?;
    }
    match hook.checks.prompt {
        Check::Off => Ok(()),
        check => {
            let judged = token::check_prompt(token, prompt);
            observer.stage(|| report::prompt(hook, token, judged));
            apply(check, judged, observed)
        }
    }
}

/// Applies a check's setting: in observe mode a violation only goes to `observed`.
fn apply(
    check: Check,
    judged: Result<(), Violation>,
    observed: &mut Vec<Violation>,
) -> Result<(), Violation> {
    match (check, judged) {
        (Check::Observe, Err(violation)) => {
            observed.push(violation);
            Ok(())
        }
        (_, judged) => judged,
    }
}

/// The decision on a delivery.
#[derive(Debug)]
pub enum Decision {
    /// The gate forwards it.
    Forward(Delivery),
    /// The gate refuses it.
    Refuse(Refusal),
    /// The gate calls the provider's status API first.
    Confirm(ConfirmationRequest),
}

impl From<Result<Delivery, Refusal>> for Decision {
    fn from(ended: Result<Delivery, Refusal>) -> Self {
        match ended {
            Ok(delivery) => Decision::Forward(delivery),
            Err(refusal) => Decision::Refuse(refusal),
        }
    }
}

/// A head that [`admit`] has accepted. [`decide`] judges a body only with one.
#[derive(Clone, Debug)]
pub struct AdmittedHead {
    hook: Arc<Hook>,
    /// The first violation of the head, without the token's.
    violation: Option<Violation>,
    token: Token,
    observed: Vec<Violation>,
    content_type: ContentType,
}

impl AdmittedHead {
    /// The hook of the delivery.
    pub fn hook(&self) -> &Arc<Hook> {
        &self.hook
    }

    /// The judged token.
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// Whether the token authenticates the sender.
    pub fn is_authenticated(&self) -> bool {
        self.token.claims().is_some()
    }

    /// Whether the sender gets 503 if Envoy responds before the gate: it is authenticated, and the hook enforces.
    pub fn must_retry(&self) -> bool {
        self.is_authenticated() && self.hook.mode == Mode::Enforce
    }

    /// Checks the size of the body so far, so that the gate never buffers more than the limit.
    ///
    /// # Errors
    /// [`crate::Reason::BodyTooLarge`].
    pub fn check_size(&self, so_far: usize) -> Result<(), Violation> {
        let max = self.hook.max_body_bytes;
        if so_far <= max { Ok(()) } else { Err(request::too_large(request::BODY, max)) }
    }

    /// Notes the first violation of the head.
    ///
    /// # Errors
    /// A violation that is final for every sender.
    fn check_head(&mut self, head: &Head<'_>, observer: &mut impl Observer) -> Result<(), Violation> {
        let hook = &self.hook;
        let source = source::check(&hook.source, &hook.transport, head);
        observer.stage(|| report::source(hook, head, source));
        self.violation = apply(hook.checks.source, source, &mut self.observed).err();
        let requested = request::check(hook.max_body_bytes, head);
        observer.stage(|| report::request(hook, head, requested));
        match requested {
            Err(end) if end.reason.is_final() => Err(end),
            checked => {
                self.violation = self.violation.or(checked.err());
                Ok(())
            }
        }
    }

    /// The violation of a refusal for `end`. An unauthenticated sender gets the first violation instead.
    fn reported(&self, end: Violation) -> Violation {
        self.violation.filter(|_| !self.is_authenticated()).unwrap_or(end)
    }

    fn refuse(self, violation: Violation, generation_id: Option<GenerationId>) -> Refusal {
        Refusal { hook: Some(self.hook), violation, generation_id, token: Some(self.token) }
    }
}
