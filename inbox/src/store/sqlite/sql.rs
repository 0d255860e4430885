//! SQLite's statements, but for those of the deciding transaction. Lists come as JSON; what is long or bytes is bound as it is.

use crate::store::{Class, Pick};

/// Of one generation one entry at most is in flight; what was only observed is of none.
macro_rules! due {
    ($index:literal, $which:literal, $order:literal) => {
        concat!(
            "SELECT id FROM entry e INDEXED BY ",
            $index,
            " WHERE state = 'waiting' AND ",
            $which,
            " AND route = ?1 AND due_at <= ?3
    AND (lane = 'observed' OR NOT EXISTS (
        SELECT 1 FROM generation g WHERE g.hook = e.hook AND g.generation = e.generation AND g.busy IS NOT NULL))
ORDER BY ",
            $order,
            " LIMIT ?2"
        )
    };
}

pub(super) fn due(pick: Pick) -> &'static str {
    match pick {
        Pick::Due => due!("entry_waiting", "true", "behind, due_at, id"),
        Pick::Oldest(Class::First) => due!("entry_first", "attempts = 0", "due_at, id"),
        Pick::Newest(Class::First) => due!("entry_first", "attempts = 0", "due_at DESC, id DESC"),
        Pick::Oldest(Class::Again) => due!("entry_again", "attempts > 0", "due_at, id"),
        Pick::Newest(Class::Again) => {
            due!("entry_again", "attempts > 0", "due_at DESC, id DESC")
        }
    }
}

pub(super) const HOLD: &str = "
UPDATE generation SET busy = e.id FROM entry e
WHERE e.id IN (SELECT value FROM json_each(?1)) AND e.lane <> 'observed'
    AND generation.hook = e.hook AND generation.generation = e.generation";

/// Of two of one generation in one claim, the one that holds it.
pub(super) const CLAIM: &str = "
UPDATE entry SET state = 'in_flight', attempts = attempts + 1, lease = lease + 1, lease_until = ?2
WHERE id IN (SELECT value FROM json_each(?1)) AND (lane = 'observed' OR EXISTS (
    SELECT 1 FROM generation g WHERE g.hook = entry.hook AND g.generation = entry.generation AND g.busy = entry.id))";

pub(super) const READ_CLAIMED: &str = "
SELECT e.id, e.event, e.supersedes, e.override, e.redelivery, e.attempts, e.lease,
    coalesce((SELECT s.at > e.tried_at FROM route_success s WHERE s.route = e.route), false) AS beside_success,
    p.path, p.headers, p.body
FROM entry e JOIN payload p ON p.entry_id = e.id
WHERE e.id IN (SELECT value FROM json_each(?1)) AND e.state = 'in_flight' ORDER BY e.behind, e.due_at, e.id";

pub(super) const RENEW: &str = "
UPDATE entry SET lease_until = ?2 FROM (SELECT value ->> 0 AS id, value ->> 1 AS lease FROM json_each(?1)) AS k
WHERE entry.id = k.id AND entry.lease = k.lease AND state = 'in_flight' RETURNING entry.id";

/// The service said 2xx: that ends the event.
pub(super) const FINISH_DONE: &str = "
UPDATE entry SET state = 'delivered', ended_at = ?2, status = k.v ->> 'status', answer = k.v ->> 'answer', lease_until = NULL
FROM (SELECT value AS v FROM json_each(?1)) AS k
WHERE entry.id = k.v ->> 'id' AND k.v ->> 'done' AND state IN ('waiting', 'in_flight', 'dead', 'superseded')";

pub(super) const FINISH_FAILED: &str = "
UPDATE entry SET
    state = CASE WHEN retired THEN 'superseded'
        WHEN attempts >= ?4 AND tried + (k.v ->> 'tried') >= ?3 THEN 'dead' ELSE 'waiting' END,
    ended_at = CASE WHEN retired OR (attempts >= ?4 AND tried + (k.v ->> 'tried') >= ?3) THEN ?2 END,
    tried = tried + (k.v ->> 'tried'), due_at = ?2 + (k.v ->> 'delay'), status = k.v ->> 'status',
    answer = k.v ->> 'answer', lease_until = NULL, tried_at = ?2
FROM (SELECT value AS v FROM json_each(?1)) AS k
WHERE entry.id = k.v ->> 'id' AND NOT (k.v ->> 'done') AND state = 'in_flight' AND lease = k.v ->> 'lease'
RETURNING entry.id, entry.state";

/// The clock may have been stepped back: the newest time is not the highest.
pub(super) const NOTE_SUCCESS: &str = "
INSERT INTO route_success (route, at) SELECT value, ?2 FROM json_each(?1) WHERE true
ON CONFLICT (route) DO UPDATE SET at = excluded.at";

/// A step through the index for each route, however much waits.
pub(super) const WAITING: &str = "
WITH RECURSIVE routes (route) AS (
    SELECT min(route) FROM entry WHERE state = 'waiting'
    UNION ALL
    SELECT (SELECT min(e.route) FROM entry e WHERE e.state = 'waiting' AND e.route > routes.route)
    FROM routes WHERE routes.route IS NOT NULL
)
SELECT route, min(
    coalesce((SELECT min(due_at) FROM entry e WHERE e.state = 'waiting' AND e.route = routes.route AND behind = 0), 1 << 62),
    coalesce((SELECT min(due_at) FROM entry e WHERE e.state = 'waiting' AND e.route = routes.route AND behind = 1), 1 << 62)
) - ?1
FROM routes WHERE route IS NOT NULL";

