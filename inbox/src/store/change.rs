//! Operators' changes of entries. Both stores run the same statements, each change in one transaction.

mod pace;
mod refusal;

use super::audit::{ActionKind, AuditStatements, NewAction};
use super::id_list::list;
use crate::entry::{EntryState, Lane};
pub(crate) use pace::{RetryPace, moment};
pub(crate) use refusal::ChangeRefusal;
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Error, FromRow, query, query_as};
use std::collections::{BTreeMap, BTreeSet};

/// A change of entries. It sets a state, so a second run changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Delivers entries again, after new ones.
    Replay,
    /// Attempts waiting entries now, at a bounded pace, without their delay.
    Retry(RetryPace),
    /// Delivers quarantined entries as the events that they claim.
    Release,
    /// Never delivers the entries, and deletes their bodies after 14 days.
    Drop,
    /// Deletes payloads and service answers. The rows stay, so that a repeat is recognised.
    Purge,
}

impl From<Change> for ActionKind {
    fn from(change: Change) -> Self {
        match change {
            Change::Replay => Self::Replay,
            Change::Retry(_) => Self::Retry,
            Change::Release => Self::Release,
            Change::Drop => Self::Drop,
            Change::Purge => Self::Purge,
        }
    }
}

/// The result of a change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ChangeResult {
    /// The changed entries, each with its route.
    pub(crate) changed: BTreeMap<i64, Option<String>>,
    /// The other entries, each with the reason.
    pub(crate) refused: BTreeMap<i64, ChangeRefusal>,
    /// The row of the action, if an entry changed.
    pub(crate) action: Option<i64>,
}

/// Entries with the same facts, which decide whether a change applies.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct CandidateGroup {
    pub(crate) state: EntryState,
    lane: Lane,
    has_event: bool,
    has_generation: bool,
    has_body: bool,
    has_answer: bool,
    pub(crate) count: i64,
    /// The newest entry of the group.
    pub(crate) id: i64,
}

pub(super) const CANDIDATES: &str = "
SELECT state, lane, event IS NOT NULL AS has_event, generation IS NOT NULL AS has_generation, size > 0 AS has_body,
    answer IS NOT NULL AS has_answer, count(*) AS count, max(id) AS id";

impl Change {
    /// The condition for a filter: a change must not refuse a million entries one by one.
    pub(super) fn applies_to(self) -> &'static str {
        match self {
            Change::Replay => "state IN ('delivered', 'dead', 'superseded', 'dropped') AND size > 0",
            Change::Retry(_) => "state = 'waiting'",
            Change::Release => "state = 'quarantined' AND size > 0",
            Change::Drop => "state IN ('waiting', 'dead', 'quarantined')",
            // `inbox purge` reports each entry that it leaves.
            Change::Purge => "(size > 0 OR answer IS NOT NULL)",
        }
    }

    /// The condition for an entry that is or will be delivered.
    fn has_route(self) -> &'static str {
        match self {
            Change::Replay | Change::Release => "(route IS NOT NULL OR event IS NOT NULL)",
            Change::Retry(_) | Change::Drop | Change::Purge => "route IS NOT NULL",
        }
    }
}

/// The statements of a change.
pub(super) trait ChangeStatements {
    /// Locks the generations in order, before any entry. A quarantined entry has none until its release.
    async fn lock_generations(&mut self, change: Change, ids: &str, now: i64) -> Result<(), Error>;
    /// Locks the entries, and reads them.
    async fn candidates(&mut self, ids: &str) -> Result<Vec<CandidateGroup>, Error>;
    async fn replay(&mut self, ids: &str, now: i64) -> Result<Vec<(i64, Option<String>)>, Error>;
    /// Takes pairs of an id and its new due time, as rows of VALUES.
    async fn retry(&mut self, due: &str) -> Result<Vec<(i64, Option<String>)>, Error>;
    async fn discard(&mut self, ids: &str, now: i64) -> Result<Vec<(i64, Option<String>)>, Error>;
    async fn purge(&mut self, ids: &str, now: i64) -> Result<Vec<(i64, Option<String>)>, Error>;
    async fn pause(&mut self, hook: &str, event: &str, now: i64) -> Result<bool, Error>;
    async fn resume(&mut self, hook: &str, event: &str) -> Result<bool, Error>;
}

