//! Changes of entries in states that take days to reach.

use super::*;
use crate::arrival::Arrival;
use crate::decide::QuarantineRoom;
use crate::store::{
    ClaimRequest, ClaimedEntry, EntrySelection, FinishedAttempt, GIVE_UP_AFTER, MIN_ATTEMPTS, NewAction,
    Place, Restriction, StoreHandle,
};
use axum::http::HeaderMap;
use blobgate::contract::header;
use bytes::Bytes;

const GENERATION: &str = "5f1c8c1e-7c0c-4b0a-9a5e-0d5c8a9b1c01";
const ANOTHER: &str = "5f1c8c1e-7c0c-4b0a-9a5e-0d5c8a9b1c02";
const ROUTE: &str = "veo3/completed";

struct TestInbox {
    store: StoreHandle,
    _directory: tempfile::TempDir,
}

impl TestInbox {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::Sqlite(directory.path().join("inbox.db"));
        place.migrate().await.unwrap();
        let store = place.open().await.unwrap();
        Self { store, _directory: directory }
    }

    /// Stores a completion. Returns its id.
    async fn stored(&mut self, generation: &str) -> i64 {
        self.stored_as("completed", generation).await
    }

    async fn stored_as(&mut self, event: &str, generation: &str) -> i64 {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (header::CONTRACT, "1"),
            (header::VERDICT, "accepted"),
            (header::HOOK, "veo3"),
            (header::DIALECT, "veo3"),
            (header::EVENT, event),
            (header::GENERATION_ID, generation),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        let arrival = Arrival::read("/webhook", &headers, Bytes::from_static(b"{}")).unwrap();
        self.store.store(&[&arrival], QuarantineRoom::UNLIMITED).await.unwrap();
        self.store.list(&Default::default(), None, 1).await.unwrap().entries[0].id
    }

    /// Runs one attempt with this result.
    async fn attempt(&mut self, done: bool, tried: i64) {
        let claimed = self.claim(ROUTE).await;
        self.finish(&claimed, done, tried).await;
    }

    async fn claim(&mut self, route: &str) -> ClaimedEntry {
        let mut claimed = self.store.claim(route, ClaimRequest::due(1), 30_000_000).await.unwrap().entries;
        assert_eq!(claimed.len(), 1);
        claimed.remove(0)
    }

    async fn finish(&mut self, claimed: &ClaimedEntry, done: bool, tried: i64) {
        let finished = FinishedAttempt {
            id: claimed.id,
            lease: claimed.lease,
            done,
            is_first: claimed.is_first(),
            status: None,
            answer: String::new(),
            duration: 0,
            delay: 0,
            tried,
            succeeded_on: None,
        };
        self.store.finish(&[finished], GIVE_UP_AFTER).await.unwrap();
    }

    async fn change(&mut self, change: Change, id: i64) -> ChangeResult {
        let action = NewAction::of(change.into());
        let changed = self.store.change(change, &BTreeSet::from([id]), &action).await.unwrap();
        assert_eq!(changed.action.is_some(), !changed.changed.is_empty());
        ChangeResult { action: None, ..changed }
    }

    async fn state(&self, id: i64) -> &'static str {
        self.store.show(id).await.unwrap().unwrap().0.state.name()
    }
}

fn refused(id: i64, refusal: ChangeRefusal) -> ChangeResult {
    ChangeResult { changed: BTreeMap::new(), refused: BTreeMap::from([(id, refusal)]), action: None }
}

fn changed(id: i64) -> ChangeResult {
    let changed = BTreeMap::from([(id, Some(ROUTE.to_owned()))]);
    ChangeResult { changed, refused: BTreeMap::new(), action: None }
}

#[tokio::test]
async fn a_replay_of_a_dead_entry_resets_its_attempts() {
    let mut inbox = TestInbox::new().await;
    let id = inbox.stored(GENERATION).await;
    for _ in 0..MIN_ATTEMPTS {
        inbox.attempt(false, GIVE_UP_AFTER).await;
    }
    assert_eq!(inbox.state(id).await, "dead");
    assert_eq!(inbox.change(Change::Drop, id).await, changed(id));
    assert_eq!(inbox.state(id).await, "dropped");
    assert_eq!(inbox.change(Change::Replay, id).await, changed(id));
    assert_eq!(inbox.change(Change::Replay, id).await, refused(id, ChangeRefusal::Waiting));
    assert_eq!(inbox.store.show(id).await.unwrap().unwrap().0.ended_at, None);
    // The first failure after the replay does not make it dead.
    inbox.attempt(false, GIVE_UP_AFTER).await;
    let entry = inbox.store.show(id).await.unwrap().unwrap().0;
    assert_eq!((entry.state.name(), entry.attempts, entry.redelivery), ("waiting", 1, 1));
    inbox.attempt(true, 0).await;
    assert_eq!(inbox.state(id).await, "delivered");
}

#[tokio::test]
async fn refuses_to_replay_a_purged_entry() {
    let mut inbox = TestInbox::new().await;
    let id = inbox.stored(GENERATION).await;
    inbox.attempt(true, 0).await;
    assert_eq!(inbox.store.purge_bodies(0, 10).await.unwrap().0, 1);
    assert_eq!(inbox.change(Change::Replay, id).await, refused(id, ChangeRefusal::BodyPurged));
    let all = Default::default();
    let ids = inbox.store.ids(&all, Restriction::Applicable(Change::Replay), 0, i64::MAX, 10);
    assert!(ids.await.unwrap().ids.is_empty());
    let counted = inbox.store.count(&EntrySelection::All(Default::default()), 0, i64::MAX).await.unwrap();
    assert_eq!(Change::Replay.check(&counted.groups[0]), Err(ChangeRefusal::BodyPurged));
    let (entry, payload) = inbox.store.show(id).await.unwrap().unwrap();
    assert_eq!((entry.size, payload.is_none()), (0, true));
}

#[tokio::test]
async fn delivers_replayed_entries_after_new_ones() {
    let mut inbox = TestInbox::new().await;
    let old = inbox.stored(GENERATION).await;
    inbox.attempt(true, 0).await;
    inbox.change(Change::Replay, old).await;
    let new = inbox.stored(ANOTHER).await;
    assert_eq!(inbox.claim(ROUTE).await.id, new);
    assert_eq!(inbox.claim(ROUTE).await.id, old);
}

#[tokio::test]
async fn replays_an_entry_that_was_superseded_in_flight() {
    const FAILURES: &str = "veo3/failed";
    let mut inbox = TestInbox::new().await;
    let failure = inbox.stored_as("failed", GENERATION).await;
    let claimed = inbox.claim(FAILURES).await;
    inbox.stored(GENERATION).await;
    inbox.finish(&claimed, false, 0).await;
    assert_eq!(inbox.state(failure).await, "superseded");
    assert_eq!(inbox.change(Change::Replay, failure).await.refused, BTreeMap::new());
    let claimed = inbox.claim(FAILURES).await;
    inbox.finish(&claimed, false, 0).await;
    assert_eq!(inbox.state(failure).await, "waiting");
}
