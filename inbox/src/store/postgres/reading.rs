//! What operators read.

use super::{NOW, Postgres};
use crate::store::read::Reading;
use crate::store::{
    Alike, Candidates, Cursor, Entry, Expectation, Filter, Followed, Only, PausedSince, Payload, Quarantined,
    ReadStore, Result, Which,
};
use async_trait::async_trait;
use sqlx::query_scalar;
use std::collections::{BTreeMap, BTreeSet};

#[async_trait]
impl ReadStore for Postgres {
    async fn now(&self) -> Result<i64> {
        reading!(self, |connection| query_scalar(NOW).fetch_one(&mut *connection).await?)
    }

    async fn list(&self, filter: &Filter, before: Option<i64>, limit: i64) -> Result<Vec<Entry>> {
        reading!(self, |connection| connection.list(filter, before, limit).await?)
    }

    async fn show(&self, id: i64) -> Result<Option<(Entry, Option<Payload>)>> {
        reading!(self, |connection| connection.show(id).await?)
    }

    async fn quarantined(&self, id: i64) -> Result<Option<Quarantined>> {
        reading!(self, |connection| connection.quarantined(id).await?)
    }

    async fn payloads(&self, ids: &BTreeSet<i64>) -> Result<BTreeMap<i64, Payload>> {
        reading!(self, |connection| connection.payloads(ids).await?)
    }

    async fn alike(&self, since: i64) -> Result<Vec<Alike>> {
        reading!(self, |connection| connection.alike(since).await?)
    }

    async fn count(&self, which: &Which) -> Result<Vec<Candidates>> {
        reading!(self, |connection| connection.count(which).await?)
    }

    async fn ids(&self, filter: &Filter, only: Only, after: i64, until: i64, limit: i64) -> Result<Vec<i64>> {
        reading!(self, |connection| connection.ids(filter, only, after, until, limit).await?)
    }

    async fn knows_hook(&self, hook: &str) -> Result<bool> {
        reading!(self, |connection| connection.knows_hook(hook).await?)
    }

    async fn oldest_waiting(&self) -> Result<Option<i64>> {
        reading!(self, |connection| connection.oldest_waiting().await?)
    }

    async fn paused(&self) -> Result<Vec<PausedSince>> {
        reading!(self, |connection| connection.paused().await?)
    }

    async fn open_questions(&self, limit: i64) -> Result<Vec<Expectation>> {
        reading!(self, |connection| connection.open_questions(limit).await?)
    }

    async fn expectation(&self, hook: &str, generation: &str) -> Result<Option<Expectation>> {
        reading!(self, |connection| connection.expectation(hook, generation).await?)
    }

    async fn newest_payload(&self, hook: &str) -> Result<Option<Payload>> {
        reading!(self, |connection| connection.newest_payload(hook).await?)
    }

    async fn end(&self) -> Result<Cursor> {
        reading!(self, |connection| connection.end().await?)
    }

    async fn follow(
        &self,
        filter: &Filter,
        after: Cursor,
        until: Option<Cursor>,
        limit: i64,
    ) -> Result<Followed> {
        let end = self.end().await?;
        let end = until.map_or(end, |until| until.min(end));
        reading!(self, |connection| connection.follow(filter, after, end, limit).await?)
    }
}
