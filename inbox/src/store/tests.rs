//! Conformance tests: both stores behave the same.

mod follow;
mod scan;

use super::*;
use crate::arrival::ArrivalToken;
use crate::decide::QuarantineRoom;
use crate::entry::{
    EntryState, ExpectationState, Fingerprint, Origin, QuarantineCause, QuarantineReason, Superseded,
};
use crate::request_ids::RequestIds;
use blobgate::policy::Verdict;
use blobgate_testkit::{Cluster, needs};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use sqlx::{ConnectOptions, Connection};
use std::time::Duration;

const ONE: &str = "00000000-0000-4000-8000-000000000001";
const TWO: &str = "00000000-0000-4000-8000-000000000002";
const COMPLETED: &str = "veo3/completed";
const FAILED: &str = "veo3/failed";
const NONE: [i64; 0] = [];
const LEASE: i64 = 30_000_000;
const DEADLINE: Duration = Duration::from_secs(120);

fn action(change: Change) -> NewAction {
    NewAction::of(change.into())
}

fn outcome(released: ReleaseResult) -> ArrivalOutcome {
    released.outcome
}

/// Runs a statement on a separate connection.
macro_rules! rows {
    ($test:expr, |$connection:ident| $body:expr) => {
        match &$test.place {
            Place::Sqlite(path) => {
                let mut own = super::sqlite::options(path).connect().await.unwrap();
                let $connection = &mut own;
                let rows = $body;
                own.close().await.unwrap();
                rows
            }
            Place::Postgres(url) => {
                let options = super::postgres::options(url).unwrap();
                let mut own = super::postgres::connect(&options, &super::postgres::SETTINGS).await.unwrap();
                let $connection = &mut own;
                let rows = $body;
                own.close().await.unwrap();
                rows
            }
        }
    };
}

/// A store for one test.
struct DriverStore {
    place: Place,
    store: Option<StoreHandle>,
    /// The folder or cluster, which ends with the test.
    _beside: Box<dyn std::any::Any>,
}

impl DriverStore {
    async fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::Sqlite(directory.path().join("inbox.db"));
        Self::open(place, Box::new(directory)).await
    }

    async fn postgres() -> Self {
        let cluster = Cluster::shared();
        let place = cluster.database().parse().unwrap();
        Self::open(place, Box::new(cluster)).await
    }

    /// Has a cluster of its own: on a shared one, transactions of other tests are running.
    async fn postgres_alone() -> Self {
        let cluster = Cluster::alone();
        let place = cluster.database().parse().unwrap();
        Self::open(place, Box::new(cluster)).await
    }

    async fn open(place: Place, beside: Box<dyn std::any::Any>) -> Self {
        place.migrate().await.unwrap();
        let store = place.open().await.unwrap();
        Self { store: Some(store), place, _beside: beside }
    }

    fn driver(&self) -> &dyn Store {
        &**self.store.as_ref().unwrap()
    }

    fn close(&mut self) {
        self.store = None;
    }

    /// Closes the store and opens it, like a restart.
    async fn reopen(&mut self) {
        self.close();
        self.store = Some(self.place.open().await.unwrap());
    }

    async fn store(&mut self, arrivals: &[Arrival]) -> Vec<ArrivalOutcome> {
        self.store_with(arrivals, QuarantineRoom::UNLIMITED).await
    }

    async fn store_with(&mut self, arrivals: &[Arrival], room: QuarantineRoom) -> Vec<ArrivalOutcome> {
        let arrivals: Vec<_> = arrivals.iter().collect();
        let outcomes = self.driver().store(&arrivals, room).await.unwrap().outcomes;
        outcomes.into_iter().map(without_detail).collect()
    }

    async fn claim(&mut self, route: &str) -> Vec<ClaimedEntry> {
        self.driver().claim(route, ClaimRequest::due(10), LEASE).await.unwrap().entries
    }

    async fn claim_one(&mut self, route: &str) -> ClaimedEntry {
        let mut claimed = self.claim(route).await;
        assert_eq!(claimed.len(), 1, "{claimed:?}");
        claimed.remove(0)
    }

    async fn finish(&mut self, entry: &ClaimedEntry, done: bool) -> Vec<i64> {
        self.finish_with(entry, done, true).await
    }

    async fn finish_with(&mut self, entry: &ClaimedEntry, done: bool, may_die: bool) -> Vec<i64> {
        let give_up_after = if may_die { GIVE_UP_AFTER } else { i64::MAX };
        self.driver().finish(&[finished(entry, done)], give_up_after).await.unwrap()
    }

    /// Changes rows in ways that the inbox has no statement for: mostly times.
    async fn sql(&self, text: &'static str) {
        rows!(self, |connection| sqlx::raw_sql(text).execute(connection).await.map(|_| ()).unwrap());
    }

    /// The state and the number of deliveries of each entry, in order.
    async fn states(&self) -> Vec<(String, i64)> {
        rows!(self, |connection| {
            sqlx::query_as("SELECT state, seen FROM entry ORDER BY id").fetch_all(connection).await.unwrap()
        })
    }

    async fn count_rows(&self, sql: &'static str) -> i64 {
        rows!(self, |connection| sqlx::query_scalar(sql).fetch_one(connection).await.unwrap())
    }

    async fn end(&self) -> Cursor {
        self.driver().end().await.unwrap()
    }

    /// The cursor and id of each entry, and the next cursor.
    async fn follow(&self, after: Cursor, until: Option<Cursor>, limit: i64) -> (Vec<(Cursor, i64)>, Cursor) {
        let all = Filter::default();
        let followed = self.driver().follow(&all, after, until, limit).await.unwrap();
        (followed.entries.into_iter().map(|(cursor, entry)| (cursor, entry.id)).collect(), followed.next)
    }

    async fn ids(&self) -> Vec<i64> {
        self.driver().ids(&Filter::default(), Restriction::All, 0, i64::MAX, 1_000).await.unwrap().ids
    }

    /// The number of replays of each entry.
    async fn redeliveries(&self) -> Vec<(i64, i64)> {
        rows!(self, |connection| {
            sqlx::query_as("SELECT id, redelivery FROM entry").fetch_all(connection).await.unwrap()
        })
    }

    async fn expect(&self, states: &[(&str, i64)]) {
        let states: Vec<_> = states.iter().map(|(state, seen)| ((*state).to_owned(), *seen)).collect();
        assert_eq!(self.states().await, states);
    }
}

