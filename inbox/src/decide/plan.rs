//! The writes of a batch.

use super::quota::{Account, GenerationUsage, QuarantineRoom, Quota, TokenUsage};
use super::{ArrivalDecision, BatchState, GenerationKey, TokenKey};
use crate::arrival::Arrival;
use crate::entry::{EntryState, Lane, QuarantineCause, Superseded};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// The outcome of one arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ArrivalOutcome {
    /// A new event. It waits on this route.
    Waits(String),
    /// A repeat of a stored event.
    Repeated,
    /// Quarantined for this reason.
    Quarantined(QuarantineCause),
    /// Not stored: its token or its generation has used up its share of the quarantine.
    TokenFull,
    /// Not stored: the quarantine has used up its share of the store.
    QuarantineFull,
}

/// The writes of a batch.
#[derive(Debug, Default)]
pub(crate) struct Plan<'a> {
    pub(crate) new: BTreeMap<i64, NewEntry<'a>>,
    /// The number of repeats of each stored entry.
    pub(crate) repeats: BTreeMap<i64, i64>,
    /// Superseded entries, each with the entry that supersedes it.
    pub(crate) retired: BTreeMap<i64, i64>,
}

/// An entry to insert.
#[derive(Debug)]
pub(crate) struct NewEntry<'a> {
    pub(crate) id: i64,
    pub(crate) lane: Lane,
    pub(crate) state: EntryState,
    pub(crate) arrival: &'a Arrival,
    /// The reason of a quarantined or observed delivery.
    pub(crate) cause: Option<QuarantineCause>,
    pub(crate) route: Option<String>,
    pub(crate) supersedes: Option<Superseded>,
    /// The number of its deliveries in the batch.
    pub(crate) seen: i64,
}

/// The unique key of an entry in quarantine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct QuarantineKey {
    pub(crate) hook: String,
    pub(crate) reason: String,
    /// Empty without a token.
    pub(crate) token_id: String,
    pub(crate) digest: [u8; 32],
}

/// A batch in the middle of its decisions.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    pub(crate) state: BatchState,
    plan: Plan<'a>,
    outcomes: Vec<ArrivalOutcome>,
    candidates: Vec<Candidate<'a>>,
}

/// An arrival for quarantine. Its quota is not checked yet.
#[derive(Debug)]
struct Candidate<'a> {
    /// The index in the batch.
    place: usize,
    id: i64,
    arrival: &'a Arrival,
    cause: QuarantineCause,
}

/// The rows of the quarantine that a batch needs.
#[derive(Debug)]
pub(crate) struct QuarantineQuery {
    pub(crate) keys: Vec<QuarantineKey>,
    /// Each token with its own generation.
    pub(crate) tokens: Vec<(TokenKey, Option<String>)>,
    pub(crate) accounts: Vec<Account>,
}

/// The rows for a [`QuarantineQuery`].
#[derive(Debug)]
pub(crate) struct QuarantineRows {
    /// The entries with these keys.
    pub(crate) found: BTreeMap<QuarantineKey, i64>,
    pub(crate) by_token: BTreeMap<TokenKey, TokenUsage>,
    pub(crate) by_generation: BTreeMap<Account, GenerationUsage>,
}

