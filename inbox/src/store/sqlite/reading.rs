//! Operators' reads.

use super::Sqlite;
use crate::store::audit::AuditStatements;
use crate::store::read::{ReadStatements, SelectStatements};
use crate::store::{
    ActionRow, AttemptRow, CountedEntries, Cursor, DatedPause, EntryActor, EntryGroup, EntryRow,
    EntrySelection, Expectation, Filter, FollowPage, ListedEntries, QuarantinedEntry, ReadStore, Restriction,
    Result, SearchKey, SelectedIds, StoredHead, StoredPayload,
};
use async_trait::async_trait;
use std::collections::{BTreeMap, BTreeSet};

#[async_trait]
impl ReadStore for Sqlite {
    async fn now(&self) -> Result<i64> {
        Ok(self.clock.now())
    }

    async fn list(&self, filter: &Filter, before: Option<i64>, limit: i64) -> Result<ListedEntries> {
        Ok(self.reads.acquire().await?.list(filter, before, limit).await?)
    }

    async fn show(&self, id: i64) -> Result<Option<(EntryRow, Option<StoredPayload>)>> {
        Ok(self.reads.acquire().await?.show(id).await?)
    }

    async fn quarantined(&self, id: i64) -> Result<Option<QuarantinedEntry>> {
        Ok(self.reads.acquire().await?.quarantined(id).await?)
    }

    async fn attempts(&self, ids: &BTreeSet<i64>) -> Result<BTreeMap<i64, Vec<AttemptRow>>> {
        Ok(self.reads.acquire().await?.attempts(ids).await?)
    }

    async fn find(&self, key: &SearchKey, hook: Option<&str>) -> Result<Vec<EntryRow>> {
        Ok(self.reads.acquire().await?.find(key, hook).await?)
    }

    async fn entries(&self, ids: &BTreeSet<i64>) -> Result<Vec<EntryRow>> {
        Ok(self.reads.acquire().await?.entries(ids).await?)
    }

    async fn released_into(&self, ids: &BTreeSet<i64>) -> Result<Vec<i64>> {
        Ok(self.reads.acquire().await?.released_into(ids).await?)
    }

    async fn expectations_of(&self, key: &SearchKey, hook: Option<&str>) -> Result<Vec<Expectation>> {
        Ok(self.reads.acquire().await?.expectations_of(key, hook).await?)
    }

    async fn payloads(&self, ids: &BTreeSet<i64>) -> Result<BTreeMap<i64, StoredPayload>> {
        Ok(self.reads.acquire().await?.payloads(ids).await?)
    }

    async fn headers(&self, ids: &BTreeSet<i64>) -> Result<BTreeMap<i64, Vec<u8>>> {
        Ok(self.reads.acquire().await?.headers(ids).await?)
    }

    async fn entry_groups(&self, since: i64) -> Result<Vec<EntryGroup>> {
        Ok(self.reads.acquire().await?.entry_groups(since).await?)
    }

    async fn count(&self, selection: &EntrySelection, after: i64, until: i64) -> Result<CountedEntries> {
        Ok(self.reads.acquire().await?.count(selection, after, until).await?)
    }

    async fn newest(&self) -> Result<Option<i64>> {
        Ok(self.reads.acquire().await?.newest().await?)
    }

    async fn ids(
        &self,
        filter: &Filter,
        restriction: Restriction,
        after: i64,
        until: i64,
        limit: i64,
    ) -> Result<SelectedIds> {
        Ok(self.reads.acquire().await?.ids(filter, restriction, after, until, limit).await?)
    }

    async fn knows_hook(&self, hook: &str) -> Result<bool> {
        Ok(self.reads.acquire().await?.knows_hook(hook).await?)
    }

    async fn oldest_waiting(&self) -> Result<Vec<(String, i64)>> {
        Ok(self.reads.acquire().await?.oldest_waiting().await?)
    }

    async fn paused(&self) -> Result<Vec<DatedPause>> {
        Ok(self.reads.acquire().await?.paused().await?)
    }

    async fn action(&self, id: i64) -> Result<Option<ActionRow>> {
        Ok(self.reads.acquire().await?.action(id).await?)
    }

    async fn actions(&self, before: Option<i64>, limit: i64, entry: Option<i64>) -> Result<Vec<ActionRow>> {
        Ok(self.reads.acquire().await?.actions(before, limit, entry).await?)
    }

    async fn open_expectations(&self, limit: i64) -> Result<Vec<Expectation>> {
        Ok(self.reads.acquire().await?.open_expectations(limit).await?)
    }

    async fn expectation(&self, hook: &str, generation: &str) -> Result<Option<Expectation>> {
        Ok(self.reads.acquire().await?.expectation(hook, generation).await?)
    }

    async fn actions_on(&self, ids: &BTreeSet<i64>) -> Result<Vec<EntryActor>> {
        Ok(self.reads.acquire().await?.actions_on(ids).await?)
    }

    async fn newest_head(&self, hook: &str) -> Result<Option<StoredHead>> {
        Ok(self.reads.acquire().await?.newest_head(hook).await?)
    }

    async fn end(&self) -> Result<Cursor> {
        Ok(self.reads.acquire().await?.end().await?)
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
        Ok(self.reads.acquire().await?.follow(filter, after, end, limit).await?)
    }
}
