//! A batch of arrivals in one transaction: everything about them is read under their locks, decided, and written.

mod quota;
mod rehearsal;

use super::Error;
use crate::arrival::Arrival;
use crate::decide::{Fate, GenerationKey, Known, TokenKey};
use crate::space::Room;
use blobgate::policy::Verdict;
use quota::Quota;
pub(super) use quota::{Account, HeldBy, HeldIn};
pub(super) use rehearsal::rehearse;
use std::collections::{BTreeMap, BTreeSet};

/// Where a transaction has the ids of new entries from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ids {
    /// The next ones.
    Next,
    /// From this negative one down, of entries that are taken back: a person sees no gaps.
    Rehearsed(i64),
}

impl Ids {
    /// Such that two inboxes do not wait for each other's rows.
    pub(super) fn rehearsed() -> Self {
        let now = time::OffsetDateTime::now_utc().unix_timestamp_nanos();
        let random = i64::try_from(now & i128::from(i64::MAX >> 2)).unwrap_or_default();
        Ids::Rehearsed(random.saturating_neg().saturating_sub(1))
    }

    /// So many, if they are rehearsed.
    pub(super) fn take(&mut self, count: i64) -> Option<Vec<i64>> {
        let Ids::Rehearsed(next) = self else { return None };
        let first = *next;
        *next = next.saturating_sub(count);
        Some((0..count).map(|number| first.saturating_sub(number)).collect())
    }
}

/// The statements of the deciding transaction.
pub(super) trait Deciding {
    /// So many ids for new entries.
    async fn ids(&mut self, count: usize) -> Result<Vec<i64>, Error>;
    /// Locks these rows in their order, making those that are missing, and reads them.
    async fn lock(
        &mut self,
        generations: &BTreeSet<GenerationKey>,
        tokens: &BTreeSet<TokenKey>,
    ) -> Result<Known, Error>;
    /// Which of these are kept already, and as which entry.
    async fn find_kept(&mut self, keys: &[KeptKey]) -> Result<BTreeMap<KeptKey, i64>, Error>;
    /// What is kept with each of these tokens; beside each, the generation that is its own.
    async fn count_kept(
        &mut self,
        tokens: &[(TokenKey, Option<String>)],
    ) -> Result<BTreeMap<TokenKey, HeldBy>, Error>;
    /// What is kept of each of these generations.
    async fn count_kept_in(&mut self, accounts: &[Account]) -> Result<BTreeMap<Account, HeldIn>, Error>;
    async fn insert(&mut self, entries: &[NewEntry<'_>]) -> Result<(), Error>;
    /// Counts so many repeats of each of these entries.
    async fn repeat(&mut self, repeats: &BTreeMap<i64, i64>) -> Result<(), Error>;
    /// Ends these entries where they wait, and marks them where they are in flight.
    async fn retire(&mut self, ids: &[i64]) -> Result<(), Error>;
    /// Writes what has changed.
    async fn save(&mut self, known: &Known) -> Result<(), Error>;
    /// Holds a kept entry. Returns whether it is one still.
    async fn hold_kept(&mut self, id: i64) -> Result<bool, Error>;
    /// Ends a kept entry, and says why.
    async fn end_kept(&mut self, id: i64, why: &str) -> Result<(), Error>;
    /// Takes out the rows that were only locked: of a refused arrival nothing stays.
    async fn tidy(&mut self, generations: &[GenerationKey], tokens: &[TokenKey]) -> Result<(), Error>;
}

/// What makes an entry of quarantine one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KeptKey {
    pub(super) hook: String,
    pub(super) reason: String,
    /// Empty where there is no token.
    pub(super) token_id: String,
    pub(super) digest: [u8; 32],
}

/// An entry that is to be inserted.
#[derive(Debug)]
pub(super) struct NewEntry<'a> {
    pub(super) id: i64,
    pub(super) lane: &'static str,
    pub(super) state: &'static str,
    pub(super) arrival: &'a Arrival,
    pub(super) reason: Option<String>,
    pub(super) route: Option<String>,
    pub(super) supersedes: Option<&'static str>,
    /// How often it came.
    pub(super) seen: i64,
}