impl<'a> Batch<'a> {
    /// Decides on arrivals, each with the id of its new entry. [`Batch::quarantine`] then decides on those for quarantine.
    pub(crate) fn decide(state: BatchState, arrivals: impl IntoIterator<Item = (&'a Arrival, i64)>) -> Self {
        let mut batch = Self { state, plan: Plan::default(), outcomes: Vec::new(), candidates: Vec::new() };
        for (place, (arrival, id)) in arrivals.into_iter().enumerate() {
            let outcome = match batch.state.decide(arrival, id) {
                ArrivalDecision::Quarantine(cause) => {
                    batch.candidates.push(Candidate { place, id, arrival, cause: cause.clone() });
                    ArrivalOutcome::Quarantined(cause)
                }
                ArrivalDecision::Deliver { supersedes, retires } => {
                    if let Some(retired) = retires {
                        batch.plan.retired.insert(retired, id);
                    }
                    batch.plan.deliver(NewEntry { supersedes, ..entry(arrival, id, Lane::Deliver) })
                }
                ArrivalDecision::Observe => batch.plan.deliver(entry(arrival, id, Lane::Observed)),
                ArrivalDecision::Repeat { of } => {
                    batch.plan.repeat(of);
                    ArrivalOutcome::Repeated
                }
            };
            batch.outcomes.push(outcome);
        }
        batch
    }

    /// The rows that [`Batch::quarantine`] needs. `None` if no arrival is for quarantine.
    pub(crate) fn query(&self) -> Option<QuarantineQuery> {
        if self.candidates.is_empty() {
            return None;
        }
        let arrivals = || self.candidates.iter().map(|candidate| candidate.arrival);
        let keys: BTreeSet<_> = self.candidates.iter().map(Candidate::key).collect();
        let tokens: BTreeMap<_, _> = arrivals()
            .filter_map(Arrival::any_token)
            .map(|key| {
                let own = self.state.own_generation(&key).cloned();
                (key, own)
            })
            .collect();
        let accounts: BTreeSet<_> = arrivals().map(Account::of).collect();
        Some(QuarantineQuery {
            keys: keys.into_iter().collect(),
            tokens: tokens.into_iter().collect(),
            accounts: accounts.into_iter().collect(),
        })
    }

    /// Quarantines arrivals: each body once, and within the quotas.
    pub(crate) fn quarantine(&mut self, rows: QuarantineRows, room: QuarantineRoom) {
        let QuarantineRows { mut found, by_token, by_generation } = rows;
        let max_bytes = room.max_bytes_of_token;
        let mut quota = Quota { state: &self.state, by_token, by_generation, max_bytes };
        for candidate in std::mem::take(&mut self.candidates) {
            let (key, Candidate { place, id, arrival, cause }) = (candidate.key(), candidate);
            let outcome = if let Some(first) = found.get(&key) {
                self.plan.repeat(*first);
                ArrivalOutcome::Repeated
            } else if room.is_full {
                ArrivalOutcome::QuarantineFull
            } else if !quota.accept(arrival) {
                ArrivalOutcome::TokenFull
            } else {
                found.insert(key, id);
                let new = entry(arrival, id, Lane::Quarantine);
                let state = EntryState::Quarantined;
                self.plan.new.insert(id, NewEntry { cause: Some(cause.clone()), state, ..new });
                ArrivalOutcome::Quarantined(cause)
            };
            if let Some(slot) = self.outcomes.get_mut(place) {
                *slot = outcome;
            }
        }
    }

    pub(crate) fn finish(self) -> (Plan<'a>, BatchState, Vec<ArrivalOutcome>) {
        (self.plan, self.state, self.outcomes)
    }
}

impl Candidate<'_> {
    fn key(&self) -> QuarantineKey {
        QuarantineKey {
            hook: self.arrival.hook.clone(),
            reason: self.cause.reason.as_str().to_owned(),
            token_id: self.arrival.token.as_ref().map(|token| token.id.clone()).unwrap_or_default(),
            digest: self.arrival.digest,
        }
    }
}

impl<'a> Plan<'a> {
    fn deliver(&mut self, entry: NewEntry<'a>) -> ArrivalOutcome {
        let route = entry.arrival.route();
        self.new.insert(entry.id, NewEntry { route: Some(route.clone()), ..entry });
        ArrivalOutcome::Waits(route)
    }

    fn repeat(&mut self, id: i64) {
        let seen = match self.new.get_mut(&id) {
            Some(new) => &mut new.seen,
            None => self.repeats.entry(id).or_default(),
        };
        *seen = seen.saturating_add(1);
    }
}

fn entry(arrival: &Arrival, id: i64, lane: Lane) -> NewEntry<'_> {
    let detail = arrival.detail.clone().map(Cow::Owned);
    let cause = arrival.reason.clone().map(|reason| QuarantineCause { reason, detail });
    let state = EntryState::Waiting;
    NewEntry { id, lane, state, arrival, cause, route: None, supersedes: None, seen: 1 }
}

impl BatchState {
    /// The rows without a state, which exist only for their lock.
    pub(crate) fn empty_rows(&self) -> (Vec<GenerationKey>, Vec<TokenKey>) {
        let generations = self.generations.iter().filter(|(_, row)| row.is_empty());
        let tokens = self.tokens.iter().filter(|(_, row)| row.is_empty());
        (generations.map(|(key, _)| key.clone()).collect(), tokens.map(|(key, _)| key.clone()).collect())
    }
}
