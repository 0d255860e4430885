-- What a token, and a token's generation, has in quarantine: each arrival there is counted against both.
CREATE INDEX entry_kept_quota ON entry (hook, coalesce(token_id, ''), coalesce(generation, ''), size)
    WHERE lane = 'quarantine' AND state = 'quarantined';
