-- Times are microseconds since 1970, by the database's clock. Bodies and header values are bytea, because text refuses NUL.
CREATE FUNCTION inbox_now() RETURNS bigint LANGUAGE sql STABLE AS
$$ SELECT (extract(epoch FROM statement_timestamp()) * 1000000)::bigint $$;

-- One row: the oldest program that may serve these tables. A migration that only adds does not change it.
CREATE TABLE schema_version (one bigint PRIMARY KEY, oldest_program bigint NOT NULL);
INSERT INTO schema_version (one, oldest_program) VALUES (1, 1);

CREATE SEQUENCE entry_id;

-- Entries. The lane is `deliver`, `quarantine` or `observed`.
CREATE TABLE entry (
    id bigint PRIMARY KEY,
    lane text NOT NULL,
    state text NOT NULL, -- waiting, in_flight, delivered, dead, superseded, quarantined, dropped
    hook text COLLATE "C" NOT NULL,
    generation text COLLATE "C",
    event text COLLATE "C", -- in quarantine it is only claimed
    reason text,
    detail text, -- the violated field and the expectation, without a value
    client text, -- the client's address of a quarantined delivery; NULL after a purge
    token_id text COLLATE "C",
    job text,
    request_id text, -- of the first delivery; NULL after a purge
    traceparent text, -- of the first delivery; NULL after a purge
    authenticated boolean NOT NULL,
    digest bytea NOT NULL, -- SHA-256 of the body
    size bigint NOT NULL, -- bytes in payload; 0 after a purge
    route text COLLATE "C", -- NULL while the entry is quarantined
    behind boolean NOT NULL DEFAULT false, -- a replayed entry comes after new ones
    supersedes text,
    override text,
    redelivery bigint NOT NULL DEFAULT 0,
    received_at bigint NOT NULL,
    seen bigint NOT NULL,
    seen_at bigint NOT NULL,
    due_at bigint NOT NULL,
    attempts bigint NOT NULL DEFAULT 0,
    tried bigint NOT NULL DEFAULT 0, -- microseconds that count toward the 72 hours
    tried_at bigint, -- the time of the last failed attempt
    lease bigint NOT NULL DEFAULT 0,
    lease_until bigint,
    retired boolean NOT NULL DEFAULT false, -- superseded while in flight: no attempt follows
    answered boolean NOT NULL DEFAULT false, -- a status call did not confirm the entry
    status bigint, -- the HTTP status of the last answer
    answer text, -- its start, escaped, or the error
    ended_at bigint,
    redelivered_at bigint, -- the time of the last replay or release
    superseded_by bigint, -- the entry that superseded it, or that its release made or repeated
    -- The order of commits: with two writers, a lower id may appear later.
    written xid8 NOT NULL DEFAULT pg_current_xact_id()
);
CREATE UNIQUE INDEX entry_event ON entry (hook, generation, event, authenticated) WHERE lane = 'deliver';
CREATE UNIQUE INDEX entry_quarantined ON entry (hook, reason, (coalesce(token_id, '')), digest) WHERE lane = 'quarantine';
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
CREATE INDEX entry_written ON entry (written, id);

CREATE TABLE payload (
    entry_id bigint PRIMARY KEY,
    path bytea NOT NULL,
    headers bytea NOT NULL, -- lines `name: value`
    body bytea NOT NULL,
    reevaluated bytea -- the headers of the release after a confirmation
);

-- Attempts: each failure, and a success after an earlier attempt. Of each entry the first 3 and the last 17 stay.
CREATE TABLE attempt (
    entry_id bigint NOT NULL,
    number bigint NOT NULL, -- from 1; replays do not restart it
    at bigint NOT NULL, -- the time of its end
    duration bigint, -- NULL without a result
    status bigint, -- NULL without an answer
    answer text NOT NULL, -- its start, escaped, or the error
    PRIMARY KEY (entry_id, number)
);

-- A decision on an event locks the row of its generation.
CREATE TABLE generation (
    hook text COLLATE "C" NOT NULL,
    generation text COLLATE "C" NOT NULL,
    token_id text,
    expected_job text, -- the announced job; it has precedence over the first use of a token
    completed_id bigint,
    completed_fingerprint text,
    completed_origin text, -- webhook, reconcile
    completed_authenticated boolean,
    failure_id bigint,
    failure_fingerprint text,
    failure_origin text, -- webhook, reconcile
    failure_authenticated boolean,
    busy bigint, -- the entry in flight
    seen_at bigint NOT NULL,
    PRIMARY KEY (hook, generation)
);