pub(super) async fn change(
    tx: &mut (impl ChangeStatements + AuditStatements),
    now: i64,
    change: Change,
    ids: &BTreeSet<i64>,
    action: &NewAction,
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
        changed.refused.entry(*unknown).or_insert(ChangeRefusal::NoEntry);
    }
    let rows = match change {
        Change::Replay | Change::Release => tx.replay(&list(&allowed), now).await?,
        Change::Retry(pace) => tx.retry(&due(&allowed, pace, now)).await?,
        Change::Drop => tx.discard(&list(&allowed), now).await?,
        Change::Purge => tx.purge(&list(&allowed), now).await?,
    };
    changed.changed = rows.into_iter().collect();
    if !changed.changed.is_empty() {
        let ids: Vec<_> = changed.changed.keys().copied().collect();
        // After the entries: two pieces of one action lock its row last, so neither waits for the other's entries with it.
        changed.action = Some(tx.note(now, action, &ids).await?);
    }
    Ok(changed)
}

/// The due time of each entry, oldest first, as rows of VALUES.
fn due(ids: &BTreeSet<i64>, pace: RetryPace, now: i64) -> String {
    let rows =
        (0..).zip(ids).map(|(number, id)| format!("({id}, {})", now.saturating_add(pace.delay(number))));
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() { "(-1, 0)".to_owned() } else { rows.join(", ") }
}

/// Updates `seen_at`, so that retention keeps the generation as long as the entry.
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
    retired = false, ended_at = NULL, lease_until = NULL, redelivered_at = $1,
    route = CASE WHEN lane = 'quarantine' THEN hook || '/' || event ELSE route END,
    override = CASE WHEN lane = 'quarantine' THEN reason ELSE override END
WHERE id IN ({ids}) RETURNING id, route";

/// The rest of the delay does not count towards the 72 h. No entry becomes due later than it was.
const RETRY: &str = "
WITH k (entry_id, due) AS (VALUES {due})
UPDATE entry SET
    tried = CASE WHEN due_at <= k.due THEN tried WHEN tried > due_at - k.due THEN tried - (due_at - k.due) ELSE 0 END,
    due_at = CASE WHEN due_at > k.due THEN k.due ELSE due_at END
FROM k WHERE entry.id = k.entry_id RETURNING entry.id, entry.route";

const DISCARD: &str =
    "UPDATE entry SET state = 'dropped', ended_at = $1 WHERE id IN ({ids}) RETURNING id, route";

/// A purge of dead and quarantined entries drops them: no payload is left for a decision.
const PURGE: &str = "
UPDATE entry SET size = 0, answer = NULL, client = NULL, request_id = NULL, traceparent = NULL,
    ended_at = CASE WHEN state IN ('dead', 'quarantined') THEN $1 ELSE ended_at END,
    state = CASE WHEN state IN ('dead', 'quarantined') THEN 'dropped' ELSE state END
WHERE id IN ({ids}) RETURNING id, route";

const PURGE_PAYLOADS: &str = "DELETE FROM payload WHERE entry_id IN ({ids})";

const PURGE_ATTEMPTS: &str = "DELETE FROM attempt WHERE entry_id IN ({ids})";

const PAUSE: &str =
    "INSERT INTO pause (hook, event, since) VALUES ($1, $2, $3) ON CONFLICT (hook, event) DO NOTHING";

const RESUME: &str = "DELETE FROM pause WHERE hook = $1 AND event = $2";

fn with(statement: &str, ids: &str) -> AssertSqlSafe<String> {
    AssertSqlSafe(statement.replace("{ids}", ids))
}

/// `$lock` locks the rows of a SELECT. A transaction of SQLite locks the whole file.
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

            async fn retry(&mut self, due: &str) -> Result<Vec<(i64, Option<String>)>, Error> {
                let sql = AssertSqlSafe(RETRY.replace("{due}", due));
                query_as(sql).persistent(false).fetch_all(self).await
            }

            async fn discard(&mut self, ids: &str, now: i64) -> Result<Vec<(i64, Option<String>)>, Error> {
                query_as(with(DISCARD, ids)).bind(now).persistent(false).fetch_all(self).await
            }

            async fn purge(&mut self, ids: &str, now: i64) -> Result<Vec<(i64, Option<String>)>, Error> {
                for statement in [PURGE_PAYLOADS, PURGE_ATTEMPTS] {
                    query(with(statement, ids)).persistent(false).execute(&mut *self).await?;
                }
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
