//! Decides on an arrival by the stored state of its generation and token.
//!
//! Pure: the store reads the state under the generation's lock, and writes the decision before it releases the lock.

mod plan;
mod quota;

use crate::arrival::Arrival;
use crate::entry::{ExpectationState, Fingerprint, Origin, QuarantineCause, QuarantineReason, Superseded};
use blobgate::event::Kind;
use blobgate::policy::Verdict;
pub(crate) use plan::{
    ArrivalOutcome, Batch, NewEntry, Plan, QuarantineKey, QuarantineQuery, QuarantineRows,
};
pub(crate) use quota::{Account, GenerationUsage, QuarantineRoom, TokenUsage};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The state of a batch's generations and tokens. Each decision changes it.
#[derive(Debug, Default)]
pub(crate) struct BatchState {
    pub(crate) generations: BTreeMap<GenerationKey, GenerationState>,
    pub(crate) tokens: BTreeMap<TokenKey, TokenState>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GenerationKey {
    pub(crate) hook: String,
    pub(crate) generation: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TokenKey {
    pub(crate) hook: String,
    pub(crate) token_id: String,
}

/// The state of a generation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GenerationState {
    /// The token that is bound to it.
    pub(crate) token_id: Option<String>,
    /// The job of the application's announcement.
    pub(crate) expected: Option<String>,
    pub(crate) completed: Option<TerminalEvent>,
    pub(crate) failure: Option<TerminalEvent>,
    /// The new state of its expectation, if this batch meets it.
    pub(crate) expectation_state: Option<ExpectationState>,
    /// Whether it differs from the stored row.
    pub(crate) changed: bool,
}

/// The end of a generation, as one accepted delivery reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TerminalEvent {
    /// The id of its entry.
    pub(crate) id: i64,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) origin: Origin,
    pub(crate) authenticated: bool,
}

/// The state of a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TokenState {
    /// The generation that is bound to it.
    pub(crate) generation: Option<String>,
    /// Whether it differs from the stored row.
    pub(crate) changed: bool,
}

/// The decision on an arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ArrivalDecision {
    /// Deliver a new event. It may supersede another event. `retires` is the entry of that event, unless it was delivered.
    Deliver { supersedes: Option<Superseded>, retires: Option<i64> },
    /// A repeat of the event of this entry.
    Repeat { of: i64 },
    /// Quarantine the arrival, for the gate's reason or the inbox's.
    Quarantine(QuarantineCause),
    /// Deliver the arrival, and bind nothing.
    Observe,
}

impl BatchState {
    /// Decides on one arrival, and updates the state. `id` is the id of a new entry.
    pub(crate) fn decide(&mut self, arrival: &Arrival, id: i64) -> ArrivalDecision {
        match (arrival.verdict, arrival.generation_key(), &arrival.fingerprint) {
            (Verdict::Observed, ..) => ArrivalDecision::Observe,
            (Verdict::Accepted, Some(key), Some(fingerprint)) => {
                self.decide_event(arrival, key, fingerprint, id)
            }
            _ => {
                let none = || QuarantineReason::Other(String::new());
                let detail = arrival.detail.clone().map(Cow::Owned);
                let reason = arrival.reason.clone().unwrap_or_else(none);
                ArrivalDecision::Quarantine(QuarantineCause { reason, detail })
            }
        }
    }

    /// The generation that a token is bound to.
    pub(crate) fn own_generation(&self, token: &TokenKey) -> Option<&String> {
        self.tokens.get(token)?.generation.as_ref()
    }

    /// The hook, generation and new state of each met expectation.
    pub(crate) fn met_expectations(&self) -> impl Iterator<Item = (&str, &str, &'static str)> {
        self.generations
            .iter()
            .filter_map(|(key, row)| Some((&*key.hook, &*key.generation, row.expectation_state?.name())))
    }

    fn decide_event(
        &mut self,
        arrival: &Arrival,
        key: GenerationKey,
        fingerprint: &Fingerprint,
        id: i64,
    ) -> ArrivalDecision {
        let generation = self.generations.entry(key).or_default();
        let token = arrival.binding_key().map(|key| self.tokens.entry(key).or_default());
        if let Err(cause) = check_binding(arrival, generation, token.as_deref()) {
            return ArrivalDecision::Quarantine(cause);
        }
        let decision = generation.end(arrival, fingerprint, id);
        if !matches!(decision, ArrivalDecision::Quarantine(_)) {
            bind(arrival, generation, token);
        }
        decision
    }
}

