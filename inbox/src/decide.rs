//! What becomes of an arrival, given what is known of its generation and its token.
//!
//! Pure: the store reads what is known under the generation's lock, and writes what is decided before it lets go.

use crate::arrival::{Arrival, digest_of_place};
use blobgate::contract::UNAUTHENTICATED;
use blobgate::event::Kind;
use blobgate::policy::Verdict;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// What the store knows of the generations and tokens of a batch, and learns while the batch is decided on.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) generations: BTreeMap<GenerationKey, Generation>,
    pub(crate) tokens: BTreeMap<TokenKey, Token>,
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
pub(crate) struct Generation {
    /// The token that it is bound to.
    pub(crate) token_id: Option<String>,
    /// The job that the application says it is of.
    pub(crate) expected: Option<String>,
    pub(crate) completed: Option<Final>,
    pub(crate) failure: Option<Final>,
    /// What has become of an expectation: the state of its row.
    pub(crate) met: Option<&'static str>,
    /// Whether it differs from what is stored.
    pub(crate) changed: bool,
}

/// How a generation ended, by one accepted delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Final {
    /// Its entry.
    pub(crate) id: i64,
    pub(crate) fact: String,
    pub(crate) proven: bool,
}

/// A token's row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Token {
    /// The generation that it is bound to.
    pub(crate) generation: Option<String>,
    /// Whether it differs from what is stored.
    pub(crate) changed: bool,
}

/// What becomes of an arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// A new event, to be delivered. It supersedes what `supersedes` says, and `retires` that entry if it still waits.
    Deliver { supersedes: Option<&'static str>, retires: Option<i64> },
    /// The event of this entry once more.
    Repeat { of: i64 },
    /// Into quarantine, by the gate's word or by ours.
    Keep { reason: String },
    /// Delivered each time, and bound to nothing.
    Observe,
}

/// Another generation has come with this token.
const TOKEN_REUSED: &str = "token-reused";
/// This generation has come with another token.
const TOKEN_CONFLICT: &str = "token-conflict";
/// This generation has ended otherwise.
const EVENT_CONFLICT: &str = "event-conflict";
/// What an expectation can explain, once it is there.
pub(crate) const EXPLAINED: [&str; 2] = [TOKEN_REUSED, TOKEN_CONFLICT];
/// The reasons that are the inbox's own.
pub(crate) const REASONS: [&str; 3] = [TOKEN_REUSED, TOKEN_CONFLICT, EVENT_CONFLICT];
/// After the fact of an event that the provider was asked for.
const RECONCILED: &str = " reconciled";
/// The states of an expectation that is met.
pub(crate) const ARRIVED: &str = "arrived";
pub(crate) const IS_RECONCILED: &str = "reconciled";

impl Known {
    /// Decides on one arrival, whose entry would be `id`, and learns from it.
    pub(crate) fn decide(&mut self, arrival: &Arrival, id: i64) -> Fate {
        match (arrival.verdict, arrival.generation_key(), arrival.event) {
            (Verdict::Observed, ..) => Fate::Observe,
            (Verdict::Accepted, Some(key), Some(kind)) => self.decide_event(arrival, key, kind, id),
            _ => Fate::Keep { reason: arrival.reason.clone().unwrap_or_default() },
        }
    }

    /// The expectations that are met: hook, generation, and the new state.
    pub(crate) fn met(&self) -> impl Iterator<Item = (&str, &str, &'static str)> {
        self.generations.iter().filter_map(|(key, row)| Some((&*key.hook, &*key.generation, row.met?)))
    }

    fn decide_event(&mut self, arrival: &Arrival, key: GenerationKey, kind: Kind, id: i64) -> Fate {
        let generation = self.generations.entry(key).or_default();
        let token = arrival.binding_key().map(|key| self.tokens.entry(key).or_default());
        if let Err(reason) = check_binding(arrival, generation, token.as_deref()) {
            return Fate::Keep { reason: reason.to_owned() };
        }
        let fate = generation.end(arrival, kind, id);
        if !matches!(fate, Fate::Keep { .. }) {
            bind(arrival, generation, token);
        }
        fate
    }
}

/// A bound token speaks of its own generation only, and a bound generation is spoken of by its own token only.
///
/// Who came first is a guess, and an expectation is not one: where the application has said of which job a generation is, a
/// token of that job may speak of it whatever either is bound to, and a token of another job may not, not even as the first.
/// A token that names no job is guessed about as before.
fn check_binding(
    arrival: &Arrival,
    generation: &Generation,
    token: Option<&Token>,
) -> Result<(), &'static str> {
    let Some((token, id)) = token.zip(arrival.token.as_ref().map(|token| &token.id)) else { return Ok(()) };
    match generation.explains(arrival) {
        Some(true) => return Ok(()),
        Some(false) => return Err(TOKEN_CONFLICT),
        None => {}
    }
    if token.generation.is_some() && token.generation != arrival.generation {
        return Err(TOKEN_REUSED);
    }
    match &generation.token_id {
        Some(bound) if bound != id => Err(TOKEN_CONFLICT),
        _ => Ok(()),
    }
}

