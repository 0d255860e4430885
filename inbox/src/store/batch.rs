//! Stores a batch of arrivals in one transaction: locks and reads their state, decides, and writes.

mod rehearsal;

use crate::arrival::Arrival;
use crate::decide::{
    Account, ArrivalOutcome, Batch, BatchState, GenerationKey, GenerationState, GenerationUsage, NewEntry,
    Plan, QuarantineKey, QuarantineQuery, QuarantineRoom, QuarantineRows, TerminalEvent, TokenKey,
    TokenUsage,
};
use crate::entry::{Fingerprint, Origin};
pub(super) use rehearsal::rehearse;
use sqlx::Error;
use std::collections::{BTreeMap, BTreeSet};

/// The source of the ids of new entries.
#[derive(Clone, Copy, Debug)]
pub(super) enum IdSource {
    /// The store's next ids.
    Next,
    /// Negative ids from this one down, for a rehearsal: rolled-back entries leave no gaps in the ids.
    Rehearsed(i64),
}

impl IdSource {
    /// Random ids, so that two inboxes do not wait for each other's rows.
    pub(super) fn rehearsed() -> Self {
        let now = time::OffsetDateTime::now_utc().unix_timestamp_nanos();
        let random = i64::try_from(now & i128::from(i64::MAX >> 2)).unwrap_or_default();
        IdSource::Rehearsed(random.saturating_neg().saturating_sub(1))
    }

    /// Takes `count` ids of a rehearsal.
    pub(super) fn take(&mut self, count: i64) -> Option<Vec<i64>> {
        let IdSource::Rehearsed(next) = self else { return None };
        let first = *next;
        *next = next.saturating_sub(count);
        Some((0..count).map(|number| first.saturating_sub(number)).collect())
    }
}