/// A committer for one test.
struct TestCommitter {
    committer: crate::commit::Committer,
}

impl TestCommitter {
    fn start(store: &StoreHandle) -> Self {
        let (space, metrics) = (
            crate::space::Space::new(1 << 40, None),
            Arc::new(crate::metrics::Metrics::new(&Arc::default())),
        );
        let tasks = tokio_util::task::TaskTracker::new();
        let shared = crate::handles::InboxHandles::new(Arc::clone(store), space, metrics, Arc::default());
        let committer = crate::commit::Committer::start(shared, 512, &tasks);
        Self { committer }
    }

    async fn store(
        &self,
        arrival: Arrival,
    ) -> std::result::Result<ArrivalOutcome, crate::commit::CommitError> {
        self.committer.store(arrival).await
    }
}

fn finished(entry: &ClaimedEntry, done: bool) -> FinishedAttempt {
    FinishedAttempt {
        id: entry.id,
        lease: entry.lease,
        done,
        is_first: entry.is_first(),
        status: Some(if done { 200 } else { 500 }),
        answer: "as it \\x00 came".to_owned(),
        duration: 17,
        delay: 0,
        tried: 1_000,
        succeeded_on: None,
    }
}

fn arrival(verdict: Verdict, fingerprint: Fingerprint, body: &str) -> Arrival {
    // Contains NUL and is not UTF-8.
    let body = Bytes::from([body.as_bytes(), b" \x00\xff"].concat());
    Arrival {
        verdict,
        hook: "veo3".to_owned(),
        generation: Some(ONE.to_owned()),
        fingerprint: Some(fingerprint),
        origin: Origin::Webhook,
        reason: None,
        detail: None,
        client: None,
        token: None,
        job: None,
        ids: RequestIds::default(),
        authenticated: true,
        digest: Sha256::digest(&body).into(),
        path: "/hooks/veo3".to_owned(),
        headers: b"blobgate-x: \xfe\r\n".to_vec(),
        body,
    }
}

fn at(place: &str) -> Fingerprint {
    Fingerprint::Completed(place.to_owned())
}

fn observed(body: &str) -> Arrival {
    arrival(Verdict::Observed, at(body), body)
}

fn completed(place: &str) -> Arrival {
    arrival(Verdict::Accepted, at(place), place)
}

fn failed(code: &str) -> Arrival {
    arrival(Verdict::Accepted, Fingerprint::Failed(code.to_owned()), &format!("failed {code}"))
}

fn quarantined(body: &str, token: &str) -> Arrival {
    let token = Some(ArrivalToken { id: token.to_owned(), binds: true });
    let reason = Some(QuarantineReason::parse("json-invalid"));
    let client = Some([203, 0, 113, 9].into());
    Arrival { reason, client, token, generation: None, ..arrival(Verdict::Quarantined, at(body), body) }
}

fn waits(route: &str) -> ArrivalOutcome {
    ArrivalOutcome::Waits(route.to_owned())
}

fn without_detail(outcome: ArrivalOutcome) -> ArrivalOutcome {
    match outcome {
        ArrivalOutcome::Quarantined(cause) => {
            ArrivalOutcome::Quarantined(QuarantineCause { detail: None, ..cause })
        }
        other => other,
    }
}

fn in_quarantine(reason: &str) -> ArrivalOutcome {
    let detail = None;
    ArrivalOutcome::Quarantined(QuarantineCause { reason: QuarantineReason::parse(reason), detail })
}

/// Defines a test that runs on each store.
macro_rules! in_both {
    ($(async fn $name:ident($test:ident: &mut DriverStore) $body:block)*) => {
        $(mod $name {
            use super::*;

            async fn run($test: &mut DriverStore) $body

            #[tokio::test]
            async fn sqlite() {
                run(&mut DriverStore::sqlite().await).await;
            }

            #[needs(Postgres)]
            #[tokio::test]
            async fn postgres() {
                run(&mut DriverStore::postgres().await).await;
            }
        })*
    };
}

