//! Finds the entries of a generation, a job or a request.

use crate::store::SearchKey;

/// The newest entries that a search for a job or a request id reads, in about 0.2 s. An index of either adds 21 % to SQLite's log for
/// an event (docs/explanation/cost.md). In PostgreSQL each of an event's three updates would write it again.
pub(in crate::store) const MAX_SEARCHED: i64 = 200_000;

/// The ids of the entries with a key, the newest first.
pub(super) fn ids_of(key: &SearchKey) -> &'static str {
    match key {
        SearchKey::Generation(_) => BY_GENERATION,
        SearchKey::Job(_) => BY_JOB,
        SearchKey::RequestId(_) => BY_REQUEST_ID,
    }
}

/// Goes hook by hook through the index of each lane.
pub(super) const BY_GENERATION: &str = "
WITH RECURSIVE accepted (hook) AS (
    SELECT min(hook) FROM entry WHERE lane = 'deliver'
    UNION ALL
    SELECT (SELECT min(e.hook) FROM entry e WHERE e.lane = 'deliver' AND e.hook > accepted.hook) FROM accepted
    WHERE accepted.hook IS NOT NULL
), quarantined (hook) AS (
    SELECT min(hook) FROM entry WHERE lane = 'quarantine'
    UNION ALL
    SELECT (SELECT min(e.hook) FROM entry e WHERE e.lane = 'quarantine' AND e.hook > quarantined.hook) FROM quarantined
    WHERE quarantined.hook IS NOT NULL
), observed (hook) AS (
    SELECT min(hook) FROM entry WHERE lane = 'observed'
    UNION ALL
    SELECT (SELECT min(e.hook) FROM entry e WHERE e.lane = 'observed' AND e.hook > observed.hook) FROM observed
    WHERE observed.hook IS NOT NULL
)
SELECT id FROM (
    SELECT e.id, e.hook FROM accepted h JOIN entry e ON e.lane = 'deliver' AND e.hook = h.hook AND e.generation = $1
    UNION ALL
    SELECT e.id, e.hook FROM quarantined h JOIN entry e ON e.lane = 'quarantine' AND e.hook = h.hook AND e.generation = $1
    UNION ALL
    SELECT e.id, e.hook FROM observed h JOIN entry e ON e.lane = 'observed' AND e.hook = h.hook AND e.generation = $1
) AS found WHERE CAST($2 AS text) IS NULL OR hook = $2 ORDER BY id DESC LIMIT $3";

const BY_JOB: &str = "
SELECT id FROM (SELECT id, hook, job FROM entry ORDER BY id DESC LIMIT $4) AS newest
WHERE job = $1 AND (CAST($2 AS text) IS NULL OR hook = $2) ORDER BY id DESC LIMIT $3";

const BY_REQUEST_ID: &str = "
SELECT id FROM (SELECT id, hook, request_id FROM entry ORDER BY id DESC LIMIT $4) AS newest
WHERE request_id = $1 AND (CAST($2 AS text) IS NULL OR hook = $2) ORDER BY id DESC LIMIT $3";
