//! A complete delivery, with the violations of its head and its body.

use super::delivery::{Content, Delivery, Disposition, Refusal};
use super::{AdmittedHead, Decision};
use crate::Violation;
use crate::contract::Proof;
use crate::enforcement::{Check, Quarantine};
use crate::event::{Event, GenerationId, InvalidPayload};
use crate::hook::Hook;
use crate::token::Token;
use std::sync::Arc;

/// A complete delivery.
#[derive(Debug)]
pub(super) struct Evaluation {
    pub(super) admitted: AdmittedHead,
    /// The judged body.
    pub(super) body: Payload,
}

/// A judged body, with its first violation.
#[derive(Debug)]
pub(super) enum Payload {
    /// The body breaks no rule.
    Valid(Event),
    /// The body breaks a rule. Its event is readable, so the status API can confirm it.
    Invalid(Violation, Event),
    /// The body breaks a rule, and contains no readable event.
    Unreadable(Violation, Option<GenerationId>),
}

/// Whether the status API confirmed the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Confirmed {
    No,
    Yes,
}

/// A delivery that needs a confirmation.
#[derive(Clone, Debug)]
pub struct ConfirmationRequest {
    pub(super) admitted: AdmittedHead,
    pub(super) event: Event,
    /// The first violation, without the token's.
    pub(super) violation: Option<Violation>,
}

impl Evaluation {
    /// Decides with the trust rule in observe mode: the token's violation only goes to `observed`. Other violations count.
    pub(super) fn with_trust_observed(self) -> Decision {
        let Self { mut admitted, body } = self;
        admitted.observe_token();
        match (body.after(admitted.violation), admitted.is_authenticated()) {
            (Payload::Valid(event), _) => admitted.accept(event),
            (Payload::Invalid(violation, event), true) => {
                admitted.quarantine(violation, Content::Event(event))
            }
            (Payload::Unreadable(violation, id), true) => admitted.quarantine(violation, id.into()),
            (Payload::Invalid(violation, event), false) => {
                admitted.reject(violation, Some(event.generation_id))
            }
            (Payload::Unreadable(violation, id), false) => admitted.reject(violation, id),
        }
    }

    /// Decides with the hook in observe mode: the gate forwards the delivery, with the reason of a refusal in `enforce` mode.
    /// The gate does not call the status API here, so no reason comes from it.
    pub(super) fn observe(self) -> Decision {
        let Self { mut admitted, body } = self;
        let hook = &admitted.hook;
        let first = admitted.violation.or(body.violation());
        let token = if hook.trust.names_token() { admitted.token.rejection() } else { None };
        let with_token = admitted.violation.or(token).or(body.violation());
        let violation = match hook.checks.trust {
            Check::Enforce if hook.trust.needs_token() => with_token,
            Check::Enforce if admitted.is_authenticated() => first.and(with_token),
            Check::Enforce => first,
            Check::Observe | Check::Off => {
                admitted.observe_token();
                first
            }
        };
        admitted.observe(violation, body.into())
    }
}

impl Payload {
    /// The payload with the head's violation in place of its own, because the head comes first.
    pub(super) fn after(self, head: Option<Violation>) -> Self {
        match (head, self) {
            (None, payload) => payload,
            (Some(violation), Payload::Valid(event) | Payload::Invalid(_, event)) => {
                Payload::Invalid(violation, event)
            }
            (Some(violation), Payload::Unreadable(_, id)) => Payload::Unreadable(violation, id),
        }
    }

    fn violation(&self) -> Option<Violation> {
        match self {
            Payload::Valid(_) => None,
            Payload::Invalid(violation, _) | Payload::Unreadable(violation, _) => Some(*violation),
        }
    }
}

impl From<Result<Event, InvalidPayload>> for Payload {
    fn from(checked: Result<Event, InvalidPayload>) -> Self {
        match checked {
            Ok(event) => Payload::Valid(event),
            Err(InvalidPayload { violation, event: Some(event), .. }) => Payload::Invalid(violation, *event),
            Err(InvalidPayload { violation, generation_id, event: None }) => {
                Payload::Unreadable(violation, generation_id)
            }
        }
    }
}

impl From<Payload> for Content {
    fn from(payload: Payload) -> Self {
        match payload {
            Payload::Valid(event) | Payload::Invalid(_, event) => Content::Event(event),
            Payload::Unreadable(_, id) => id.into(),
        }
    }
}

/// The ends of a delivery. Each consumes the head, so that a delivery ends once.
impl AdmittedHead {
    pub(super) fn accept(self, event: Event) -> Decision {
        Decision::Forward(self.deliver(Disposition::Accepted(event), Confirmed::No))
    }

    /// Quarantines the delivery. A hook without quarantine refuses it.
    pub(super) fn quarantine(self, violation: Violation, content: Content) -> Decision {
        self.quarantine_as(violation, content, Confirmed::No).into()
    }

    pub(super) fn quarantine_as(
        self,
        violation: Violation,
        content: Content,
        confirmed: Confirmed,
    ) -> Result<Delivery, Refusal> {
        match self.hook.quarantine {
            Quarantine::Route => Ok(self.deliver(Disposition::Quarantined { violation, content }, confirmed)),
            Quarantine::None => Err(self.refuse(violation, content.generation_id())),
        }
    }

    pub(super) fn observe(self, violation: Option<Violation>, content: Content) -> Decision {
        Decision::Forward(self.deliver(Disposition::Observed { violation, content }, Confirmed::No))
    }

    pub(super) fn reject(self, violation: Violation, generation_id: Option<GenerationId>) -> Decision {
        Decision::Refuse(self.refuse(violation, generation_id))
    }

    pub(super) fn confirm(self, event: Event, violation: Option<Violation>) -> Decision {
        Decision::Confirm(ConfirmationRequest { admitted: self, event, violation })
    }

    pub(super) fn deliver(self, disposition: Disposition, confirmed: Confirmed) -> Delivery {
        let AdmittedHead { hook, token, observed, content_type, .. } = self;
        let by_token = matches!(token, Token::Good(_)).then_some(Proof::Token);
        let by_provider = (confirmed == Confirmed::Yes).then_some(Proof::Confirmed);
        let proofs = by_token.into_iter().chain(by_provider).collect();
        Delivery { hook, disposition, observed, content_type, token, proofs }
    }

    fn observe_token(&mut self) {
        if self.hook.trust.names_token() {
            self.observed.extend(self.token.rejection());
        }
    }
}

impl ConfirmationRequest {
    /// The hook of the delivery.
    pub fn hook(&self) -> &Arc<Hook> {
        &self.admitted.hook
    }

    /// The event to confirm.
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// [`AdmittedHead::must_retry`]
    pub fn must_retry(&self) -> bool {
        self.admitted.must_retry()
    }

    /// Whether the sender is unauthenticated and the delivery breaks a rule. No video depends on the call for such a delivery.
    pub fn is_low_priority(&self) -> bool {
        self.violation.is_some() && !self.admitted.is_authenticated()
    }
}
