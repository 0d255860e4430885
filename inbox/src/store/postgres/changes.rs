//! Operators' changes of entries and pauses.

use super::{NOW, Postgres};
use crate::store::audit::AuditStatements;
use crate::store::change::{self, ChangeStatements};
use crate::store::{Change, ChangeResult, ChangeStore, NewAction, Result, StoreError};
use async_trait::async_trait;
use sqlx::query_scalar;
use std::collections::BTreeSet;

/// The tries of a change that ends in a deadlock.
const MAX_TRIES: u32 = 5;

#[async_trait]
impl ChangeStore for Postgres {
    async fn change(&self, change: Change, ids: &BTreeSet<i64>, action: &NewAction) -> Result<ChangeResult> {
        // Two changes can lock entries without a generation in opposite orders. The database then ends one of them.
        for _ in 1..MAX_TRIES {
            match self.change_once(change, ids, action).await {
                Err(StoreError::Deadlock(_)) => {}
                changed => return changed,
            }
        }
        self.change_once(change, ids, action).await
    }

    async fn pause(&self, hook: &str, event: &str, action: &NewAction) -> Result<Option<i64>> {
        transaction!(self, |connection| {
            let now = query_scalar(NOW).fetch_one(&mut *connection).await?;
            let is_new = connection.pause(hook, event, now).await?;
            if is_new { Some(connection.note(now, action, &[]).await?) } else { None }
        })
    }

    async fn resume(&self, hook: &str, event: &str, action: &NewAction) -> Result<Option<i64>> {
        transaction!(self, |connection| {
            let now = query_scalar(NOW).fetch_one(&mut *connection).await?;
            let has_ended = connection.resume(hook, event).await?;
            if has_ended { Some(connection.note(now, action, &[]).await?) } else { None }
        })
    }
}

impl Postgres {
    async fn change_once(
        &self,
        change: Change,
        ids: &BTreeSet<i64>,
        action: &NewAction,
    ) -> Result<ChangeResult> {
        transaction!(self, |connection| {
            let now = query_scalar(NOW).fetch_one(&mut *connection).await?;
            change::change(connection, now, change, ids, action).await?
        })
    }
}
