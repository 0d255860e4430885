//! What operators change: the same statements on either store, in a transaction of their own.

use crate::entry::{EntryState, Lane};
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Error, FromRow, query, query_as};
use std::collections::{BTreeMap, BTreeSet};

/// What is done with entries. Each is one change of state, so twice is once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Delivered again, behind what is new.
    Replay,
    /// Delivered out of quarantine, as the event that it claims.
    Release,
    /// Not delivered, and gone after 14 days.
    Drop,
    /// What came and what a service answered is gone; what a repeat is known by stays.
    Purge,
}

/// What became of the entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ChangeResult {
    /// The changed ones, with where each is delivered.
    pub(crate) changed: BTreeMap<i64, Option<String>>,
    pub(crate) refused: BTreeMap<i64, &'static str>,
}

/// Entries that are alike in all that decides on whether they can be changed.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct CandidateGroup {
    pub(crate) state: EntryState,
    lane: Lane,
    has_event: bool,
    has_generation: bool,
    has_body: bool,
    has_answer: bool,
    pub(crate) count: i64,
    /// The newest of them.
    pub(crate) id: i64,
}

pub(super) const CANDIDATES: &str = "
SELECT state, lane, event IS NOT NULL AS has_event, generation IS NOT NULL AS has_generation, size > 0 AS has_body,
    answer IS NOT NULL AS has_answer, count(*) AS count, max(id) AS id
FROM entry";

/// Of an entry in quarantine whose body the gate could not read as an event.
pub(crate) const NO_EVENT: &str =
    "it claims no event: `blobgate inbox release ID --as completed`, or failed or timeout, says which it is";
/// Of one that the gate could read but for its generation.
pub(crate) const NO_GENERATION: &str =
    "it names no generation: `blobgate inbox release ID --as EVENT --generation UUID` says which it is about";
/// Of an entry that was dropped from quarantine and cannot be delivered.
const NO_ROUTE: &str = "it is dropped, and claims no event of a generation: it has no route";
/// Of a quarantined entry.
const WANTS_RELEASE: &str = "it is quarantined: `blobgate inbox release ID` delivers it";
/// Of an entry that is not quarantined.
const WANTS_REPLAY: &str = "it is not quarantined: `blobgate inbox replay ID` delivers it again";
/// Of an entry that an expectation, the provider or a person has released as another entry.
const RELEASED: &str = "it was released: what it has become is another entry";
/// Of an id that no entry has.
pub(crate) const UNKNOWN: &str = "there is no such entry";

impl Change {
    /// What a filter leaves out: of what cannot be changed, a million would be refused one by one.
    pub(super) fn applies_to(self) -> &'static str {
        match self {
            Change::Replay => "state IN ('delivered', 'dead', 'superseded', 'dropped') AND size > 0",
            Change::Release => "state = 'quarantined' AND size > 0",
            Change::Drop => "state IN ('waiting', 'dead', 'quarantined')",
            // Who purges wants to hear of each that is left.
            Change::Purge => "(size > 0 OR answer IS NOT NULL)",
        }
    }

    /// Of what is delivered, or will be.
    fn has_route(self) -> &'static str {
        match self {
            Change::Replay | Change::Release => "(route IS NOT NULL OR event IS NOT NULL)",
            Change::Drop | Change::Purge => "route IS NOT NULL",
        }
    }

    /// Decides on one of these.
    pub(crate) fn check(self, candidate: &CandidateGroup) -> Result<(), &'static str> {
        match self {
            Change::Replay => check_replay(candidate),
            Change::Release => check_release(candidate),
            Change::Drop => check_drop(candidate.state),
            Change::Purge => check_purge(candidate),
        }
    }
}

fn check_replay(candidate: &CandidateGroup) -> Result<(), &'static str> {
    let is_of_quarantine = candidate.lane == Lane::Quarantine;
    match candidate.state {
        EntryState::Waiting => Err("it already waits"),
        EntryState::InFlight => Err("it is under way"),
        EntryState::Quarantined => Err(WANTS_RELEASE),
        EntryState::Superseded if is_of_quarantine => Err(RELEASED),
        _ if !candidate.has_body => Err("its body is purged"),
        _ if is_of_quarantine && !(candidate.has_event && candidate.has_generation) => Err(NO_ROUTE),
        _ => Ok(()),
    }
}