CREATE TABLE token (
    hook text COLLATE "C" NOT NULL,
    token_id text COLLATE "C" NOT NULL,
    generation text,
    seen_at bigint NOT NULL,
    PRIMARY KEY (hook, token_id)
);

-- Expected generations, and generations with status calls for quarantined entries.
CREATE TABLE expectation (
    hook text COLLATE "C" NOT NULL,
    generation text COLLATE "C" NOT NULL,
    job text, -- NULL without an announcement
    state text NOT NULL, -- expected, quarantined; then arrived, reconciled, unknown, contradicted
    expected_at bigint NOT NULL,
    ask_at bigint NOT NULL,
    asked bigint NOT NULL DEFAULT 0,
    asked_at bigint,
    missing bigint NOT NULL DEFAULT 0, -- the last answers in a row that know no such generation
    answer text, -- the last answer, as a word
    mismatch_id bigint, -- the accepted entry with another job
    wanted bigint, -- the time of the request for a status call about quarantined entries
    PRIMARY KEY (hook, generation)
);
CREATE INDEX expectation_open ON expectation (expected_at) WHERE state IN ('expected', 'quarantined');
CREATE INDEX expectation_old ON expectation (expected_at);
CREATE INDEX expectation_asked ON expectation (ask_at) WHERE state = 'expected' OR wanted IS NOT NULL;

-- The status calls of all inboxes in the last minute.
CREATE TABLE provider_call (at bigint NOT NULL);

-- The time of the last 2xx on a route. A failed attempt counts toward the 72 hours of its entry only beside such an answer.
CREATE TABLE route_success (route text COLLATE "C" PRIMARY KEY, at bigint NOT NULL);

-- Paused deliveries. '' matches every hook, or every event.
CREATE TABLE pause (
    hook text NOT NULL,
    event text NOT NULL,
    since bigint NOT NULL,
    PRIMARY KEY (hook, event)
);

-- Operators' actions, for the audit.
CREATE TABLE action (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at bigint NOT NULL, -- the time of its first change
    who text, -- the name of the caller's token; NULL without sign-in
    action text NOT NULL, -- replay, retry, release, release-as, drop, purge, pause, resume, reevaluate, reconcile
    filter text, -- the filter as JSON; NULL for ids
    target text, -- of a pause its hook and event, of a release-as the event, of a reevaluation the waived reasons
    entries bigint NOT NULL, -- the number of changed entries
    note text
);
CREATE INDEX action_at ON action (at);

-- The entries that an action changed.
CREATE TABLE action_entry (action_id bigint NOT NULL, entry_id bigint NOT NULL, PRIMARY KEY (action_id, entry_id));
CREATE INDEX action_entry_entry ON action_entry (entry_id, action_id);

-- The time of the next notification of each kind, for all inboxes.
CREATE TABLE notification (kind text PRIMARY KEY, next_at bigint NOT NULL);

-- One row. A write of it tests whether the store accepts writes.
CREATE TABLE heartbeat (one bigint PRIMARY KEY, at bigint NOT NULL);

-- The number and size of entries. `inbox stats`, and the measurement of the limit every 30 s, read these sums instead of all entries.
--
-- Triggers keep these sums, because a trigger sees every statement of every program. Each statement inserts differences, one row for
-- each kind of entry, and updates no sum: two writers would wait for each other, and two statements that update sums in another order
-- would deadlock. An inbox adds the differences to `entry_sum_folded` every 30 s. A statement fires one trigger. This takes 50 us
-- for one event and 90 us for 30, of the 1.2 ms for a batch of 30.
CREATE TABLE entry_sum_folded (
    since bigint NOT NULL, -- -1: all entries; otherwise the entries delivered in these ten minutes, for a day
    lane text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    route text COLLATE "C" NOT NULL, -- HOOK/quarantined without a route
    reason text COLLATE "C" NOT NULL, -- '' outside the lane `quarantine`
    entries bigint NOT NULL,
    bytes bigint NOT NULL,
    tombstones bigint NOT NULL, -- entries without a body
    PRIMARY KEY (since, lane, state, route, reason)
);

-- Differences that no inbox has added to the sums yet.
CREATE TABLE entry_sum_change (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    since bigint NOT NULL,
    lane text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    route text COLLATE "C" NOT NULL,
    reason text COLLATE "C" NOT NULL,
    entries bigint NOT NULL,
    bytes bigint NOT NULL,
    tombstones bigint NOT NULL
);

-- The sums with the differences. A reader adds up the rows that it needs.
CREATE VIEW entry_sum AS
SELECT since, lane, state, route, reason, entries, bytes, tombstones FROM entry_sum_folded
UNION ALL
SELECT since, lane, state, route, reason, entries, bytes, tombstones FROM entry_sum_change;

