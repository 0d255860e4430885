-- Times are microseconds since 1970. Bodies and header values are unchanged bytes.

-- One row: the oldest program that may serve these tables. A migration that only adds does not change it.
CREATE TABLE schema_version (one INTEGER PRIMARY KEY, oldest_program INTEGER NOT NULL);
INSERT INTO schema_version (one, oldest_program) VALUES (1, 1);

-- Entries. The lane is `deliver`, `quarantine` or `observed`.
CREATE TABLE entry (
    id INTEGER PRIMARY KEY AUTOINCREMENT, -- AUTOINCREMENT notes the highest id so far
    lane TEXT NOT NULL,
    state TEXT NOT NULL, -- waiting, in_flight, delivered, dead, superseded, quarantined, dropped
    hook TEXT NOT NULL,
    generation TEXT,
    event TEXT, -- in quarantine it is only claimed
    reason TEXT,
    detail TEXT, -- the violated field and the expectation, without a value
    client TEXT, -- the client's address of a quarantined delivery; NULL after a purge
    token_id TEXT,
    job TEXT,
    request_id TEXT, -- of the first delivery; NULL after a purge
    traceparent TEXT, -- of the first delivery; NULL after a purge
    authenticated BOOLEAN NOT NULL,
    digest BLOB NOT NULL, -- SHA-256 of the body
    size INTEGER NOT NULL, -- bytes in payload; 0 after a purge
    route TEXT, -- NULL while the entry is quarantined
    behind BOOLEAN NOT NULL DEFAULT false, -- a replayed entry comes after new ones
    supersedes TEXT,
    override TEXT,
    redelivery INTEGER NOT NULL DEFAULT 0,
    received_at INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    tried INTEGER NOT NULL DEFAULT 0, -- microseconds that count toward the 72 hours
    tried_at INTEGER, -- the time of the last failed attempt
    lease INTEGER NOT NULL DEFAULT 0,
    lease_until INTEGER,
    retired BOOLEAN NOT NULL DEFAULT false, -- superseded while in flight: no attempt follows
    answered BOOLEAN NOT NULL DEFAULT false, -- a status call did not confirm the entry
    status INTEGER, -- the HTTP status of the last answer
    answer TEXT, -- its start, escaped, or the error
    ended_at INTEGER,
    redelivered_at INTEGER, -- the time of the last replay or release
    superseded_by INTEGER -- the entry that superseded it, or that its release made or repeated
);
CREATE UNIQUE INDEX entry_event ON entry (hook, generation, event, authenticated) WHERE lane = 'deliver';
CREATE UNIQUE INDEX entry_quarantined ON entry (hook, reason, coalesce(token_id, ''), digest) WHERE lane = 'quarantine';
CREATE INDEX entry_quarantined_generation ON entry (hook, generation) WHERE lane = 'quarantine';
CREATE INDEX entry_observed_generation ON entry (hook, generation) WHERE lane = 'observed';
-- The quotas of a token and of a token's generation. Each quarantined arrival counts against both.
CREATE INDEX entry_quarantined_quota ON entry (hook, coalesce(token_id, ''), coalesce(generation, ''), size)
    WHERE lane = 'quarantine' AND state = 'quarantined';
CREATE INDEX entry_unanswered ON entry (id) WHERE state = 'quarantined' AND reason = 'confirm-unavailable' AND NOT answered;
CREATE INDEX entry_waiting ON entry (route, behind, due_at, id) WHERE state = 'waiting';
-- First attempts and retries have separate indexes, so that neither waits for the other.
CREATE INDEX entry_first ON entry (route, due_at, id) WHERE state = 'waiting' AND attempts = 0;
CREATE INDEX entry_again ON entry (route, due_at, id) WHERE state = 'waiting' AND attempts > 0;
-- The age of a route's oldest waiting entry. The expression keeps the planner from using this index for the due entries of a route.
CREATE INDEX entry_oldest ON entry (route, (CASE state WHEN 'waiting' THEN received_at END))
WHERE (CASE state WHEN 'waiting' THEN received_at END) IS NOT NULL;
CREATE INDEX entry_in_flight ON entry (lease_until) WHERE state = 'in_flight';
CREATE INDEX entry_left ON entry (state, id) WHERE state IN ('dead', 'quarantined');
CREATE INDEX entry_live ON entry (ended_at) WHERE size > 0 AND state IN ('delivered', 'superseded', 'dropped');
CREATE INDEX entry_ended ON entry (ended_at) WHERE size = 0;
-- The entries whose release made an entry.
CREATE INDEX entry_superseded ON entry (superseded_by) WHERE superseded_by IS NOT NULL;

CREATE TABLE payload (
    entry_id INTEGER PRIMARY KEY,
    path BLOB NOT NULL,
    headers BLOB NOT NULL, -- lines `name: value`
    body BLOB NOT NULL,
    reevaluated BLOB -- the headers of the release after a confirmation
);

