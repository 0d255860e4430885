-- While the indexes are made, whoever writes waits, and after 7 s gets 503: some seconds for three million entries.
SET LOCAL statement_timeout = 0;

-- When a service last answered 2xx on a route. A failed attempt counts as an entry's own only beside such an answer.
CREATE TABLE route_success (route text COLLATE "C" PRIMARY KEY, at bigint NOT NULL);

-- When the last failed attempt was written.
ALTER TABLE entry ADD COLUMN tried_at bigint;

-- Entries that were never tried, or not since they were replayed, and entries that were: neither waits behind the other.
CREATE INDEX entry_first ON entry (route, due_at, id) WHERE state = 'waiting' AND attempts = 0;
CREATE INDEX entry_again ON entry (route, due_at, id) WHERE state = 'waiting' AND attempts > 0;