/// What became of one arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is a new event and waits on this route.
    Waits(String),
    /// It was there already.
    Repeated,
    /// It is in quarantine, for this reason.
    Kept(String),
    /// It is not stored: its token, or its generation, has as much in quarantine as one may.
    TokenFull,
    /// It is not stored: the quarantine has its share of the store.
    QuarantineFull,
}

/// Decides on a batch.
pub(super) async fn decide(
    tx: &mut impl Deciding,
    arrivals: &[&Arrival],
    room: Room,
) -> Result<Vec<Outcome>, Error> {
    let generations = arrivals.iter().filter_map(|arrival| arrival.generation_key()).collect();
    let tokens = arrivals.iter().filter_map(|arrival| arrival.locked_token()).collect();
    let ids = tx.ids(arrivals.len()).await?;
    let mut known = tx.lock(&generations, &tokens).await?;

    let mut plan = Plan::default();
    let mut outcomes = Vec::with_capacity(arrivals.len());
    let mut keeps = Vec::new();
    for ((at, arrival), id) in arrivals.iter().enumerate().zip(ids) {
        let mut fate = known.decide(arrival, id);
        if crate::failpoint::broken_by!("break-no-unique-key") {
            fate = Fate::Observe;
        }
        if let Fate::Keep { reason } = &fate {
            keeps.push((at, id, reason.clone()));
        }
        outcomes.push(plan.add(arrival, id, fate));
    }
    if !keeps.is_empty() {
        for (at, outcome) in plan.keep(tx, &known, arrivals, keeps, room).await? {
            if let Some(slot) = outcomes.get_mut(at) {
                *slot = outcome;
            }
        }
    }
    plan.write(tx, &known).await?;
    Ok(outcomes)
}

/// Decides on a kept entry as on an arrival of now, and ends it as a kept one. What would be kept again, for whatever reason,
/// stays as it is. Returns nothing where it is not kept any more.
pub(super) async fn release(
    tx: &mut impl Deciding,
    kept: i64,
    arrival: &Arrival,
    why: &str,
) -> Result<Option<Outcome>, Error> {
    let generations = arrival.generation_key().into_iter().collect();
    let mut known = tx.lock(&generations, &arrival.locked_token().into_iter().collect()).await?;
    let mut plan = Plan::default();
    let mut outcome = None;
    if tx.hold_kept(kept).await? {
        for id in tx.ids(1).await? {
            let fate = known.decide(arrival, id);
            let decided = plan.add(arrival, id, fate);
            if !matches!(decided, Outcome::Kept(_)) {
                tx.end_kept(kept, why).await?;
            }
            outcome = Some(decided);
        }
    }
    plan.write(tx, &known).await?;
    Ok(outcome)
}

#[derive(Default)]
struct Plan<'a> {
    new: BTreeMap<i64, NewEntry<'a>>,
    repeats: BTreeMap<i64, i64>,
    retired: Vec<i64>,
}

impl<'a> Plan<'a> {
    fn add(&mut self, arrival: &'a Arrival, id: i64, fate: Fate) -> Outcome {
        match fate {
            Fate::Deliver { supersedes, retires } => {
                if let Some(retired) = retires {
                    self.retire(retired);
                }
                let route = arrival.route();
                let entry = NewEntry { supersedes, ..entry(arrival, id, "deliver", Some(route.clone())) };
                self.new.insert(id, entry);
                Outcome::Waits(route)
            }
            Fate::Observe => {
                let route = arrival.route();
                self.new.insert(id, entry(arrival, id, "observed", Some(route.clone())));
                Outcome::Waits(route)
            }
            Fate::Repeat { of } => {
                self.repeat(of);
                Outcome::Repeated
            }
            Fate::Keep { reason } => Outcome::Kept(reason),
        }
    }

    fn retire(&mut self, id: i64) {
        match self.new.get_mut(&id) {
            Some(new) => new.state = "superseded",
            None => self.retired.push(id),
        }
    }

    fn repeat(&mut self, id: i64) {
        let seen = match self.new.get_mut(&id) {
            Some(new) => &mut new.seen,
            None => self.repeats.entry(id).or_default(),
        };
        *seen = seen.saturating_add(1);
    }

