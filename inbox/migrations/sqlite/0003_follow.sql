-- Nothing: here one transaction follows the other, and ids are in the order in which they were committed. It is there so
-- that both stores' tables have the same version.
SELECT 1;
