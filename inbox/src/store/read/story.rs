//! The statements of a story.

use super::find::MAX_SEARCHED;
use super::{COLUMNS, MAX_FOUND};
use crate::store::id_list::list;
use crate::store::row::AttemptRow;
use crate::store::{SearchKey, expect};
use sqlx::FromRow;
use std::collections::BTreeSet;

/// Entries by their ids.
pub(in crate::store) fn entries(ids: &BTreeSet<i64>) -> String {
    format!("SELECT {COLUMNS} FROM entry WHERE id IN ({}) ORDER BY id", list(ids))
}

/// The headers of entries that have a payload.
pub(in crate::store) fn headers(ids: &BTreeSet<i64>) -> String {
    format!("SELECT entry_id, headers FROM payload WHERE entry_id IN ({})", list(ids))
}

/// The attempts of entries, by the primary key.
pub(in crate::store) fn attempts(ids: &BTreeSet<i64>) -> String {
    let ids = list(ids);
    format!(
        "SELECT entry_id, number, at, duration, status, answer FROM attempt WHERE entry_id IN ({ids}) ORDER BY entry_id, number"
    )
}

/// An attempt with its entry.
#[derive(FromRow)]
pub(super) struct EntryAttempt {
    pub(super) entry_id: i64,
    #[sqlx(flatten)]
    pub(super) attempt: AttemptRow,
}

/// The quarantined entries whose release made one of these entries, or repeated it.
pub(in crate::store) fn released_into(ids: &BTreeSet<i64>) -> String {
    format!(
        "SELECT id FROM entry WHERE superseded_by IN ({}) AND lane = 'quarantine' LIMIT {MAX_FOUND}",
        list(ids)
    )
}

/// The expectations with a key. `None` for a request, which has none.
pub(in crate::store) fn expectations_of(key: &SearchKey) -> Option<String> {
    let columns = expect::COLUMNS;
    match key {
        // Goes hook by hook through the primary key: of a million expectations it reads those of the generation.
        SearchKey::Generation(_) => Some(format!(
            "WITH RECURSIVE hooks (hook) AS (
                SELECT min(hook) FROM expectation
                UNION ALL
                SELECT (SELECT min(n.hook) FROM expectation n WHERE n.hook > hooks.hook) FROM hooks WHERE hooks.hook IS NOT NULL
            )
            {columns} WHERE x.generation = $1 AND x.hook IN (SELECT hook FROM hooks WHERE CAST($2 AS text) IS NULL OR hook = $2)
            ORDER BY x.expected_at DESC LIMIT {MAX_FOUND}"
        )),
        // No index has the job: reads the newest.
        SearchKey::Job(_) => Some(format!(
            "{columns} WHERE (x.hook, x.generation) IN (
                SELECT hook, generation FROM (
                    SELECT hook, generation, job FROM expectation ORDER BY expected_at DESC LIMIT {MAX_SEARCHED}) AS newest
                WHERE job = $1 AND (CAST($2 AS text) IS NULL OR hook = $2))
            ORDER BY x.expected_at DESC LIMIT {MAX_FOUND}"
        )),
        SearchKey::RequestId(_) => None,
    }
}
