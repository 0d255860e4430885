//! The audit: the transaction of an operator's change writes the action too. Both stores run the same statements.

use super::id_list::list;
use super::{ArrivalOutcome, ReleaseResult};
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Error, FromRow, query, query_as, query_scalar};
use std::collections::BTreeSet;

/// What an operator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ActionKind {
    /// Deliver entries again.
    Replay,
    /// Attempt waiting entries now.
    Retry,
    /// Deliver quarantined entries as the events that they claim.
    Release,
    /// Deliver a quarantined entry as the event that a person names.
    ReleaseAs,
    /// Drop entries, so that they are not delivered.
    Drop,
    /// Delete the bodies of entries.
    Purge,
    /// Pause a hook or an event.
    Pause,
    /// End a pause.
    Resume,
    /// Judge quarantined entries by today's configuration, and release those that pass.
    Reevaluate,
    /// Call the status API now.
    Reconcile,
}

impl ActionKind {
    #[cfg(test)]
    pub(crate) const ALL: [Self; 10] = [
        Self::Replay,
        Self::Retry,
        Self::Release,
        Self::ReleaseAs,
        Self::Drop,
        Self::Purge,
        Self::Pause,
        Self::Resume,
        Self::Reevaluate,
        Self::Reconcile,
    ];

    /// The name in the store and in answers.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Retry => "retry",
            Self::Release => "release",
            Self::ReleaseAs => "release-as",
            Self::Drop => "drop",
            Self::Purge => "purge",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Reevaluate => "reevaluate",
            Self::Reconcile => "reconcile",
        }
    }
}

/// An operator's action, which the transaction of a change writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewAction {
    pub(crate) kind: ActionKind,
    /// The name of the caller's token.
    pub(crate) who: Option<String>,
    /// The filter as JSON.
    pub(crate) filter: Option<String>,
    pub(crate) target: Option<String>,
    pub(crate) note: Option<String>,
    /// The row of the earlier pieces of this action.
    pub(crate) row: Option<i64>,
}

impl NewAction {
    #[cfg(test)]
    pub(crate) const fn of(kind: ActionKind) -> Self {
        Self { kind, who: None, filter: None, target: None, note: None, row: None }
    }

    /// The same action, with the number of status calls that it makes due.
    pub(super) fn calling(&self, due: u64) -> Self {
        let noun = if due == 1 { "call" } else { "calls" };
        Self { note: Some(format!("{due} status {noun}")), ..self.clone() }
    }
}

/// A row of the audit.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub(crate) struct ActionRow {
    pub(crate) id: i64,
    pub(crate) at: i64,
    pub(crate) who: Option<String>,
    pub(crate) action: String,
    pub(crate) filter: Option<String>,
    pub(crate) target: Option<String>,
    /// The number of changed entries.
    pub(crate) entries: i64,
    pub(crate) note: Option<String>,
    /// The first [`MAX_IDS`] of them, separated by commas.
    #[sqlx(rename = "ids")]
    pub(crate) listed: Option<String>,
}

impl ActionRow {
    /// The first changed entries, by their ids.
    pub(crate) fn ids(&self) -> Vec<i64> {
        let ids = self.listed.as_deref().unwrap_or_default().split(',');
        let mut ids: Vec<_> = ids.filter_map(|id| id.parse().ok()).collect();
        ids.sort_unstable();
        ids
    }
}

/// An action on an entry.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub(crate) struct EntryActor {
    pub(crate) entry_id: i64,
    pub(crate) action: String,
    pub(crate) who: Option<String>,
}

/// The most ids that an answer has of one action.
pub(crate) const MAX_IDS: i64 = 500;

/// Writes an operator's release of a quarantined entry, if the entry left quarantine.
pub(super) async fn note_release(
    tx: &mut impl AuditStatements,
    now: i64,
    id: i64,
    outcome: Option<ArrivalOutcome>,
    action: Option<&NewAction>,
) -> Result<Option<ReleaseResult>, Error> {
    let Some(outcome) = outcome else { return Ok(None) };
    let action = match action {
        Some(action) if matches!(outcome, ArrivalOutcome::Waits(_) | ArrivalOutcome::Repeated) => {
            Some(tx.note(now, action, &[id]).await?)
        }
        _ => None,
    };
    Ok(Some(ReleaseResult { outcome, action }))
}

/// The statements of the audit.
pub(super) trait AuditStatements {
    /// Writes the action with the entries that it changed, or adds them to its row. Returns the row.
    async fn note(&mut self, now: i64, action: &NewAction, ids: &[i64]) -> Result<i64, Error>;
    async fn action(&mut self, id: i64) -> Result<Option<ActionRow>, Error>;
    async fn actions(
        &mut self,
        before: Option<i64>,
        limit: i64,
        entry: Option<i64>,
    ) -> Result<Vec<ActionRow>, Error>;
    async fn actions_on(&mut self, ids: &BTreeSet<i64>) -> Result<Vec<EntryActor>, Error>;
    /// Deletes up to `limit` entries of the oldest action, and the action with the last of them. Returns the number of rows.
    async fn purge_actions(&mut self, before: i64, limit: i64) -> Result<u64, Error>;
}

const NOTE: &str = "
INSERT INTO action (at, who, action, filter, target, entries, note) VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id";

const ADD: &str = "UPDATE action SET entries = entries + $2 WHERE id = $1";

const NOTE_ENTRIES: &str = "INSERT INTO action_entry (action_id, entry_id) VALUES {rows} ON CONFLICT (action_id, entry_id) DO NOTHING";