/// A bound token must name its own generation, and a bound generation must come with its own token.
///
/// The first use binds, which is a guess. An announcement is certain: a token of the announced job is accepted, even if it or the
/// generation is already bound. A delivery with a token of another job is quarantined, even at the first use of the token. A
/// token without a job is bound by its first use.
fn check_binding(
    arrival: &Arrival,
    generation: &GenerationState,
    token: Option<&TokenState>,
) -> Result<(), QuarantineCause> {
    use QuarantineReason::{TokenConflict, TokenReused};
    let Some((token, id)) = token.zip(arrival.token.as_ref().map(|token| &token.id)) else { return Ok(()) };
    match generation.explains(arrival) {
        Some(true) => return Ok(()),
        Some(false) => return Err(QuarantineCause::own(TokenConflict, OTHER_JOB)),
        None => {}
    }
    if token.generation.is_some() && token.generation != arrival.generation {
        return Err(QuarantineCause::own(TokenReused, OTHER_GENERATION));
    }
    match &generation.token_id {
        Some(bound) if bound != id => Err(QuarantineCause::own(TokenConflict, OTHER_TOKEN)),
        _ => Ok(()),
    }
}

const OTHER_JOB: &str = "job: differs from the announced job, expected the announced job";
const OTHER_GENERATION: &str =
    "generation_id: differs from the generation of the token, expected one generation a token";
const OTHER_TOKEN: &str = "token: differs from the token of the generation, expected one token a generation";

fn bind(arrival: &Arrival, generation: &mut GenerationState, token: Option<&mut TokenState>) {
    let Some(token) = token else { return };
    let is_explained = generation.explains(arrival) == Some(true);
    if token.generation.is_none() || (is_explained && token.generation != arrival.generation) {
        *token = TokenState { generation: arrival.generation.clone(), changed: true };
    }
    let id = arrival.token.as_ref().map(|token| &token.id);
    if generation.token_id.is_none() || (is_explained && generation.token_id.as_ref() != id) {
        generation.token_id = id.cloned();
        generation.changed = true;
    }
}

impl TokenState {
    /// Whether the token has no generation. Its row then exists only for the lock.
    pub(crate) fn is_empty(&self) -> bool {
        self.generation.is_none()
    }
}

impl GenerationState {
    /// Whether it has no state. The row then exists only for its lock.
    pub(crate) fn is_empty(&self) -> bool {
        self.token_id.is_none()
            && self.expected.is_none()
            && self.completed.is_none()
            && self.failure.is_none()
    }

    /// Whether the arrival names the expected job. `None` if there is no expectation, or the arrival names no job.
    pub(crate) fn explains(&self, arrival: &Arrival) -> Option<bool> {
        Some(self.expected.as_ref()? == arrival.job.as_ref()?)
    }

    /// Decides on an event by the earlier events of its generation.
    fn end(&mut self, arrival: &Arrival, fingerprint: &Fingerprint, id: i64) -> ArrivalDecision {
        let kind = fingerprint.kind();
        let own = if kind == Kind::Completed { &mut self.completed } else { &mut self.failure };
        if let Some(own) = own
            && own.is_same(arrival, fingerprint)
        {
            if own.origin == Origin::Reconcile && arrival.authenticated {
                // Later events are compared with the provider's webhook instead of the reconciled event.
                own.fingerprint.clone_from(fingerprint);
                own.origin = arrival.origin;
                self.changed = true;
            }
            return ArrivalDecision::Repeat { of: own.id };
        }
        let (completed, failure) = (self.completed.as_ref(), self.failure.as_ref());
        let own = if kind == Kind::Completed { completed } else { failure };
        // An unauthenticated event never blocks an authenticated one.
        let supersedes_unauthenticated =
            arrival.authenticated && [completed, failure].into_iter().flatten().all(|end| !end.authenticated);
        let decision = match (own, own.or(completed).or(failure)) {
            (_, None) => ArrivalDecision::Deliver { supersedes: None, retires: None },
            (_, Some(before)) if supersedes_unauthenticated => {
                before.superseded_as(Superseded::Unauthenticated)
            }
            // A completion supersedes a failure.
            (None, Some(failure))
                if kind == Kind::Completed && (arrival.authenticated || !failure.authenticated) =>
            {
                failure.superseded_as(failure.as_superseded())
            }
            (_, Some(before)) => {
                let detail = conflict(before, fingerprint);
                ArrivalDecision::Quarantine(QuarantineCause::own(QuarantineReason::EventConflict, detail))
            }
        };
        if matches!(decision, ArrivalDecision::Deliver { .. }) {
            if kind != Kind::Completed {
                // Removes an unauthenticated completion: a later completion must supersede this failure.
                self.completed = None;
            }
            let this = TerminalEvent {
                id,
                fingerprint: fingerprint.clone(),
                origin: arrival.origin,
                authenticated: arrival.authenticated,
            };
            if self.expected.is_some() {
                self.expectation_state = Some(match this.origin {
                    Origin::Reconcile => ExpectationState::Reconciled,
                    Origin::Webhook => ExpectationState::Arrived,
                });
            }
            let this = Some(this);
            *(if kind == Kind::Completed { &mut self.completed } else { &mut self.failure }) = this;
            self.changed = true;
        }
        decision
    }
}