mod attempts;
mod audit;
mod claim;
mod expect;
mod find;
mod list;
mod notification;
mod sums;

in_both! {
    async fn decides_a_batch_like_single_arrivals(test: &mut DriverStore) {
        let batch = [completed("a"), completed("a"), failed("X"), completed("b"), completed("a")];
        let conflict = || in_quarantine("event-conflict");
        let expected = [waits(COMPLETED), ArrivalOutcome::Repeated, conflict(), conflict(), ArrivalOutcome::Repeated];
        assert_eq!(test.store(&batch).await, expected);
        test.expect(&[("waiting", 3), ("quarantined", 1), ("quarantined", 1)]).await;
        assert_eq!(test.store(&batch).await, [const { ArrivalOutcome::Repeated }; 5]);
        test.expect(&[("waiting", 6), ("quarantined", 2), ("quarantined", 2)]).await;
    }

    async fn claims_return_the_stored_bytes(test: &mut DriverStore) {
        let sent = completed("a");
        test.store(std::slice::from_ref(&sent)).await;
        let entry = test.claim_one(COMPLETED).await;
        assert_eq!((&entry.body[..], &entry.headers, &entry.path[..]), (&sent.body[..], &sent.headers, sent.path.as_bytes()));
        assert_eq!((entry.attempts, entry.lease, entry.redelivery), (1, 1, 0));
        assert_eq!((entry.supersedes, entry.overrides), (None, None));
    }

    async fn a_completion_supersedes_a_waiting_failure(test: &mut DriverStore) {
        test.store(&[failed("X")]).await;
        test.store(&[completed("a")]).await;
        assert_eq!(test.claim(FAILED).await.len(), 0);
        assert_eq!(test.claim_one(COMPLETED).await.supersedes, Some(Superseded::Failed));
        test.expect(&[("superseded", 1), ("in_flight", 1)]).await;
    }

    async fn a_completion_supersedes_a_failure_of_its_batch(test: &mut DriverStore) {
        test.store(&[failed("X"), completed("a")]).await;
        assert_eq!(test.claim(FAILED).await.len(), 0);
        assert_eq!(test.claim_one(COMPLETED).await.supersedes, Some(Superseded::Failed));
        // Without the end, retention would keep its body forever.
        let rows = test.driver().list(&Filter::default(), None, 10).await.unwrap().entries;
        let [completed, failed] = rows.as_slice() else { panic!("{rows:?}") };
        assert_eq!((failed.state, failed.superseded_by), (EntryState::Superseded, Some(completed.id)));
        assert!(failed.ended_at.is_some() && completed.superseded_by.is_none());
    }

    async fn a_person_takes_calls_of_the_same_budget(test: &mut DriverStore) {
        let budget = CallBudget { per_minute: 2, retry_after: 1 };
        let announced = Announcement {
            hook: "veo3".to_owned(),
            generation: "5f1c8c1e-7c0c-4b0a-9a5e-0d5c8a9b1c09".to_owned(),
            job: "order-17".to_owned(),
        };
        test.driver().expect(&announced, 0).await.unwrap();
        assert!(test.driver().take_call(budget).await.unwrap());
        assert!(matches!(test.driver().next_call(budget).await.unwrap(), NextCall::Call(_)));
        assert!(!test.driver().take_call(budget).await.unwrap());
        assert_eq!(test.driver().calls_in_minute().await.unwrap(), 2);
        // Calls of an older window, and of a clock that was ahead.
        for moved in [
            "UPDATE provider_call SET at = at - 66000001",
            "UPDATE provider_call SET at = at + 198000001",
        ] {
            test.sql(moved).await;
            assert_eq!(test.driver().calls_in_minute().await.unwrap(), 0);
        }
    }

    async fn a_completion_waits_for_a_failure_in_flight(test: &mut DriverStore) {
        test.store(&[failed("X")]).await;
        let failure = test.claim_one(FAILED).await;
        test.store(&[completed("a")]).await;
        assert_eq!(test.claim(COMPLETED).await.len(), 0, "one entry of a generation at a time");
        test.finish(&failure, false).await;
        test.expect(&[("superseded", 1), ("waiting", 1)]).await;
        assert_eq!(test.claim_one(COMPLETED).await.supersedes, Some(Superseded::Failed));
    }

    async fn a_delivered_failure_stays_delivered(test: &mut DriverStore) {
        test.store(&[failed("X")]).await;
        let failure = test.claim_one(FAILED).await;
        test.store(&[completed("a")]).await;
        test.finish(&failure, true).await;
        test.expect(&[("delivered", 1), ("waiting", 1)]).await;
        assert_eq!(test.claim_one(COMPLETED).await.supersedes, Some(Superseded::Failed));
    }

    async fn retries_a_failed_attempt(test: &mut DriverStore) {
        test.store(&[completed("a")]).await;
        for attempt in 1..=3 {
            let entry = test.claim_one(COMPLETED).await;
            assert_eq!((entry.attempts, entry.lease), (attempt, attempt));
            test.finish(&entry, false).await;
        }
        let entry = test.claim_one(COMPLETED).await;
        test.finish(&entry, true).await;
        assert_eq!(test.claim(COMPLETED).await.len(), 0);
        test.expect(&[("delivered", 1)]).await;
    }

    async fn a_failure_counts_only_with_the_current_lease(test: &mut DriverStore) {
        test.store(&[completed("a")]).await;
        let first = test.claim_one(COMPLETED).await;
        test.finish(&first, false).await;
        let second = test.claim_one(COMPLETED).await;
        test.finish(&first, false).await;
        test.expect(&[("in_flight", 1)]).await;
        assert_eq!(test.driver().renew(&[(first.id, first.lease)], LEASE).await.unwrap(), NONE);
        assert_eq!(test.driver().renew(&[(second.id, second.lease)], LEASE).await.unwrap(), [second.id]);
        // A 2xx counts with any lease.
        test.finish(&first, true).await;
        test.expect(&[("delivered", 1)]).await;
        test.finish(&second, false).await;
        test.expect(&[("delivered", 1)]).await;
    }

    async fn releases_expired_leases(test: &mut DriverStore) {
        test.store(&[completed("a")]).await;
        let first = test.claim_one(COMPLETED).await;
        // SQLite compares `lease_until` with its clock. PostgreSQL measures the time without a renewal.
        test.sql("UPDATE entry SET lease_until = 0").await;
        assert_eq!(test.driver().release_expired(&[first.id], 0).await.unwrap(), 0, "this inbox has the lease");
        if let Place::Postgres(_) = test.place {
            assert_eq!(test.driver().release_expired(&[], LEASE).await.unwrap(), 0, "the first observation");
            test.sql("UPDATE entry SET lease_until = 1").await;
            assert_eq!(test.driver().release_expired(&[], 1_000).await.unwrap(), 0, "renewed");
        }
        assert_eq!(test.driver().release_expired(&[], 0).await.unwrap(), 1);
        let second = test.claim_one(COMPLETED).await;
        assert_eq!((second.id, second.lease, second.attempts), (first.id, 2, 2));
    }

    async fn a_restart_ends_the_leases_of_sqlite(test: &mut DriverStore) {
        test.store(&[completed("a")]).await;
        test.claim_one(COMPLETED).await;
        test.reopen().await;
        // Another inbox may serve the database, so its leases end only with time.
        let expected = if matches!(test.place, Place::Sqlite(_)) { 1 } else { 0 };
        assert_eq!(test.claim(COMPLETED).await.len(), expected);
    }

    async fn gives_up_after_72_hours_and_ten_attempts(test: &mut DriverStore) {
        test.store(&[completed("a"), Arrival { generation: Some(TWO.to_owned()), ..completed("b") }]).await;
        test.sql("UPDATE entry SET tried = 259200000000, attempts = CASE WHEN id = (SELECT min(id) FROM entry) THEN 9 ELSE 8 END").await;
        let entries = test.claim(COMPLETED).await;
        assert_eq!(test.finish_with(&entries[0], false, false).await, NONE, "no room for dead entries");
        test.expect(&[("waiting", 1), ("in_flight", 1)]).await;
        assert_eq!(test.finish(&entries[1], false).await, NONE, "nine attempts");
        let entry = test.driver().claim(COMPLETED, ClaimRequest::due(1), LEASE).await.unwrap().entries.remove(0);
        assert_eq!(test.finish(&entry, false).await, [entry.id]);
        test.expect(&[("dead", 1), ("waiting", 1)]).await;
        assert_eq!(test.store(&[completed("a")]).await, [ArrivalOutcome::Repeated]);
    }

    async fn delivers_each_of_a_thousand_replays_once(test: &mut DriverStore) {
        const ROUNDS: usize = 1_000;
        let id = |number| format!("00000000-0000-4000-8000-{number:012x}");
        let batch: Vec<_> = (1..=ROUNDS).map(|number| completed("a").of(&id(number))).collect();
        test.store(&batch).await;
        let store = test.store.clone().unwrap();
        let ids = test.ids().await;
        // Two operators replay all entries during the deliveries.
        let operator = async |store: StoreHandle| {
            let session = &store;
            for ids in ids.chunks(10) {
                session.change(Change::Replay, &ids.iter().copied().collect(), &action(Change::Replay)).await.unwrap();
            }
        };
        let deliverer = async |session: StoreHandle| {
            let (mut claims, started) = (BTreeMap::<i64, i64>::new(), std::time::Instant::now());
            let mut idle = 0_u32;
            while idle < 20 {
                assert!(started.elapsed() < DEADLINE);
                let claimed = session.claim(COMPLETED, ClaimRequest::due(7), LEASE).await.unwrap().entries;
                idle = if claimed.is_empty() { idle.saturating_add(1) } else { 0 };
                for entry in &claimed {
                    let count = claims.entry(entry.id).or_default();
                    *count = count.saturating_add(1);
                }
                let attempts: Vec<_> = claimed.iter().map(|entry| finished(entry, true)).collect();
                session.finish(&attempts, GIVE_UP_AFTER).await.unwrap();
                tokio::task::yield_now().await;
            }
            claims
        };
        let first = deliverer(store.clone()).await;
        assert_eq!((first.len(), first.values().sum::<i64>()), (ROUNDS, i64::try_from(ROUNDS).unwrap()));
        let (_, _, claims) = tokio::join!(operator(store.clone()), operator(store.clone()), deliverer(store.clone()));
        let more = deliverer(store.clone()).await;
        for (id, redelivery) in test.redeliveries().await {
            let delivered = [&claims, &more].into_iter().filter_map(|claims| claims.get(&id)).sum::<i64>();
            assert_eq!(delivered, redelivery, "entry {id}");
            assert!((1..=2).contains(&redelivery), "entry {id} was replayed {redelivery} times");
        }
        assert!(test.states().await.iter().all(|(state, _)| state == "delivered"));
    }

    async fn quarantines_twenty_bodies_of_a_token(test: &mut DriverStore) {
        let bodies: Vec<_> = (1..=20).map(|number| quarantined(&number.to_string(), "t")).collect();
        assert_eq!(test.store(&bodies).await, vec![in_quarantine("json-invalid"); 20]);
        assert_eq!(test.store(&[quarantined("21", "t")]).await, [ArrivalOutcome::TokenFull]);
        assert_eq!(test.store(&[quarantined("20", "t")]).await, [ArrivalOutcome::Repeated]);
        assert_eq!(test.store(&[quarantined("21", "u")]).await, [in_quarantine("json-invalid")]);
        let both: Vec<_> = (1..=21).map(|number| quarantined(&number.to_string(), "v")).collect();
        assert_eq!(test.store(&both).await[20], ArrivalOutcome::TokenFull, "in one batch");
    }

    async fn dropped_entries_free_the_quota_of_a_token(test: &mut DriverStore) {
        let bodies: Vec<_> = (1..=20).map(|number| quarantined(&number.to_string(), "t")).collect();
        test.store(&bodies).await;
        test.sql("UPDATE entry SET state = 'dropped' WHERE id = (SELECT min(id) FROM entry)").await;
        assert_eq!(test.store(&[quarantined("21", "t")]).await, [in_quarantine("json-invalid")]);
        assert_eq!(test.store(&[quarantined("22", "t")]).await, [ArrivalOutcome::TokenFull]);
    }

    async fn a_refused_arrival_leaves_no_rows(test: &mut DriverStore) {
        let token = Some(ArrivalToken { id: "t".to_owned(), binds: true });
        let with = |arrival: Arrival| Arrival { token: token.clone(), ..arrival };
        test.store(&[with(completed("a"))]).await;
        let another = with(completed("b").of(TWO));
        assert_eq!(test.store_with(std::slice::from_ref(&another), QuarantineRoom { is_full: true, ..QuarantineRoom::UNLIMITED }).await, [ArrivalOutcome::QuarantineFull]);
        assert_eq!(test.count_rows("SELECT count(*) FROM generation").await, 1);
        assert_eq!(test.store(&[another]).await, [in_quarantine("token-reused")]);
        assert_eq!(test.count_rows("SELECT count(*) FROM generation").await, 1, "a quarantined arrival leaves none");
        assert_eq!(test.store(&[quarantined("c", "u")]).await, [in_quarantine("json-invalid")]);
        assert_eq!(test.count_rows("SELECT count(*) FROM token").await, 1);
    }

    async fn a_bad_row_does_not_fail_its_batch(test: &mut DriverStore) {
        // The unique index refuses the event: its entry exists, and its generation's row lacks it.
        test.store(&[completed("a").of(TWO)]).await;
        test.sql("UPDATE generation SET completed_id = NULL, completed_fingerprint = NULL").await;
        let (queue, ending) = (TestCommitter::start(test.store.as_ref().unwrap()), std::time::Instant::now());
        let (bad, good) = tokio::join!(queue.store(completed("a").of(TWO)), queue.store(completed("b")));
        assert_eq!((bad, good), (Err(crate::commit::CommitError::Store), Ok(waits(COMPLETED))));
        assert!(ending.elapsed() < std::time::Duration::from_secs(5), "a bad row must not delay others");
    }

    async fn quarantines_twenty_bodies_of_a_tokens_generation(test: &mut DriverStore) {
        let token = Some(ArrivalToken { id: "t".to_owned(), binds: true });
        let own = |arrival: Arrival| Arrival { token: token.clone(), ..arrival };
        test.store(&[own(completed("a"))]).await;
        let bodies: Vec<_> = (1..=25).map(|number| own(completed(&number.to_string()))).collect();
        let expected = [vec![in_quarantine("event-conflict"); 20], vec![ArrivalOutcome::TokenFull; 5]].concat();
        assert_eq!(test.store(&bodies).await, expected);
        assert_eq!(test.store(&bodies[..1]).await, [ArrivalOutcome::Repeated], "a repeat does not count");
        // Entries that the gate quarantines count too.
        let violating = Arrival { generation: Some(ONE.to_owned()), ..quarantined("x", "t") };
        assert_eq!(test.store(&[violating]).await, [ArrivalOutcome::TokenFull]);
        // Other generations and other tokens count separately.
        assert_eq!(test.store(&[quarantined("x", "t")]).await, [in_quarantine("json-invalid")]);
        let late = Arrival { generation: Some(TWO.to_owned()), ..quarantined("x", "u") };
        assert_eq!(test.store(&[late]).await, [in_quarantine("json-invalid")]);
        test.sql("UPDATE entry SET state = 'dropped' WHERE reason = 'event-conflict' AND state = 'quarantined' AND id % 2 = 0").await;
        assert_eq!(test.store(&bodies[20..21]).await, [in_quarantine("event-conflict")], "dropped entries do not count");
    }

    async fn quarantines_twenty_bodies_of_a_generation_without_token(test: &mut DriverStore) {
        let violating = |generation: &str, number: i64| {
            let body = format!("{generation} {number}");
            Arrival { token: None, generation: Some(generation.to_owned()), ..quarantined(&body, "") }
        };
        let bodies: Vec<_> = (1..=21).map(|number| violating(ONE, number)).collect();
        assert_eq!(test.store(&bodies).await[19..], [in_quarantine("json-invalid"), ArrivalOutcome::TokenFull]);
        assert_eq!(test.store(&[violating(TWO, 1)]).await, [in_quarantine("json-invalid")]);
    }

    async fn quarantines_twenty_bodies_of_each_generation_of_a_static_url(test: &mut DriverStore) {
        let token = Some(ArrivalToken { id: "static".to_owned(), binds: false });
        let of = |number: i64, generation: i64| Arrival {
            token: token.clone(),
            generation: Some(format!("ffd473d5-5bef-4e14-bf22-{generation:012x}")),
            ..quarantined(&format!("{generation} {number}"), "")
        };
        let bodies: Vec<_> = (1..=21).map(|number| of(number, 1)).collect();
        assert_eq!(test.store(&bodies).await[19..], [in_quarantine("json-invalid"), ArrivalOutcome::TokenFull]);
        let others: Vec<_> = (2..=60).map(|generation| of(1, generation)).collect();
        assert_eq!(test.store(&others).await, vec![in_quarantine("json-invalid"); 59], "it serves every generation");
    }

    async fn limits_the_quarantined_bytes_of_a_token(test: &mut DriverStore) {
        let size = quarantined("1", "t").size();
        let room = QuarantineRoom { is_full: false, max_bytes_of_token: size.saturating_mul(3) };
        let bodies: Vec<_> = (1..=4).map(|number| quarantined(&number.to_string(), "t")).collect();
        let batch: Vec<_> = bodies.iter().collect();
        let outcomes = test.driver().store(&batch, room).await.unwrap().outcomes;
        assert_eq!(outcomes[2..], [in_quarantine("json-invalid"), ArrivalOutcome::TokenFull]);
        // The first body is accepted at any size.
        let small = QuarantineRoom { is_full: false, max_bytes_of_token: 1 };
        let (one, two) = (quarantined("1", "u"), quarantined("2", "u"));
        let outcomes = test.driver().store(&[&one, &two], small).await.unwrap().outcomes;
        assert_eq!(outcomes, [in_quarantine("json-invalid"), ArrivalOutcome::TokenFull]);
    }

    async fn a_full_quarantine_refuses_new_entries(test: &mut DriverStore) {
        test.store(&[quarantined("a", "t")]).await;
        let batch = [quarantined("a", "t"), quarantined("b", "t"), completed("c")];
        let expected = [ArrivalOutcome::Repeated, ArrivalOutcome::QuarantineFull, waits(COMPLETED)];
        assert_eq!(test.store_with(&batch, QuarantineRoom { is_full: true, ..QuarantineRoom::UNLIMITED }).await, expected);
    }

    async fn delivers_each_observed_arrival(test: &mut DriverStore) {
        let observed = observed("a");
        let route = "veo3/observed/completed";
        assert_eq!(test.store(&[observed.clone(), observed]).await, [waits(route), waits(route)]);
        assert_eq!(test.claim(route).await.len(), 2);
        assert_eq!(test.store(&[completed("b")]).await, [waits(COMPLETED)], "it binds nothing");
    }

    async fn recognises_a_repeat_after_the_body_is_purged(test: &mut DriverStore) {
        test.store(&[completed("a"), failed("X").of(TWO)]).await;
        let entry = test.claim_one(COMPLETED).await;
        test.finish(&entry, true).await;
        let size = completed("a").size();
        assert_eq!(test.driver().purge_bodies(crate::retention::BODY_AGE, 10).await.unwrap(), (0, 0), "not yet");
        assert_eq!(test.driver().purge_bodies(0, 10).await.unwrap(), (1, size), "waiting entries keep their bodies");
        assert_eq!(test.store(&[completed("a")]).await, [ArrivalOutcome::Repeated]);
        assert_eq!(test.claim(COMPLETED).await.len(), 0);
        assert_eq!(test.driver().purge_tombstones(crate::retention::TOMBSTONE_AGE, 10).await.unwrap(), 0);
        assert_eq!(test.driver().purge_tombstones(0, 10).await.unwrap(), 1);
        assert_eq!(test.store(&[completed("b")]).await, [waits(COMPLETED)], "the generation is forgotten");
        test.expect(&[("waiting", 1), ("waiting", 1)]).await;
    }

    async fn a_purge_deletes_payloads_and_keeps_rows(test: &mut DriverStore) {
        let dead_one = failed("Y").of("00000000-0000-4000-8000-000000000003");
        test.store(&[completed("a"), quarantined("b", "t"), observed("c"), dead_one.clone()]).await;
        let entry = test.claim_one(COMPLETED).await;
        test.finish(&entry, true).await;
        let observed = test.claim_one("veo3/observed/completed").await;
        test.finish(&observed, true).await;
        test.sql("UPDATE entry SET state = 'dead', ended_at = 1 WHERE state = 'waiting'").await;
        let ids = test.ids().await;
        let changed = test.driver().change(Change::Purge, &ids.iter().copied().collect(), &action(Change::Purge)).await.unwrap();
        assert_eq!((changed.changed.len(), changed.refused.len()), (4, 0));
        test.expect(&[("delivered", 1), ("dropped", 1), ("delivered", 1), ("dropped", 1)]).await;
        for id in &ids {
            let (entry, payload) = test.store.as_ref().unwrap().show(*id).await.unwrap().unwrap();
            assert_eq!((entry.size, entry.answer, payload.is_none(), entry.digest.len()), (0, None, true, 32));
            assert!(entry.ended_at.is_some(), "retention deletes it after 400 days");
        }
        let again = [completed("a"), quarantined("b", "t"), dead_one];
        assert_eq!(test.store(&again).await, [const { ArrivalOutcome::Repeated }; 3]);
        assert_eq!(test.claim(COMPLETED).await.len(), 0);
        let changed = test.driver().change(Change::Purge, &ids.iter().copied().collect(), &action(Change::Purge)).await.unwrap();
        assert_eq!(changed.refused.values().copied().collect::<Vec<_>>(), [ChangeRefusal::Purged; 4]);
    }

    async fn a_purge_refuses_waiting_entries(test: &mut DriverStore) {
        test.store(&[completed("a"), failed("X").of(TWO)]).await;
        let entry = test.claim_one(COMPLETED).await;
        let ids = test.ids().await;
        let changed = test.driver().change(Change::Purge, &ids.iter().copied().collect(), &action(Change::Purge)).await.unwrap();
        assert_eq!(changed.changed.len(), 0);
        assert_eq!(
            changed.refused.values().copied().collect::<Vec<_>>(),
            [ChangeRefusal::PurgeInFlight, ChangeRefusal::ToBeDelivered]
        );
        assert_eq!(test.finish(&entry, true).await, NONE);
        test.expect(&[("delivered", 1), ("waiting", 1)]).await;
    }

    async fn a_purge_during_deliveries_loses_none(test: &mut DriverStore) {
        const EVENTS: usize = 1_000;
        let events: Vec<_> = (0..EVENTS).map(|number| completed("a").of(&format!("00000000-0000-4000-8000-{number:012x}"))).collect();
        for events in events.chunks(100) {
            test.store(events).await;
        }
        let mut left: std::collections::BTreeSet<i64> = test.ids().await.into_iter().collect();
        let purger = test.store.clone().unwrap();
        let purging = tokio::spawn(async move {
            let started = std::time::Instant::now();
            while !left.is_empty() {
                assert!(started.elapsed() < DEADLINE, "{} are left", left.len());
                let changed = purger.change(Change::Purge, &left, &action(Change::Purge)).await.unwrap();
                left.retain(|id| !changed.changed.contains_key(id));
            }
        });
        let (mut delivered, started) = (0_usize, std::time::Instant::now());
        while delivered < EVENTS {
            assert!(started.elapsed() < DEADLINE, "{delivered} are delivered");
            let claimed = test.driver().claim(COMPLETED, ClaimRequest::due(10), LEASE).await.unwrap().entries;
            assert!(claimed.iter().all(|entry| !entry.body.is_empty()));
            let attempts: Vec<_> = claimed.iter().map(|entry| finished(entry, true)).collect();
            assert_eq!(test.driver().finish(&attempts, GIVE_UP_AFTER).await.unwrap(), NONE);
            delivered = delivered.saturating_add(claimed.len());
            assert!(!purging.is_finished() || delivered == EVENTS, "an undelivered entry is purged");
        }
        purging.await.unwrap();
        assert!(test.states().await.iter().all(|(state, _)| state == "delivered"));
        assert_eq!(test.driver().usage().await.unwrap().total, 0);
    }

    async fn measures_usage_by_lane(test: &mut DriverStore) {
        test.store(&[completed("a"), quarantined("b", "t"), observed("c")]).await;
        let usage = test.driver().usage().await.unwrap();
        let one = completed("a").size();
        assert_eq!((usage.quarantine, usage.observed, usage.dead), (one, one, 0));
        assert_eq!(usage.total, [one; 3].iter().sum::<i64>());
        assert_eq!(usage.states.into_iter().collect::<Vec<_>>(), [(EntryState::Waiting, 2), (EntryState::Quarantined, 1)]);
    }

    async fn serves_newer_tables_only_if_they_allow_it(test: &mut DriverStore) {
        // A newer migration that only adds.
        test.sql("ALTER TABLE entry ADD COLUMN note TEXT").await;
        test.sql(NEXT_MIGRATION).await;
        test.reopen().await;
        assert_eq!(test.store(&[completed("a")]).await, [waits(COMPLETED)]);
        test.place.migrate().await.unwrap();
        // A newer migration that needs a newer program.
        test.sql("UPDATE schema_version SET oldest_program = 2").await;
        test.close();
        let expected = "cannot open the store: its tables have version 2, for programs from version 2, and this program has 1. Start the program that made them, or name another store";
        assert_eq!(test.place.open().await.unwrap_err().to_string(), expected);
        assert_eq!(test.place.migrate().await.unwrap_err().to_string(), expected);
        test.sql("DELETE FROM schema_version").await;
        assert_eq!(test.place.open().await.unwrap_err().to_string(), expected, "no row allows it");
    }

    async fn refuses_older_tables(test: &mut DriverStore) {
        test.sql("UPDATE _sqlx_migrations SET version = 0").await;
        test.close();
        let error = test.place.open().await.unwrap_err().to_string();
        assert_eq!(error, "cannot open the store: its tables have version 0, and this program needs 1. Run `blobgate inbox migrate`");
    }

    async fn refuses_tables_of_another_history(test: &mut DriverStore) {
        let expected = |version| format!("cannot migrate the store: this program does not know the migration {version} of its tables. Start the program that made them, or name another store");
        test.sql("UPDATE _sqlx_migrations SET version = 0").await;
        test.sql("UPDATE schema_version SET oldest_program = 0").await;
        test.close();
        assert_eq!(test.place.migrate().await.unwrap_err().to_string(), expected(0), "this program lacks the migration");
    }

    async fn reads_the_next_due_time_of_each_route(test: &mut DriverStore) {
        assert_eq!(test.driver().waiting().await.unwrap(), []);
        test.store(&[completed("a"), failed("X").of(TWO)]).await;
        let waiting = test.driver().waiting().await.unwrap();
        assert_eq!(waiting.iter().map(|(route, _)| route.as_str()).collect::<Vec<_>>(), [COMPLETED, FAILED]);
        assert!(waiting.iter().all(|(_, due_in)| *due_in <= 0), "{waiting:?}");
        test.sql("UPDATE entry SET due_at = due_at + 3600000000").await;
        let waiting = test.driver().waiting().await.unwrap();
        assert!(waiting.iter().all(|(_, due_in)| *due_in > 3_500_000_000), "{waiting:?}");
        assert_eq!(test.claim(COMPLETED).await.len(), 0, "not before it is due");
    }
}

