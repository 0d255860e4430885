//! Deletes old rows.

use super::{Sqlite, json};
use crate::store::audit::AuditStatements;
use crate::store::expect::ExpectationStatements;
use crate::store::{Result, RetentionStore};
use async_trait::async_trait;
use sqlx::{query, query_as};

/// A smaller log stays as it is. The inbox's own probes write some 4 KiB a second.
const MIN_TRIMMED: u64 = 1 << 20;
/// Copies the log into the file. Waits for no reader and no writer.
const COPY_LOG: &str = "PRAGMA wal_checkpoint(PASSIVE)";

#[async_trait]
impl RetentionStore for Sqlite {
    async fn purge_bodies(&self, age: i64, limit: i64) -> Result<(i64, i64)> {
        const OLD_BODIES: &str = "
            SELECT id, size FROM entry
            WHERE size > 0 AND state IN ('delivered', 'superseded', 'dropped') AND ended_at <= ?1 ORDER BY ended_at LIMIT ?2";
        const EMPTY: &str = "UPDATE entry SET size = 0, answer = NULL, client = NULL, request_id = NULL, traceparent = NULL WHERE id IN (SELECT value FROM json_each(?1))";
        const DELETE_PAYLOADS: &str =
            "DELETE FROM payload WHERE entry_id IN (SELECT value FROM json_each(?1))";
        const DELETE_ATTEMPTS: &str =
            "DELETE FROM attempt WHERE entry_id IN (SELECT value FROM json_each(?1))";
        let before = self.clock.now().saturating_sub(age);
        transaction!(self, |connection| {
            let old: Vec<(i64, i64)> =
                query_as(OLD_BODIES).bind(before).bind(limit).fetch_all(&mut *connection).await?;
            let (ids, sizes): (Vec<i64>, Vec<i64>) = old.into_iter().unzip();
            let json = json(&ids)?;
            for statement in [EMPTY, DELETE_PAYLOADS, DELETE_ATTEMPTS] {
                query(statement).bind(&json).execute(&mut *connection).await?;
            }
            (i64::try_from(ids.len()).unwrap_or(i64::MAX), sizes.into_iter().fold(0, i64::saturating_add))
        })
    }

    async fn purge_tombstones(&self, age: i64, limit: i64) -> Result<u64> {
        const OLD_TOMBSTONES: &str = "
            SELECT id, hook, generation, token_id FROM entry WHERE size = 0 AND ended_at <= ?1 ORDER BY ended_at LIMIT ?2";
        /// Deletes entries with their generation and token, unless a later delivery named those.
        const PURGE_TOMBSTONES: [&str; 3] = [
            "DELETE FROM generation WHERE seen_at <= ?2 AND (hook, generation) IN (
                SELECT value ->> 1, value ->> 2 FROM json_each(?1))",
            "DELETE FROM token WHERE seen_at <= ?2 AND (hook, token_id) IN (
                SELECT value ->> 1, value ->> 3 FROM json_each(?1))",
            "DELETE FROM entry WHERE id IN (SELECT value ->> 0 FROM json_each(?1)) AND ended_at <= ?2",
        ];
        let before = self.clock.now().saturating_sub(age);
        transaction!(self, |connection| {
            let old: Vec<(i64, String, Option<String>, Option<String>)> =
                query_as(OLD_TOMBSTONES).bind(before).bind(limit).fetch_all(&mut *connection).await?;
            let json = json(&old)?;
            for statement in PURGE_TOMBSTONES {
                query(statement).bind(&json).bind(before).execute(&mut *connection).await?;
            }
            u64::try_from(old.len()).unwrap_or_default()
        })
    }

    async fn purge_expectations(&self, age: i64, limit: i64) -> Result<usize> {
        let now = self.clock.now();
        transaction!(self, |connection| connection.purge_expectations(now, age, limit).await?)
    }

    async fn purge_actions(&self, age: i64, limit: i64) -> Result<u64> {
        let before = self.clock.now().saturating_sub(age);
        transaction!(self, |connection| connection.purge_actions(before, limit).await?)
    }

    /// Only deletes old sums. In SQLite each sum is one row, without differences.
    async fn fold_sums(&self, age: i64, _limit: i64) -> Result<u64> {
        const FORGET_DELIVERED: &str = "DELETE FROM entry_sum WHERE since >= 0 AND since < ?1";
        let before = self.clock.now().saturating_sub(age);
        transaction!(self, |connection| {
            query(FORGET_DELIVERED).bind(before).execute(&mut *connection).await.map(|_| 0)?
        })
    }

    /// SQLite keeps the largest size of its log. Most of the work is a passive checkpoint, beside which the writer can commit.
    async fn trim_log(&self) -> Result<()> {
        if self.files.log_size() < MIN_TRIMMED || !self.is_idle() {
            return Ok(());
        }
        self.compare_files()?;
        let copied = match self.anchor.lock().await.as_mut() {
            Some(anchor) => query_as(COPY_LOG).fetch_one(anchor).await?,
            None => return Ok(()),
        };
        // A reader needs a part of the log, or an event has come.
        let (0, in_log, in_file): (i64, i64, i64) = copied else { return Ok(()) };
        if in_log != in_file || !self.is_idle() {
            return Ok(());
        }
        if let Ok(mut writer) = self.writer.try_lock() {
            self.check(&mut writer).await?;
            self.empty_log(&mut writer).await?;
            self.check(&mut writer).await?;
        }
        Ok(())
    }
}
