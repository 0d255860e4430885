-- How many entries there are and how large they are, so that nobody counts them: `stats`, and the limit's measurement each 30 s.
--
-- Triggers keep these sums, for a trigger sees every statement: those to come, those of a program of the version before, and
-- those that somebody types. Each statement adds differences, a row a kind of entry, and changes nobody else's row: two that
-- write at once would wait for each other at a sum, and two statements that take sums in another order would lock each other
-- out. An inbox folds the differences into `entry_sum_folded` each 30 s. A statement fires one trigger, whatever it changes:
-- that takes 50 us for one event, and 90 us for 30, of the 1.2 ms that the database works on a batch of 30.
--
-- From here to the end of this transaction nobody writes entries, and after 7 s a sender gets 503: the count below is whole, and
-- the triggers add what follows.
SET LOCAL statement_timeout = 0;
SET LOCAL enable_seqscan = on;
LOCK TABLE entry IN SHARE ROW EXCLUSIVE MODE;

CREATE TABLE entry_sum_folded (
    since bigint NOT NULL, -- -1: all entries; else those delivered in the ten minutes from then on, kept for a day
    lane text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    route text COLLATE "C" NOT NULL, -- '' where there is none
    reason text COLLATE "C" NOT NULL, -- in the lane `quarantine`; else ''
    entries bigint NOT NULL,
    bytes bigint NOT NULL,
    tombstones bigint NOT NULL, -- entries without a body
    PRIMARY KEY (since, lane, state, route, reason)
);

-- Differences that are not folded yet.
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

-- The sums: add them up by what is wanted.
CREATE VIEW entry_sum AS
SELECT since, lane, state, route, reason, entries, bytes, tombstones FROM entry_sum_folded
UNION ALL
SELECT since, lane, state, route, reason, entries, bytes, tombstones FROM entry_sum_change;

-- By the owner's rights: a role that may write entries goes on after this migration without a GRANT. `pg_temp` comes last, so that
-- no temporary table takes the place of one of these.
CREATE FUNCTION entry_sum_insert() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = blobgate_inbox, pg_temp AS $$
BEGIN
    INSERT INTO entry_sum_change (since, lane, state, route, reason, entries, bytes, tombstones)
    SELECT -1, lane, state, coalesce(route, ''), CASE lane WHEN 'quarantine' THEN coalesce(reason, '') ELSE '' END,
        count(*), sum(size), count(*) FILTER (WHERE size = 0)
    FROM new_rows GROUP BY lane, state, route, reason
    UNION ALL
    SELECT ended_at / 600000000 * 600000000, '', state, coalesce(route, ''), '', count(*), 0, 0
    FROM new_rows WHERE state = 'delivered' AND ended_at IS NOT NULL GROUP BY ended_at / 600000000, state, route;
    RETURN NULL;
END $$;

CREATE FUNCTION entry_sum_update() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = blobgate_inbox, pg_temp AS $$
BEGIN
    INSERT INTO entry_sum_change (since, lane, state, route, reason, entries, bytes, tombstones)
    SELECT since, lane, state, route, reason, sum(n), sum(bytes), sum(tombstones)
    FROM (
        SELECT -1::bigint AS since, lane, state, coalesce(route, '') AS route,
            CASE lane WHEN 'quarantine' THEN coalesce(reason, '') ELSE '' END AS reason,
            1 AS n, size AS bytes, (size = 0)::int AS tombstones
        FROM new_rows
        UNION ALL
        SELECT -1, lane, state, coalesce(route, ''), CASE lane WHEN 'quarantine' THEN coalesce(reason, '') ELSE '' END,
            -1, -size, -(size = 0)::int
        FROM old_rows
        UNION ALL
        SELECT ended_at / 600000000 * 600000000, '', state, coalesce(route, ''), '', 1, 0, 0
        FROM new_rows WHERE state = 'delivered' AND ended_at IS NOT NULL
        UNION ALL
        SELECT ended_at / 600000000 * 600000000, '', state, coalesce(route, ''), '', -1, 0, 0
        FROM old_rows WHERE state = 'delivered' AND ended_at IS NOT NULL
    ) AS k
    GROUP BY since, lane, state, route, reason HAVING sum(n) <> 0 OR sum(bytes) <> 0 OR sum(tombstones) <> 0;
    RETURN NULL;
END $$;

CREATE FUNCTION entry_sum_delete() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = blobgate_inbox, pg_temp AS $$
BEGIN
    INSERT INTO entry_sum_change (since, lane, state, route, reason, entries, bytes, tombstones)
    SELECT -1, lane, state, coalesce(route, ''), CASE lane WHEN 'quarantine' THEN coalesce(reason, '') ELSE '' END,
        -count(*), -sum(size), -(count(*) FILTER (WHERE size = 0))
    FROM old_rows GROUP BY 2, 3, 4, 5;
    INSERT INTO entry_sum_change (since, lane, state, route, reason, entries, bytes, tombstones)
    SELECT ended_at / 600000000 * 600000000, '', state, coalesce(route, ''), '', -count(*), 0, 0
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

INSERT INTO entry_sum_folded (since, lane, state, route, reason, entries, bytes, tombstones)
SELECT -1, lane, state, coalesce(route, ''), CASE lane WHEN 'quarantine' THEN coalesce(reason, '') ELSE '' END,
    count(*), sum(size), count(*) FILTER (WHERE size = 0)
FROM entry GROUP BY 2, 3, 4, 5;
INSERT INTO entry_sum_folded (since, lane, state, route, reason, entries, bytes, tombstones)
SELECT ended_at / 600000000 * 600000000, '', state, coalesce(route, ''), '', count(*), 0, 0
FROM entry WHERE state = 'delivered' AND ended_at >= inbox_now() - 90000000000 GROUP BY 1, 3, 4;

-- The age of the oldest entry that waits, however many wait. The expression keeps the planner from this index where a statement
-- takes what is due on a route: that has an index of its own.
CREATE INDEX entry_oldest ON entry ((CASE state WHEN 'waiting' THEN received_at END))
WHERE (CASE state WHEN 'waiting' THEN received_at END) IS NOT NULL;
