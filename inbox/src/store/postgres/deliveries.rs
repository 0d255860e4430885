//! Claims, leases and the results of attempts.

use super::Postgres;
use super::finishing::{FINISH_DONE, FINISH_DONE_AGAIN, FINISH_FAILED, NOTE_SUCCESS};
use crate::store::read::ACTIVE_PAUSES;
use crate::store::{
    AttemptClass, ClaimRequest, ClaimedBatch, DeliveryStore, FinishedAttempt, MIN_ATTEMPTS, Pause, Pick,
    Result, StoreError,
};
use async_trait::async_trait;
use sqlx::postgres::PgConnection;
use sqlx::{query, query_as, query_scalar};

pub(super) const RELEASE_GENERATIONS: &str = "
UPDATE generation g SET busy = NULL FROM entry e
WHERE e.id = ANY($1) AND g.hook = e.hook AND g.generation = e.generation AND g.busy = e.id AND e.state <> 'in_flight'";

#[async_trait]
impl DeliveryStore for Postgres {
    async fn waiting(&self) -> Result<Vec<(String, i64)>> {
        /// Takes one index step for each route.
        const WAITING: &str = "
            WITH RECURSIVE routes (route) AS (
                SELECT min(route) FROM entry WHERE state = 'waiting'
                UNION ALL
                SELECT (SELECT min(e.route) FROM entry e WHERE e.state = 'waiting' AND e.route > routes.route)
                FROM routes WHERE routes.route IS NOT NULL
            )
            SELECT route, least(
                (SELECT due_at FROM entry e WHERE e.state = 'waiting' AND e.route = routes.route AND NOT behind ORDER BY due_at LIMIT 1),
                (SELECT due_at FROM entry e WHERE e.state = 'waiting' AND e.route = routes.route AND behind ORDER BY due_at LIMIT 1)
            ) - inbox_now()
            FROM routes WHERE route IS NOT NULL";
        transaction!(self, |connection| query_as(WAITING).fetch_all(&mut *connection).await?)
    }

    async fn pauses(&self) -> Result<Vec<Pause>> {
        transaction!(self, |connection| query_as(ACTIVE_PAUSES).fetch_all(&mut *connection).await?)
    }

    async fn claim(&self, route: &str, request: ClaimRequest, lease: i64) -> Result<ClaimedBatch> {
        const READ_CLAIMED: &str = "
            SELECT e.id, e.generation, e.request_id, e.traceparent, e.event, e.supersedes, e.override, e.redelivery, e.attempts, e.lease,
                coalesce((SELECT s.at > e.tried_at FROM route_success s WHERE s.route = e.route), false) AS beside_success,
                p.path, p.headers, p.body
            FROM entry e JOIN payload p ON p.entry_id = e.id WHERE e.id = ANY($1) ORDER BY e.behind, e.due_at, e.id";
        let observed = route.contains("/observed/");
        transaction!(self, |connection| {
            // A repeated transaction begins with the whole request.
            let mut request = request.clone();
            let mut claimed: Vec<i64> = Vec::new();
            for (pick, max) in request.picks.clone() {
                let limit = request.limit(pick, max);
                if limit == 0 {
                    continue;
                }
                let ids: Vec<i64> = query_scalar(claim(pick, observed))
                    .bind(route)
                    .bind(limit)
                    .bind(lease)
                    .fetch_all(&mut *connection)
                    .await?;
                request.note_taken(pick, limit, ids.len());
                claimed.extend(ids);
            }
            if claimed.is_empty() {
                request.claim(Vec::new())
            } else {
                request.claim(query_as(READ_CLAIMED).bind(claimed).fetch_all(&mut *connection).await?)
            }
        })
    }

    async fn renew(&self, leases: &[(i64, i64)], lease: i64) -> Result<Vec<i64>> {
        /// Also renews a lease whose time is over: the entry belongs to the inbox with its lease number. The clock may have been
        /// stepped.
        const RENEW: &str = "
            UPDATE entry e SET lease_until = inbox_now() + $3
            FROM unnest($1::bigint[], $2::bigint[]) AS k (id, lease)
            WHERE e.id = k.id AND e.lease = k.lease AND e.state = 'in_flight' RETURNING e.id";
        let (ids, numbers): (Vec<i64>, Vec<i64>) = leases.iter().copied().unzip();
        transaction!(self, |connection| {
            query_scalar(RENEW).bind(&ids).bind(&numbers).bind(lease).fetch_all(&mut *connection).await?
        })
    }

