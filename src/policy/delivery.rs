//! What comes of judging: a delivery that goes on, or a refusal. Only the policy makes them.

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
    pub(super) verdict: Verdict,
    pub(super) reason: Option<Reason>,
    pub(super) event: Option<Event>,
    pub(super) generation_id: Option<GenerationId>,
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
        self.verdict
    }

    /// Why it is not accepted.
    pub fn reason(&self) -> Option<Reason> {
        self.reason
    }

    /// What it says, where that is readable.
    pub fn event(&self) -> Option<&Event> {
        self.event.as_ref()
    }

    /// The generation, where it is known.
    pub fn generation_id(&self) -> Option<GenerationId> {
        self.generation_id
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

/// A delivery that goes nowhere.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The hook, unless its path belongs to none.
    pub hook: Option<Arc<Hook>>,
    /// The first flaw.
    pub reason: Reason,
    /// The generation, once it is known.
    pub generation_id: Option<GenerationId>,
    /// What its token is worth, for a counter.
    pub token: Token,
}

impl Refusal {
    pub(super) fn unknown_hook(reason: Reason) -> Self {
        Refusal { hook: None, reason, generation_id: None, token: Token::Absent }
    }
}