-- SECURITY DEFINER: a role that may write entries needs no GRANT on the sums. `pg_temp` comes last, so that no temporary table
-- replaces one of these tables.
CREATE FUNCTION entry_sum_insert() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = blobgate_inbox, pg_temp AS $$
BEGIN
    INSERT INTO entry_sum_change (since, lane, state, route, reason, entries, bytes, tombstones)
    SELECT -1, lane, state, coalesce(route, hook || '/quarantined'), CASE lane WHEN 'quarantine' THEN coalesce(reason, '') ELSE '' END,
        count(*), sum(size), count(*) FILTER (WHERE size = 0)
    FROM new_rows GROUP BY lane, state, 4, reason
    UNION ALL
    SELECT ended_at / 600000000 * 600000000, '', state, coalesce(route, hook || '/quarantined'), '', count(*), 0, 0
    FROM new_rows WHERE state = 'delivered' AND ended_at IS NOT NULL GROUP BY ended_at / 600000000, state, 4;
    RETURN NULL;
END $$;

CREATE FUNCTION entry_sum_update() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = blobgate_inbox, pg_temp AS $$
BEGIN
    INSERT INTO entry_sum_change (since, lane, state, route, reason, entries, bytes, tombstones)
    SELECT since, lane, state, route, reason, sum(n), sum(bytes), sum(tombstones)
    FROM (
        SELECT -1::bigint AS since, lane, state, coalesce(route, hook || '/quarantined') AS route,
            CASE lane WHEN 'quarantine' THEN coalesce(reason, '') ELSE '' END AS reason,
            1 AS n, size AS bytes, (size = 0)::int AS tombstones
        FROM new_rows
        UNION ALL
        SELECT -1, lane, state, coalesce(route, hook || '/quarantined'), CASE lane WHEN 'quarantine' THEN coalesce(reason, '') ELSE '' END,
            -1, -size, -(size = 0)::int
        FROM old_rows
        UNION ALL
        SELECT ended_at / 600000000 * 600000000, '', state, coalesce(route, hook || '/quarantined'), '', 1, 0, 0
        FROM new_rows WHERE state = 'delivered' AND ended_at IS NOT NULL
        UNION ALL
        SELECT ended_at / 600000000 * 600000000, '', state, coalesce(route, hook || '/quarantined'), '', -1, 0, 0
        FROM old_rows WHERE state = 'delivered' AND ended_at IS NOT NULL
    ) AS k
    GROUP BY since, lane, state, route, reason HAVING sum(n) <> 0 OR sum(bytes) <> 0 OR sum(tombstones) <> 0;
    RETURN NULL;
END $$;

CREATE FUNCTION entry_sum_delete() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = blobgate_inbox, pg_temp AS $$
BEGIN
    INSERT INTO entry_sum_change (since, lane, state, route, reason, entries, bytes, tombstones)
    SELECT -1, lane, state, coalesce(route, hook || '/quarantined'), CASE lane WHEN 'quarantine' THEN coalesce(reason, '') ELSE '' END,
        -count(*), -sum(size), -(count(*) FILTER (WHERE size = 0))
    FROM old_rows GROUP BY 2, 3, 4, 5;
    INSERT INTO entry_sum_change (since, lane, state, route, reason, entries, bytes, tombstones)
    SELECT ended_at / 600000000 * 600000000, '', state, coalesce(route, hook || '/quarantined'), '', -count(*), 0, 0
    FROM old_rows WHERE state = 'delivered' AND ended_at IS NOT NULL GROUP BY 1, 3, 4;
    RETURN NULL;
END $$;

CREATE FUNCTION entry_sum_truncate() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = blobgate_inbox, pg_temp AS $$
BEGIN
    DELETE FROM entry_sum_change;
    DELETE FROM entry_sum_folded;
    RETURN NULL;
END $$;

CREATE TRIGGER entry_sum_insert AFTER INSERT ON entry REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION entry_sum_insert();
CREATE TRIGGER entry_sum_update AFTER UPDATE ON entry REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION entry_sum_update();
CREATE TRIGGER entry_sum_delete AFTER DELETE ON entry REFERENCING OLD TABLE AS old_rows
FOR EACH STATEMENT EXECUTE FUNCTION entry_sum_delete();
CREATE TRIGGER entry_sum_truncate AFTER TRUNCATE ON entry FOR EACH STATEMENT EXECUTE FUNCTION entry_sum_truncate();
