//! What becomes of an arrival, given what is known of its generation and its token.
//!
//! Pure: the store reads what is known under the generation's lock, and writes what is decided before it lets go.

mod plan;
mod quota;

use crate::arrival::Arrival;
use crate::entry::{ExpectationState, Fingerprint, Origin, QuarantineReason, Superseded};
use blobgate::event::Kind;
use blobgate::policy::Verdict;
pub(crate) use plan::{
    ArrivalOutcome, Batch, NewEntry, Plan, QuarantineAnswers, QuarantineKey, QuarantineQuestions,
};
pub(crate) use quota::{Account, GenerationUsage, QuarantineRoom, TokenUsage};
use std::collections::BTreeMap;

/// What the store knows of the generations and tokens of a batch, and learns while the batch is decided on.
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

/// A generation's row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GenerationState {
    /// The token that it is bound to.
    pub(crate) token_id: Option<String>,
    /// The job that the application says it is of.
    pub(crate) expected: Option<String>,
    pub(crate) completed: Option<TerminalEvent>,
    pub(crate) failure: Option<TerminalEvent>,
    /// What becomes of its expectation, if this batch decides that.
    pub(crate) expectation_state: Option<ExpectationState>,
    /// Whether it differs from what is stored.
    pub(crate) changed: bool,
}

/// How a generation ended, by one accepted delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TerminalEvent {
    /// Its entry.
    pub(crate) id: i64,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) origin: Origin,
    pub(crate) authenticated: bool,
}

/// A token's row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TokenState {
    /// The generation that it is bound to.
    pub(crate) generation: Option<String>,
    /// Whether it differs from what is stored.
    pub(crate) changed: bool,
}

/// What becomes of an arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ArrivalDecision {
    /// A new event, to be delivered. It supersedes what `supersedes` says, and `retires` that entry if it still waits.
    Deliver { supersedes: Option<Superseded>, retires: Option<i64> },
    /// The event of this entry once more.
    Repeat { of: i64 },
    /// Into quarantine, for the gate's reason or for ours.
    Quarantine { reason: QuarantineReason },
    /// Delivered each time, and bound to nothing.
    Observe,
}

impl BatchState {
    /// Decides on one arrival, whose entry would be `id`, and learns from it.
    pub(crate) fn decide(&mut self, arrival: &Arrival, id: i64) -> ArrivalDecision {
        match (arrival.verdict, arrival.generation_key(), &arrival.fingerprint) {
            (Verdict::Observed, ..) => ArrivalDecision::Observe,
            (Verdict::Accepted, Some(key), Some(fingerprint)) => {
                self.decide_event(arrival, key, fingerprint, id)
            }
            _ => {
                let none = || QuarantineReason::Other(String::new());
                ArrivalDecision::Quarantine { reason: arrival.reason.clone().unwrap_or_else(none) }
            }
        }
    }

    /// The generation that a token is bound to.
    pub(crate) fn own_generation(&self, token: &TokenKey) -> Option<&String> {
        self.tokens.get(token)?.generation.as_ref()
    }

    /// The expectations that are met: hook, generation, and the new state.
    pub(crate) fn met(&self) -> impl Iterator<Item = (&str, &str, &'static str)> {
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
        if let Err(reason) = check_binding(arrival, generation, token.as_deref()) {
            return ArrivalDecision::Quarantine { reason };
        }
        let decision = generation.end(arrival, fingerprint, id);
        if !matches!(decision, ArrivalDecision::Quarantine { .. }) {
            bind(arrival, generation, token);
        }
        decision
    }
}

/// A bound token speaks of its own generation only, and a bound generation is spoken of by its own token only.
///
/// Who came first is a guess, and an expectation is not one: where the application has said of which job a generation is, a
/// token of that job may speak of it whatever either is bound to, and a token of another job may not, not even as the first.
/// A token that names no job is guessed about as before.
fn check_binding(
    arrival: &Arrival,
    generation: &GenerationState,
    token: Option<&TokenState>,
) -> Result<(), QuarantineReason> {
    let Some((token, id)) = token.zip(arrival.token.as_ref().map(|token| &token.id)) else { return Ok(()) };
    match generation.explains(arrival) {
        Some(true) => return Ok(()),
        Some(false) => return Err(QuarantineReason::TokenConflict),
        None => {}
    }
    if token.generation.is_some() && token.generation != arrival.generation {
        return Err(QuarantineReason::TokenReused);
    }
    match &generation.token_id {
        Some(bound) if bound != id => Err(QuarantineReason::TokenConflict),
        _ => Ok(()),
    }
}

fn bind(arrival: &Arrival, generation: &mut GenerationState, token: Option<&mut TokenState>) {
    let Some(token) = token else { return };
    let beats = generation.explains(arrival) == Some(true);
    if token.generation.is_none() || (beats && token.generation != arrival.generation) {
        *token = TokenState { generation: arrival.generation.clone(), changed: true };
    }
    let id = arrival.token.as_ref().map(|token| &token.id);
    if generation.token_id.is_none() || (beats && generation.token_id.as_ref() != id) {
        generation.token_id = id.cloned();
        generation.changed = true;
    }
}

