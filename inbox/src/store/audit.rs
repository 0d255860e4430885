//! The audit: the transaction of an operator's change writes the action too. Both stores run the same statements.

use super::change::Change;
use super::{ArrivalOutcome, ReleaseResult};
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Error, FromRow, query, query_as, query_scalar};

/// What an operator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ActionKind {
    Replay,
    Retry,
    Release,
    ReleaseAs,
    Drop,
    Purge,
    Pause,
    Resume,
    Reevaluate,
    Reconcile,
}

impl ActionKind {
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
    listed: Option<String>,
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

const ACTIONS_ON: &str = "
SELECT a.id, a.at, a.who, a.action, a.filter, a.target, a.entries, a.note, (
    SELECT string_agg(CAST(k.entry_id AS text), ',') FROM (
        SELECT entry_id FROM action_entry WHERE action_id = a.id ORDER BY entry_id LIMIT $3) AS k) AS ids
FROM action_entry e JOIN action a ON a.id = e.action_id WHERE e.entry_id = $4 AND e.action_id < $1
ORDER BY e.action_id DESC LIMIT $2";

/// The entries first: an action over a million entries must not keep a transaction open for long.
const PURGE_ENTRIES: &str = "
DELETE FROM action_entry WHERE (action_id, entry_id) IN (
    SELECT k.action_id, k.entry_id FROM action a JOIN action_entry k ON k.action_id = a.id WHERE a.at <= $1 LIMIT $2{free})";

const PURGE_ACTIONS: &str = "
DELETE FROM action WHERE id IN (SELECT id FROM action WHERE at <= $1 ORDER BY at LIMIT $2{free})
    AND NOT EXISTS (SELECT 1 FROM action_entry k WHERE k.action_id = action.id)";

/// `$free` skips rows that another inbox deletes.
macro_rules! auditing {
    ($connection:ty, $free_entries:literal, $free_actions:literal) => {
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
                        let on = query_as(ACTIONS_ON).bind(before).bind(limit).bind(MAX_IDS).bind(entry);
                        on.fetch_all(self).await
                    }
                }
            }

            async fn purge_actions(&mut self, before: i64, limit: i64) -> Result<u64, Error> {
                let mut deleted = 0_u64;
                for (statement, free) in [(PURGE_ENTRIES, $free_entries), (PURGE_ACTIONS, $free_actions)] {
                    let sql = AssertSqlSafe(statement.replace("{free}", free));
                    let gone = query(sql).bind(before).bind(limit).execute(&mut *self).await?;
                    deleted = deleted.saturating_add(gone.rows_affected());
                }
                Ok(deleted)
            }
        }
    };
}

auditing!(SqliteConnection, "", "");
auditing!(PgConnection, " FOR UPDATE OF k SKIP LOCKED", " FOR UPDATE SKIP LOCKED");