fn bind(arrival: &Arrival, generation: &mut Generation, token: Option<&mut Token>) {
    let Some(token) = token else { return };
    let beats = generation.explains(arrival) == Some(true);
    if token.generation.is_none() || (beats && token.generation != arrival.generation) {
        *token = Token { generation: arrival.generation.clone(), changed: true };
    }
    let id = arrival.token.as_ref().map(|token| &token.id);
    if generation.token_id.is_none() || (beats && generation.token_id.as_ref() != id) {
        generation.token_id = id.cloned();
        generation.changed = true;
    }
}

impl Token {
    /// Whether it is bound to nothing, and there for its lock alone.
    pub(crate) fn is_empty(&self) -> bool {
        self.generation.is_none()
    }
}

impl Generation {
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
    fn end(&mut self, arrival: &Arrival, kind: Kind, id: i64) -> Fate {
        let own = if kind == Kind::Completed { &mut self.completed } else { &mut self.failure };
        if let Some(own) = own
            && own.is_same(arrival, kind)
        {
            if own.is_reconciled() && arrival.proven {
                // From here on it is the provider's own webhook that others are compared with.
                own.fact.clone_from(&arrival.fact);
                self.changed = true;
            }
            return Fate::Repeat { of: own.id };
        }
        let (completed, failure) = (self.completed.as_ref(), self.failure.as_ref());
        let own = if kind == Kind::Completed { completed } else { failure };
        // Whoever proved nothing never stands in the way of one who did.
        let gives_way = arrival.proven && [completed, failure].into_iter().flatten().all(|end| !end.proven);
        let fate = match (own, own.or(completed).or(failure)) {
            (_, None) => Fate::Deliver { supersedes: None, retires: None },
            (_, Some(before)) if gives_way => before.give_way(UNAUTHENTICATED),
            // Of a completion, so that what is there is a failure.
            (None, Some(failure)) if kind == Kind::Completed && (arrival.proven || !failure.proven) => {
                failure.give_way(failure.kind())
            }
            (_, Some(_)) => conflict(),
        };
        if matches!(fate, Fate::Deliver { .. }) {
            if kind != Kind::Completed {
                // There was none, or an unproven one: the failure is what a later completion supersedes.
                self.completed = None;
            }
            let this = Final { id, fact: arrival.fact.clone(), proven: arrival.proven };
            if self.expected.is_some() {
                self.met = Some(if this.is_reconciled() { IS_RECONCILED } else { ARRIVED });
            }
            let this = Some(this);
            *(if kind == Kind::Completed { &mut self.completed } else { &mut self.failure }) = this;
            self.changed = true;
        }
        fate
    }
}

impl Final {
    fn give_way(&self, supersedes: &'static str) -> Fate {
        Fate::Deliver { supersedes: Some(supersedes), retires: Some(self.id) }
    }

    /// Whether an arrival tells the same. What was asked for says which event it is: its URL or code stands in nobody's way,
    /// nor anybody's in its way, save that of one who has proven nothing.
    fn is_same(&self, arrival: &Arrival, kind: Kind) -> bool {
        if self.fact == arrival.fact {
            return true;
        }
        let (this, other) = (without_reconciled(&self.fact), without_reconciled(&arrival.fact));
        let is_reconciled = this != self.fact || other != arrival.fact;
        let this = place_as_digest(this);
        let same_kind = kind == Kind::Completed || this.split(' ').next() == other.split(' ').next();
        this == other || (is_reconciled && same_kind && (self.proven || !arrival.proven))
    }

    fn is_reconciled(&self) -> bool {
        self.fact.ends_with(RECONCILED)
    }

    /// Of a failure.
    fn kind(&self) -> &'static str {
        if self.fact.starts_with(Kind::Timeout.name()) { Kind::Timeout.name() } else { Kind::Failed.name() }
    }
}

/// Programs before this one noted where a video is; this one a digest of that.
pub(crate) fn place_as_digest(fact: &str) -> Cow<'_, str> {
    match fact.strip_suffix(RECONCILED) {
        _ if !fact.contains("://") => fact.into(),
        Some(place) => format!("{}{RECONCILED}", digest_of_place(place)).into(),
        None => digest_of_place(fact).into(),
    }
}

fn without_reconciled(fact: &str) -> &str {
    fact.strip_suffix(RECONCILED).unwrap_or(fact)
}

fn conflict() -> Fate {
    Fate::Keep { reason: EVENT_CONFLICT.to_owned() }
}

impl Arrival {
    /// The same, not sent but asked for.
    pub(crate) fn reconciled(self) -> Self {
        Self { fact: format!("{}{RECONCILED}", self.fact), ..self }
    }

    /// The generation whose row decides; none for what binds nothing.
    pub(crate) fn generation_key(&self) -> Option<GenerationKey> {
        let generation = self.generation.clone().filter(|_| self.verdict == Verdict::Accepted)?;
        Some(GenerationKey { hook: self.hook.clone(), generation })
    }

    /// The token that it binds, or would.
    fn binding_key(&self) -> Option<TokenKey> {
        self.any_token().filter(|_| self.token.as_ref().is_some_and(|token| token.binds))
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