    async fn finish(&self, finished: &[FinishedAttempt], give_up_after: i64) -> Result<Vec<i64>> {
        let ids: Vec<i64> = finished.iter().map(|finished| finished.id).collect();
        let (any_done, any_failed) =
            (finished.iter().any(|finished| finished.done), finished.iter().any(|finished| !finished.done));
        let any_again = finished.iter().any(|finished| finished.done && finished.is_recorded());
        let succeeded = FinishedAttempt::succeeded_on(finished);
        let json =
            serde_json::to_string(finished).map_err(|error| StoreError::RejectedRow(error.to_string()))?;
        transaction!(self, |connection| {
            lock_generations_of(connection, &ids).await?;
            if any_done {
                query(if any_again { FINISH_DONE_AGAIN } else { FINISH_DONE })
                    .bind(&json)
                    .execute(&mut *connection)
                    .await?;
            }
            let dead = if any_failed {
                query_scalar(FINISH_FAILED)
                    .bind(&json)
                    .bind(give_up_after)
                    .bind(MIN_ATTEMPTS)
                    .fetch_all(&mut *connection)
                    .await?
            } else {
                Vec::new()
            };
            query(RELEASE_GENERATIONS).bind(&ids).execute(&mut *connection).await?;
            if !succeeded.is_empty() {
                query(NOTE_SUCCESS).bind(&succeeded).execute(&mut *connection).await?;
            }
            dead
        })
    }

    async fn release_expired(&self, held: &[i64], lease: i64) -> Result<usize> {
        let mut leases = self.leases.lock().await;
        self.follow_clock(&mut leases.clock).await;
        self.release_unrenewed(&mut leases.watched, held, lease).await
    }
}

/// Takes at most one entry of a generation. It locks the row of the generation, and PostgreSQL reads a row again after a wait for
/// its lock.
macro_rules! claim {
    ($which:literal, $order:literal) => {
        concat!(
            "WITH free AS MATERIALIZED (
    SELECT e.id, g.hook, g.generation
    FROM entry e JOIN generation g ON g.hook = e.hook AND g.generation = e.generation
    WHERE e.state = 'waiting' AND ",
            $which,
            " AND e.route = $1 AND e.due_at <= inbox_now() AND g.busy IS NULL
    ORDER BY ",
            $order,
            " LIMIT $2
    FOR UPDATE OF e, g SKIP LOCKED
), held AS (
    UPDATE generation g SET busy = free.id FROM free WHERE g.hook = free.hook AND g.generation = free.generation
    RETURNING g.busy AS id
)
UPDATE entry e SET state = 'in_flight', attempts = e.attempts + 1, lease = e.lease + 1, lease_until = inbox_now() + $3
FROM held WHERE e.id = held.id RETURNING e.id"
        )
    };
}

macro_rules! claim_observed {
    ($which:literal, $order:literal) => {
        concat!(
            "WITH free AS MATERIALIZED (
    SELECT e.id FROM entry e WHERE e.state = 'waiting' AND ",
            $which,
            " AND e.route = $1 AND e.due_at <= inbox_now()
    ORDER BY ",
            $order,
            " LIMIT $2
    FOR UPDATE SKIP LOCKED
)
UPDATE entry e SET state = 'in_flight', attempts = e.attempts + 1, lease = e.lease + 1, lease_until = inbox_now() + $3
FROM free WHERE e.id = free.id RETURNING e.id"
        )
    };
}

/// PostgreSQL has no index hints, so each order matches exactly one index. By `id` alone it would read the primary key past all
/// delivered entries.
macro_rules! by_pick {
    ($pick:expr, $claim:ident) => {
        match $pick {
            Pick::Due => $claim!("true", "e.behind, e.due_at, e.id"),
            Pick::Oldest(AttemptClass::First) => $claim!("e.attempts = 0", "e.due_at, e.id"),
            Pick::Newest(AttemptClass::First) => $claim!("e.attempts = 0", "e.due_at DESC, e.id DESC"),
            Pick::Oldest(AttemptClass::Again) => $claim!("e.attempts > 0", "e.due_at, e.id"),
            Pick::Newest(AttemptClass::Again) => $claim!("e.attempts > 0", "e.due_at DESC, e.id DESC"),
        }
    };
}

pub(super) fn claim(pick: Pick, observed: bool) -> &'static str {
    if observed { by_pick!(pick, claim_observed) } else { by_pick!(pick, claim) }
}

/// Locks the generations of these entries in order.
pub(super) async fn lock_generations_of(
    connection: &mut PgConnection,
    ids: &[i64],
) -> std::result::Result<(), sqlx::Error> {
    const LOCK_GENERATIONS_OF: &str = "
        SELECT 1 FROM generation g JOIN entry e ON g.hook = e.hook AND g.generation = e.generation WHERE e.id = ANY($1)
        ORDER BY g.hook, g.generation FOR UPDATE OF g";
    query(LOCK_GENERATIONS_OF).bind(ids).execute(&mut *connection).await.map(|_| ())
}
