-- Times are microseconds since 1970. Bodies and header values are bytes, as they came.

-- What came, once: in the lane `deliver`, `quarantine` or `observed`.
CREATE TABLE entry (
    id INTEGER PRIMARY KEY AUTOINCREMENT, -- which only notes the highest that ever was
    lane TEXT NOT NULL,
    state TEXT NOT NULL, -- waiting, in_flight, delivered, dead, superseded, quarantined, dropped
    hook TEXT NOT NULL,
    generation TEXT,
    event TEXT, -- on quarantine only claimed
    reason TEXT,
    token_id TEXT,
    job TEXT,
    proven BOOLEAN NOT NULL,
    digest BLOB NOT NULL, -- SHA-256 of the body
    size INTEGER NOT NULL, -- of what is in payload; 0 once that is purged
    route TEXT, -- where it is delivered; none while it is kept
    behind BOOLEAN NOT NULL DEFAULT false, -- replayed: behind new ones
    supersedes TEXT,
    override TEXT,
    redelivery INTEGER NOT NULL DEFAULT 0,
    received_at INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    tried INTEGER NOT NULL DEFAULT 0, -- microseconds of its own trying
    lease INTEGER NOT NULL DEFAULT 0,
    lease_until INTEGER,
    retired BOOLEAN NOT NULL DEFAULT false, -- superseded while it was in flight: not tried again
    status INTEGER, -- of the last answer
    answer TEXT, -- its beginning, escaped, or why there was none
    ended_at INTEGER
);
CREATE UNIQUE INDEX entry_event ON entry (hook, generation, event, proven) WHERE lane = 'deliver';
CREATE UNIQUE INDEX entry_kept ON entry (hook, reason, coalesce(token_id, ''), digest) WHERE lane = 'quarantine';
CREATE INDEX entry_kept_token ON entry (hook, token_id) WHERE lane = 'quarantine';
CREATE INDEX entry_waiting ON entry (route, behind, due_at, id) WHERE state = 'waiting';
CREATE INDEX entry_in_flight ON entry (lease_until) WHERE state = 'in_flight';
CREATE INDEX entry_left ON entry (state, id) WHERE state IN ('dead', 'quarantined');
CREATE INDEX entry_live ON entry (ended_at) WHERE size > 0 AND state IN ('delivered', 'superseded', 'dropped');
CREATE INDEX entry_ended ON entry (ended_at) WHERE size = 0;

CREATE TABLE payload (
    entry_id INTEGER PRIMARY KEY,
    path BLOB NOT NULL,
    headers BLOB NOT NULL, -- lines `name: value`
    body BLOB NOT NULL
);

-- The one row under whose lock a generation is decided on.
CREATE TABLE generation (
    hook TEXT NOT NULL,
    generation TEXT NOT NULL,
    token_id TEXT,
    completed_id INTEGER,
    completed_fact TEXT,
    completed_proven BOOLEAN,
    failure_id INTEGER,
    failure_fact TEXT,
    failure_proven BOOLEAN,
    busy INTEGER, -- the one entry that is in flight
    seen_at INTEGER NOT NULL,
    PRIMARY KEY (hook, generation)
);

CREATE TABLE token (
    hook TEXT NOT NULL,
    token_id TEXT NOT NULL,
    generation TEXT,
    seen_at INTEGER NOT NULL,
    PRIMARY KEY (hook, token_id)
);

-- Not delivered while it stands here; '' is every hook, or every event.
CREATE TABLE pause (
    hook TEXT NOT NULL,
    event TEXT NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (hook, event)
);

-- One row, written to find out whether the store can be.
CREATE TABLE heartbeat (one INTEGER PRIMARY KEY, at INTEGER NOT NULL);