fn check_release(candidate: &CandidateGroup) -> Result<(), &'static str> {
    match candidate.state {
        EntryState::Quarantined if !candidate.has_body => Err("its body is purged"),
        EntryState::Quarantined if !candidate.has_event => Err(NO_EVENT),
        EntryState::Quarantined if !candidate.has_generation => Err(NO_GENERATION),
        EntryState::Quarantined => Ok(()),
        EntryState::Waiting => Err("it already waits"),
        EntryState::InFlight => Err("it is under way"),
        EntryState::Superseded if candidate.lane == Lane::Quarantine => Err(RELEASED),
        _ => Err(WANTS_REPLAY),
    }
}

fn check_drop(state: EntryState) -> Result<(), &'static str> {
    match state {
        EntryState::Waiting | EntryState::Dead | EntryState::Quarantined => Ok(()),
        EntryState::InFlight => Err("it is under way: pause its route first"),
        EntryState::Delivered => Err("it is delivered"),
        EntryState::Superseded => Err("it is superseded, and not delivered anyway"),
        EntryState::Dropped => Err("it is dropped already"),
    }
}

fn check_purge(candidate: &CandidateGroup) -> Result<(), &'static str> {
    match candidate.state {
        EntryState::Waiting => Err("it waits to be delivered: `drop` it first"),
        EntryState::InFlight => Err("it is under way: wait for its end, or pause its route first"),
        _ if !candidate.has_body && !candidate.has_answer => Err("it is purged already"),
        _ => Ok(()),
    }
}

/// The statements of a changing transaction.
pub(super) trait ChangeStatements {
    /// Locks the generations in their order, before any entry. What is kept has none until it is released.
    async fn lock_generations(&mut self, change: Change, ids: &str, now: i64) -> Result<(), Error>;
    /// Locks the entries, and reads them.
    async fn candidates(&mut self, ids: &str) -> Result<Vec<CandidateGroup>, Error>;
    async fn replay(&mut self, ids: &str, now: i64) -> Result<Vec<(i64, Option<String>)>, Error>;
    async fn discard(&mut self, ids: &str, now: i64) -> Result<Vec<(i64, Option<String>)>, Error>;
    async fn purge(&mut self, ids: &str, now: i64) -> Result<Vec<(i64, Option<String>)>, Error>;
    async fn pause(&mut self, hook: &str, event: &str, now: i64) -> Result<bool, Error>;
    async fn resume(&mut self, hook: &str, event: &str) -> Result<bool, Error>;
}

pub(super) async fn change(
    tx: &mut impl ChangeStatements,
    now: i64,
    change: Change,
    ids: &BTreeSet<i64>,
) -> Result<ChangeResult, Error> {
    tx.lock_generations(change, &list(ids), now).await?;
    let mut changed = ChangeResult::default();
    let mut allowed = BTreeSet::new();
    for candidate in tx.candidates(&list(ids)).await? {
        match change.check(&candidate) {
            Ok(()) => _ = allowed.insert(candidate.id),
            Err(why) => _ = changed.refused.insert(candidate.id, why),
        }
    }
    for unknown in ids.iter().filter(|id| !allowed.contains(id)) {
        changed.refused.entry(*unknown).or_insert(UNKNOWN);
    }
    let rows = match change {
        Change::Replay | Change::Release => tx.replay(&list(&allowed), now).await?,
        Change::Drop => tx.discard(&list(&allowed), now).await?,
        Change::Purge => tx.purge(&list(&allowed), now).await?,
    };
    changed.changed = rows.into_iter().collect();
    Ok(changed)
}

/// Numbers, to be written into a statement: lists are bound in one way here and in another there.
pub(super) fn list<'a>(ids: impl IntoIterator<Item = &'a i64>) -> String {
    let ids: Vec<_> = ids.into_iter().map(i64::to_string).collect();
    // In no store an empty list is one; and no entry has this id.
    if ids.is_empty() { "-1".to_owned() } else { ids.join(", ") }
}

/// A generation is seen again, so that its row is there for as long as the entry.
const LOCK_GENERATIONS: &str = "
INSERT INTO generation (hook, generation, seen_at)
SELECT DISTINCT hook, generation, CAST($1 AS bigint) FROM entry
WHERE id IN ({ids}) AND generation IS NOT NULL AND lane <> 'observed' AND {has_route}
ORDER BY hook, generation
ON CONFLICT (hook, generation) DO UPDATE SET seen_at = excluded.seen_at";

