//! The whole policy: [`admit`] judges the head, [`accept`] the whole delivery, [`conclude`] what the provider was asked
//! about. Pure: everything is an argument.

use crate::confirm::Outcome;
use crate::event::{self, Event, GenerationId, Unfit};
use crate::head::Head;
use crate::hook::{Check, Found, Hook, Mode};
use crate::request::ContentType;
use crate::token::{self, Token};
use crate::{Reason, json, request, result_url, source, transport};
use std::sync::Arc;

mod again;
mod delivery;
mod whole;

pub use crate::contract::{Proof, Verdict};
pub use again::{Recorded, RecordedToken, judge_again};
pub use delivery::{Delivery, Refusal};
pub use whole::Question;
use whole::{Confirmed, Whole};

/// Judges the head of a delivery, after [`crate::sanitize`], for the hook that [`crate::hook::find`] has found.
///
/// # Errors
/// A [`Refusal`] with the first flaw in stage order, where no proof can turn it into "kept" any more. A hook in observe
/// mode refuses nothing: there the flaw goes with the delivery.
pub fn admit(found: Result<Found<'_, '_>, Reason>, head: &Head<'_>) -> Result<Admitted, Refusal> {
    let (hook, token) = found.map_err(Refusal::unknown_hook)?;
    let mut admitted = Admitted {
        hook: Arc::clone(hook),
        flaw: None,
        token: token::check(hook.token.as_ref(), token, head.now),
        observed: Vec::new(),
        content_type: request::content_type(head),
    };
    let checked = check_head(head, &mut admitted);
    // Whoever it is: what ends it here cannot be held. A stranger hears what was wrong before that.
    let ends = checked.map_err(|end| admitted.before(end));
    if hook.mode == Mode::Observe {
        admitted.flaw = ends.err().or(admitted.flaw);
        return Ok(admitted);
    }
    match (ends, admitted.flaw) {
        (Err(reason), _) => Err(admitted.refuse(reason, None)),
        (Ok(()), _) if hook.trust.can_prove(hook.checks.trust, &admitted.token) => Ok(admitted),
        (Ok(()), Some(flaw)) => Err(admitted.refuse(flaw, None)),
        (Ok(()), None) => match admitted.token.flaw() {
            Some(flaw) if hook.trust.needs_token() && hook.checks.trust == Check::Enforce => {
                Err(admitted.refuse(flaw, None))
            }
            _ => Ok(admitted),
        },
    }
}

/// Notes the first flaw of the head. `Err` is what ends a delivery whoever sent it.
fn check_head(head: &Head<'_>, admitted: &mut Admitted) -> Result<(), Reason> {
    let hook = &admitted.hook;
    transport::check(&hook.transport, head)?;
    let source = source::check(&hook.source, &hook.transport, head);
    admitted.flaw = apply(hook.checks.source, source, &mut admitted.observed).err();
    match request::check(hook.max_body_bytes, head) {
        Err(end @ (Reason::MethodNotAllowed | Reason::BodyTooLarge)) => Err(end),
        checked => {
            admitted.flaw = admitted.flaw.or(checked.err());
            Ok(())
        }
    }
}

/// Judges the whole delivery once its last byte is there.
pub fn accept(mut admitted: Admitted, body: &[u8]) -> Judged {
    if let Err(reason) = check_size(&admitted, body.len()) {
        return give_up(admitted, reason);
    }
    let judged = check_body(&mut admitted, body);
    let (event, id, flaw) = match judged {
        Ok(event) => (Some(event), None, None),
        Err(unfit) => (unfit.event.map(|event| *event), unfit.generation_id, Some(unfit.reason)),
    };
    let whole = Whole { first: admitted.flaw.or(flaw), of_body: flaw, event, id, admitted };
    let Admitted { hook, token, .. } = &whole.admitted;
    match (hook.mode, hook.checks.trust) {
        (Mode::Observe, _) => whole.observe(),
        (Mode::Enforce, Check::Enforce) => {
            let step = hook.trust.judge(token, whole.payload(), whole.kept());
            whole.step(step, Confirmed::No)
        }
        (Mode::Enforce, _) => whole.trust_observed(),
    }
}