-- Attempts: each failure, and a success after an earlier attempt. Of each entry the first 3 and the last 17 stay.
CREATE TABLE attempt (
    entry_id INTEGER NOT NULL,
    number INTEGER NOT NULL, -- from 1; replays do not restart it
    at INTEGER NOT NULL, -- the time of its end
    duration INTEGER, -- NULL without a result
    status INTEGER, -- NULL without an answer
    answer TEXT NOT NULL, -- its start, escaped, or the error
    PRIMARY KEY (entry_id, number)
) WITHOUT ROWID;

-- A decision on an event locks the row of its generation.
CREATE TABLE generation (
    hook TEXT NOT NULL,
    generation TEXT NOT NULL,
    token_id TEXT,
    expected_job TEXT, -- the announced job; it has precedence over the first use of a token
    completed_id INTEGER,
    completed_fingerprint TEXT,
    completed_origin TEXT, -- webhook, reconcile
    completed_authenticated BOOLEAN,
    failure_id INTEGER,
    failure_fingerprint TEXT,
    failure_origin TEXT, -- webhook, reconcile
    failure_authenticated BOOLEAN,
    busy INTEGER, -- the entry in flight
    seen_at INTEGER NOT NULL,
    PRIMARY KEY (hook, generation)
);
-- The generations that a previous process left busy, for a start.
CREATE INDEX generation_busy ON generation (busy) WHERE busy IS NOT NULL;

CREATE TABLE token (
    hook TEXT NOT NULL,
    token_id TEXT NOT NULL,
    generation TEXT,
    seen_at INTEGER NOT NULL,
    PRIMARY KEY (hook, token_id)
);

-- Expected generations, and generations with status calls for quarantined entries.
CREATE TABLE expectation (
    hook TEXT NOT NULL,
    generation TEXT NOT NULL,
    job TEXT, -- NULL without an announcement
    state TEXT NOT NULL, -- expected, quarantined; then arrived, reconciled, unknown, contradicted
    expected_at INTEGER NOT NULL,
    ask_at INTEGER NOT NULL,
    asked INTEGER NOT NULL DEFAULT 0,
    asked_at INTEGER,
    missing INTEGER NOT NULL DEFAULT 0, -- the last answers in a row that know no such generation
    answer TEXT, -- the last answer, as a word
    mismatch_id INTEGER, -- the accepted entry with another job
    wanted INTEGER, -- the time of the request for a status call about quarantined entries
    PRIMARY KEY (hook, generation)
);
CREATE INDEX expectation_open ON expectation (expected_at) WHERE state IN ('expected', 'quarantined');
CREATE INDEX expectation_old ON expectation (expected_at);
CREATE INDEX expectation_asked ON expectation (ask_at) WHERE state = 'expected' OR wanted IS NOT NULL;

-- The status calls of all inboxes in the last minute.
CREATE TABLE provider_call (at INTEGER NOT NULL);

-- The time of the last 2xx on a route. A failed attempt counts toward the 72 hours of its entry only beside such an answer.
CREATE TABLE route_success (route TEXT PRIMARY KEY, at INTEGER NOT NULL);

-- Paused deliveries. '' matches every hook, or every event.
CREATE TABLE pause (
    hook TEXT NOT NULL,
    event TEXT NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (hook, event)
);

-- Operators' actions, for the audit.
CREATE TABLE action (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL, -- the time of its first change
    who TEXT, -- the name of the caller's token; NULL without sign-in
    action TEXT NOT NULL, -- replay, retry, release, release-as, drop, purge, pause, resume, reevaluate, reconcile
    filter TEXT, -- the filter as JSON; NULL for ids
    target TEXT, -- of a pause its hook and event, of a release-as the event, of a reevaluation the waived reasons
    entries INTEGER NOT NULL, -- the number of changed entries
    note TEXT
);
CREATE INDEX action_at ON action (at);

-- The entries that an action changed.
CREATE TABLE action_entry (action_id INTEGER NOT NULL, entry_id INTEGER NOT NULL, PRIMARY KEY (action_id, entry_id)) WITHOUT ROWID;
CREATE INDEX action_entry_entry ON action_entry (entry_id, action_id);

-- The time of the next notification of each kind, for all inboxes.
CREATE TABLE notification (kind TEXT PRIMARY KEY, next_at INTEGER NOT NULL);

-- One row. A write of it tests whether the store accepts writes.
CREATE TABLE heartbeat (one INTEGER PRIMARY KEY, at INTEGER NOT NULL);

-- The number and size of entries. `inbox stats`, and the measurement of the limit every 30 s, read these sums instead of all entries.
--
-- Triggers keep these sums, because a trigger sees every statement of every program. One transaction writes at a time, so triggers
-- update the rows in place.
CREATE TABLE entry_sum (
    since INTEGER NOT NULL, -- -1: all entries; otherwise the entries delivered in these ten minutes, for a day
    lane TEXT NOT NULL,
    state TEXT NOT NULL,
    route TEXT NOT NULL, -- HOOK/quarantined without a route
    reason TEXT NOT NULL, -- '' outside the lane `quarantine`
    entries INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    tombstones INTEGER NOT NULL, -- entries without a body
    PRIMARY KEY (since, lane, state, route, reason)
) WITHOUT ROWID;

