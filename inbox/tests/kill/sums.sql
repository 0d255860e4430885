SELECT since || ' ' || lane || ' ' || state || ' ' || route || ' ' || reason || ': ' || sum(entries) || ' entries, '
    || sum(bytes) || ' bytes, ' || sum(tombstones) || ' tombstones too many'
FROM (
    SELECT since, lane, state, route, reason, entries, bytes, tombstones FROM entry_sum
    UNION ALL
    SELECT -1, lane, state, coalesce(route, hook || '/quarantined'), CASE lane WHEN 'quarantine' THEN coalesce(reason, '') ELSE '' END,
        -count(*), -sum(size), -sum(CASE size WHEN 0 THEN 1 ELSE 0 END)
    FROM entry GROUP BY lane, state, 4, 5
    UNION ALL
    SELECT ended_at / 600000000 * 600000000, '', state, coalesce(route, hook || '/quarantined'), '', -count(*), 0, 0
    FROM entry WHERE state = 'delivered' AND ended_at IS NOT NULL GROUP BY 1, state, 4
) AS k
WHERE since = -1 OR since > (SELECT coalesce(max(ended_at), 0) - 86400000000 FROM entry)
GROUP BY since, lane, state, route, reason
HAVING sum(entries) <> 0 OR sum(bytes) <> 0 OR sum(tombstones) <> 0
ORDER BY 1
-- Prints a line for each sum that differs from a full count. Of delivered entries, those of the last day before the newest.