const ACTION: &str = "
SELECT id, at, who, action, filter, target, entries, note, CAST(NULL AS text) AS ids FROM action WHERE id = $1";

const ACTIONS: &str = "
SELECT a.id, a.at, a.who, a.action, a.filter, a.target, a.entries, a.note, (
    SELECT string_agg(CAST(k.entry_id AS text), ',') FROM (
        SELECT entry_id FROM action_entry WHERE action_id = a.id ORDER BY entry_id LIMIT $3) AS k) AS ids
FROM action a WHERE a.id < $1 ORDER BY a.id DESC LIMIT $2";

const ACTIONS_OF_ENTRY: &str = "
SELECT a.id, a.at, a.who, a.action, a.filter, a.target, a.entries, a.note, (
    SELECT string_agg(CAST(k.entry_id AS text), ',') FROM (
        SELECT entry_id FROM action_entry WHERE action_id = a.id ORDER BY entry_id LIMIT $3) AS k) AS ids
FROM action_entry e JOIN action a ON a.id = e.action_id WHERE e.entry_id = $4 AND e.action_id < $1
ORDER BY e.action_id DESC LIMIT $2";

const ACTIONS_ON: &str = "
SELECT k.entry_id, a.action, a.who FROM action_entry k JOIN action a ON a.id = k.action_id WHERE k.entry_id IN ({ids})
ORDER BY k.action_id";

const OLDEST: &str = "SELECT id FROM action WHERE at <= $1 ORDER BY at LIMIT 1";

/// The last of the first `$2` entries of an action: a transaction over a million entries would be too long.
const LAST_OF_PIECE: &str = "
SELECT max(entry_id) FROM (SELECT entry_id FROM action_entry WHERE action_id = $1 ORDER BY entry_id LIMIT $2) AS k";

const PURGE_ENTRIES: &str = "DELETE FROM action_entry WHERE action_id = $1 AND entry_id <= $2";

const PURGE_ACTION: &str = "DELETE FROM action WHERE id = $1";

/// `$free` skips an action that another inbox deletes.
macro_rules! auditing {
    ($connection:ty, $free:literal) => {
        impl AuditStatements for $connection {
            async fn note(&mut self, now: i64, action: &NewAction, ids: &[i64]) -> Result<i64, Error> {
                let entries = i64::try_from(ids.len()).unwrap_or(i64::MAX);
                let mut row = None;
                if let Some(id) = action.row {
                    let added = query(ADD).bind(id).bind(entries).execute(&mut *self).await?;
                    row = Some(id).filter(|_| added.rows_affected() > 0);
                }
                let row: i64 = match row {
                    Some(row) => row,
                    None => {
                        query_scalar(NOTE)
                            .bind(now)
                            .bind(&action.who)
                            .bind(action.kind.name())
                            .bind(&action.filter)
                            .bind(&action.target)
                            .bind(entries)
                            .bind(&action.note)
                            .fetch_one(&mut *self)
                            .await?
                    }
                };
                if !ids.is_empty() {
                    let rows: Vec<_> = ids.iter().map(|id| format!("({row}, {id})")).collect();
                    let sql = AssertSqlSafe(NOTE_ENTRIES.replace("{rows}", &rows.join(", ")));
                    query(sql).persistent(false).execute(self).await?;
                }
                Ok(row)
            }

            async fn action(&mut self, id: i64) -> Result<Option<ActionRow>, Error> {
                query_as(ACTION).bind(id).fetch_optional(self).await
            }

            async fn actions(
                &mut self,
                before: Option<i64>,
                limit: i64,
                entry: Option<i64>,
            ) -> Result<Vec<ActionRow>, Error> {
                let before = before.unwrap_or(i64::MAX);
                match entry {
                    None => query_as(ACTIONS).bind(before).bind(limit).bind(MAX_IDS).fetch_all(self).await,
                    Some(entry) => {
                        let on =
                            query_as(ACTIONS_OF_ENTRY).bind(before).bind(limit).bind(MAX_IDS).bind(entry);
                        on.fetch_all(self).await
                    }
                }
            }

            async fn actions_on(&mut self, ids: &BTreeSet<i64>) -> Result<Vec<EntryActor>, Error> {
                let sql = AssertSqlSafe(ACTIONS_ON.replace("{ids}", &list(ids)));
                query_as(sql).persistent(false).fetch_all(self).await
            }

            async fn purge_actions(&mut self, before: i64, limit: i64) -> Result<u64, Error> {
                let sql = AssertSqlSafe(format!("{OLDEST}{}", $free));
                let Some(id): Option<i64> = query_scalar(sql).bind(before).fetch_optional(&mut *self).await?
                else {
                    return Ok(0);
                };
                let last: Option<i64> =
                    query_scalar(LAST_OF_PIECE).bind(id).bind(limit).fetch_one(&mut *self).await?;
                let entries = query(PURGE_ENTRIES).bind(id).bind(last.unwrap_or_default());
                let mut deleted = entries.execute(&mut *self).await?.rows_affected();
                if i64::try_from(deleted).is_ok_and(|deleted| deleted < limit) {
                    let action = query(PURGE_ACTION).bind(id).execute(&mut *self).await?;
                    deleted = deleted.saturating_add(action.rows_affected());
                }
                Ok(deleted)
            }
        }
    };
}

auditing!(SqliteConnection, "");
auditing!(PgConnection, " FOR UPDATE SKIP LOCKED");
