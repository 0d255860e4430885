//! The statements of expectations and calls, for both stores.

pub(in crate::store) const COLUMNS: &str =
    "SELECT x.hook, x.generation, x.job, x.state, x.expected_at, x.ask_at, x.asked, x.asked_at, x.missing, x.answer, x.wanted,
    x.mismatch_id, m.job AS mismatch_job
FROM expectation x LEFT JOIN entry m ON m.id = x.mismatch_id";

pub(super) const LOCK: &str = "
INSERT INTO generation (hook, generation, seen_at) VALUES ($1, $2, $3)
ON CONFLICT (hook, generation) DO UPDATE SET seen_at = excluded.seen_at
RETURNING expected_job, completed_id IS NOT NULL OR failure_id IS NOT NULL";

pub(super) const MISMATCH: &str = "
SELECT min(id) FROM entry
WHERE lane = 'deliver' AND hook = $1 AND generation = $2 AND job IS NOT NULL AND job <> $3";

pub(super) const EXPECT: &str = "UPDATE generation SET expected_job = $3 WHERE hook = $1 AND generation = $2";

/// Resets the calls: earlier ones were about quarantined entries, and say nothing about this expectation.
pub(super) const NOTE: &str = "
INSERT INTO expectation AS x (hook, generation, job, state, expected_at, ask_at, mismatch_id) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (hook, generation) DO UPDATE SET job = excluded.job, mismatch_id = excluded.mismatch_id, state = excluded.state,
    expected_at = excluded.expected_at, asked = 0, missing = 0, answer = NULL,
    ask_at = CASE WHEN x.wanted IS NOT NULL AND x.ask_at < excluded.ask_at THEN x.ask_at ELSE excluded.ask_at END";

pub(super) const EXPLAINED_BY: &str = "
SELECT id FROM entry
WHERE lane = 'quarantine' AND hook = $1 AND generation = $2 AND state = 'quarantined' AND reason IN ($4, $5) AND job = $3 AND size > 0
ORDER BY id";

/// Generations with entries that are quarantined without a status call, and without a requested one.
pub(super) const UNCONFIRMED: &str = "
SELECT DISTINCT e.hook, e.generation
FROM entry e LEFT JOIN expectation x ON x.hook = e.hook AND x.generation = e.generation
WHERE e.state = 'quarantined' AND e.reason = 'confirm-unavailable' AND NOT e.answered AND e.generation IS NOT NULL AND e.size > 0
    AND x.wanted IS NULL
LIMIT $1";

/// Includes reevaluated entries that wait for a confirmation.
pub(super) const UNCONFIRMED_OF: &str = "
SELECT e.id FROM entry e JOIN payload p ON p.entry_id = e.id
WHERE e.lane = 'quarantine' AND e.hook = $1 AND e.generation = $2 AND e.state = 'quarantined' AND e.size > 0
    AND (e.reason = 'confirm-unavailable' OR p.reevaluated IS NOT NULL)
ORDER BY e.id";

/// Sets the generation of an entry that named none. Today's configuration may read one.
pub(super) const NAME_GENERATION: &str = "
UPDATE entry SET generation = coalesce(generation, $2) WHERE id = $1 AND lane = 'quarantine' AND state = 'quarantined' AND size > 0";

pub(super) const STORE_REEVALUATION: &str = "UPDATE payload SET reevaluated = $2 WHERE entry_id = $1";

pub(super) const FORGET_REEVALUATION: &str =
    "UPDATE payload SET reevaluated = NULL WHERE entry_id = $1 AND reevaluated IS NOT NULL";

/// Entries that stay quarantined after a call. No further call is made for them, and their reevaluation ends, unless another
/// reevaluation requested a call meanwhile.
pub(super) const LEAVE: [&str; 2] = [
    "UPDATE entry SET answered = true WHERE id IN ({ids}) AND state = 'quarantined'",
    "UPDATE payload SET reevaluated = NULL WHERE reevaluated IS NOT NULL AND entry_id IN ({ids}) AND EXISTS (
        SELECT 1 FROM expectation x WHERE x.hook = $1 AND x.generation = $2 AND x.wanted IS NULL)",
];

/// Requests a call. The answer to a call that is already running does not count: `wanted` is later than its start.
pub(super) const WANT: &str = "
INSERT INTO expectation AS x (hook, generation, state, expected_at, ask_at, wanted) VALUES ($1, $2, 'quarantined', $3, $3, $3)
ON CONFLICT (hook, generation) DO UPDATE SET ask_at = excluded.ask_at, asked = 0,
    wanted = CASE WHEN x.asked_at >= excluded.wanted THEN x.asked_at + 1 ELSE excluded.wanted END,
    missing = CASE WHEN x.state = 'expected' THEN x.missing ELSE 0 END,
    state = CASE WHEN x.job IS NULL THEN 'quarantined' ELSE x.state END";

