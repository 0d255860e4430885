//! The whole policy: [`admit`] judges the head, [`accept`] the whole delivery. Pure: everything is an argument.

use crate::config::{ConfigError, Node, not_in_this_version};
use crate::dialect::Unfit;
use crate::event::{self, Event, GenerationId};
use crate::headers::Headers;
use crate::hook::{self, Check, Hook, Mode};
use crate::request::ContentType;
use crate::{Reason, json, request, result_url, source, transport};
use std::sync::Arc;

/// Judges the head of a delivery, after [`crate::clean`].
///
/// # Errors
/// A [`Refusal`] with the first flaw in stage order. A hook in observe mode refuses nothing: there the flaw goes
/// with the delivery.
pub fn admit(hooks: &[Arc<Hook>], head: &Head<'_>) -> Result<Admitted, Refusal> {
    let hook =
        hook::find(hooks, head.path).map_err(|reason| Refusal { hook: None, reason, generation_id: None })?;
    let mut observed = Vec::new();
    let flaw = check_head(hook, head, &mut observed).err();
    let content_type = request::content_type(head);
    let admitted = Admitted { hook: Arc::clone(hook), flaw, observed, content_type };
    match (flaw, hook.mode) {
        (Some(reason), Mode::Enforce) => Err(admitted.refuse(reason, None)),
        _ => Ok(admitted),
    }
}

fn check_head(hook: &Hook, head: &Head<'_>, observed: &mut Vec<Reason>) -> Result<(), Reason> {
    transport::check(&hook.transport, head)?;
    apply(hook.checks.source, source::check(&hook.source, &hook.transport, head), observed)?;
    request::check(hook.max_body_bytes, head)
}

/// Judges the whole delivery once its last byte is there.
///
/// # Errors
/// A [`Refusal`] with the first flaw in stage order, unless the hook is in observe mode.
pub fn accept(mut admitted: Admitted, body: &[u8]) -> Result<Delivery, Refusal> {
    let judged = check_body(&mut admitted, body);
    match (admitted.hook.mode, judged) {
        (Mode::Enforce, Ok(event)) => Ok(admitted.deliver(Verdict::Accepted, None, Some(event))),
        (Mode::Enforce, Err(unfit)) => Err(admitted.refuse(unfit.reason, unfit.generation_id)),
        (Mode::Observe, judged) => {
            let (event, flaw) = match judged {
                Ok(event) => (Some(event), None),
                Err(unfit) => (unfit.event.map(|event| *event), Some(unfit.reason)),
            };
            let reason = admitted.flaw.or(flaw);
            Ok(admitted.deliver(Verdict::Observed, reason, event))
        }
    }
}

fn check_body(admitted: &mut Admitted, body: &[u8]) -> Result<Event, Unfit> {
    check_size(admitted, body.len())?;
    let Admitted { hook, observed, content_type, .. } = admitted;
    if body.is_empty() {
        return Err(Reason::BodyMissing.into());
    }
    let payload = json::parse(body, hook.max_depth, hook.dialect.known())?;
    let mut claim = hook.dialect.read(&payload)?;
    claim.drift.expect("content-type", *content_type != ContentType::Other);
    let drifted = hook.schema.check(&claim.drift).err();
    let event = match event::check(claim) {
        Ok(event) => event,
        Err(unfit) => return Err(Unfit { reason: drifted.unwrap_or(unfit.reason), ..unfit }),
    };
    match drifted.map_or_else(|| check_event(hook, &event, observed), Err) {
        Ok(()) => Ok(event),
        Err(reason) => {
            Err(Unfit { reason, generation_id: Some(event.generation_id), event: Some(event.into()) })
        }
    }
}

fn check_event(hook: &Hook, event: &Event, observed: &mut Vec<Reason>) -> Result<(), Reason> {
    let Some(url) = &event.result_url else { return Ok(()) };
    apply(hook.checks.result_url, result_url::check(&hook.result_url, url), observed)
}

/// Judges the size of what has arrived so far, so that too much of it is never waited for.
///
/// # Errors
/// [`Reason::BodyTooLarge`].
pub fn check_size(admitted: &Admitted, so_far: usize) -> Result<(), Reason> {
    if so_far <= admitted.hook.max_body_bytes { Ok(()) } else { Err(Reason::BodyTooLarge) }
}

