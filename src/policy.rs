//! The whole policy: [`admit`] judges the head, [`accept`] the whole delivery, [`conclude`] what the provider was asked
//! about. Pure: everything is an argument.

use crate::confirm::Outcome;
use crate::dialect::Unfit;
use crate::event::{self, Event, GenerationId};
use crate::head::Head;
use crate::hook::{self, Check, Hook, Mode, Quarantine};
use crate::request::ContentType;
use crate::token::{self, Token};
use crate::trust::{Payload, Step};
use crate::{Reason, json, request, result_url, source, transport};
use std::sync::Arc;

/// Judges the head of a delivery, after [`crate::clean`].
///
/// # Errors
/// A [`Refusal`] with the first flaw in stage order, where no proof can turn it into "kept" any more. A hook in observe
/// mode refuses nothing: there the flaw goes with the delivery.
pub fn admit(hooks: &[Arc<Hook>], head: &Head<'_>) -> Result<Admitted, Refusal> {
    let (hook, token) = hook::find(hooks, head.path).map_err(Refusal::unknown_hook)?;
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
    let whole = Whole { first: admitted.flaw.or(flaw), late: flaw, event, id, admitted };
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
            let whole = Whole { first: Some(heard), late: Some(heard), event: None, id: None, admitted };
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

/// A delivery that was read to its end, and what was found.
#[derive(Debug)]
struct Whole {
    admitted: Admitted,
    event: Option<Event>,
    id: Option<GenerationId>,
    /// The first flaw, the token's aside.
    first: Option<Reason>,
    /// The first flaw of the body.
    late: Option<Reason>,
}

impl Whole {
    fn payload(&self) -> Payload {
        match (self.first, &self.event) {
            (None, _) => Payload::Fine,
            (Some(flaw), Some(_)) => Payload::Flawed(flaw),
            (Some(flaw), None) => Payload::Unreadable(flaw),
        }
    }

    /// The first flaw in stage order, the token's included where the rule names it.
    fn kept(&self) -> Option<Reason> {
        let Admitted { hook, flaw, token, .. } = &self.admitted;
        let token = if hook.trust.names_token() { token.flaw() } else { None };
        flaw.or(token).or(self.late)
    }

    fn step(mut self, step: Step, confirmed: Confirmed) -> Judged {
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
    fn trust_observed(mut self) -> Judged {
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
    fn observe(mut self) -> Judged {
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

    fn deliver(self, verdict: Verdict, reason: Option<Reason>, confirmed: Confirmed) -> Judged {
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
enum Confirmed {
    No,
    Yes,
}

/// A delivery that waits for the provider's word.
#[derive(Debug)]
pub struct Question(Whole);

impl Question {
    /// The hook that it came to.
    pub fn hook(&self) -> &Arc<Hook> {
        self.0.admitted.hook()
    }

    /// [`Admitted::comes_back`]
    pub fn comes_back(&self) -> bool {
        self.0.admitted.comes_back()
    }

    /// What the provider is asked about.
    pub fn event(&self) -> Option<&Event> {
        self.0.event.as_ref()
    }
}

/// A judged delivery: the only way to forward one.
#[derive(Debug)]
pub struct Delivery {
    hook: Arc<Hook>,
    verdict: Verdict,
    reason: Option<Reason>,
    event: Option<Event>,
    generation_id: Option<GenerationId>,
    observed: Vec<Reason>,
    content_type: ContentType,
    token: Token,
    proofs: Vec<Proof>,
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

/// What held: a value of `blobgate-proofs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The callback token.
    Token,
    /// The provider said the same.
    Confirmed,
}

impl Proof {
    /// The value in `blobgate-proofs`.
    pub const fn name(self) -> &'static str {
        match self {
            Proof::Token => "token",
            Proof::Confirmed => "confirmed",
        }
    }
}

/// How a forwarded delivery was judged: the value of `blobgate-verdict`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Everything holds.
    Accepted,
    /// Proven, and wrong.
    Quarantined,
    /// The hook only observes.
    Observed,
}

impl Verdict {
    /// The value of `blobgate-verdict`.
    pub const fn name(self) -> &'static str {
        match self {
            Verdict::Accepted => "accepted",
            Verdict::Quarantined => "quarantined",
            Verdict::Observed => "observed",
        }
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
    fn unknown_hook(reason: Reason) -> Self {
        Refusal { hook: None, reason, generation_id: None, token: Token::Absent }
    }
}

impl From<Reason> for Unfit {
    fn from(reason: Reason) -> Self {
        Unfit { reason, generation_id: None, event: None }
    }
}
