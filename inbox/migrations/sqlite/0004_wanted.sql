-- Since when the provider's word is wanted for what is kept of the generation; none where it is not.
ALTER TABLE expectation ADD COLUMN wanted INTEGER;
UPDATE expectation SET wanted = expected_at WHERE state = 'quarantined';
CREATE INDEX expectation_asked ON expectation (ask_at) WHERE state = 'expected' OR wanted IS NOT NULL;

-- Headers of a kept entry that was judged again and holds but for the provider's word: it goes on with them once that is there.
ALTER TABLE payload ADD COLUMN judged BLOB;

-- Whether the provider has been asked about it, and has said something else.
ALTER TABLE entry ADD COLUMN answered BOOLEAN NOT NULL DEFAULT false;
CREATE INDEX entry_unanswered ON entry (id) WHERE state = 'quarantined' AND reason = 'confirm-unavailable' AND NOT answered;
