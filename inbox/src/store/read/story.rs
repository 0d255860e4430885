//! The statements of a story.

use super::find::MAX_SEARCHED;
use super::{COLUMNS, MAX_FOUND};
use crate::store::change::list;
use crate::store::{SearchKey, expect};
use std::collections::BTreeSet;

/// Entries by their ids.
pub(super) fn entries(ids: &BTreeSet<i64>) -> String {
    format!("SELECT {COLUMNS} FROM entry WHERE id IN ({}) ORDER BY id", list(ids))
}

/// The headers of entries that have a payload.
pub(super) fn headers(ids: &BTreeSet<i64>) -> String {
    format!("SELECT entry_id, headers FROM payload WHERE entry_id IN ({})", list(ids))
}

/// The quarantined entries whose release made one of these entries, or repeated it.
pub(super) fn released_into(ids: &BTreeSet<i64>) -> String {
    format!(
        "SELECT id FROM entry WHERE superseded_by IN ({}) AND lane = 'quarantine' LIMIT {MAX_FOUND}",
        list(ids)
    )
}

/// The expectations with a key. `None` for a request, which has none. There is no index on a generation or a job alone.
pub(super) fn expectations_of(key: &SearchKey) -> Option<String> {
    let condition = match key {
        SearchKey::Generation(_) => "generation = $1",
        SearchKey::Job(_) => "job = $1",
        SearchKey::RequestId(_) => return None,
    };
    Some(format!(
        "{} WHERE (x.hook, x.generation) IN (
            SELECT hook, generation FROM (
                SELECT hook, generation, job FROM expectation ORDER BY expected_at DESC LIMIT {MAX_SEARCHED}) AS newest
            WHERE {condition} AND (CAST($2 AS text) IS NULL OR hook = $2))
        ORDER BY x.expected_at DESC LIMIT {MAX_FOUND}",
        expect::COLUMNS
    ))
}
