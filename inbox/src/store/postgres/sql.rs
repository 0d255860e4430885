//! PostgreSQL's statements, but for those of the deciding transaction. Rows of `generation` are locked first and in their order, rows of `entry` after them,
//! so that nobody waits in a circle.

use crate::store::{Class, Pick};

pub(super) const NOW: &str = "SELECT inbox_now()";

/// Of one generation one entry at most is in flight: its row is locked, and read again where another held it.
macro_rules! claim {
    ($which:literal, $order:literal) => {
        concat!(
            "WITH free AS MATERIALIZED (
    SELECT e.id, g.hook, g.generation
    FROM entry e JOIN generation g ON g.hook = e.hook AND g.generation = e.generation
    WHERE e.state = 'waiting' AND ",
            $which,
            " AND e.route = $1 AND e.due_at <= inbox_now() AND g.busy IS NULL
    ORDER BY ",
            $order,
            " LIMIT $2
    FOR UPDATE OF e, g SKIP LOCKED
), held AS (
    UPDATE generation g SET busy = free.id FROM free WHERE g.hook = free.hook AND g.generation = free.generation
    RETURNING g.busy AS id
)
UPDATE entry e SET state = 'in_flight', attempts = e.attempts + 1, lease = e.lease + 1, lease_until = inbox_now() + $3
FROM held WHERE e.id = held.id RETURNING e.id"
        )
    };
}

macro_rules! claim_observed {
    ($which:literal, $order:literal) => {
        concat!(
            "WITH free AS MATERIALIZED (
    SELECT e.id FROM entry e WHERE e.state = 'waiting' AND ",
            $which,
            " AND e.route = $1 AND e.due_at <= inbox_now()
    ORDER BY ",
            $order,
            " LIMIT $2
    FOR UPDATE SKIP LOCKED
)
UPDATE entry e SET state = 'in_flight', attempts = e.attempts + 1, lease = e.lease + 1, lease_until = inbox_now() + $3
FROM free WHERE e.id = free.id RETURNING e.id"
        )
    };
}

/// PostgreSQL cannot be told which index to take: these orders no other index has, and by `id` alone it would walk the
/// primary key past all that was ever delivered.
macro_rules! by_pick {
    ($pick:expr, $claim:ident) => {
        match $pick {
            Pick::Due => $claim!("true", "e.behind, e.due_at, e.id"),
            Pick::Oldest(Class::First) => $claim!("e.attempts = 0", "e.due_at, e.id"),
            Pick::Newest(Class::First) => $claim!("e.attempts = 0", "e.due_at DESC, e.id DESC"),
            Pick::Oldest(Class::Again) => $claim!("e.attempts > 0", "e.due_at, e.id"),
            Pick::Newest(Class::Again) => $claim!("e.attempts > 0", "e.due_at DESC, e.id DESC"),
        }
    };
}

pub(super) fn claim(pick: Pick, observed: bool) -> &'static str {
    if observed { by_pick!(pick, claim_observed) } else { by_pick!(pick, claim) }
}

pub(super) const READ_CLAIMED: &str = "
SELECT e.id, e.event, e.supersedes, e.override, e.redelivery, e.attempts, e.lease,
    coalesce((SELECT s.at > e.tried_at FROM route_success s WHERE s.route = e.route), false) AS beside_success,
    p.path, p.headers, p.body
FROM entry e JOIN payload p ON p.entry_id = e.id WHERE e.id = ANY($1) ORDER BY e.behind, e.due_at, e.id";

/// Also where it has ended: as long as nobody has taken it, the number is still its holder's. The clock may have been stepped.
pub(super) const RENEW: &str = "
UPDATE entry e SET lease_until = inbox_now() + $3
FROM unnest($1::bigint[], $2::bigint[]) AS k (id, lease)
WHERE e.id = k.id AND e.lease = k.lease AND e.state = 'in_flight' RETURNING e.id";

pub(super) const LOCK_GENERATIONS_OF: &str = "
SELECT 1 FROM generation g JOIN entry e ON g.hook = e.hook AND g.generation = e.generation WHERE e.id = ANY($1)
ORDER BY g.hook, g.generation FOR UPDATE OF g";

