//! Claims, leases and the results of attempts.

use super::finishing::{FINISH_DONE, FINISH_FAILED, NOTE_SUCCESS, RECORD};
use super::{Sqlite, json};
use crate::entry::EntryState;
use crate::store::read::ACTIVE_PAUSES;
use crate::store::{
    AttemptClass, ClaimRequest, ClaimedBatch, DeliveryStore, FinishedAttempt, MIN_ATTEMPTS, NO_RESULT, Pause,
    Pick, Result,
};
use async_trait::async_trait;
use sqlx::{query, query_as, query_scalar};

const RELEASE_GENERATIONS: &str = "
UPDATE generation SET busy = NULL FROM entry e
WHERE e.id IN (SELECT value FROM json_each(?1)) AND generation.hook = e.hook
    AND generation.generation = e.generation AND generation.busy = e.id AND e.state <> 'in_flight'";

/// Of each entry the first 3 attempts stay, and the last 17 up to its newest lease.
pub(super) const TRIM_ATTEMPTS: &str = "
DELETE FROM attempt WHERE entry_id IN (SELECT value FROM json_each(?1)) AND number > 3
    AND number <= (SELECT e.lease FROM entry e WHERE e.id = attempt.entry_id) - 17";

#[async_trait]
impl DeliveryStore for Sqlite {
    async fn waiting(&self) -> Result<Vec<(String, i64)>> {
        /// Takes one index step for each route.
        const WAITING: &str = "
            WITH RECURSIVE routes (route) AS (
                SELECT min(route) FROM entry WHERE state = 'waiting'
                UNION ALL
                SELECT (SELECT min(e.route) FROM entry e WHERE e.state = 'waiting' AND e.route > routes.route)
                FROM routes WHERE routes.route IS NOT NULL
            )
            SELECT route, min(
                coalesce((SELECT min(due_at) FROM entry e WHERE e.state = 'waiting' AND e.route = routes.route AND behind = 0), 1 << 62),
                coalesce((SELECT min(due_at) FROM entry e WHERE e.state = 'waiting' AND e.route = routes.route AND behind = 1), 1 << 62)
            ) - ?1
            FROM routes WHERE route IS NOT NULL";
        Ok(query_as(WAITING).bind(self.clock.now()).fetch_all(&self.delivery_reads).await?)
    }

    async fn pauses(&self) -> Result<Vec<Pause>> {
        Ok(query_as(ACTIVE_PAUSES).fetch_all(&self.delivery_reads).await?)
    }

    async fn claim(&self, route: &str, mut request: ClaimRequest, lease: i64) -> Result<ClaimedBatch> {
        const HOLD: &str = "
            UPDATE generation SET busy = e.id FROM entry e
            WHERE e.id IN (SELECT value FROM json_each(?1)) AND e.lane <> 'observed'
                AND generation.hook = e.hook AND generation.generation = e.generation";
        /// If two entries have one generation, takes the one in `busy`.
        const CLAIM: &str = "
            UPDATE entry SET state = 'in_flight', attempts = attempts + 1, lease = lease + 1, lease_until = ?2
            WHERE id IN (SELECT value FROM json_each(?1)) AND (lane = 'observed' OR EXISTS (
                SELECT 1 FROM generation g WHERE g.hook = entry.hook AND g.generation = entry.generation AND g.busy = entry.id))";
        const READ_CLAIMED: &str = "
            SELECT e.id, e.generation, e.request_id, e.traceparent, e.event, e.supersedes, e.override, e.redelivery, e.attempts, e.lease,
                coalesce((SELECT s.at > e.tried_at FROM route_success s WHERE s.route = e.route), false) AS beside_success,
                p.path, p.headers, p.body
            FROM entry e JOIN payload p ON p.entry_id = e.id
            WHERE e.id IN (SELECT value FROM json_each(?1)) AND e.state = 'in_flight' ORDER BY e.behind, e.due_at, e.id";
        let now = self.clock.now();
        transaction!(self, |connection| {
            let mut claimed = Vec::new();
            for (pick, max) in request.picks.clone() {
                let limit = request.limit(pick, max);
                if limit == 0 {
                    continue;
                }
                let due: Vec<i64> = query_scalar(due(pick))
                    .bind(route)
                    .bind(limit)
                    .bind(now)
                    .fetch_all(&mut *connection)
                    .await?;
                request.note_taken(pick, limit, due.len());
                if due.is_empty() {
                    continue;
                }
                let ids = json(&due)?;
                query(HOLD).bind(&ids).execute(&mut *connection).await?;
                query(CLAIM).bind(&ids).bind(now.saturating_add(lease)).execute(&mut *connection).await?;
                claimed.extend(due);
            }
            if claimed.is_empty() {
                request.claim(Vec::new())
            } else {
                let ids = json(&claimed)?;
                request.claim(query_as(READ_CLAIMED).bind(&ids).fetch_all(&mut *connection).await?)
            }
        })
    }

    async fn renew(&self, leases: &[(i64, i64)], lease: i64) -> Result<Vec<i64>> {
        const RENEW: &str = "
            UPDATE entry SET lease_until = ?2 FROM (SELECT value ->> 0 AS id, value ->> 1 AS lease FROM json_each(?1)) AS k
            WHERE entry.id = k.id AND entry.lease = k.lease AND state = 'in_flight' RETURNING entry.id";
        // No other process claims entries. Operators see the time.
        let until = self.clock.now().saturating_add(lease);
        transaction!(self, |connection| {
            query_scalar(RENEW).bind(json(leases)?).bind(until).fetch_all(&mut *connection).await?
        })
    }

