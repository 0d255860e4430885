-- What a token, and a token's generation, has in quarantine: each arrival there is counted against both.
-- While the index is made, whoever writes waits, and after 7 s gets 503: two seconds for three million entries.
SET LOCAL statement_timeout = 0;
CREATE INDEX entry_kept_quota ON entry (hook, coalesce(token_id, ''), coalesce(generation, ''), size)
    WHERE lane = 'quarantine' AND state = 'quarantined';