    /// What goes into quarantine: once each, and no more of a token than it may.
    async fn keep(
        &mut self,
        tx: &mut impl Deciding,
        known: &Known,
        arrivals: &[&'a Arrival],
        keeps: Vec<(usize, i64, String)>,
        room: Room,
    ) -> Result<Vec<(usize, Outcome)>, Error> {
        let mut outcomes = Vec::with_capacity(keeps.len());
        let keeps: Vec<_> = keeps
            .into_iter()
            .filter_map(|(at, id, reason)| arrivals.get(at).map(|arrival| (at, id, *arrival, reason)))
            .collect();
        let key = |arrival: &Arrival, reason: &str| KeptKey {
            hook: arrival.hook.clone(),
            reason: reason.to_owned(),
            token_id: arrival.token.as_ref().map(|token| token.id.clone()).unwrap_or_default(),
            digest: arrival.digest,
        };
        let keys: BTreeSet<_> = keeps.iter().map(|(_, _, arrival, reason)| key(arrival, reason)).collect();
        let mut kept = tx.find_kept(&keys.into_iter().collect::<Vec<_>>()).await?;
        let mut quota = Quota::read(tx, keeps.iter().map(|(_, _, arrival, _)| *arrival), known, room).await?;
        for (at, id, arrival, reason) in keeps {
            let key = key(arrival, &reason);
            let outcome = if let Some(first) = kept.get(&key) {
                self.repeat(*first);
                Outcome::Repeated
            } else if room.is_full {
                Outcome::QuarantineFull
            } else if !quota.takes(arrival) {
                Outcome::TokenFull
            } else {
                kept.insert(key, id);
                let new = NewEntry {
                    reason: Some(reason.clone()),
                    state: "quarantined",
                    ..entry(arrival, id, "quarantine", None)
                };
                self.new.insert(id, new);
                Outcome::Kept(reason)
            };
            outcomes.push((at, outcome));
        }
        Ok(outcomes)
    }

    async fn write(self, tx: &mut impl Deciding, known: &Known) -> Result<(), Error> {
        let new: Vec<_> = self.new.into_values().collect();
        if !new.is_empty() {
            tx.insert(&new).await?;
        }
        if !self.repeats.is_empty() {
            tx.repeat(&self.repeats).await?;
        }
        if !self.retired.is_empty() {
            tx.retire(&self.retired).await?;
        }
        tx.save(known).await?;
        let generations: Vec<_> =
            known.generations.iter().filter(|(_, row)| row.is_empty()).map(|(key, _)| key.clone()).collect();
        let tokens: Vec<_> =
            known.tokens.iter().filter(|(_, row)| row.is_empty()).map(|(key, _)| key.clone()).collect();
        if generations.is_empty() && tokens.is_empty() {
            Ok(())
        } else {
            tx.tidy(&generations, &tokens).await
        }
    }
}

fn entry<'a>(arrival: &'a Arrival, id: i64, lane: &'static str, route: Option<String>) -> NewEntry<'a> {
    let reason = arrival.reason.clone();
    NewEntry { id, lane, state: "waiting", arrival, reason, route, supersedes: None, seen: 1 }
}

impl Arrival {
    /// Where it is delivered: what is paused, limited and probed as one.
    fn route(&self) -> String {
        let event = self.event.map_or("none", |event| event.name());
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
}

/// A trigger, a rule or a policy can take a row out of an insert that succeeds.
pub(super) fn all_inserted(table: &str, wanted: usize, inserted: u64) -> Result<(), Error> {
    if u64::try_from(wanted).is_ok_and(|wanted| wanted == inserted) {
        return Ok(());
    }
    let why = format!(
        "the store took {inserted} of {wanted} rows into {table}: remove the trigger, rule or policy on {table} that drops them"
    );
    Err(Error::Configuration(why.into()))
}

/// Takes values that come with a place, from 1 on, to the keys at these places.
pub(super) fn by_place<K: Clone + Ord, V>(
    rows: impl IntoIterator<Item = (V, i64)>,
    keys: &[K],
) -> BTreeMap<K, V> {
    rows.into_iter()
        .filter_map(|(value, place)| {
            let place = usize::try_from(place).ok()?.checked_sub(1)?;
            keys.get(place).map(|key| (key.clone(), value))
        })
        .collect()
}
