//! The statements for the results of attempts.

/// Takes the same rows as the statement after it.
pub(super) const RECORD: &str = "
    INSERT INTO attempt (entry_id, number, at, duration, status, answer)
    SELECT e.id, k.v ->> 'lease', ?2, k.v ->> 'duration', k.v ->> 'status', k.v ->> 'answer'
    FROM (SELECT value AS v FROM json_each(?1)) AS k JOIN entry e ON e.id = k.v ->> 'id'
    WHERE e.size > 0 AND CASE WHEN k.v ->> 'done' THEN e.state IN ('waiting', 'in_flight', 'dead', 'superseded')
        ELSE e.state = 'in_flight' AND e.lease = k.v ->> 'lease' END
    ON CONFLICT (entry_id, number) DO UPDATE SET at = excluded.at, duration = excluded.duration, status = excluded.status,
        answer = excluded.answer";

/// A 2xx ends the event. An entry whose running attempt succeeds was not superseded.
pub(super) const FINISH_DONE: &str = "
    UPDATE entry SET state = 'delivered', ended_at = ?2, status = k.v ->> 'status', answer = k.v ->> 'answer', lease_until = NULL,
        superseded_by = CASE WHEN state = 'in_flight' AND retired THEN NULL ELSE superseded_by END
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

/// After a step back of the clock, the newest time is not the highest.
pub(super) const NOTE_SUCCESS: &str = "
    INSERT INTO route_success (route, at) SELECT value, ?2 FROM json_each(?1) WHERE true
    ON CONFLICT (route) DO UPDATE SET at = excluded.at";