/// The statements that store arrivals.
pub(super) trait ArrivalStatements {
    /// Takes `count` ids for new entries.
    async fn ids(&mut self, count: usize) -> Result<Vec<i64>, Error>;
    /// Creates missing rows, and locks and reads all of them in order.
    async fn lock(
        &mut self,
        generations: &BTreeSet<GenerationKey>,
        tokens: &BTreeSet<TokenKey>,
    ) -> Result<BatchState, Error>;
    /// The entries with these keys in quarantine.
    async fn find_quarantined(
        &mut self,
        keys: &[QuarantineKey],
    ) -> Result<BTreeMap<QuarantineKey, i64>, Error>;
    /// The use of quarantine by each token. The second value is the token's own generation.
    async fn usage_of_tokens(
        &mut self,
        tokens: &[(TokenKey, Option<String>)],
    ) -> Result<BTreeMap<TokenKey, TokenUsage>, Error>;
    /// The use of quarantine by each generation.
    async fn usage_of_generations(
        &mut self,
        accounts: &[Account],
    ) -> Result<BTreeMap<Account, GenerationUsage>, Error>;
    async fn insert(&mut self, entries: &[NewEntry<'_>]) -> Result<(), Error>;
    /// Adds the repeats to each entry.
    async fn repeat(&mut self, repeats: &BTreeMap<i64, i64>) -> Result<(), Error>;
    /// Supersedes waiting entries, and marks entries in flight so that no attempt follows. Each has the entry that supersedes it.
    async fn retire(&mut self, entries: &BTreeMap<i64, i64>) -> Result<(), Error>;
    /// Writes changed generations and tokens.
    async fn save(&mut self, state: &BatchState) -> Result<(), Error>;
    /// Locks an entry. Returns whether it is quarantined.
    async fn lock_quarantined(&mut self, id: i64) -> Result<bool, Error>;
    /// Ends a quarantined entry, and stores the reason and the entry that has its event.
    async fn end_quarantined(&mut self, id: i64, by: Option<i64>, why: &str) -> Result<(), Error>;
    /// Deletes rows that `lock` created and the decision left empty: a refused arrival leaves nothing.
    async fn delete_empty(&mut self, generations: &[GenerationKey], tokens: &[TokenKey])
    -> Result<(), Error>;
}

/// Stores a batch. Returns the outcome of each arrival.
pub(super) async fn store(
    tx: &mut impl ArrivalStatements,
    arrivals: &[&Arrival],
    room: QuarantineRoom,
) -> Result<Vec<ArrivalOutcome>, Error> {
    let generations = arrivals.iter().filter_map(|arrival| arrival.generation_key()).collect();
    let tokens = arrivals.iter().filter_map(|arrival| arrival.locked_token()).collect();
    let ids = tx.ids(arrivals.len()).await?;
    let state = tx.lock(&generations, &tokens).await?;
    let mut batch = Batch::decide(state, arrivals.iter().copied().zip(ids));
    if let Some(QuarantineQuery { keys, tokens, accounts }) = batch.query() {
        let rows = QuarantineRows {
            found: tx.find_quarantined(&keys).await?,
            by_token: tx.usage_of_tokens(&tokens).await?,
            by_generation: tx.usage_of_generations(&accounts).await?,
        };
        batch.quarantine(rows, room);
    }
    let (plan, state, outcomes) = batch.finish();
    write(tx, plan, &state).await?;
    Ok(outcomes)
}

/// Decides on a quarantined entry as on a new arrival, and ends it. An entry whose arrival would be quarantined again stays
/// unchanged. Returns `None` if the entry is not quarantined.
pub(super) async fn release(
    tx: &mut impl ArrivalStatements,
    quarantined: i64,
    arrival: &Arrival,
    why: &str,
) -> Result<Option<ArrivalOutcome>, Error> {
    let generations = arrival.generation_key().into_iter().collect();
    let mut state = tx.lock(&generations, &arrival.locked_token().into_iter().collect()).await?;
    let (mut plan, mut outcome) = (Plan::default(), None);
    if tx.lock_quarantined(quarantined).await? {
        let ids = tx.ids(1).await?;
        let mut outcomes;
        (plan, state, outcomes) = Batch::decide(state, ids.into_iter().map(|id| (arrival, id))).finish();
        outcome = outcomes.pop();
        if !matches!(outcome, None | Some(ArrivalOutcome::Quarantined(_))) {
            let by = plan.new.keys().chain(plan.repeats.keys()).next().copied();
            tx.end_quarantined(quarantined, by, why).await?;
        }
    }
    write(tx, plan, &state).await?;
    Ok(outcome)
}

async fn write(tx: &mut impl ArrivalStatements, plan: Plan<'_>, state: &BatchState) -> Result<(), Error> {
    let new: Vec<_> = plan.new.into_values().collect();
    if !new.is_empty() {
        tx.insert(&new).await?;
    }
    if !plan.repeats.is_empty() {
        tx.repeat(&plan.repeats).await?;
    }
    if !plan.retired.is_empty() {
        tx.retire(&plan.retired).await?;
    }
    tx.save(state).await?;
    let (generations, tokens) = state.empty_rows();
    if generations.is_empty() && tokens.is_empty() {
        Ok(())
    } else {
        tx.delete_empty(&generations, &tokens).await
    }
}

/// A row of `generation`.
#[derive(sqlx::FromRow)]
pub(super) struct GenerationRow {
    hook: String,
    generation: String,
    token_id: Option<String>,
    expected_job: Option<String>,
    completed_id: Option<i64>,
    completed_fingerprint: Option<Fingerprint>,
    completed_origin: Option<Origin>,
    completed_authenticated: Option<bool>,
    failure_id: Option<i64>,
    failure_fingerprint: Option<Fingerprint>,
    failure_origin: Option<Origin>,
    failure_authenticated: Option<bool>,
}

impl GenerationRow {
    pub(super) fn read(self) -> (GenerationKey, GenerationState) {
        let end = |id: Option<i64>, fingerprint, origin: Option<_>, authenticated: Option<bool>| {
            Some(TerminalEvent {
                id: id?,
                fingerprint: fingerprint?,
                origin: origin?,
                authenticated: authenticated?,
            })
        };
        let generation = GenerationState {
            token_id: self.token_id,
            expected: self.expected_job,
            completed: end(
                self.completed_id,
                self.completed_fingerprint,
                self.completed_origin,
                self.completed_authenticated,
            ),
            failure: end(
                self.failure_id,
                self.failure_fingerprint,
                self.failure_origin,
                self.failure_authenticated,
            ),
            expectation_state: None,
            changed: false,
        };
        (GenerationKey { hook: self.hook, generation: self.generation }, generation)
    }
}

/// Rows that a trigger, a rule or a policy took out of an insert.
#[derive(Debug, thiserror::Error)]
#[error(
    "the store took {inserted} of {wanted} rows into {table}. Remove the trigger, rule or policy on {table} that drops them"
)]
struct DroppedRows {
    table: &'static str,
    wanted: usize,
    inserted: u64,
}

/// Checks that an insert stored all rows.
pub(super) fn check_inserted(table: &'static str, wanted: usize, inserted: u64) -> Result<(), Error> {
    if u64::try_from(wanted).is_ok_and(|wanted| wanted == inserted) {
        return Ok(());
    }
    Err(Error::Configuration(DroppedRows { table, wanted, inserted }.into()))
}

/// Pairs each value with the key at its place. Places start at 1.
pub(super) fn pair_by_place<K: Clone + Ord, V>(
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