const READ: &str = "
SELECT state, lane, event IS NOT NULL AS has_event, generation IS NOT NULL AS has_generation, size > 0 AS has_body,
    answer IS NOT NULL AS has_answer, CAST(1 AS bigint) AS count, id
FROM entry WHERE id IN ({ids}) ORDER BY id";

const REPLAY: &str = "
UPDATE entry SET state = 'waiting', redelivery = redelivery + 1, behind = true, attempts = 0, tried = 0, due_at = $1,
    retired = false, ended_at = NULL, lease_until = NULL,
    route = CASE WHEN lane = 'quarantine' THEN hook || '/' || event ELSE route END,
    override = CASE WHEN lane = 'quarantine' THEN reason ELSE override END
WHERE id IN ({ids}) RETURNING id, route";

const DISCARD: &str =
    "UPDATE entry SET state = 'dropped', ended_at = $1 WHERE id IN ({ids}) RETURNING id, route";

/// What waits for a person has had its decision: nothing of it is left to decide on.
const PURGE: &str = "
UPDATE entry SET size = 0, answer = NULL,
    ended_at = CASE WHEN state IN ('dead', 'quarantined') THEN $1 ELSE ended_at END,
    state = CASE WHEN state IN ('dead', 'quarantined') THEN 'dropped' ELSE state END
WHERE id IN ({ids}) RETURNING id, route";

const PURGE_PAYLOADS: &str = "DELETE FROM payload WHERE entry_id IN ({ids})";

const PAUSE: &str =
    "INSERT INTO pause (hook, event, since) VALUES ($1, $2, $3) ON CONFLICT (hook, event) DO NOTHING";

const RESUME: &str = "DELETE FROM pause WHERE hook = $1 AND event = $2";

fn with(statement: &str, ids: &str) -> AssertSqlSafe<String> {
    AssertSqlSafe(statement.replace("{ids}", ids))
}

/// `$lock` is how a row that was read is held: SQLite's transactions hold everything.
macro_rules! changing {
    ($connection:ty, $lock:literal) => {
        impl ChangeStatements for $connection {
            async fn lock_generations(&mut self, change: Change, ids: &str, now: i64) -> Result<(), Error> {
                let sql = LOCK_GENERATIONS.replace("{has_route}", change.has_route());
                query(with(&sql, ids)).bind(now).persistent(false).execute(self).await.map(|_| ())
            }

            async fn candidates(&mut self, ids: &str) -> Result<Vec<CandidateGroup>, Error> {
                let sql = format!("{READ}{}", $lock);
                query_as(with(&sql, ids)).persistent(false).fetch_all(self).await
            }

            async fn replay(&mut self, ids: &str, now: i64) -> Result<Vec<(i64, Option<String>)>, Error> {
                query_as(with(REPLAY, ids)).bind(now).persistent(false).fetch_all(self).await
            }

            async fn discard(&mut self, ids: &str, now: i64) -> Result<Vec<(i64, Option<String>)>, Error> {
                query_as(with(DISCARD, ids)).bind(now).persistent(false).fetch_all(self).await
            }

            async fn purge(&mut self, ids: &str, now: i64) -> Result<Vec<(i64, Option<String>)>, Error> {
                query(with(PURGE_PAYLOADS, ids)).persistent(false).execute(&mut *self).await?;
                query_as(with(PURGE, ids)).bind(now).persistent(false).fetch_all(self).await
            }

            async fn pause(&mut self, hook: &str, event: &str, now: i64) -> Result<bool, Error> {
                let paused = query(PAUSE).bind(hook).bind(event).bind(now).execute(self).await?;
                Ok(paused.rows_affected() > 0)
            }

            async fn resume(&mut self, hook: &str, event: &str) -> Result<bool, Error> {
                let resumed = query(RESUME).bind(hook).bind(event).execute(self).await?;
                Ok(resumed.rows_affected() > 0)
            }
        }
    };
}

changing!(SqliteConnection, "");
changing!(PgConnection, " FOR UPDATE");

#[cfg(test)]
mod tests;
