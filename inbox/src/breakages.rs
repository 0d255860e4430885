//! What a test has the inbox do wrong on purpose: `inbox/tests/kill` has to find each of these. They stand around the store, so
//! that the code that serves has none of them.

use crate::arrival::Arrival;
use crate::decide::Room;
use crate::failpoint::broken_by;
use crate::health::{Fault, Faults};
use crate::store::{
    Alike, Allowed, Answered, ArrivalStore, Candidates, Change, ChangeStore, Changed, Claim, Claimed, Cursor,
    DeliveryStore, Entry, Expectation, ExpectationStore, Expected, FileWatch, Filter, Finished, Followed,
    Next, Noted, Only, Outcome, Pause, PausedSince, Payload, Quarantined, Question, ReadStore,
    RetentionStore, Store, StoreError, StoreHandle, Stored, Usage, Wanted, Which,
};
use async_trait::async_trait;
use blobgate::policy::Verdict;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

type Result<T> = std::result::Result<T, StoreError>;

/// A store that breaks as `FAILPOINTS` says.
#[derive(Debug)]
struct Broken(StoreHandle);

pub(crate) fn around(store: StoreHandle) -> StoreHandle {
    Arc::new(Broken(store))
}

/// As if its service had answered.
fn done(entry: &Claimed) -> Finished {
    Finished {
        id: entry.id,
        lease: entry.lease,
        done: true,
        status: Some(200),
        answer: String::new(),
        delay: 0,
        tried: 0,
        succeeded_on: None,
    }
}

#[async_trait]
impl ArrivalStore for Broken {
    async fn store(&self, arrivals: &[&Arrival], room: Room) -> Result<Stored> {
        if broken_by!("break-answer-before-commit") {
            let (inner, owned) = (Arc::clone(&self.0), arrivals.iter().copied().cloned().collect::<Vec<_>>());
            tokio::spawn(async move { inner.store(&owned.iter().collect::<Vec<_>>(), room).await });
            let outcomes = arrivals.iter().map(|_| Outcome::Repeated).collect();
            return Ok(Stored { outcomes, worked: Duration::ZERO, synced: Duration::ZERO });
        }
        if broken_by!("break-no-unique-key") {
            // What is observed is delivered each time.
            let observed = |arrival: &&Arrival| Arrival { verdict: Verdict::Observed, ..(*arrival).clone() };
            let observed: Vec<_> = arrivals.iter().map(observed).collect();
            return self.0.store(&observed.iter().collect::<Vec<_>>(), room).await;
        }
        self.0.store(arrivals, room).await
    }

    async fn release(&self, id: i64, arrival: &Arrival, why: &str) -> Result<Option<Outcome>> {
        self.0.release(id, arrival, why).await
    }

    async fn would_release(&self, id: i64, arrival: &Arrival) -> Result<Option<Outcome>> {
        self.0.would_release(id, arrival).await
    }
}

#[async_trait]
impl DeliveryStore for Broken {
    async fn waiting(&self) -> Result<Vec<(String, i64)>> {
        self.0.waiting().await
    }

    async fn pauses(&self) -> Result<Vec<Pause>> {
        self.0.pauses().await
    }

    async fn claim(&self, route: &str, wanted: Wanted, lease: i64) -> Result<Claim> {
        let mut claim = self.0.claim(route, wanted, lease).await?;
        if broken_by!("break-done-before-sent") {
            // Nor are they sent, as by a process that dies in between.
            let done: Vec<_> = claim.entries.drain(..).map(|entry| done(&entry)).collect();
            self.0.finish(&done, i64::MAX).await?;
        }
        Ok(claim)
    }

    async fn renew(&self, leases: &[(i64, i64)], lease: i64) -> Result<Vec<i64>> {
        self.0.renew(leases, lease).await
    }

    async fn finish(&self, finished: &[Finished], give_up_after: i64) -> Result<Vec<i64>> {
        self.0.finish(finished, give_up_after).await
    }

    async fn release_expired(&self, held: &[i64], lease: i64) -> Result<usize> {
        self.0.release_expired(held, lease).await
    }
}

#[async_trait]
impl ChangeStore for Broken {
    async fn change(&self, change: Change, ids: &BTreeSet<i64>) -> Result<Changed> {
        self.0.change(change, ids).await
    }

    async fn pause(&self, hook: &str, event: &str) -> Result<bool> {
        self.0.pause(hook, event).await
    }

    async fn resume(&self, hook: &str, event: &str) -> Result<bool> {
        self.0.resume(hook, event).await
    }
}

#[async_trait]
impl ExpectationStore for Broken {
    async fn expect(&self, expected: &Expected, after: i64) -> Result<Noted> {
        self.0.expect(expected, after).await
    }

    async fn explained(&self, expected: &Expected) -> Result<Vec<i64>> {
        self.0.explained(expected).await
    }

    async fn unconfirmed(&self, limit: i64) -> Result<Vec<(String, String)>> {
        self.0.unconfirmed(limit).await
    }

