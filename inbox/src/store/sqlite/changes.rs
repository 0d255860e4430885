//! Operators' changes of entries and pauses.

use super::Sqlite;
use crate::store::audit::AuditStatements;
use crate::store::change::{self, ChangeStatements};
use crate::store::{Change, ChangeResult, ChangeStore, NewAction, Result};
use async_trait::async_trait;
use sqlx::query;
use std::collections::BTreeSet;

#[async_trait]
impl ChangeStore for Sqlite {
    async fn change(&self, change: Change, ids: &BTreeSet<i64>, action: &NewAction) -> Result<ChangeResult> {
        /// Overwrites deleted payloads with zeros. Otherwise they stay in the file until SQLite reuses the page.
        const OVERWRITE: &str = "PRAGMA secure_delete = ON";
        const DO_NOT_OVERWRITE: &str = "PRAGMA secure_delete = OFF";
        let now = self.clock.now();
        transaction!(self, |connection| {
            if change == Change::Purge {
                query(OVERWRITE).execute(&mut *connection).await?;
            }
            let changed = change::change(connection, now, change, ids, action).await?;
            if change == Change::Purge {
                query(DO_NOT_OVERWRITE).execute(&mut *connection).await?;
            }
            changed
        })
    }

    async fn pause(&self, hook: &str, event: &str, action: &NewAction) -> Result<Option<i64>> {
        let now = self.clock.now();
        transaction!(self, |connection| {
            let is_new = connection.pause(hook, event, now).await?;
            if is_new { Some(connection.note(now, action, &[]).await?) } else { None }
        })
    }

    async fn resume(&self, hook: &str, event: &str, action: &NewAction) -> Result<Option<i64>> {
        let now = self.clock.now();
        transaction!(self, |connection| {
            let has_ended = connection.resume(hook, event).await?;
            if has_ended { Some(connection.note(now, action, &[]).await?) } else { None }
        })
    }
}
