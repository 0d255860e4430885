//! Wrong behaviours that a test switches on by `FAILPOINTS`. `make kill` must detect each of them. They decorate the store, so the
//! production modules contain none of them.

use crate::arrival::Arrival;
use crate::decide::QuarantineRoom;
use crate::failpoint::broken_by;
use crate::health::{Fault, Faults};
use crate::store::place::OpenSettings;
use crate::store::{
    ActionRow, Announcement, AnnouncementOutcome, ArrivalOutcome, ArrivalStore, AttemptRow, CallBudget,
    Change, ChangeResult, ChangeStore, ClaimRequest, ClaimedBatch, ClaimedEntry, CommittedBatch,
    CountedEntries, Cursor, DatedPause, DeliveryStore, EntryActor, EntryGroup, EntryRow, EntrySelection,
    Expectation, ExpectationStore, FileWatch, Filter, FinishedAttempt, FollowPage, ListedEntries, NewAction,
    NextCall, OpenError, Pause, Place, QuarantinedEntry, ReadStore, ReleaseResult, Restriction, Result,
    RetentionStore, SearchKey, SelectedIds, StatusAnswer, StatusCall, Store, StoreError, StoreHandle,
    StoredHead, StoredPayload, Usage,
};
use async_trait::async_trait;
use blobgate::policy::Verdict;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A store with the wrong behaviours of `FAILPOINTS`.
#[derive(Debug)]
struct BreakableStore(StoreHandle);

/// Opens a store. `break-synchronous-off` has commits return before they are on the disk.
pub(crate) async fn open(place: &Place) -> std::result::Result<StoreHandle, OpenError> {
    if !broken_by!("break-synchronous-off") {
        return Ok(Arc::new(BreakableStore(place.open().await?)));
    }
    let mut settings = OpenSettings { synchronous: 0, ..OpenSettings::default() };
    for (name, value) in &mut settings.session {
        if *name == "synchronous_commit" {
            *value = "off";
        }
    }
    Ok(Arc::new(BreakableStore(place.open_with(settings).await?)))
}

/// An attempt that pretends that its service answered.
fn done(entry: &ClaimedEntry) -> FinishedAttempt {
    FinishedAttempt {
        id: entry.id,
        lease: entry.lease,
        done: true,
        is_first: entry.is_first(),
        status: Some(200),
        answer: String::new(),
        duration: 0,
        delay: 0,
        tried: 0,
        succeeded_on: None,
    }
}

#[async_trait]
impl ArrivalStore for BreakableStore {
    async fn store(&self, arrivals: &[&Arrival], room: QuarantineRoom) -> Result<CommittedBatch> {
        if broken_by!("break-answer-before-commit") {
            let (inner, owned) = (Arc::clone(&self.0), arrivals.iter().copied().cloned().collect::<Vec<_>>());
            tokio::spawn(async move { inner.store(&owned.iter().collect::<Vec<_>>(), room).await });
            let outcomes = arrivals.iter().map(|_| ArrivalOutcome::Repeated).collect();
            return Ok(CommittedBatch { outcomes, worked: Duration::ZERO, synced: Duration::ZERO });
        }
        if broken_by!("break-no-unique-key") {
            // Observed deliveries have no unique key.
            let observed = |arrival: &&Arrival| Arrival { verdict: Verdict::Observed, ..(*arrival).clone() };
            let observed: Vec<_> = arrivals.iter().map(observed).collect();
            return self.0.store(&observed.iter().collect::<Vec<_>>(), room).await;
        }
        self.0.store(arrivals, room).await
    }

    async fn release(
        &self,
        id: i64,
        arrival: &Arrival,
        why: &str,
        action: Option<&NewAction>,
    ) -> Result<Option<ReleaseResult>> {
        self.0.release(id, arrival, why, action).await
    }

    async fn preview_release(&self, id: i64, arrival: &Arrival) -> Result<Option<ArrivalOutcome>> {
        self.0.preview_release(id, arrival).await
    }
}

#[async_trait]
impl DeliveryStore for BreakableStore {
    async fn waiting(&self) -> Result<Vec<(String, i64)>> {
        self.0.waiting().await
    }

    async fn pauses(&self) -> Result<Vec<Pause>> {
        self.0.pauses().await
    }

    async fn claim(&self, route: &str, wanted: ClaimRequest, lease: i64) -> Result<ClaimedBatch> {
        let mut claim = self.0.claim(route, wanted, lease).await?;
        if broken_by!("break-done-before-sent") {
            // No delivery follows, as if the process died in between.
            let done: Vec<_> = claim.entries.drain(..).map(|entry| done(&entry)).collect();
            self.0.finish(&done, i64::MAX).await?;
        }
        Ok(claim)
    }