impl TokenState {
    /// Whether it is bound to nothing, and there for its lock alone.
    pub(crate) fn is_empty(&self) -> bool {
        self.generation.is_none()
    }
}

impl GenerationState {
    /// Whether nothing is known of it, and it is there for its lock alone.
    pub(crate) fn is_empty(&self) -> bool {
        self.token_id.is_none()
            && self.expected.is_none()
            && self.completed.is_none()
            && self.failure.is_none()
    }

    /// Whether it is expected of the job that an arrival names; none where nothing is expected, or no job is named.
    pub(crate) fn explains(&self, arrival: &Arrival) -> Option<bool> {
        Some(self.expected.as_ref()? == arrival.job.as_ref()?)
    }

    /// How an event fits to how the generation has ended so far.
    fn end(&mut self, arrival: &Arrival, fingerprint: &Fingerprint, id: i64) -> ArrivalDecision {
        let kind = fingerprint.kind();
        let own = if kind == Kind::Completed { &mut self.completed } else { &mut self.failure };
        if let Some(own) = own
            && own.is_same(arrival, fingerprint)
        {
            if own.origin == Origin::Reconcile && arrival.authenticated {
                // From here on others are compared with the provider's own webhook.
                own.fingerprint.clone_from(fingerprint);
                own.origin = arrival.origin;
                self.changed = true;
            }
            return ArrivalDecision::Repeat { of: own.id };
        }
        let (completed, failure) = (self.completed.as_ref(), self.failure.as_ref());
        let own = if kind == Kind::Completed { completed } else { failure };
        // The event of an unauthenticated sender never blocks that of an authenticated one.
        let gives_way =
            arrival.authenticated && [completed, failure].into_iter().flatten().all(|end| !end.authenticated);
        let decision = match (own, own.or(completed).or(failure)) {
            (_, None) => ArrivalDecision::Deliver { supersedes: None, retires: None },
            (_, Some(before)) if gives_way => before.give_way(Superseded::Unauthenticated),
            // Of a completion, so that what is there is a failure.
            (None, Some(failure))
                if kind == Kind::Completed && (arrival.authenticated || !failure.authenticated) =>
            {
                failure.give_way(failure.as_superseded())
            }
            (_, Some(_)) => conflict(),
        };
        if matches!(decision, ArrivalDecision::Deliver { .. }) {
            if kind != Kind::Completed {
                // There was none, or one of an unauthenticated sender: the failure is what a later completion supersedes.
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
    fn give_way(&self, superseded: Superseded) -> ArrivalDecision {
        ArrivalDecision::Deliver { supersedes: Some(superseded), retires: Some(self.id) }
    }

    /// Whether an arrival is the same event. A fetched event matches a webhook of the same kind even if URL or code differ,
    /// unless the webhook's sender was not authenticated.
    fn is_same(&self, arrival: &Arrival, fingerprint: &Fingerprint) -> bool {
        let is_reconciled = self.origin == Origin::Reconcile || arrival.origin == Origin::Reconcile;
        let same_kind = self.fingerprint.kind() == fingerprint.kind();
        self.fingerprint == *fingerprint
            || (is_reconciled && same_kind && (self.authenticated || !arrival.authenticated))
    }

    /// What takes its place says this of it.
    fn as_superseded(&self) -> Superseded {
        match self.fingerprint {
            Fingerprint::Timeout(_) => Superseded::Timeout,
            Fingerprint::Completed(_) | Fingerprint::Failed(_) => Superseded::Failed,
        }
    }
}

fn conflict() -> ArrivalDecision {
    ArrivalDecision::Quarantine { reason: QuarantineReason::EventConflict }
}

impl Arrival {
    /// The generation whose row decides; none for what binds nothing.
    pub(crate) fn generation_key(&self) -> Option<GenerationKey> {
        let generation = self.generation.clone().filter(|_| self.verdict == Verdict::Accepted)?;
        Some(GenerationKey { hook: self.hook.clone(), generation })
    }

    /// The token that it binds, or would.
    fn binding_key(&self) -> Option<TokenKey> {
        self.any_token().filter(|_| self.token.as_ref().is_some_and(|token| token.binds))
    }

    /// Where it is delivered: what is paused, limited and probed as one.
    pub(crate) fn route(&self) -> String {
        let event = self.event().map_or("none", |event| event.name());
        match self.verdict {
            Verdict::Observed => format!("{}/observed/{event}", self.hook),
            _ => format!("{}/{event}", self.hook),
        }
    }

    /// The token that it came with, whatever it binds.
    pub(crate) fn any_token(&self) -> Option<TokenKey> {
        let token_id = self.token.as_ref()?.id.clone();
        Some(TokenKey { hook: self.hook.clone(), token_id })
    }

    /// The token whose row is locked: one that it binds, and of what is quarantined any, for it is counted.
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
