//! Deletes old rows.

use super::{NOW, Postgres};
use crate::store::audit::AuditStatements;
use crate::store::expect::ExpectationStatements;
use crate::store::{Result, RetentionStore};
use async_trait::async_trait;
use sqlx::{query, query_as, query_scalar};

#[async_trait]
impl RetentionStore for Postgres {
    async fn purge_bodies(&self, age: i64, limit: i64) -> Result<(i64, i64)> {
        /// The array has the planner use the primary key of `attempt`: most entries have no attempts there.
        const PURGE_BODIES: &str = "
            WITH old AS (
                SELECT id, size FROM entry
                WHERE size > 0 AND state IN ('delivered', 'superseded', 'dropped') AND ended_at <= inbox_now() - $1
                ORDER BY ended_at LIMIT $2 FOR UPDATE SKIP LOCKED
            ), emptied AS (
                UPDATE entry e SET size = 0, answer = NULL, client = NULL, request_id = NULL, traceparent = NULL FROM old WHERE e.id = old.id
            ), gone AS (
                DELETE FROM payload p USING old WHERE p.entry_id = old.id
            ), gone_attempts AS (
                DELETE FROM attempt WHERE entry_id = ANY (ARRAY(SELECT id FROM old))
            )
            SELECT count(*), coalesce(sum(size), 0)::bigint FROM old";
        transaction!(self, |connection| {
            query_as(PURGE_BODIES).bind(age).bind(limit).fetch_one(&mut *connection).await?
        })
    }

    async fn purge_tombstones(&self, age: i64, limit: i64) -> Result<u64> {
        /// Deletes entries with their generation and token, unless a later delivery named those.
        const PURGE_TOMBSTONES: &str = "
            WITH old AS (
                SELECT id, hook, generation, token_id FROM entry WHERE size = 0 AND ended_at <= inbox_now() - $1
                ORDER BY ended_at LIMIT $2 FOR UPDATE SKIP LOCKED
            ), generations AS (
                DELETE FROM generation g USING old
                WHERE g.hook = old.hook AND g.generation = old.generation AND g.seen_at <= inbox_now() - $1
            ), tokens AS (
                DELETE FROM token t USING old
                WHERE t.hook = old.hook AND t.token_id = old.token_id AND t.seen_at <= inbox_now() - $1
            )
            DELETE FROM entry e USING old WHERE e.id = old.id";
        transaction!(self, |connection| {
            query(PURGE_TOMBSTONES).bind(age).bind(limit).execute(&mut *connection).await?.rows_affected()
        })
    }

    async fn purge_expectations(&self, age: i64, limit: i64) -> Result<usize> {
        transaction!(self, |connection| {
            let now = query_scalar(NOW).fetch_one(&mut *connection).await?;
            connection.purge_expectations(now, age, limit).await?
        })
    }

    async fn purge_actions(&self, age: i64, limit: i64) -> Result<u64> {
        transaction!(self, |connection| {
            let now: i64 = query_scalar(NOW).fetch_one(&mut *connection).await?;
            connection.purge_actions(now.saturating_sub(age), limit).await?
        })
    }

    async fn fold_sums(&self, age: i64, limit: i64) -> Result<u64> {
        /// Adds up to `$1` differences to the sums. The order of the sums prevents deadlocks between two inboxes.
        const FOLD: &str = "
            WITH due AS (
                SELECT id FROM entry_sum_change ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED
            ), taken AS (
                DELETE FROM entry_sum_change c USING due WHERE c.id = due.id
                RETURNING c.since, c.lane, c.state, c.route, c.reason, c.entries, c.bytes, c.tombstones
            ), folded AS (
                INSERT INTO entry_sum_folded AS f (since, lane, state, route, reason, entries, bytes, tombstones)
                SELECT since, lane, state, route, reason, sum(entries), sum(bytes), sum(tombstones) FROM taken
                GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
                ON CONFLICT (since, lane, state, route, reason) DO UPDATE SET entries = f.entries + excluded.entries,
                    bytes = f.bytes + excluded.bytes, tombstones = f.tombstones + excluded.tombstones
            )
            SELECT count(*) FROM taken";
        /// Skips rows that another inbox has locked.
        const FORGET_DELIVERED: &str = "
            DELETE FROM entry_sum_folded f USING (
                SELECT since, lane, state, route, reason FROM entry_sum_folded WHERE since >= 0 AND since < inbox_now() - $1
                FOR UPDATE SKIP LOCKED
            ) AS old
            WHERE f.since = old.since AND f.lane = old.lane AND f.state = old.state AND f.route = old.route AND f.reason = old.reason";
        let folded: i64 = transaction!(self, |connection| {
            // In this order: a transaction that waits for a sum has locked no earlier one.
            let folded = query_scalar(FOLD).bind(limit).fetch_one(&mut *connection).await?;
            query(FORGET_DELIVERED).bind(age).execute(&mut *connection).await?;
            folded
        })?;
        Ok(u64::try_from(folded).unwrap_or_default())
    }

    /// PostgreSQL recycles its log itself.
    async fn trim_log(&self) -> Result<()> {
        Ok(())
    }
}