impl TerminalEvent {
    fn superseded_as(&self, superseded: Superseded) -> ArrivalDecision {
        ArrivalDecision::Deliver { supersedes: Some(superseded), retires: Some(self.id) }
    }

    /// Whether an arrival is the same event. A reconciled event matches a webhook of the same kind even if URL or code differ,
    /// unless an unauthenticated webhook came first.
    fn is_same(&self, arrival: &Arrival, fingerprint: &Fingerprint) -> bool {
        let is_reconciled = self.origin == Origin::Reconcile || arrival.origin == Origin::Reconcile;
        let same_kind = self.fingerprint.kind() == fingerprint.kind();
        self.fingerprint == *fingerprint
            || (is_reconciled && same_kind && (self.authenticated || !arrival.authenticated))
    }

    /// The value of `blobgate-supersedes` for this event.
    fn as_superseded(&self) -> Superseded {
        match self.fingerprint {
            Fingerprint::Timeout(_) => Superseded::Timeout,
            Fingerprint::Completed(_) | Fingerprint::Failed(_) => Superseded::Failed,
        }
    }
}

/// How an event differs from the stored one.
fn conflict(before: &TerminalEvent, fingerprint: &Fingerprint) -> &'static str {
    use Fingerprint::{Completed, Failed, Timeout};
    match (&before.fingerprint, fingerprint) {
        (Completed(_), Completed(_)) => {
            "video_url: differs from the stored completion, expected the same URL"
        }
        (Failed(_), Failed(_)) => "error: code differs from the stored failure, expected the same code",
        (Timeout(_), Timeout(_)) => "error: code differs from the stored timeout, expected the same code",
        (Failed(_), Timeout(_)) => "event: is timeout after failed, expected failed or completed",
        (Timeout(_), Failed(_)) => "event: is failed after timeout, expected timeout or completed",
        (Completed(_), Failed(_)) => "event: is failed after completed, expected completed",
        (Completed(_), Timeout(_)) => "event: is timeout after completed, expected completed",
        // Only an authenticated completion supersedes an authenticated failure.
        (Failed(_) | Timeout(_), Completed(_)) => {
            "trust: no proof is there, expected a proof, as the stored failure has one"
        }
    }
}

impl Arrival {
    /// The generation that decides on an accepted arrival.
    pub(crate) fn generation_key(&self) -> Option<GenerationKey> {
        let generation = self.generation.clone().filter(|_| self.verdict == Verdict::Accepted)?;
        Some(GenerationKey { hook: self.hook.clone(), generation })
    }

    /// The token, unless it is a static callback URL's.
    fn binding_key(&self) -> Option<TokenKey> {
        self.any_token().filter(|_| self.token.as_ref().is_some_and(|token| token.binds))
    }

    /// The route of its delivery. A route is paused, limited and probed as a whole.
    pub(crate) fn route(&self) -> String {
        let event = self.event().map_or("none", |event| event.name());
        match self.verdict {
            Verdict::Observed => format!("{}/observed/{event}", self.hook),
            _ => format!("{}/{event}", self.hook),
        }
    }

    /// The token, also of a static callback URL.
    pub(crate) fn any_token(&self) -> Option<TokenKey> {
        let token_id = self.token.as_ref()?.id.clone();
        Some(TokenKey { hook: self.hook.clone(), token_id })
    }

    /// The token whose row the store locks. A quarantined arrival locks any token, because its entries are counted.
    pub(crate) fn locked_token(&self) -> Option<TokenKey> {
        match self.verdict {
            Verdict::Accepted => self.binding_key(),
            Verdict::Quarantined => self.any_token(),
            Verdict::Observed => None,
        }
    }
}

#[cfg(test)]
mod tests;