pub(super) const FORGET_DELIVERED: &str = "DELETE FROM entry_sum WHERE since >= 0 AND since < ?1";

pub(super) const OLD_BODIES: &str = "
SELECT id, size FROM entry
WHERE size > 0 AND state IN ('delivered', 'superseded', 'dropped') AND ended_at <= ?1 ORDER BY ended_at LIMIT ?2";

pub(super) const EMPTY: &str =
    "UPDATE entry SET size = 0, answer = NULL WHERE id IN (SELECT value FROM json_each(?1))";

pub(super) const DELETE_PAYLOADS: &str =
    "DELETE FROM payload WHERE entry_id IN (SELECT value FROM json_each(?1))";

pub(super) const OLD_TOMBSTONES: &str = "
SELECT id, hook, generation, token_id FROM entry WHERE size = 0 AND ended_at <= ?1 ORDER BY ended_at LIMIT ?2";

/// Entries, and with them the generation and the token, unless they came again since.
pub(super) const PURGE_TOMBSTONES: [&str; 3] = [
    "DELETE FROM generation WHERE seen_at <= ?2 AND (hook, generation) IN (
        SELECT value ->> 1, value ->> 2 FROM json_each(?1))",
    "DELETE FROM token WHERE seen_at <= ?2 AND (hook, token_id) IN (
        SELECT value ->> 1, value ->> 3 FROM json_each(?1))",
    "DELETE FROM entry WHERE id IN (SELECT value ->> 0 FROM json_each(?1)) AND ended_at <= ?2",
];

pub(super) const VOID_LEASES: &str = "
UPDATE entry SET state = CASE WHEN retired THEN 'superseded' ELSE 'waiting' END, lease_until = NULL,
    ended_at = CASE WHEN retired THEN ?1 END
WHERE state = 'in_flight'";

/// By an index of its own: a start must not read every generation.
pub(super) const VOID_HOLDS: &str = "UPDATE generation SET busy = NULL WHERE busy IS NOT NULL";

/// After n attempts nothing is due later than in 2^n seconds, nor than in the longest delay. Route by route, from what is due in
/// more than a second on: what is due now is not read, however much of it waits.
pub(super) const DUE_IN_TIME: &str = "
UPDATE entry SET due_at = ?1 WHERE id IN (
    WITH RECURSIVE routes (route) AS (
        SELECT min(route) FROM entry WHERE state = 'waiting'
        UNION ALL
        SELECT (SELECT min(e.route) FROM entry e WHERE e.state = 'waiting' AND e.route > routes.route)
        FROM routes WHERE routes.route IS NOT NULL
    )
    SELECT e.id FROM routes CROSS JOIN (SELECT 0 AS behind UNION ALL SELECT 1) AS k CROSS JOIN entry e
    WHERE e.state = 'waiting' AND e.route = routes.route AND e.behind = k.behind AND e.due_at > ?1 + min(?2, 1000000)
        AND e.due_at > ?1 + min(?2, 1000000 << min(e.attempts, 12)))";

pub(super) const HEARTBEAT: &str =
    "INSERT INTO heartbeat (one, at) VALUES (1, ?1) ON CONFLICT (one) DO UPDATE SET at = excluded.at";

pub(super) const EXPIRED: &str = "
SELECT id FROM entry WHERE state = 'in_flight' AND lease_until < ?2 AND id NOT IN (SELECT value FROM json_each(?1)) LIMIT 1000";

pub(super) const RELEASE_EXPIRED: &str = "
UPDATE entry SET state = CASE WHEN retired THEN 'superseded' ELSE 'waiting' END,
    ended_at = CASE WHEN retired THEN ?2 END, due_at = ?2, lease_until = NULL
WHERE id IN (SELECT value FROM json_each(?1)) AND state = 'in_flight' AND lease_until < ?2";

pub(super) const LET_GO: &str = "
UPDATE generation SET busy = NULL FROM entry e
WHERE e.id IN (SELECT value FROM json_each(?1)) AND generation.hook = e.hook
    AND generation.generation = e.generation AND generation.busy = e.id AND e.state <> 'in_flight'";

pub(super) const EMPTY_LOG: &str = "PRAGMA wal_checkpoint(TRUNCATE)";

pub(super) const REUSABLE: &str =
    "SELECT freelist_count * page_size FROM pragma_freelist_count, pragma_page_size";

/// Of any entry that ever was: a purged one's id is nobody else's.
pub(super) const LAST_ID: &str = "SELECT seq FROM sqlite_sequence WHERE name = 'entry'";

/// What is deleted is overwritten with zeros; else it would stay in the file until its page is used again.
pub(super) const OVERWRITE: &str = "PRAGMA secure_delete = ON";
pub(super) const DO_NOT_OVERWRITE: &str = "PRAGMA secure_delete = OFF";