/// The row that sqlx inserts for a migration.
const NEXT_MIGRATION: &str = "
INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
SELECT 2, 'newer', success, checksum, 0 FROM _sqlx_migrations WHERE version = 1";

#[test]
fn both_stores_have_the_same_version() {
    let versions = [&super::sqlite::MIGRATOR, &super::postgres::MIGRATOR].map(super::version::newest);
    assert_eq!(versions, [1, 1]);
}

#[tokio::test]
async fn refuses_a_second_inbox_on_a_file() {
    let test = DriverStore::sqlite().await;
    let error = test.place.open().await.unwrap_err().to_string();
    let Place::Sqlite(path) = &test.place else { return };
    let expected = format!(
        "cannot open {}: another inbox serves it. End that inbox, or name another store",
        path.display()
    );
    assert_eq!(error, expected);
}

#[tokio::test]
async fn names_the_remedy_for_a_missing_file() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::Sqlite(directory.path().join("inbox.db"));
    let error = place.open().await.unwrap_err().to_string();
    assert!(error.ends_with("inbox.db: it does not exist. Run `blobgate inbox migrate`"), "{error}");
}

#[needs(Postgres)]
#[tokio::test]
async fn names_the_remedy_for_missing_tables() {
    // The cluster ends with its last user.
    let cluster = Cluster::shared();
    let place: Place = cluster.database().parse().unwrap();
    let error = place.open().await.unwrap_err().to_string();
    assert_eq!(error, "cannot open the store: it has no tables yet. Run `blobgate inbox migrate`");
}

/// Checks first that the body is in the file.
#[tokio::test]
async fn a_purge_overwrites_the_body_in_the_file() {
    let mut test = DriverStore::sqlite().await;
    let Place::Sqlite(path) = test.place.clone() else { return };
    test.store(&[completed("a secret body"), completed("another").of(TWO)]).await;
    for entry in test.claim(COMPLETED).await {
        test.finish(&entry, true).await;
    }
    // Searches for the body: the generation's row still contains the fingerprint.
    let body = b"a secret body \x00\xff";
    let is_there = || std::fs::read(&path).unwrap().windows(body.len()).any(|bytes| bytes == body);
    test.sql("PRAGMA wal_checkpoint(TRUNCATE)").await;
    assert!(is_there());
    let first = test.ids().await.into_iter().take(1).collect();
    test.driver().change(Change::Purge, &first, &action(Change::Purge)).await.unwrap();
    test.sql("PRAGMA wal_checkpoint(TRUNCATE)").await;
    assert!(!is_there());
}
