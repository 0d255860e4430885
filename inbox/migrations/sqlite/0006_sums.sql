-- How many entries there are and how large they are, so that nobody counts them: `stats`, and the limit's measurement each 30 s.
--
-- Triggers keep these sums, for a trigger sees every statement: those to come, those of a program of the version before, and
-- those that somebody types. One transaction writes at a time, so each row changes in place.
CREATE TABLE entry_sum (
    since INTEGER NOT NULL, -- -1: all entries; else those delivered in the ten minutes from then on, kept for a day
    lane TEXT NOT NULL,
    state TEXT NOT NULL,
    route TEXT NOT NULL, -- '' where there is none
    reason TEXT NOT NULL, -- in the lane `quarantine`; else ''
    entries INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    tombstones INTEGER NOT NULL, -- entries without a body
    PRIMARY KEY (since, lane, state, route, reason)
) WITHOUT ROWID;

CREATE TRIGGER entry_sum_insert AFTER INSERT ON entry BEGIN
    INSERT INTO entry_sum (since, lane, state, route, reason, entries, bytes, tombstones)
    VALUES (-1, NEW.lane, NEW.state, coalesce(NEW.route, ''), CASE NEW.lane WHEN 'quarantine' THEN coalesce(NEW.reason, '') ELSE '' END,
        1, NEW.size, NEW.size = 0)
    ON CONFLICT DO UPDATE SET entries = entries + 1, bytes = bytes + excluded.bytes, tombstones = tombstones + excluded.tombstones;
END;

CREATE TRIGGER entry_sum_delete AFTER DELETE ON entry BEGIN
    UPDATE entry_sum SET entries = entries - 1, bytes = bytes - OLD.size, tombstones = tombstones - (OLD.size = 0)
    WHERE since = -1 AND lane = OLD.lane AND state = OLD.state AND route = coalesce(OLD.route, '')
        AND reason = CASE OLD.lane WHEN 'quarantine' THEN coalesce(OLD.reason, '') ELSE '' END;
END;

CREATE TRIGGER entry_sum_update AFTER UPDATE OF lane, state, route, reason, size ON entry
WHEN (OLD.lane, OLD.state, OLD.route, OLD.reason, OLD.size) IS NOT (NEW.lane, NEW.state, NEW.route, NEW.reason, NEW.size)
BEGIN
    UPDATE entry_sum SET entries = entries - 1, bytes = bytes - OLD.size, tombstones = tombstones - (OLD.size = 0)
    WHERE since = -1 AND lane = OLD.lane AND state = OLD.state AND route = coalesce(OLD.route, '')
        AND reason = CASE OLD.lane WHEN 'quarantine' THEN coalesce(OLD.reason, '') ELSE '' END;
    INSERT INTO entry_sum (since, lane, state, route, reason, entries, bytes, tombstones)
    VALUES (-1, NEW.lane, NEW.state, coalesce(NEW.route, ''), CASE NEW.lane WHEN 'quarantine' THEN coalesce(NEW.reason, '') ELSE '' END,
        1, NEW.size, NEW.size = 0)
    ON CONFLICT DO UPDATE SET entries = entries + 1, bytes = bytes + excluded.bytes, tombstones = tombstones + excluded.tombstones;
END;

-- Those delivered in the last day, by ten minutes. What was forgotten of a day before stays forgotten.
CREATE TRIGGER entry_sum_delivered_insert AFTER INSERT ON entry WHEN NEW.state = 'delivered' AND NEW.ended_at IS NOT NULL BEGIN
    INSERT INTO entry_sum (since, lane, state, route, reason, entries, bytes, tombstones)
    VALUES (NEW.ended_at / 600000000 * 600000000, '', 'delivered', coalesce(NEW.route, ''), '', 1, 0, 0)
    ON CONFLICT DO UPDATE SET entries = entries + 1;
END;

CREATE TRIGGER entry_sum_delivered_delete AFTER DELETE ON entry WHEN OLD.state = 'delivered' BEGIN
    UPDATE entry_sum SET entries = entries - 1
    WHERE since = OLD.ended_at / 600000000 * 600000000 AND lane = '' AND state = 'delivered' AND route = coalesce(OLD.route, '')
        AND reason = '';
END;

CREATE TRIGGER entry_sum_delivered_update AFTER UPDATE OF state, route, ended_at ON entry
WHEN (OLD.state = 'delivered' OR NEW.state = 'delivered')
    AND (OLD.state, OLD.route, OLD.ended_at) IS NOT (NEW.state, NEW.route, NEW.ended_at)
BEGIN
    UPDATE entry_sum SET entries = entries - 1
    WHERE OLD.state = 'delivered' AND since = OLD.ended_at / 600000000 * 600000000 AND lane = '' AND state = 'delivered'
        AND route = coalesce(OLD.route, '') AND reason = '';
    INSERT INTO entry_sum (since, lane, state, route, reason, entries, bytes, tombstones)
    SELECT NEW.ended_at / 600000000 * 600000000, '', 'delivered', coalesce(NEW.route, ''), '', 1, 0, 0
    WHERE NEW.state = 'delivered' AND NEW.ended_at IS NOT NULL
    ON CONFLICT DO UPDATE SET entries = entries + 1;
END;

INSERT INTO entry_sum (since, lane, state, route, reason, entries, bytes, tombstones)
SELECT -1, lane, state, coalesce(route, ''), CASE lane WHEN 'quarantine' THEN coalesce(reason, '') ELSE '' END,
    count(*), sum(size), sum(size = 0)
FROM entry GROUP BY 1, 2, 3, 4, 5;
INSERT INTO entry_sum (since, lane, state, route, reason, entries, bytes, tombstones)
SELECT ended_at / 600000000 * 600000000, '', 'delivered', coalesce(route, ''), '', count(*), 0, 0
FROM entry WHERE state = 'delivered' AND ended_at >= (unixepoch() - 90000) * 1000000 GROUP BY 1, 2, 3, 4, 5;

-- The age of the oldest entry that waits, however many wait. The expression keeps the planner from this index where a statement
-- takes what is due on a route: that has an index of its own.
CREATE INDEX entry_oldest ON entry ((CASE state WHEN 'waiting' THEN received_at END))
WHERE (CASE state WHEN 'waiting' THEN received_at END) IS NOT NULL;
-- At a start: which generations a process has left busy.
CREATE INDEX generation_busy ON generation (busy) WHERE busy IS NOT NULL;