/// Ends a delivery that the provider was asked about.
pub fn conclude(question: Question, outcome: Outcome) -> Judged {
    let Question(whole) = question;
    let Admitted { hook, token, .. } = &whole.admitted;
    let step = hook.trust.conclude(token, hook.quarantine, whole.payload(), whole.kept(), outcome.answer());
    whole.step(step, if outcome == Outcome::Confirmed { Confirmed::Yes } else { Confirmed::No })
}

fn check_body(admitted: &mut Admitted, body: &[u8]) -> Result<Event, Unfit> {
    let Admitted { hook, token, observed, content_type, .. } = admitted;
    if body.is_empty() {
        return Err(Reason::BodyMissing.into());
    }
    let payload = json::parse(body, hook.max_depth, hook.dialect.known())?;
    let mut claim = hook.dialect.read(&payload)?;
    claim.drift.expect("content-type", *content_type != ContentType::Other);
    let drifted = hook.schema.check(&claim.drift);
    let event = event::check(claim)
        .map_err(|unfit| Unfit { reason: drifted.err().unwrap_or(unfit.reason), ..unfit })?;
    let prompt = hook.dialect.prompt(&payload);
    match drifted.and_then(|()| check_event(hook, &event, token, prompt, observed)) {
        Ok(()) => Ok(event),
        Err(reason) => {
            Err(Unfit { reason, generation_id: Some(event.generation_id), event: Some(event.into()) })
        }
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

/// Judges the size of what has arrived so far, so that too much of it is never waited for.
///
/// # Errors
/// [`Reason::BodyTooLarge`].
pub fn check_size(admitted: &Admitted, so_far: usize) -> Result<(), Reason> {
    if so_far <= admitted.hook.max_body_bytes { Ok(()) } else { Err(Reason::BodyTooLarge) }
}

/// Ends a delivery that is not read to its end: nobody's can be held.
pub fn give_up(admitted: Admitted, end: Reason) -> Judged {
    let heard = admitted.before(end);
    match admitted.hook.mode {
        Mode::Enforce => Judged::Refuse(admitted.refuse(heard, None)),
        Mode::Observe => {
            let proven = admitted.is_proven();
            let whole = Whole { first: Some(heard), of_body: Some(heard), event: None, id: None, admitted };
            if proven {
                whole.deliver(Verdict::Observed, Some(heard), Confirmed::No)
            } else {
                whole.observe()
            }
        }
    }
}

/// Runs a check as it is set: in observe it only leaves its mark.
fn apply(check: Check, judged: Result<(), Reason>, observed: &mut Vec<Reason>) -> Result<(), Reason> {
    match (check, judged) {
        (Check::Observe, Err(reason)) => {
            observed.push(reason);
            Ok(())
        }
        (_, judged) => judged,
    }
}

/// What became of a delivery.
#[derive(Debug)]
pub enum Judged {
    /// It goes on.
    Forward(Delivery),
    /// It goes nowhere.
    Refuse(Refusal),
    /// The provider has to be asked first.
    Ask(Question),
}

/// A head that may be followed by a body: the only way to have a body judged.
#[derive(Debug)]
pub struct Admitted {
    hook: Arc<Hook>,
    /// The first flaw of the head, the token's aside.
    flaw: Option<Reason>,
    token: Token,
    observed: Vec<Reason>,
    content_type: ContentType,
}

impl Admitted {
    /// The hook that it came to.
    pub fn hook(&self) -> &Arc<Hook> {
        &self.hook
    }

    /// What its token is worth.
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// Whether its sender has proven itself already.
    pub fn is_proven(&self) -> bool {
        self.token.claims().is_some()
    }

    /// What is heard where `end` ends the delivery.
    fn before(&self, end: Reason) -> Reason {
        self.flaw.filter(|_| !self.is_proven()).unwrap_or(end)
    }

    /// Whether its sender is to come back where Envoy answers before the gate: it has proven itself, and the hook does
    /// not leave answers alone.
    pub fn comes_back(&self) -> bool {
        self.is_proven() && self.hook.mode == Mode::Enforce
    }

    fn refuse(self, reason: Reason, generation_id: Option<GenerationId>) -> Refusal {
        Refusal { hook: Some(self.hook), reason, generation_id, token: self.token }
    }
}
