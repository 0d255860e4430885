//! Operators' changes of entries and pauses.

use super::Sqlite;
use crate::store::change::{self, ChangeStatements};
use crate::store::{Change, ChangeResult, ChangeStore, Result};
use async_trait::async_trait;
use sqlx::query;
use std::collections::BTreeSet;

#[async_trait]
impl ChangeStore for Sqlite {
    async fn change(&self, change: Change, ids: &BTreeSet<i64>) -> Result<ChangeResult> {
        /// Overwrites deleted payloads with zeros. Otherwise they stay in the file until SQLite reuses the page.
        const OVERWRITE: &str = "PRAGMA secure_delete = ON";
        const DO_NOT_OVERWRITE: &str = "PRAGMA secure_delete = OFF";
        let now = self.clock.now();
        transaction!(self, |connection| {
            if change == Change::Purge {
                query(OVERWRITE).execute(&mut *connection).await?;
            }
            let changed = change::change(connection, now, change, ids).await?;
            if change == Change::Purge {
                query(DO_NOT_OVERWRITE).execute(&mut *connection).await?;
            }
            changed
        })
    }

    async fn pause(&self, hook: &str, event: &str) -> Result<bool> {
        let now = self.clock.now();
        transaction!(self, |connection| connection.pause(hook, event, now).await?)
    }

    async fn resume(&self, hook: &str, event: &str) -> Result<bool> {
        transaction!(self, |connection| connection.resume(hook, event).await?)
    }
}
