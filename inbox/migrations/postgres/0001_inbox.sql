-- Times are microseconds since 1970, of this database's clock. Bodies and header values are bytes: text refuses NUL.
CREATE FUNCTION inbox_now() RETURNS bigint LANGUAGE sql STABLE AS
$$ SELECT (extract(epoch FROM statement_timestamp()) * 1000000)::bigint $$;

CREATE SEQUENCE entry_id;

-- What came, once: in the lane `deliver`, `quarantine` or `observed`.
CREATE TABLE entry (
    id bigint PRIMARY KEY,
    lane text NOT NULL,
    state text NOT NULL, -- waiting, in_flight, delivered, dead, superseded, quarantined, dropped
    hook text COLLATE "C" NOT NULL,
    generation text COLLATE "C",
    event text COLLATE "C", -- on quarantine only claimed
    reason text,
    token_id text COLLATE "C",
    job text,
    proven boolean NOT NULL,
    digest bytea NOT NULL, -- SHA-256 of the body
    size bigint NOT NULL, -- of what is in payload; 0 once that is purged
    route text COLLATE "C", -- where it is delivered; none while it is kept
    behind boolean NOT NULL DEFAULT false, -- replayed: behind new ones
    supersedes text,
    override text,
    redelivery bigint NOT NULL DEFAULT 0,
    received_at bigint NOT NULL,
    seen bigint NOT NULL,
    seen_at bigint NOT NULL,
    due_at bigint NOT NULL,
    attempts bigint NOT NULL DEFAULT 0,
    tried bigint NOT NULL DEFAULT 0, -- microseconds of its own trying
    lease bigint NOT NULL DEFAULT 0,
    lease_until bigint,
    retired boolean NOT NULL DEFAULT false, -- superseded while it was in flight: not tried again
    status bigint, -- of the last answer
    answer text, -- its beginning, escaped, or why there was none
    ended_at bigint
);
CREATE UNIQUE INDEX entry_event ON entry (hook, generation, event, proven) WHERE lane = 'deliver';
CREATE UNIQUE INDEX entry_kept ON entry (hook, reason, (coalesce(token_id, '')), digest) WHERE lane = 'quarantine';
CREATE INDEX entry_kept_token ON entry (hook, token_id) WHERE lane = 'quarantine';
CREATE INDEX entry_waiting ON entry (route, behind, due_at, id) WHERE state = 'waiting';
CREATE INDEX entry_in_flight ON entry (lease_until) WHERE state = 'in_flight';
CREATE INDEX entry_left ON entry (state, id) WHERE state IN ('dead', 'quarantined');
CREATE INDEX entry_live ON entry (ended_at) WHERE size > 0 AND state IN ('delivered', 'superseded', 'dropped');
CREATE INDEX entry_ended ON entry (ended_at) WHERE size = 0;

CREATE TABLE payload (
    entry_id bigint PRIMARY KEY,
    path bytea NOT NULL,
    headers bytea NOT NULL, -- lines `name: value`
    body bytea NOT NULL
);

-- The one row under whose lock a generation is decided on.
CREATE TABLE generation (
    hook text COLLATE "C" NOT NULL,
    generation text COLLATE "C" NOT NULL,
    token_id text,
    completed_id bigint,
    completed_fact text,
    completed_proven boolean,
    failure_id bigint,
    failure_fact text,
    failure_proven boolean,
    busy bigint, -- the one entry that is in flight
    seen_at bigint NOT NULL,
    PRIMARY KEY (hook, generation)
);

CREATE TABLE token (
    hook text COLLATE "C" NOT NULL,
    token_id text COLLATE "C" NOT NULL,
    generation text,
    seen_at bigint NOT NULL,
    PRIMARY KEY (hook, token_id)
);

-- Not delivered while it stands here; '' is every hook, or every event.
CREATE TABLE pause (
    hook text NOT NULL,
    event text NOT NULL,
    since bigint NOT NULL,
    PRIMARY KEY (hook, event)
);

-- One row, written to find out whether the store can be.
CREATE TABLE heartbeat (one bigint PRIMARY KEY, at bigint NOT NULL);
