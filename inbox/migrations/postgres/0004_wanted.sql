-- Since when the provider's word is wanted for what is kept of the generation; none where it is not.
ALTER TABLE expectation ADD COLUMN wanted bigint;
UPDATE expectation SET wanted = expected_at WHERE state = 'kept';
CREATE INDEX expectation_asked ON expectation (expected_at) WHERE state = 'expected' OR wanted IS NOT NULL;

-- Headers of a kept entry that was judged again and holds but for the provider's word: it goes on with them once that is there.
ALTER TABLE payload ADD COLUMN judged bytea;

-- Where a video is, which is somebody's, becomes a digest of that.
UPDATE generation SET completed_fact = encode(sha256(convert_to(regexp_replace(completed_fact, ' swept$', ''), 'UTF8')), 'hex')
    || CASE WHEN completed_fact LIKE '% swept' THEN ' swept' ELSE '' END
WHERE completed_fact LIKE '%://%';