/// The service said 2xx: that ends the event, whoever holds it by now.
pub(super) const FINISH_DONE: &str = "
UPDATE entry e SET state = 'delivered', ended_at = inbox_now(), status = k.status, answer = k.answer, lease_until = NULL
FROM json_to_recordset($1::json) AS k (id bigint, done boolean, status bigint, answer text)
WHERE e.id = k.id AND k.done AND e.state IN ('waiting', 'in_flight', 'dead', 'superseded')";

/// Anything else counts only of who holds it. Returns what is given up.
pub(super) const FINISH_FAILED: &str = "
WITH failed AS (
    UPDATE entry e SET
        state = CASE WHEN e.retired THEN 'superseded'
            WHEN e.attempts >= $3 AND e.tried + k.tried >= $2 THEN 'dead' ELSE 'waiting' END,
        ended_at = CASE WHEN e.retired OR (e.attempts >= $3 AND e.tried + k.tried >= $2) THEN inbox_now() END,
        tried = e.tried + k.tried, due_at = inbox_now() + k.delay, status = k.status, answer = k.answer, lease_until = NULL,
        tried_at = inbox_now()
    FROM json_to_recordset($1::json)
        AS k (id bigint, lease bigint, done boolean, status bigint, answer text, delay bigint, tried bigint)
    WHERE e.id = k.id AND NOT k.done AND e.state = 'in_flight' AND e.lease = k.lease
    RETURNING e.id, e.state
)
SELECT id FROM failed WHERE state = 'dead'";

pub(super) const LET_GO: &str = "
UPDATE generation g SET busy = NULL FROM entry e
WHERE e.id = ANY($1) AND g.hook = e.hook AND g.generation = e.generation AND g.busy = e.id AND e.state <> 'in_flight'";

pub(super) const HELD_BY_OTHERS: &str = "
SELECT id, lease, lease_until FROM entry WHERE state = 'in_flight' AND lease_until IS NOT NULL AND id <> ALL($1)
ORDER BY lease_until, id LIMIT 10000";

/// After n attempts nothing is due later than in 2^n seconds, nor than in the longest delay. Route by route, from what is due in
/// more than a second on: what is due now is not read, however much of it waits.
pub(super) const DUE_IN_TIME: &str = "
UPDATE entry SET due_at = inbox_now() WHERE id IN (
    WITH RECURSIVE routes (route) AS (
        SELECT min(route) FROM entry WHERE state = 'waiting'
        UNION ALL
        SELECT (SELECT min(e.route) FROM entry e WHERE e.state = 'waiting' AND e.route > routes.route)
        FROM routes WHERE routes.route IS NOT NULL
    )
    SELECT e.id FROM routes CROSS JOIN (VALUES (false), (true)) AS k (behind) JOIN entry e
    ON e.state = 'waiting' AND e.route = routes.route AND e.behind = k.behind AND e.due_at > inbox_now() + least($1, 1000000)
    WHERE e.due_at > inbox_now() + least($1, 1000000::bigint << least(e.attempts, 12)::int))";

pub(super) const RELEASE_EXPIRED: &str = "
UPDATE entry e SET state = CASE WHEN e.retired THEN 'superseded' ELSE 'waiting' END,
    ended_at = CASE WHEN e.retired THEN inbox_now() END, due_at = inbox_now(), lease_until = NULL
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS k (id, lease, lease_until)
WHERE e.id = k.id AND e.state = 'in_flight' AND e.lease = k.lease AND e.lease_until = k.lease_until";

/// In their order, after all other rows. The clock may have been stepped back: the newest time is not the highest.
pub(super) const NOTE_SUCCESS: &str = "
INSERT INTO route_success (route, at) SELECT k.route, inbox_now() FROM unnest($1::text[]) AS k (route) ORDER BY k.route
ON CONFLICT (route) DO UPDATE SET at = excluded.at";

