-- Fills an empty store with {count} entries of 30 days. The inbox must not serve it meanwhile.
SET search_path = blobgate_inbox;
BEGIN;
CREATE TEMP TABLE numbered AS
SELECT n, lpad(to_hex(n), 8, '0') || '-0000-4000-8000-' || lpad(to_hex(n), 12, '0') AS generation,
    inbox_now() - ({count} - n) * (2592000000000 / {count}) AS at,
    CASE WHEN n > {count} - 500 THEN 'waiting' WHEN n > {count} - 520 THEN 'in_flight' WHEN n % 1000 = 1 THEN 'dead'
        WHEN n % 500 = 2 THEN 'quarantined' WHEN n % 500 = 3 THEN 'superseded' WHEN n % 500 = 4 THEN 'dropped' ELSE 'delivered' END AS state,
    CASE WHEN n % 500 IN (2, 4) AND n <= {count} - 520 THEN 'quarantine' WHEN n % 100 = 50 THEN 'observed' ELSE 'deliver' END AS lane,
    CASE n % 3 WHEN 0 THEN 'veo3' WHEN 1 THEN 'kling' ELSE 'suno' END AS hook,
    CASE n % 10 WHEN 0 THEN 'failed' WHEN 5 THEN 'timeout' ELSE 'completed' END AS event
FROM generate_series(1, {count}) AS n;
INSERT INTO entry (id, lane, state, hook, generation, event, reason, detail, client, token_id, job, request_id, authenticated, digest, size,
    route, received_at, seen, seen_at, due_at, attempts, lease, lease_until, status, answer, ended_at)
SELECT n, lane, state, hook, generation, event,
    CASE lane WHEN 'quarantine' THEN CASE n % 3 WHEN 0 THEN 'token-expired' WHEN 1 THEN 'result-url-denied' ELSE 'event-conflict' END END,
    CASE lane WHEN 'quarantine' THEN 'expected a token in time' END, CASE lane WHEN 'quarantine' THEN '203.0.113.9' END,
    't' || n, 'order-' || n / 3, 'request-' || n, true, sha256(n::text::bytea),
    CASE WHEN state = 'delivered' AND n < {count} / 2 THEN 0 ELSE 400 END,
    CASE lane WHEN 'deliver' THEN hook || '/' || event WHEN 'observed' THEN hook || '/observed/' || event END,
    at, 1, at, at, CASE lane WHEN 'quarantine' THEN 0 ELSE 1 END, CASE lane WHEN 'quarantine' THEN 0 ELSE 1 END,
    CASE state WHEN 'in_flight' THEN at + 3600000000 END,
    CASE state WHEN 'delivered' THEN 200 WHEN 'dead' THEN 500 END, CASE state WHEN 'dead' THEN 'out of order' END,
    CASE WHEN state NOT IN ('waiting', 'in_flight', 'quarantined') THEN at + 1000000 END
FROM numbered;
INSERT INTO payload (entry_id, path, headers, body)
SELECT n, convert_to('/hooks/' || hook, 'UTF8'),
    convert_to(E'blobgate-dialect: veo3\r\nblobgate-hook: ' || hook || E'\r\ncontent-type: application/json\r\n', 'UTF8'),
    convert_to('{"generation_id":"' || generation || '","status":"' || event || '","video_url":"https://cdn.example/' || n || '.mp4"}', 'UTF8')
FROM numbered WHERE NOT (state = 'delivered' AND n < {count} / 2);
INSERT INTO attempt (entry_id, number, at, duration, status, answer)
SELECT n, k.number, at + k.number * 1000000, 20000, 500, 'out of order' FROM numbered, (SELECT 1 AS number UNION SELECT 2 UNION SELECT 3) AS k
WHERE state = 'dead';
INSERT INTO generation (hook, generation, completed_id, completed_fingerprint, completed_origin, completed_authenticated, seen_at)
SELECT hook, generation, n, 'completed ' || n, 'webhook', true, at FROM numbered WHERE lane = 'deliver';
INSERT INTO expectation (hook, generation, job, state, expected_at, ask_at)
SELECT hook, generation, 'order-' || n / 3, 'arrived', at - 60000000, at FROM numbered WHERE n % 10 = 7;
INSERT INTO action (at, who, action, filter, entries)
SELECT at, 'anna', CASE n % 3 WHEN 0 THEN 'drop' ELSE 'replay' END, CASE n % 2 WHEN 0 THEN '{"state":"dead","hook":"veo3"}' END, 1
FROM numbered WHERE state = 'dropped' ORDER BY n;
INSERT INTO action_entry (action_id, entry_id) SELECT row_number() OVER (ORDER BY n), n FROM numbered WHERE state = 'dropped';
DROP TABLE numbered;
SELECT setval('entry_id', {count});
COMMIT;
ANALYZE;