/// Lets the first of two inboxes request the call.
pub(super) const UNLESS_WANTED: &str = " WHERE x.wanted IS NULL";

/// The sum `expected_at + 0` matches no index. With an index on `expected_at`, PostgreSQL would read all arrived expectations, the
/// oldest first.
pub(super) const DUE: &str = "
SELECT hook, generation, job, state, asked, missing FROM expectation
WHERE (state = 'expected' OR wanted IS NOT NULL) AND ask_at <= $1 ORDER BY expected_at + 0, hook, generation LIMIT 1";

/// Also deletes calls of the future, which a clock left when it was set back.
pub(super) const FORGET_CALLS: &str = "DELETE FROM provider_call WHERE at <= $1 OR at > $2";

pub(super) const CALL: &str = "
INSERT INTO provider_call (at) SELECT CAST($1 AS bigint) WHERE (SELECT count(*) FROM provider_call) < $2";

/// The calls that the next one counts too.
pub(super) const CALLS: &str = "SELECT count(*) FROM provider_call WHERE at > $1 AND at <= $2";

pub(super) const MARK_CALLED: &str = "
UPDATE expectation SET asked = asked + 1, asked_at = $3, ask_at = $4, answer = 'under way' WHERE hook = $1 AND generation = $2";

/// Changes only the expectation of the call. A state that changed during the call stays. A call that was requested meanwhile stays
/// requested.
pub(super) const ANSWERED: &str = "
UPDATE expectation SET answer = $3,
    missing = CASE WHEN state = $6 AND coalesce(job, '') = $7 THEN $4 ELSE missing END,
    state = CASE WHEN state = $6 AND coalesce(job, '') = $7 AND state IN ('expected', 'quarantined') THEN coalesce($5, state) ELSE state END,
    wanted = CASE WHEN $5 IS NOT NULL AND wanted <= $8 THEN NULL ELSE wanted END
WHERE hook = $1 AND generation = $2";

pub(super) const CALL_NOW: &str = "
UPDATE expectation SET ask_at = $1 WHERE (hook, generation) IN (
    SELECT hook, generation FROM expectation
    WHERE (state = 'expected' OR wanted IS NOT NULL) AND (wanted IS NOT NULL OR asked > 0 OR expected_at <= $2) {free})";

pub(super) const COUNT: &str = "
SELECT count(*), CAST(coalesce(sum(CASE WHEN expected_at <= $1 THEN 1 ELSE 0 END), 0) AS bigint) FROM expectation
WHERE state IN ('expected', 'quarantined') AND state = 'expected'";

pub(super) const OLD: &str = "
SELECT hook, generation FROM (
    SELECT hook, generation FROM expectation WHERE expected_at <= $1 AND wanted IS NULL ORDER BY expected_at LIMIT $2) AS old
ORDER BY hook, generation";

/// Deletes an expectation, and its generation unless entries have it. Each lane has its own index.
pub(super) const PURGE: [&str; 2] = [
    "DELETE FROM generation WHERE hook = $1 AND generation = $2 AND seen_at <= $3
        AND NOT EXISTS (SELECT 1 FROM entry e WHERE e.hook = $1 AND e.generation = $2 AND e.lane = 'deliver')
        AND NOT EXISTS (SELECT 1 FROM entry e WHERE e.hook = $1 AND e.generation = $2 AND e.lane = 'quarantine')",
    "DELETE FROM expectation WHERE hook = $1 AND generation = $2 AND expected_at <= $3 AND wanted IS NULL",
];

/// Reads backwards from the newest entry to one of the hook. The conditions end it early for a hook without entries.
pub(in crate::store) const NEWEST_HEAD: &str = "
SELECT p.path, p.headers FROM entry e JOIN payload p ON p.entry_id = e.id WHERE e.hook = $1 AND (
    EXISTS (SELECT 1 FROM entry WHERE lane = 'deliver' AND hook = $1)
    OR EXISTS (SELECT 1 FROM entry WHERE lane = 'quarantine' AND hook = $1)
    OR EXISTS (SELECT 1 FROM entry_sum WHERE since = -1 AND lane = 'observed' AND substr(route, 1, length($1) + 1) = $1 || '/'))
ORDER BY e.id DESC LIMIT 1";
