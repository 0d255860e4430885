-- The job that the application says a generation is of: what decides before first use does.
ALTER TABLE generation ADD COLUMN expected_job text;

-- Which generations are expected, and which are asked about for what is kept of them.
CREATE TABLE expectation (
    hook text COLLATE "C" NOT NULL,
    generation text COLLATE "C" NOT NULL,
    job text, -- none where it is only asked about for what is kept
    state text NOT NULL, -- expected, quarantined; then arrived, reconciled, unknown, contradicted
    expected_at bigint NOT NULL,
    ask_at bigint NOT NULL,
    asked bigint NOT NULL DEFAULT 0,
    asked_at bigint,
    missing bigint NOT NULL DEFAULT 0, -- so many times in a row the provider knew of no such generation
    answer text, -- the last one, in a word
    mismatch_id bigint, -- the accepted entry that came with another job
    PRIMARY KEY (hook, generation)
);
CREATE INDEX expectation_open ON expectation (expected_at) WHERE state IN ('expected', 'quarantined');
CREATE INDEX expectation_old ON expectation (expected_at);

-- Calls to the provider, of all inboxes: those of the last minute.
CREATE TABLE provider_call (at bigint NOT NULL);

CREATE INDEX entry_kept_generation ON entry (hook, generation) WHERE lane = 'quarantine';
CREATE INDEX entry_unconfirmed ON entry (id) WHERE state = 'quarantined' AND reason = 'confirm-unavailable';
