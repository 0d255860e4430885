//! A delivery with its body, between what was found and what becomes of it.

use super::delivery::Delivery;
use super::{Admitted, Judged, Proof, Verdict};
use crate::Reason;
use crate::event::{Event, GenerationId};
use crate::hook::{Check, Hook, Quarantine};
use crate::token::Token;
use crate::trust::{Payload, Step};
use std::sync::Arc;

/// A delivery that was read to its end, and what was found.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) admitted: Admitted,
    pub(super) event: Option<Event>,
    pub(super) id: Option<GenerationId>,
    /// The first flaw, the token's aside.
    pub(super) first: Option<Reason>,
    /// The first flaw of the body.
    pub(super) of_body: Option<Reason>,
}

impl Whole {
    pub(super) fn payload(&self) -> Payload {
        match (self.first, &self.event) {
            (None, _) => Payload::Fine,
            (Some(flaw), Some(_)) => Payload::Flawed(flaw),
            (Some(flaw), None) => Payload::Unreadable(flaw),
        }
    }

    /// The first flaw in stage order, the token's included where the rule names it.
    pub(super) fn kept(&self) -> Option<Reason> {
        let Admitted { hook, flaw, token, .. } = &self.admitted;
        let token = if hook.trust.names_token() { token.flaw() } else { None };
        flaw.or(token).or(self.of_body)
    }

    pub(super) fn step(mut self, step: Step, confirmed: Confirmed) -> Judged {
        match (step, self.admitted.hook.quarantine) {
            (Step::Accept, _) => self.deliver(Verdict::Accepted, None, confirmed),
            (Step::Keep(reason), Quarantine::Route) => {
                self.deliver(Verdict::Quarantined, Some(reason), confirmed)
            }
            (Step::Keep(reason), Quarantine::None) | (Step::Refuse(reason), _) => {
                let id = self.event.take().map(|event| event.generation_id).or(self.id);
                Judged::Refuse(self.admitted.refuse(reason, id))
            }
            (Step::Ask, _) => Judged::Ask(Question(self)),
        }
    }

    /// The trust rule only leaves its mark. A flaw is still one, and kept where the token holds.
    pub(super) fn trust_observed(mut self) -> Judged {
        self.mark_token();
        let step = match (self.first, self.admitted.token.claims()) {
            (None, _) => Step::Accept,
            (Some(flaw), Some(_)) => Step::Keep(flaw),
            (Some(flaw), None) => Step::Refuse(flaw),
        };
        self.step(step, Confirmed::No)
    }

    fn mark_token(&mut self) {
        let Admitted { hook, token, observed, .. } = &mut self.admitted;
        if hook.trust.names_token() {
            observed.extend(token.flaw());
        }
    }

    /// The hook only observes: whatever it is, it goes on, with the reason that it would have had. The provider is not
    /// asked, so that what it would have decided leaves none.
    pub(super) fn observe(mut self) -> Judged {
        let Admitted { hook, .. } = &self.admitted;
        let reason = match hook.checks.trust {
            Check::Enforce if hook.trust.needs_token() => self.kept(),
            Check::Enforce => {
                self.first.and(if self.admitted.is_proven() { self.kept() } else { self.first })
            }
            Check::Observe | Check::Off => {
                self.mark_token();
                self.first
            }
        };
        self.deliver(Verdict::Observed, reason, Confirmed::No)
    }

    pub(super) fn deliver(self, verdict: Verdict, reason: Option<Reason>, confirmed: Confirmed) -> Judged {
        let Self { admitted, event, id, .. } = self;
        let Admitted { hook, token, observed, content_type, .. } = admitted;
        let token_held = matches!(token, Token::Good(_)).then_some(Proof::Token);
        let confirmed = (confirmed == Confirmed::Yes).then_some(Proof::Confirmed);
        let proofs = token_held.into_iter().chain(confirmed).collect();
        let generation_id = event.as_ref().map(|event| event.generation_id).or(id);
        Judged::Forward(Delivery {
            hook,
            verdict,
            reason,
            event,
            generation_id,
            observed,
            content_type,
            token,
            proofs,
        })
    }
}

/// Whether the provider said the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Confirmed {
    No,
    Yes,
}

/// A delivery that waits for the provider's word.
#[derive(Debug)]
pub struct Question(pub(super) Whole);

impl Question {
    /// The hook that it came to.
    pub fn hook(&self) -> &Arc<Hook> {
        self.0.admitted.hook()
    }

    /// [`Admitted::comes_back`]
    pub fn comes_back(&self) -> bool {
        self.0.admitted.comes_back()
    }

    /// Whether its sender has proven nothing and is wrong besides: nobody's video hangs on such a call.
    pub fn is_a_flawed_strangers(&self) -> bool {
        self.0.first.is_some() && !self.0.admitted.is_proven()
    }

    /// What the provider is asked about.
    pub fn event(&self) -> Option<&Event> {
        self.0.event.as_ref()
    }
}