    async fn finish(&self, finished: &[FinishedAttempt], give_up_after: i64) -> Result<Vec<i64>> {
        let ids = json(&finished.iter().map(|finished| finished.id).collect::<Vec<_>>())?;
        let succeeded = json(&FinishedAttempt::succeeded_on(finished))?;
        let recorded = finished.iter().filter(|finished| finished.is_recorded());
        let (done, failed): (Vec<_>, Vec<_>) = recorded.partition(|finished| finished.done);
        let any_recorded = !(done.is_empty() && failed.is_empty());
        let (now, done, failed, json) = (self.clock.now(), json(&done)?, json(&failed)?, json(finished)?);
        transaction!(self, |connection| {
            if any_recorded {
                query(RECORD).bind(&done).bind(now).execute(&mut *connection).await?;
            }
            query(FINISH_DONE).bind(&json).bind(now).execute(&mut *connection).await?;
            if any_recorded {
                query(RECORD).bind(&failed).bind(now).execute(&mut *connection).await?;
                query(TRIM_ATTEMPTS).bind(&ids).execute(&mut *connection).await?;
            }
            let failed: Vec<(i64, EntryState)> = query_as(FINISH_FAILED)
                .bind(&json)
                .bind(now)
                .bind(give_up_after)
                .bind(MIN_ATTEMPTS)
                .fetch_all(&mut *connection)
                .await?;
            query(RELEASE_GENERATIONS).bind(&ids).execute(&mut *connection).await?;
            if succeeded != "[]" {
                query(NOTE_SUCCESS).bind(&succeeded).bind(now).execute(&mut *connection).await?;
            }
            failed.into_iter().filter(|(_, state)| *state == EntryState::Dead).map(|(id, _)| id).collect()
        })
    }

    /// Releases claims that failed after their commit. Other leases end with their process, at the next start.
    async fn release_expired(&self, held: &[i64], _lease: i64) -> Result<usize> {
        const EXPIRED: &str = "
            SELECT id FROM entry WHERE state = 'in_flight' AND lease_until < ?2 AND id NOT IN (SELECT value FROM json_each(?1)) LIMIT 1000";
        const RELEASE_EXPIRED: &str = "
            UPDATE entry SET state = CASE WHEN retired THEN 'superseded' ELSE 'waiting' END,
                ended_at = CASE WHEN retired THEN ?2 END, due_at = ?2, lease_until = NULL
            WHERE id IN (SELECT value FROM json_each(?1)) AND state = 'in_flight' AND lease_until < ?2";
        const RECORD_EXPIRED: &str = "
            INSERT INTO attempt (entry_id, number, at, answer) SELECT id, lease, ?2, ?3 FROM entry
            WHERE id IN (SELECT value FROM json_each(?1)) AND state = 'in_flight' AND lease_until < ?2 AND size > 0
            ON CONFLICT (entry_id, number) DO NOTHING";
        let (now, held) = (self.clock.now(), json(held)?);
        let ids: Vec<i64> =
            query_scalar(EXPIRED).bind(&held).bind(now).fetch_all(&self.delivery_reads).await?;
        if !ids.is_empty() {
            let ids = json(&ids)?;
            transaction!(self, |connection| {
                let recorded = query(RECORD_EXPIRED).bind(&ids).bind(now).bind(NO_RESULT);
                recorded.execute(&mut *connection).await?;
                query(TRIM_ATTEMPTS).bind(&ids).execute(&mut *connection).await?;
                query(RELEASE_EXPIRED).bind(&ids).bind(now).execute(&mut *connection).await?;
                query(RELEASE_GENERATIONS).bind(&ids).execute(&mut *connection).await?;
            })?;
        }
        Ok(ids.len())
    }
}

/// Leaves out generations with an entry in flight. Observed entries belong to no generation.
macro_rules! due {
    ($index:literal, $which:literal, $order:literal) => {
        concat!(
            "SELECT id FROM entry e INDEXED BY ",
            $index,
            " WHERE state = 'waiting' AND ",
            $which,
            " AND route = ?1 AND due_at <= ?3
    AND (lane = 'observed' OR NOT EXISTS (
        SELECT 1 FROM generation g WHERE g.hook = e.hook AND g.generation = e.generation AND g.busy IS NOT NULL))
ORDER BY ",
            $order,
            " LIMIT ?2"
        )
    };
}

pub(super) fn due(pick: Pick) -> &'static str {
    match pick {
        Pick::Due => due!("entry_waiting", "true", "behind, due_at, id"),
        Pick::Oldest(AttemptClass::First) => due!("entry_first", "attempts = 0", "due_at, id"),
        Pick::Newest(AttemptClass::First) => due!("entry_first", "attempts = 0", "due_at DESC, id DESC"),
        Pick::Oldest(AttemptClass::Again) => due!("entry_again", "attempts > 0", "due_at, id"),
        Pick::Newest(AttemptClass::Again) => {
            due!("entry_again", "attempts > 0", "due_at DESC, id DESC")
        }
    }
}