    async fn renew(&self, leases: &[(i64, i64)], lease: i64) -> Result<Vec<i64>> {
        self.0.renew(leases, lease).await
    }

    async fn finish(&self, finished: &[FinishedAttempt], give_up_after: i64) -> Result<Vec<i64>> {
        self.0.finish(finished, give_up_after).await
    }

    async fn release_expired(&self, held: &[i64], lease: i64) -> Result<usize> {
        self.0.release_expired(held, lease).await
    }
}

#[async_trait]
impl ChangeStore for BreakableStore {
    async fn change(&self, change: Change, ids: &BTreeSet<i64>, action: &NewAction) -> Result<ChangeResult> {
        self.0.change(change, ids, action).await
    }

    async fn pause(&self, hook: &str, event: &str, action: &NewAction) -> Result<Option<i64>> {
        self.0.pause(hook, event, action).await
    }

    async fn resume(&self, hook: &str, event: &str, action: &NewAction) -> Result<Option<i64>> {
        self.0.resume(hook, event, action).await
    }
}

#[async_trait]
impl ExpectationStore for BreakableStore {
    async fn expect(&self, expected: &Announcement, after: i64) -> Result<AnnouncementOutcome> {
        self.0.expect(expected, after).await
    }

    async fn explained(&self, expected: &Announcement) -> Result<Vec<i64>> {
        self.0.explained(expected).await
    }

    async fn unconfirmed(&self, limit: i64) -> Result<Vec<(String, String)>> {
        self.0.unconfirmed(limit).await
    }

    async fn unconfirmed_of(&self, hook: &str, generation: &str) -> Result<Vec<i64>> {
        self.0.unconfirmed_of(hook, generation).await
    }

    async fn request_call(&self, hook: &str, generation: &str) -> Result<()> {
        self.0.request_call(hook, generation).await
    }

    async fn request_call_for(
        &self,
        id: i64,
        hook: &str,
        generation: &str,
        headers: &[u8],
        action: &NewAction,
    ) -> Result<Option<i64>> {
        self.0.request_call_for(id, hook, generation, headers, action).await
    }

    async fn forget_reevaluation(&self, id: i64) -> Result<()> {
        self.0.forget_reevaluation(id).await
    }

    async fn next_call(&self, allowed: CallBudget) -> Result<NextCall> {
        self.0.next_call(allowed).await
    }

    async fn take_call(&self, allowed: CallBudget) -> Result<bool> {
        self.0.take_call(allowed).await
    }

    async fn calls_in_minute(&self) -> Result<i64> {
        self.0.calls_in_minute().await
    }

    async fn record_answer(
        &self,
        question: &StatusCall,
        answered: &StatusAnswer,
        about: &[i64],
    ) -> Result<()> {
        self.0.record_answer(question, answered, about).await
    }

    async fn call_now(&self, after: i64, action: &NewAction) -> Result<(u64, Option<i64>)> {
        self.0.call_now(after, action).await
    }

    async fn count_expected(&self, after: i64) -> Result<(i64, i64)> {
        self.0.count_expected(after).await
    }
}

#[async_trait]
impl RetentionStore for BreakableStore {
    async fn purge_bodies(&self, age: i64, limit: i64) -> Result<(i64, i64)> {
        self.0.purge_bodies(age, limit).await
    }

    async fn purge_tombstones(&self, age: i64, limit: i64) -> Result<u64> {
        self.0.purge_tombstones(age, limit).await
    }

    async fn purge_expectations(&self, age: i64, limit: i64) -> Result<usize> {
        self.0.purge_expectations(age, limit).await
    }

    async fn purge_actions(&self, age: i64, limit: i64) -> Result<u64> {
        self.0.purge_actions(age, limit).await
    }

    async fn fold_sums(&self, age: i64, limit: i64) -> Result<u64> {
        self.0.fold_sums(age, limit).await
    }

    async fn trim_log(&self) -> Result<()> {
        self.0.trim_log().await
    }
}

#[async_trait]
impl ReadStore for BreakableStore {
    async fn now(&self) -> Result<i64> {
        self.0.now().await
    }

    async fn list(&self, filter: &Filter, before: Option<i64>, limit: i64) -> Result<ListedEntries> {
        self.0.list(filter, before, limit).await
    }

    async fn show(&self, id: i64) -> Result<Option<(EntryRow, Option<StoredPayload>)>> {
        self.0.show(id).await
    }

    async fn quarantined(&self, id: i64) -> Result<Option<QuarantinedEntry>> {
        self.0.quarantined(id).await
    }

    async fn attempts(&self, ids: &BTreeSet<i64>) -> Result<BTreeMap<i64, Vec<AttemptRow>>> {
        self.0.attempts(ids).await
    }