/// Ends a delivery that is not read to its end.
///
/// # Errors
/// A [`Refusal`] with the first flaw, unless the hook is in observe mode.
pub fn give_up(admitted: Admitted, reason: Reason) -> Result<Delivery, Refusal> {
    let reason = admitted.flaw.unwrap_or(reason);
    match admitted.hook.mode {
        Mode::Enforce => Err(admitted.refuse(reason, None)),
        Mode::Observe => Ok(admitted.deliver(Verdict::Observed, Some(reason), None)),
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

/// What the gate knows of a request before its body.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// `:method`.
    pub method: &'a [u8],
    /// `:path`, with its query.
    pub path: &'a [u8],
    /// Every header, cleaned.
    pub headers: &'a Headers,
    /// Whether this hop is encrypted.
    pub hop: Hop,
    /// Envoy's `source.address`, with its port.
    pub source: Option<&'a [u8]>,
    /// The direct peer's address, without a port. Only a hook behind a proxy asks for it.
    pub peer: Option<&'a [u8]>,
    /// Whether a body follows.
    pub ending: Ending,
}

/// How the request reached this Envoy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// Over TLS.
    Tls,
    /// In plaintext.
    Plaintext,
}

/// Where the request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With its head.
    Here,
    /// After a body or trailers.
    Later,
}

/// Whose word counts (`trust`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Nobody proves anything: whoever passes the other checks is believed.
    Open,
}

impl Trust {
    pub(crate) fn parse(node: &Node<'_>) -> Result<Self, ConfigError> {
        match node.as_text() {
            Some("open") => Ok(Trust::Open),
            _ => Err(not_in_this_version(node, "open")),
        }
    }
}

/// A head that may be followed by a body: the only way to have a body judged.
#[derive(Debug)]
pub struct Admitted {
    hook: Arc<Hook>,
    flaw: Option<Reason>,
    observed: Vec<Reason>,
    content_type: ContentType,
}

impl Admitted {
    /// The hook that it came to.
    pub fn hook(&self) -> &Arc<Hook> {
        &self.hook
    }

    fn deliver(self, verdict: Verdict, reason: Option<Reason>, event: Option<Event>) -> Delivery {
        let Self { hook, observed, content_type, .. } = self;
        Delivery { hook, verdict, reason, event, observed, content_type }
    }

    fn refuse(&self, reason: Reason, generation_id: Option<GenerationId>) -> Refusal {
        Refusal { hook: Some(Arc::clone(&self.hook)), reason, generation_id }
    }
}

/// A judged delivery: the only way to forward one.
#[derive(Debug)]
pub struct Delivery {
    hook: Arc<Hook>,
    verdict: Verdict,
    reason: Option<Reason>,
    event: Option<Event>,
    observed: Vec<Reason>,
    content_type: ContentType,
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

    /// Why it would not have been accepted.
    pub fn reason(&self) -> Option<Reason> {
        self.reason
    }

    /// What it says, where that is readable.
    pub fn event(&self) -> Option<&Event> {
        self.event.as_ref()
    }

    /// What its head says that the body is.
    pub fn content_type(&self) -> ContentType {
        self.content_type
    }

    /// Which checks in observe mode did not hold.
    pub fn observed(&self) -> &[Reason] {
        &self.observed
    }
}

/// How a forwarded delivery was judged: the value of `blobgate-verdict`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Everything holds.
    Accepted,
    /// The hook only observes.
    Observed,
}

impl Verdict {
    /// The value of `blobgate-verdict`.
    pub const fn name(self) -> &'static str {
        match self {
            Verdict::Accepted => "accepted",
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
}

impl From<Reason> for Unfit {
    fn from(reason: Reason) -> Self {
        Unfit { reason, generation_id: None, event: None }
    }
}

#[cfg(test)]
impl<'a> Head<'a> {
    /// A head without a flaw, for tests to spoil.
    pub(crate) fn of(headers: &'a Headers) -> Self {
        Head {
            method: b"POST",
            path: b"/webhook",
            headers,
            hop: Hop::Tls,
            source: Some(b"127.0.0.1:4000"),
            peer: None,
            ending: Ending::Later,
        }
    }
}