    async fn unconfirmed_of(&self, hook: &str, generation: &str) -> Result<Vec<i64>> {
        self.0.unconfirmed_of(hook, generation).await
    }

    async fn want(&self, hook: &str, generation: &str) -> Result<()> {
        self.0.want(hook, generation).await
    }

    async fn want_for(&self, id: i64, hook: &str, generation: &str, headers: &[u8]) -> Result<bool> {
        self.0.want_for(id, hook, generation, headers).await
    }

    async fn forget_judgement(&self, id: i64) -> Result<()> {
        self.0.forget_judgement(id).await
    }

    async fn next_question(&self, allowed: Allowed) -> Result<Next> {
        self.0.next_question(allowed).await
    }

    async fn answered(&self, question: &Question, answered: &Answered, about: &[i64]) -> Result<()> {
        self.0.answered(question, answered, about).await
    }

    async fn ask_now(&self, after: i64) -> Result<u64> {
        self.0.ask_now(after).await
    }

    async fn count_expected(&self, after: i64) -> Result<(i64, i64)> {
        self.0.count_expected(after).await
    }
}

#[async_trait]
impl RetentionStore for Broken {
    async fn purge_bodies(&self, age: i64, limit: i64) -> Result<(i64, i64)> {
        self.0.purge_bodies(age, limit).await
    }

    async fn purge_tombstones(&self, age: i64, limit: i64) -> Result<u64> {
        self.0.purge_tombstones(age, limit).await
    }

    async fn purge_expectations(&self, age: i64, limit: i64) -> Result<usize> {
        self.0.purge_expectations(age, limit).await
    }

    async fn fold_sums(&self, age: i64, limit: i64) -> Result<u64> {
        self.0.fold_sums(age, limit).await
    }
}

#[async_trait]
impl ReadStore for Broken {
    async fn now(&self) -> Result<i64> {
        self.0.now().await
    }

    async fn list(&self, filter: &Filter, before: Option<i64>, limit: i64) -> Result<Vec<Entry>> {
        self.0.list(filter, before, limit).await
    }

    async fn show(&self, id: i64) -> Result<Option<(Entry, Option<Payload>)>> {
        self.0.show(id).await
    }

    async fn quarantined(&self, id: i64) -> Result<Option<Quarantined>> {
        self.0.quarantined(id).await
    }

    async fn payloads(&self, ids: &BTreeSet<i64>) -> Result<BTreeMap<i64, Payload>> {
        self.0.payloads(ids).await
    }

    async fn alike(&self, since: i64) -> Result<Vec<Alike>> {
        self.0.alike(since).await
    }

    async fn count(&self, which: &Which) -> Result<Vec<Candidates>> {
        self.0.count(which).await
    }

    async fn ids(&self, filter: &Filter, only: Only, after: i64, until: i64, limit: i64) -> Result<Vec<i64>> {
        self.0.ids(filter, only, after, until, limit).await
    }

    async fn knows_hook(&self, hook: &str) -> Result<bool> {
        self.0.knows_hook(hook).await
    }

    async fn oldest_waiting(&self) -> Result<Option<i64>> {
        self.0.oldest_waiting().await
    }

    async fn paused(&self) -> Result<Vec<PausedSince>> {
        self.0.paused().await
    }

    async fn open_questions(&self, limit: i64) -> Result<Vec<Expectation>> {
        self.0.open_questions(limit).await
    }

    async fn expectation(&self, hook: &str, generation: &str) -> Result<Option<Expectation>> {
        self.0.expectation(hook, generation).await
    }

    async fn newest_payload(&self, hook: &str) -> Result<Option<Payload>> {
        self.0.newest_payload(hook).await
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
    ) -> Result<Followed> {
        self.0.follow(filter, after, until, limit).await
    }
}

#[async_trait]
impl Store for Broken {
    async fn usage(&self) -> Result<Usage> {
        self.0.usage().await
    }

    async fn reusable(&self) -> Result<u64> {
        self.0.reusable().await
    }

    async fn heartbeat(&self) -> Result<()> {
        self.0.heartbeat().await
    }

    async fn rehearse(&self, body: usize) -> Result<()> {
        self.0.rehearse(body).await
    }

    async fn explain(&self, error: &StoreError) -> (Fault, String) {
        self.0.explain(error).await
    }

    async fn lacks(&self) -> Option<(bool, String)> {
        self.0.lacks().await
    }

    fn writers(&self) -> u32 {
        self.0.writers()
    }

    fn file(&self) -> Option<&Path> {
        // Another program can take all of a disk between two looks: so it is for a test that has nobody look.
        if broken_by!("disk-unseen") { None } else { self.0.file() }
    }

    fn check_files(&self) -> Result<()> {
        self.0.check_files()
    }

    fn watch_files(self: Arc<Self>, faults: &Arc<Faults>) -> Option<FileWatch> {
        Arc::clone(&self.0).watch_files(faults)
    }

    fn rescued(&self) -> Vec<String> {
        self.0.rescued()
    }
}
