//! The statements for the results of attempts.

/// A 2xx ends the event, even if another inbox has the lease. An entry whose running attempt succeeds was not superseded.
pub(super) const FINISH_DONE: &str = "
    UPDATE entry e SET state = 'delivered', ended_at = inbox_now(), status = k.status, answer = k.answer, lease_until = NULL,
        superseded_by = CASE WHEN e.state = 'in_flight' AND e.retired THEN NULL ELSE e.superseded_by END
    FROM json_to_recordset($1::json) AS k (id bigint, done boolean, status bigint, answer text)
    WHERE e.id = k.id AND k.done AND e.state IN ('waiting', 'in_flight', 'dead', 'superseded')";

/// The same, for attempts that were not the first. Of each entry the first 3 attempts stay, and the last 17 up to its newest
/// lease: a success may come late, from an older one.
pub(super) const FINISH_DONE_AGAIN: &str = "
    WITH ended AS (
        UPDATE entry e SET state = 'delivered', ended_at = inbox_now(), status = k.status, answer = k.answer, lease_until = NULL,
            superseded_by = CASE WHEN e.state = 'in_flight' AND e.retired THEN NULL ELSE e.superseded_by END
        FROM json_to_recordset($1::json)
            AS k (id bigint, lease bigint, done boolean, is_first boolean, status bigint, answer text, duration bigint)
        WHERE e.id = k.id AND k.done AND e.state IN ('waiting', 'in_flight', 'dead', 'superseded')
        RETURNING e.id, e.size, e.lease AS newest, k.lease, k.is_first, k.duration, k.status, k.answer
    ), recorded AS (
        INSERT INTO attempt (entry_id, number, at, duration, status, answer)
        SELECT id, lease, inbox_now(), duration, status, answer FROM ended
        WHERE NOT is_first AND size > 0 AND (lease <= 3 OR lease > newest - 17)
        ON CONFLICT (entry_id, number) DO UPDATE SET at = excluded.at, duration = excluded.duration, status = excluded.status,
            answer = excluded.answer
    )
    DELETE FROM attempt a USING ended
    WHERE a.entry_id = ended.id AND a.number > 3 AND a.number <= ended.newest - 17";

/// A failure counts only from the inbox with the lease. Returns the dead entries.
pub(super) const FINISH_FAILED: &str = "
    WITH failed AS (
        UPDATE entry e SET
            state = CASE WHEN e.retired THEN 'superseded'
                WHEN e.attempts >= $3 AND e.tried + k.tried >= $2 THEN 'dead' ELSE 'waiting' END,
            ended_at = CASE WHEN e.retired OR (e.attempts >= $3 AND e.tried + k.tried >= $2) THEN inbox_now() END,
            tried = e.tried + k.tried, due_at = inbox_now() + k.delay, status = k.status, answer = k.answer, lease_until = NULL,
            tried_at = inbox_now()
        FROM json_to_recordset($1::json)
            AS k (id bigint, lease bigint, done boolean, status bigint, answer text, duration bigint, delay bigint, tried bigint)
        WHERE e.id = k.id AND NOT k.done AND e.state = 'in_flight' AND e.lease = k.lease
        RETURNING e.id, e.state, e.size, e.lease, k.duration, e.status, e.answer
    ), recorded AS (
        INSERT INTO attempt (entry_id, number, at, duration, status, answer)
        SELECT id, lease, inbox_now(), duration, status, answer FROM failed WHERE size > 0
        ON CONFLICT (entry_id, number) DO UPDATE SET at = excluded.at, duration = excluded.duration, status = excluded.status,
            answer = excluded.answer
    ), trimmed AS (
        DELETE FROM attempt a USING failed
        WHERE a.entry_id = failed.id AND a.number > 3 AND a.number <= failed.lease - 17
    )
    SELECT id FROM failed WHERE state = 'dead'";

/// Locks in order, after all other rows. After a step back of the clock, the newest time is not the highest.
pub(super) const NOTE_SUCCESS: &str = "
    INSERT INTO route_success (route, at) SELECT k.route, inbox_now() FROM unnest($1::text[]) AS k (route) ORDER BY k.route
    ON CONFLICT (route) DO UPDATE SET at = excluded.at";
