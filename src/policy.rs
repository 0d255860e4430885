//! The policy: [`admit`] judges the head, [`decide`] judges the delivery, and [`conclude`] applies the outcome of a
//! confirmation. It is pure: time, keys and outcomes are arguments.

use crate::confirm::Outcome;
use crate::enforcement::{Check, Mode};
use crate::event::{self, Event, GenerationId, InvalidPayload};
use crate::head::Head;
use crate::hook::{Hook, HookMatch};
use crate::request::ContentType;
use crate::token::{self, Token};
use crate::{Reason, json, request, result_url, source, transport};
use std::sync::Arc;

mod delivery;
mod evaluation;
mod reevaluate;
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
pub fn admit(found: Result<HookMatch<'_, '_>, Reason>, head: &Head<'_>) -> Result<AdmittedHead, Refusal> {
    let (hook, token) = found.map_err(Refusal::unknown_hook)?;
    let encrypted = transport::check(&hook.transport, head);
    if let (Err(reason), Mode::Enforce) = (encrypted, hook.mode) {
        return Err(Refusal::before_token(hook, reason));
    }
    let mut admitted = AdmittedHead {
        hook: Arc::clone(hook),
        violation: None,
        token: token::check(hook.token.as_ref(), token, head.now),
        observed: Vec::new(),
        content_type: request::content_type(head),
    };
    let checked = encrypted.and_then(|()| admitted.check_head(head));
    let checked = checked.map_err(|reason| admitted.reported(reason));
    if hook.mode == Mode::Observe {
        admitted.violation = checked.err().or(admitted.violation);
        return Ok(admitted);
    }
    if let Err(reason) = checked {
        return Err(admitted.refuse(reason, None));
    }
    if hook.trust.may_authenticate(hook.checks.trust, &admitted.token) {
        return Ok(admitted);
    }
    let needs_token = hook.trust.needs_token() && hook.checks.trust == Check::Enforce;
    let rejection = if needs_token { admitted.token.rejection() } else { None };
    match admitted.violation.or(rejection) {
        Some(reason) => Err(admitted.refuse(reason, None)),
        None => Ok(admitted),
    }
}

/// Judges a complete delivery.
pub fn decide(mut admitted: AdmittedHead, body: &[u8]) -> Decision {
    if admitted.check_size(body.len()).is_err() {
        return decide_oversized(admitted);
    }
    let body = check_body(&mut admitted, body).into();
    let (mode, trust) = (admitted.hook.mode, admitted.hook.checks.trust);
    let evaluation = Evaluation { admitted, body };
    match (mode, trust) {
        (Mode::Observe, _) => evaluation.observe(),
        (Mode::Enforce, Check::Enforce) => trust_table::decide(evaluation),
        (Mode::Enforce, Check::Observe | Check::Off) => evaluation.with_trust_observed(),
    }
}

/// Decides on a delivery with a body over the limit. The gate reads no further, and refuses every sender.
pub fn decide_oversized(admitted: AdmittedHead) -> Decision {
    let reason = admitted.reported(Reason::BodyTooLarge);
    match admitted.hook.mode {
        Mode::Enforce => admitted.reject(reason, None),
        Mode::Observe if admitted.is_authenticated() => admitted.observe(Some(reason), Content::Unreadable),
        Mode::Observe => Evaluation { admitted, body: Payload::Unreadable(reason, None) }.observe(),
    }
}

/// Decides on a delivery by the outcome of its confirmation.
///
/// # Errors
/// A [`Refusal`] with the first violation in stage order.
pub fn conclude(request: ConfirmationRequest, outcome: Outcome) -> Result<Delivery, Refusal> {
    trust_table::conclude(request, outcome)
}

fn check_body(admitted: &mut AdmittedHead, body: &[u8]) -> Result<Event, InvalidPayload> {
    let AdmittedHead { hook, token, observed, content_type, .. } = admitted;
    if body.is_empty() {
        return Err(Reason::BodyMissing.into());
    }
    let payload = json::parse(body, hook.max_depth, hook.dialect.known())?;
    let mut claim = hook.dialect.read(&payload)?;
    claim.drift.expect("content-type", *content_type != ContentType::Other);
    let drifted = hook.schema.check(&claim.drift);
    let event = event::check(claim)
        .map_err(|unfit| InvalidPayload { reason: drifted.err().unwrap_or(unfit.reason), ..unfit })?;
    let prompt = hook.dialect.prompt(&payload);
    match drifted.and_then(|()| check_event(hook, &event, token, prompt, observed)) {
        Ok(()) => Ok(event),
        Err(reason) => Err(InvalidPayload {
            reason,
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
    observed: &mut Vec<Reason>,
) -> Result<(), Reason> {
    if let Some(url) = &event.result_url {
        apply(hook.checks.result_url, result_url::check(&hook.result_url, url), observed)?;
    }
    match hook.checks.prompt {
        Check::Off => Ok(()),
        check => apply(check, token::check_prompt(token, prompt), observed),
    }
}

/// Applies a check's setting: in observe mode a violation only goes to `observed`.
fn apply(check: Check, judged: Result<(), Reason>, observed: &mut Vec<Reason>) -> Result<(), Reason> {
    match (check, judged) {
        (Check::Observe, Err(reason)) => {
            observed.push(reason);
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
#[derive(Debug)]
pub struct AdmittedHead {
    hook: Arc<Hook>,
    /// The first violation of the head, without the token's.
    violation: Option<Reason>,
    token: Token,
    observed: Vec<Reason>,
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
    /// [`Reason::BodyTooLarge`].
    pub fn check_size(&self, so_far: usize) -> Result<(), Reason> {
        if so_far <= self.hook.max_body_bytes { Ok(()) } else { Err(Reason::BodyTooLarge) }
    }

    /// Notes the first violation of the head.
    ///
    /// # Errors
    /// A violation that is final for every sender.
    fn check_head(&mut self, head: &Head<'_>) -> Result<(), Reason> {
        let hook = &self.hook;
        let source = source::check(&hook.source, &hook.transport, head);
        self.violation = apply(hook.checks.source, source, &mut self.observed).err();
        match request::check(hook.max_body_bytes, head) {
            Err(end) if end.is_final() => Err(end),
            checked => {
                self.violation = self.violation.or(checked.err());
                Ok(())
            }
        }
    }

    /// The reason of a refusal for `end`. An unauthenticated sender gets the first violation instead.
    fn reported(&self, end: Reason) -> Reason {
        self.violation.filter(|_| !self.is_authenticated()).unwrap_or(end)
    }

    fn refuse(self, reason: Reason, generation_id: Option<GenerationId>) -> Refusal {
        Refusal { hook: Some(self.hook), reason, generation_id, token: Some(self.token) }
    }
}
