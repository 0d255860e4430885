//! Operators' changes of entries and pauses.

use super::{NOW, Postgres};
use crate::store::change::{self, ChangeStatements};
use crate::store::{Change, ChangeResult, ChangeStore, Result, StoreError};
use async_trait::async_trait;
use sqlx::query_scalar;
use std::collections::BTreeSet;

/// The tries of a change that ends in a deadlock.
const MAX_TRIES: u32 = 5;

#[async_trait]
impl ChangeStore for Postgres {
    async fn change(&self, change: Change, ids: &BTreeSet<i64>) -> Result<ChangeResult> {
        // Two changes can lock entries without a generation in opposite orders. The database then ends one of them.
        for _ in 1..MAX_TRIES {
            match self.change_once(change, ids).await {
                Err(StoreError::Deadlock(_)) => {}
                changed => return changed,
            }
        }
        self.change_once(change, ids).await
    }

    async fn pause(&self, hook: &str, event: &str) -> Result<bool> {
        transaction!(self, |connection| {
            let now = query_scalar(NOW).fetch_one(&mut *connection).await?;
            connection.pause(hook, event, now).await?
        })
    }

    async fn resume(&self, hook: &str, event: &str) -> Result<bool> {
        transaction!(self, |connection| connection.resume(hook, event).await?)
    }
}

impl Postgres {
    async fn change_once(&self, change: Change, ids: &BTreeSet<i64>) -> Result<ChangeResult> {
        transaction!(self, |connection| {
            let now = query_scalar(NOW).fetch_one(&mut *connection).await?;
            change::change(connection, now, change, ids).await?
        })
    }
}