CREATE TRIGGER entry_sum_insert AFTER INSERT ON entry BEGIN
    INSERT INTO entry_sum (since, lane, state, route, reason, entries, bytes, tombstones)
    VALUES (-1, NEW.lane, NEW.state, coalesce(NEW.route, NEW.hook || '/quarantined'), CASE NEW.lane WHEN 'quarantine' THEN coalesce(NEW.reason, '') ELSE '' END,
        1, NEW.size, NEW.size = 0)
    ON CONFLICT DO UPDATE SET entries = entries + 1, bytes = bytes + excluded.bytes, tombstones = tombstones + excluded.tombstones;
END;

CREATE TRIGGER entry_sum_delete AFTER DELETE ON entry BEGIN
    UPDATE entry_sum SET entries = entries - 1, bytes = bytes - OLD.size, tombstones = tombstones - (OLD.size = 0)
    WHERE since = -1 AND lane = OLD.lane AND state = OLD.state AND route = coalesce(OLD.route, OLD.hook || '/quarantined')
        AND reason = CASE OLD.lane WHEN 'quarantine' THEN coalesce(OLD.reason, '') ELSE '' END;
END;

CREATE TRIGGER entry_sum_update AFTER UPDATE OF lane, state, route, reason, size ON entry
WHEN (OLD.lane, OLD.state, OLD.route, OLD.reason, OLD.size) IS NOT (NEW.lane, NEW.state, NEW.route, NEW.reason, NEW.size)
BEGIN
    UPDATE entry_sum SET entries = entries - 1, bytes = bytes - OLD.size, tombstones = tombstones - (OLD.size = 0)
    WHERE since = -1 AND lane = OLD.lane AND state = OLD.state AND route = coalesce(OLD.route, OLD.hook || '/quarantined')
        AND reason = CASE OLD.lane WHEN 'quarantine' THEN coalesce(OLD.reason, '') ELSE '' END;
    INSERT INTO entry_sum (since, lane, state, route, reason, entries, bytes, tombstones)
    VALUES (-1, NEW.lane, NEW.state, coalesce(NEW.route, NEW.hook || '/quarantined'), CASE NEW.lane WHEN 'quarantine' THEN coalesce(NEW.reason, '') ELSE '' END,
        1, NEW.size, NEW.size = 0)
    ON CONFLICT DO UPDATE SET entries = entries + 1, bytes = bytes + excluded.bytes, tombstones = tombstones + excluded.tombstones;
END;

-- The entries delivered in the last day, by ten minutes. Updates do not restore older rows, which retention has deleted.
CREATE TRIGGER entry_sum_delivered_insert AFTER INSERT ON entry WHEN NEW.state = 'delivered' AND NEW.ended_at IS NOT NULL BEGIN
    INSERT INTO entry_sum (since, lane, state, route, reason, entries, bytes, tombstones)
    VALUES (NEW.ended_at / 600000000 * 600000000, '', 'delivered', coalesce(NEW.route, NEW.hook || '/quarantined'), '', 1, 0, 0)
    ON CONFLICT DO UPDATE SET entries = entries + 1;
END;

CREATE TRIGGER entry_sum_delivered_delete AFTER DELETE ON entry WHEN OLD.state = 'delivered' BEGIN
    UPDATE entry_sum SET entries = entries - 1
    WHERE since = OLD.ended_at / 600000000 * 600000000 AND lane = '' AND state = 'delivered' AND route = coalesce(OLD.route, OLD.hook || '/quarantined')
        AND reason = '';
END;

CREATE TRIGGER entry_sum_delivered_update AFTER UPDATE OF state, route, ended_at ON entry
WHEN (OLD.state = 'delivered' OR NEW.state = 'delivered')
    AND (OLD.state, OLD.route, OLD.ended_at) IS NOT (NEW.state, NEW.route, NEW.ended_at)
BEGIN
    UPDATE entry_sum SET entries = entries - 1
    WHERE OLD.state = 'delivered' AND since = OLD.ended_at / 600000000 * 600000000 AND lane = '' AND state = 'delivered'
        AND route = coalesce(OLD.route, OLD.hook || '/quarantined') AND reason = '';
    INSERT INTO entry_sum (since, lane, state, route, reason, entries, bytes, tombstones)
    SELECT NEW.ended_at / 600000000 * 600000000, '', 'delivered', coalesce(NEW.route, NEW.hook || '/quarantined'), '', 1, 0, 0
    WHERE NEW.state = 'delivered' AND NEW.ended_at IS NOT NULL
    ON CONFLICT DO UPDATE SET entries = entries + 1;
END;
