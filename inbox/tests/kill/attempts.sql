SELECT e.id || ' ' || e.state || ': ' || count(a.number) || ' records of ' || e.lease || ' attempts'
FROM entry e LEFT JOIN attempt a ON a.entry_id = e.id
GROUP BY e.id, e.state, e.lease, e.size, e.redelivery
HAVING count(a.number) > 20 OR max(a.number) > e.lease OR e.size = 0 AND count(a.number) > 0
    OR e.state IN ('waiting', 'dead') AND e.redelivery = 0 AND count(a.number) <> CASE WHEN e.lease > 20 THEN 20 ELSE e.lease END
UNION ALL
SELECT a.entry_id || ': a record without an entry' FROM attempt a WHERE NOT EXISTS (SELECT 1 FROM entry e WHERE e.id = a.entry_id)
-- Prints a line for each entry whose attempts are not recorded, or recorded too often.
