//! A delivery to forward, or a refusal. Only the policy makes them.

use crate::Reason;
use crate::contract::{Proof, Verdict};
use crate::event::{Event, GenerationId};
use crate::hook::Hook;
use crate::request::ContentType;
use crate::token::Token;
use std::sync::Arc;

/// A judged delivery: the only way to forward one.
#[derive(Debug)]
pub struct Delivery {
    pub(super) hook: Arc<Hook>,
    pub(super) disposition: Disposition,
    pub(super) observed: Vec<Reason>,
    pub(super) content_type: ContentType,
    pub(super) token: Token,
    pub(super) proofs: Vec<Proof>,
}

impl Delivery {
    /// The hook that it came to.
    pub fn hook(&self) -> &Arc<Hook> {
        &self.hook
    }

    /// How it was judged.
    pub fn verdict(&self) -> Verdict {
        match self.disposition {
            Disposition::Accepted(_) => Verdict::Accepted,
            Disposition::Quarantined { .. } => Verdict::Quarantined,
            Disposition::Observed { .. } => Verdict::Observed,
        }
    }

    /// How it was judged, with what belongs to that.
    pub fn disposition(&self) -> &Disposition {
        &self.disposition
    }

    /// Why it is not accepted.
    pub fn reason(&self) -> Option<Reason> {
        match self.disposition {
            Disposition::Accepted(_) => None,
            Disposition::Quarantined { reason, .. } => Some(reason),
            Disposition::Observed { reason, .. } => reason,
        }
    }

    /// The event, where it is readable.
    pub fn event(&self) -> Option<&Event> {
        match &self.disposition {
            Disposition::Accepted(event) => Some(event),
            Disposition::Quarantined { content, .. } | Disposition::Observed { content, .. } => {
                content.event()
            }
        }
    }

    /// The generation, where it is known.
    pub fn generation_id(&self) -> Option<GenerationId> {
        match &self.disposition {
            Disposition::Accepted(event) => Some(event.generation_id),
            Disposition::Quarantined { content, .. } | Disposition::Observed { content, .. } => {
                content.generation_id()
            }
        }
    }

    /// What its head says that the body is.
    pub fn content_type(&self) -> ContentType {
        self.content_type
    }

    /// Which checks in observe mode did not hold.
    pub fn observed(&self) -> &[Reason] {
        &self.observed
    }

    /// What its token is worth.
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// What held.
    pub fn proofs(&self) -> &[Proof] {
        &self.proofs
    }
}

/// How a delivery goes on.
#[derive(Debug)]
pub enum Disposition {
    /// It breaks no rule.
    Accepted(Event),
    /// Its sender is authenticated, and it breaks a rule.
    Quarantined {
        /// The first violation.
        reason: Reason,
        /// What is readable of it.
        content: Content,
    },
    /// The hook only observes.
    Observed {
        /// The reason that `enforce` would have given.
        reason: Option<Reason>,
        /// What is readable of it.
        content: Content,
    },
}

/// What is readable of a delivery that may break a rule.
#[derive(Debug)]
pub enum Content {
    /// The whole event.
    Event(Event),
    /// Which generation it is about.
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
    /// The hook, unless its path belongs to none.
    pub hook: Option<Arc<Hook>>,
    /// The first violation.
    pub reason: Reason,
    /// The generation, once it is known.
    pub generation_id: Option<GenerationId>,
    /// What its token is worth, for a counter; `None` where the delivery ended before the stage `token`.
    pub token: Option<Token>,
}

impl Refusal {
    pub(super) fn unknown_hook(reason: Reason) -> Self {
        Refusal { hook: None, reason, generation_id: None, token: None }
    }

    pub(super) fn before_token(hook: &Arc<Hook>, reason: Reason) -> Self {
        Refusal { hook: Some(Arc::clone(hook)), reason, generation_id: None, token: None }
    }
}