    async fn find(&self, key: &SearchKey, hook: Option<&str>) -> Result<Vec<EntryRow>> {
        self.0.find(key, hook).await
    }

    async fn entries(&self, ids: &BTreeSet<i64>) -> Result<Vec<EntryRow>> {
        self.0.entries(ids).await
    }

    async fn released_into(&self, ids: &BTreeSet<i64>) -> Result<Vec<i64>> {
        self.0.released_into(ids).await
    }

    async fn expectations_of(&self, key: &SearchKey, hook: Option<&str>) -> Result<Vec<Expectation>> {
        self.0.expectations_of(key, hook).await
    }

    async fn payloads(&self, ids: &BTreeSet<i64>) -> Result<BTreeMap<i64, StoredPayload>> {
        self.0.payloads(ids).await
    }

    async fn headers(&self, ids: &BTreeSet<i64>) -> Result<BTreeMap<i64, Vec<u8>>> {
        self.0.headers(ids).await
    }

    async fn entry_groups(&self, since: i64) -> Result<Vec<EntryGroup>> {
        self.0.entry_groups(since).await
    }

    async fn count(&self, which: &EntrySelection, after: i64, until: i64) -> Result<CountedEntries> {
        self.0.count(which, after, until).await
    }

    async fn newest(&self) -> Result<Option<i64>> {
        self.0.newest().await
    }

    async fn ids(
        &self,
        filter: &Filter,
        only: Restriction,
        after: i64,
        until: i64,
        limit: i64,
    ) -> Result<SelectedIds> {
        self.0.ids(filter, only, after, until, limit).await
    }

    async fn knows_hook(&self, hook: &str) -> Result<bool> {
        self.0.knows_hook(hook).await
    }

    async fn oldest_waiting(&self) -> Result<Vec<(String, i64)>> {
        self.0.oldest_waiting().await
    }

    async fn paused(&self) -> Result<Vec<DatedPause>> {
        self.0.paused().await
    }

    async fn action(&self, id: i64) -> Result<Option<ActionRow>> {
        self.0.action(id).await
    }

    async fn actions(&self, before: Option<i64>, limit: i64, entry: Option<i64>) -> Result<Vec<ActionRow>> {
        self.0.actions(before, limit, entry).await
    }

    async fn open_expectations(&self, limit: i64) -> Result<Vec<Expectation>> {
        self.0.open_expectations(limit).await
    }

    async fn expectation(&self, hook: &str, generation: &str) -> Result<Option<Expectation>> {
        self.0.expectation(hook, generation).await
    }

    async fn actions_on(&self, ids: &BTreeSet<i64>) -> Result<Vec<EntryActor>> {
        self.0.actions_on(ids).await
    }

    async fn newest_head(&self, hook: &str) -> Result<Option<StoredHead>> {
        self.0.newest_head(hook).await
    }

    async fn end(&self) -> Result<Cursor> {
        self.0.end().await
    }

    async fn follow(
        &self,
        filter: &Filter,
        after: Cursor,
        until: Option<Cursor>,
        limit: i64,
    ) -> Result<FollowPage> {
        self.0.follow(filter, after, until, limit).await
    }
}

#[async_trait]
impl Store for BreakableStore {
    async fn usage(&self) -> Result<Usage> {
        self.0.usage().await
    }

    async fn reusable(&self) -> Result<u64> {
        self.0.reusable().await
    }

    async fn heartbeat(&self) -> Result<()> {
        self.0.heartbeat().await
    }

    async fn begin_notification(&self, kind: &str, lease: i64, every: i64) -> Result<bool> {
        self.0.begin_notification(kind, lease, every).await
    }

    async fn end_notification(&self, kind: &str, next: i64) -> Result<()> {
        self.0.end_notification(kind, next).await
    }

    async fn rehearse(&self, body: usize) -> Result<()> {
        self.0.rehearse(body).await
    }

    async fn explain(&self, error: &StoreError) -> (Fault, String) {
        self.0.explain(error).await
    }

    async fn missing_rights(&self) -> Option<(bool, String)> {
        self.0.missing_rights().await
    }

    fn writers(&self) -> u32 {
        self.0.writers()
    }

    fn file(&self) -> Option<&Path> {
        // Another program can fill the disk between two checks. This failpoint switches the checks off.
        if broken_by!("disk-unseen") { None } else { self.0.file() }
    }

    fn check_files(&self) -> Result<()> {
        self.0.check_files()
    }

    fn watch_files(self: Arc<Self>, faults: &Arc<Faults>) -> Option<FileWatch> {
        Arc::clone(&self.0).watch_files(faults)
    }

    fn rescued_copies(&self) -> Vec<String> {
        self.0.rescued_copies()
    }
}