/// A step through the index for each route, however much waits.
pub(super) const WAITING: &str = "
WITH RECURSIVE routes (route) AS (
    SELECT min(route) FROM entry WHERE state = 'waiting'
    UNION ALL
    SELECT (SELECT min(e.route) FROM entry e WHERE e.state = 'waiting' AND e.route > routes.route)
    FROM routes WHERE routes.route IS NOT NULL
)
SELECT route, least(
    (SELECT due_at FROM entry e WHERE e.state = 'waiting' AND e.route = routes.route AND NOT behind ORDER BY due_at LIMIT 1),
    (SELECT due_at FROM entry e WHERE e.state = 'waiting' AND e.route = routes.route AND behind ORDER BY due_at LIMIT 1)
) - inbox_now()
FROM routes WHERE route IS NOT NULL";

/// Adds up to `$1` differences to the sums, in the order of the sums, so that two inboxes that do it at once do not lock each
/// other out.
pub(super) const FOLD: &str = "
WITH due AS (
    SELECT id FROM entry_sum_change ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED
), taken AS (
    DELETE FROM entry_sum_change c USING due WHERE c.id = due.id
    RETURNING c.since, c.lane, c.state, c.route, c.reason, c.entries, c.bytes, c.tombstones
), folded AS (
    INSERT INTO entry_sum_folded AS f (since, lane, state, route, reason, entries, bytes, tombstones)
    SELECT since, lane, state, route, reason, sum(entries), sum(bytes), sum(tombstones) FROM taken
    GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
    ON CONFLICT (since, lane, state, route, reason) DO UPDATE SET entries = f.entries + excluded.entries,
        bytes = f.bytes + excluded.bytes, tombstones = f.tombstones + excluded.tombstones
)
SELECT count(*) FROM taken";

/// A row that another inbox holds is left to it.
pub(super) const FORGET_DELIVERED: &str = "
DELETE FROM entry_sum_folded f USING (
    SELECT since, lane, state, route, reason FROM entry_sum_folded WHERE since >= 0 AND since < inbox_now() - $1
    FOR UPDATE SKIP LOCKED
) AS old
WHERE f.since = old.since AND f.lane = old.lane AND f.state = old.state AND f.route = old.route AND f.reason = old.reason";

pub(super) const PURGE_BODIES: &str = "
WITH old AS (
    SELECT id, size FROM entry
    WHERE size > 0 AND state IN ('delivered', 'superseded', 'dropped') AND ended_at <= inbox_now() - $1
    ORDER BY ended_at LIMIT $2 FOR UPDATE SKIP LOCKED
), emptied AS (
    UPDATE entry e SET size = 0, answer = NULL FROM old WHERE e.id = old.id
), gone AS (
    DELETE FROM payload p USING old WHERE p.entry_id = old.id
)
SELECT count(*), coalesce(sum(size), 0)::bigint FROM old";

/// With the generation and the token, unless they came again since.
pub(super) const PURGE_TOMBSTONES: &str = "
WITH old AS (
    SELECT id, hook, generation, token_id FROM entry WHERE size = 0 AND ended_at <= inbox_now() - $1
    ORDER BY ended_at LIMIT $2 FOR UPDATE SKIP LOCKED
), generations AS (
    DELETE FROM generation g USING old
    WHERE g.hook = old.hook AND g.generation = old.generation AND g.seen_at <= inbox_now() - $1
), tokens AS (
    DELETE FROM token t USING old
    WHERE t.hook = old.hook AND t.token_id = old.token_id AND t.seen_at <= inbox_now() - $1
)
DELETE FROM entry e USING old WHERE e.id = old.id";

pub(super) const HEARTBEAT: &str = "INSERT INTO heartbeat (one, at) VALUES (1, inbox_now()) ON CONFLICT (one) DO UPDATE SET at = excluded.at";

/// A dump has the transaction numbers of the cluster that it comes from. Here they may lie in the future, and `tail` would
/// show old entries on the day when they come.
pub(super) const FORGET_FOREIGN_TRANSACTIONS: &str =
    "UPDATE entry SET written = '0' WHERE written >= pg_snapshot_xmax(pg_current_snapshot())";
