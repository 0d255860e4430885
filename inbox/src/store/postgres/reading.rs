//! Operators' reads.

use super::{NOW, Postgres};
use crate::store::audit::AuditStatements;
use crate::store::read::{ReadStatements, SelectStatements};
use crate::store::{
    ActionRow, AttemptRow, CountedEntries, Cursor, DatedPause, EntryActor, EntryGroup, EntryRow,
    EntrySelection, Expectation, Filter, FollowPage, ListedEntries, QuarantinedEntry, ReadStore, Restriction,
    Result, SearchKey, SelectedIds, StoredHead, StoredPayload,
};
use async_trait::async_trait;
use sqlx::query_scalar;
use std::collections::{BTreeMap, BTreeSet};

#[async_trait]
impl ReadStore for Postgres {
    async fn now(&self) -> Result<i64> {
        reading!(self, |connection| query_scalar(NOW).fetch_one(&mut *connection).await?)
    }

    async fn list(&self, filter: &Filter, before: Option<i64>, limit: i64) -> Result<ListedEntries> {
        reading!(self, |connection| connection.list(filter, before, limit).await?)
    }

    async fn show(&self, id: i64) -> Result<Option<(EntryRow, Option<StoredPayload>)>> {
        reading!(self, |connection| connection.show(id).await?)
    }

    async fn quarantined(&self, id: i64) -> Result<Option<QuarantinedEntry>> {
        reading!(self, |connection| connection.quarantined(id).await?)
    }

    async fn attempts(&self, ids: &BTreeSet<i64>) -> Result<BTreeMap<i64, Vec<AttemptRow>>> {
        reading!(self, |connection| connection.attempts(ids).await?)
    }

    async fn find(&self, key: &SearchKey, hook: Option<&str>) -> Result<Vec<EntryRow>> {
        reading!(self, |connection| connection.find(key, hook).await?)
    }

    async fn entries(&self, ids: &BTreeSet<i64>) -> Result<Vec<EntryRow>> {
        reading!(self, |connection| connection.entries(ids).await?)
    }

    async fn released_into(&self, ids: &BTreeSet<i64>) -> Result<Vec<i64>> {
        reading!(self, |connection| connection.released_into(ids).await?)
    }

    async fn expectations_of(&self, key: &SearchKey, hook: Option<&str>) -> Result<Vec<Expectation>> {
        reading!(self, |connection| connection.expectations_of(key, hook).await?)
    }

    async fn payloads(&self, ids: &BTreeSet<i64>) -> Result<BTreeMap<i64, StoredPayload>> {
        reading!(self, |connection| connection.payloads(ids).await?)
    }

    async fn headers(&self, ids: &BTreeSet<i64>) -> Result<BTreeMap<i64, Vec<u8>>> {
        reading!(self, |connection| connection.headers(ids).await?)
    }

    async fn entry_groups(&self, since: i64) -> Result<Vec<EntryGroup>> {
        reading!(self, |connection| connection.entry_groups(since).await?)
    }

    async fn count(&self, selection: &EntrySelection, after: i64, until: i64) -> Result<CountedEntries> {
        reading!(self, |connection| connection.count(selection, after, until).await?)
    }

    async fn newest(&self) -> Result<Option<i64>> {
        reading!(self, |connection| connection.newest().await?)
    }

    async fn ids(
        &self,
        filter: &Filter,
        restriction: Restriction,
        after: i64,
        until: i64,
        limit: i64,
    ) -> Result<SelectedIds> {
        reading!(self, |connection| connection.ids(filter, restriction, after, until, limit).await?)
    }

    async fn knows_hook(&self, hook: &str) -> Result<bool> {
        reading!(self, |connection| connection.knows_hook(hook).await?)
    }

    async fn oldest_waiting(&self) -> Result<Vec<(String, i64)>> {
        reading!(self, |connection| connection.oldest_waiting().await?)
    }

    async fn paused(&self) -> Result<Vec<DatedPause>> {
        reading!(self, |connection| connection.paused().await?)
    }

    async fn action(&self, id: i64) -> Result<Option<ActionRow>> {
        reading!(self, |connection| connection.action(id).await?)
    }

    async fn actions(&self, before: Option<i64>, limit: i64, entry: Option<i64>) -> Result<Vec<ActionRow>> {
        reading!(self, |connection| connection.actions(before, limit, entry).await?)
    }

    async fn open_expectations(&self, limit: i64) -> Result<Vec<Expectation>> {
        reading!(self, |connection| connection.open_expectations(limit).await?)
    }

    async fn expectation(&self, hook: &str, generation: &str) -> Result<Option<Expectation>> {
        reading!(self, |connection| connection.expectation(hook, generation).await?)
    }

    async fn actions_on(&self, ids: &BTreeSet<i64>) -> Result<Vec<EntryActor>> {
        reading!(self, |connection| connection.actions_on(ids).await?)
    }

    async fn newest_head(&self, hook: &str) -> Result<Option<StoredHead>> {
        reading!(self, |connection| connection.newest_head(hook).await?)
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
    ) -> Result<FollowPage> {
        let end = self.end().await?;
        let end = until.map_or(end, |until| until.min(end));
        reading!(self, |connection| connection.follow(filter, after, end, limit).await?)
    }
}
