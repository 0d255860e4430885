//! Forwarded deliveries and refusals. Only the policy makes them.

use crate::contract::{Proof, Verdict};
use crate::event::{Event, GenerationId};
use crate::hook::Hook;
use crate::request::ContentType;
use crate::token::Token;
use crate::{Reason, Violation};
use std::sync::Arc;

/// A judged delivery to forward.
#[derive(Debug)]
pub struct Delivery {
    pub(super) hook: Arc<Hook>,
    pub(super) disposition: Disposition,
    pub(super) observed: Vec<Violation>,
    pub(super) content_type: ContentType,
    pub(super) token: Token,
    pub(super) proofs: Vec<Proof>,
}

impl Delivery {
    /// The hook of the delivery.
    pub fn hook(&self) -> &Arc<Hook> {
        &self.hook
    }

    /// The verdict.
    pub fn verdict(&self) -> Verdict {
        match self.disposition {
            Disposition::Accepted(_) => Verdict::Accepted,
            Disposition::Quarantined { .. } => Verdict::Quarantined,
            Disposition::Observed { .. } => Verdict::Observed,
        }
    }

    /// The verdict with its reason and the readable content.
    pub fn disposition(&self) -> &Disposition {
        &self.disposition
    }

    /// The reason why the delivery is not accepted.
    pub fn reason(&self) -> Option<Reason> {
        self.violation().map(|violation| violation.reason)
    }

    /// The violation of a delivery that is not accepted.
    pub fn violation(&self) -> Option<Violation> {
        match self.disposition {
            Disposition::Accepted(_) => None,
            Disposition::Quarantined { violation, .. } => Some(violation),
            Disposition::Observed { violation, .. } => violation,
        }
    }

    /// The event, if it is readable.
    pub fn event(&self) -> Option<&Event> {
        match &self.disposition {
            Disposition::Accepted(event) => Some(event),
            Disposition::Quarantined { content, .. } | Disposition::Observed { content, .. } => {
                content.event()
            }
        }
    }

    /// The generation, if it is known.
    pub fn generation_id(&self) -> Option<GenerationId> {
        match &self.disposition {
            Disposition::Accepted(event) => Some(event.generation_id),
            Disposition::Quarantined { content, .. } | Disposition::Observed { content, .. } => {
                content.generation_id()
            }
        }
    }

    /// The declared content type.
    pub fn content_type(&self) -> ContentType {
        self.content_type
    }

    /// The violations that checks in observe mode let through.
    pub fn observed(&self) -> &[Violation] {
        &self.observed
    }

    /// The judged token.
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// The proofs that held.
    pub fn proofs(&self) -> &[Proof] {
        &self.proofs
    }
}

/// The verdict on a delivery, with its reason and the readable content.
#[derive(Debug)]
pub enum Disposition {
    /// The delivery breaks no rule.
    Accepted(Event),
    /// The sender is authenticated, and the delivery breaks a rule.
    Quarantined {
        /// The first violation.
        violation: Violation,
        /// The readable content.
        content: Content,
    },
    /// The hook only observes.
    Observed {
        /// The violation of a refusal or a quarantine in `enforce` mode.
        violation: Option<Violation>,
        /// The readable content.
        content: Content,
    },
}

/// The readable content of a delivery that may break a rule.
#[derive(Debug)]
pub enum Content {
    /// The whole event.
    Event(Event),
    /// Only the generation.
    Generation(GenerationId),
    /// Nothing.
    Unreadable,
}

impl Content {
    fn event(&self) -> Option<&Event> {
        match self {
            Content::Event(event) => Some(event),
            Content::Generation(_) | Content::Unreadable => None,
        }
    }

    pub(super) fn generation_id(&self) -> Option<GenerationId> {
        match self {
            Content::Event(event) => Some(event.generation_id),
            Content::Generation(id) => Some(*id),
            Content::Unreadable => None,
        }
    }
}

impl From<Option<GenerationId>> for Content {
    fn from(id: Option<GenerationId>) -> Self {
        id.map_or(Content::Unreadable, Content::Generation)
    }
}

/// A delivery that the gate refuses.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The hook; `None` for an unknown path.
    pub hook: Option<Arc<Hook>>,
    /// The first violation.
    pub violation: Violation,
    /// The generation, if it is known.
    pub generation_id: Option<GenerationId>,
    /// The judged token, for a counter; `None` for a refusal before the stage `token`.
    pub token: Option<Token>,
}

impl Refusal {
    pub(super) fn unknown_hook(violation: Violation) -> Self {
        Refusal { hook: None, violation, generation_id: None, token: None }
    }

    pub(super) fn before_token(hook: &Arc<Hook>, violation: Violation) -> Self {
        Refusal { hook: Some(Arc::clone(hook)), violation, generation_id: None, token: None }
    }
}
