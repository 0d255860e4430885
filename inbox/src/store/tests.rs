//! What holds in both stores.

mod follow;
mod scan;

use super::*;
use crate::arrival::Token;
use crate::decide::Room;
use crate::entry::{EntryState, ExpectationState, Fingerprint, Origin, QuarantineReason, Superseded};
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

/// Runs on a connection of a test's own.
macro_rules! rows {
    ($site:expr, |$connection:ident| $body:expr) => {
        match &$site.place {
            Place::Sqlite(path) => {
                let mut own = super::sqlite::options(path).connect().await.unwrap();
                let $connection = &mut own;
                let rows = $body;
                own.close().await.unwrap();
                rows
            }
            Place::Postgres(url) => {
                let options = super::postgres::options(url).unwrap();
                let mut own = super::postgres::connect(&options).await.unwrap();
                let $connection = &mut own;
                let rows = $body;
                own.close().await.unwrap();
                rows
            }
        }
    };
}

/// A store of a test's own.
struct Site {
    place: Place,
    store: Option<StoreHandle>,
    /// What ends with the test.
    _beside: Box<dyn std::any::Any>,
}

impl Site {
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

    /// With a cluster of its own: on a shared one other tests' transactions are under way.
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

    /// As after a restart.
    async fn reopen(&mut self) {
        self.close();
        self.store = Some(self.place.open().await.unwrap());
    }

    async fn store(&mut self, arrivals: &[Arrival]) -> Vec<Outcome> {
        self.store_with(arrivals, Room::UNLIMITED).await
    }

    async fn store_with(&mut self, arrivals: &[Arrival], room: Room) -> Vec<Outcome> {
        let arrivals: Vec<_> = arrivals.iter().collect();
        self.driver().store(&arrivals, room).await.unwrap().outcomes
    }

    async fn claim(&mut self, route: &str) -> Vec<Claimed> {
        self.driver().claim(route, Wanted::due(10), LEASE).await.unwrap().entries
    }

    async fn claim_one(&mut self, route: &str) -> Claimed {
        let mut claimed = self.claim(route).await;
        assert_eq!(claimed.len(), 1, "{claimed:?}");
        claimed.remove(0)
    }

    async fn finish(&mut self, entry: &Claimed, done: bool) -> Vec<i64> {
        self.finish_with(entry, done, true).await
    }

    async fn finish_with(&mut self, entry: &Claimed, done: bool, may_die: bool) -> Vec<i64> {
        let give_up_after = if may_die { GIVE_UP_AFTER } else { i64::MAX };
        self.driver().finish(&[ended(entry, done)], give_up_after).await.unwrap()
    }

    /// Changes what no statement of the inbox changes: times, mostly.
    async fn sql(&self, text: &'static str) {
        rows!(self, |connection| sqlx::raw_sql(text).execute(connection).await.map(|_| ()).unwrap());
    }

    /// Each entry's state and how often it came, in their order.
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

    /// Places and ids, and the place after them.
    async fn follow(&self, after: Cursor, until: Option<Cursor>, limit: i64) -> (Vec<(Cursor, i64)>, Cursor) {
        let all = Filter::default();
        let followed = self.driver().follow(&all, after, until, limit).await.unwrap();
        (followed.entries.into_iter().map(|(cursor, entry)| (cursor, entry.id)).collect(), followed.next)
    }

    async fn ids(&self) -> Vec<i64> {
        self.driver().ids(&Filter::default(), Only::All, 0, i64::MAX, 1_000).await.unwrap()
    }

    /// Each entry with how often it was replayed.
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

/// A committer of a test's own.
struct Committing {
    committer: crate::commit::Committer,
}

impl Committing {
    fn start(store: &StoreHandle) -> Self {
        let (space, metrics) =
            (crate::space::Space::new(1 << 40, None), Arc::new(crate::metrics::Metrics::new()));
        let tasks = tokio_util::task::TaskTracker::new();
        let shared = crate::handles::InboxHandles::new(Arc::clone(store), space, metrics, Arc::default());
        let committer = crate::commit::Committer::start(shared, 512, &tasks);
        Self { committer }
    }

    async fn store(&self, arrival: Arrival) -> std::result::Result<Outcome, crate::commit::NotStored> {
        self.committer.store(arrival).await
    }
}

fn ended(entry: &Claimed, done: bool) -> Finished {
    Finished {
        id: entry.id,
        lease: entry.lease,
        done,
        status: Some(if done { 200 } else { 500 }),
        answer: "as it \\x00 came".to_owned(),
        delay: 0,
        tried: 1_000,
        succeeded_on: None,
    }
}

fn arrival(verdict: Verdict, fingerprint: Fingerprint, body: &str) -> Arrival {
    // Neither UTF-8 nor without NUL, in a body as in a header's value.
    let body = Bytes::from([body.as_bytes(), b" \x00\xff"].concat());
    Arrival {
        verdict,
        hook: "veo3".to_owned(),
        generation: Some(ONE.to_owned()),
        fingerprint: Some(fingerprint),
        origin: Origin::Webhook,
        reason: None,
        token: None,
        job: None,
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

/// Delivered each time.
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
    let token = Some(Token { id: token.to_owned(), binds: true });
    let reason = Some(QuarantineReason::parse("json-invalid"));
    Arrival { reason, token, generation: None, ..arrival(Verdict::Quarantined, at(body), body) }
}

fn waits(route: &str) -> Outcome {
    Outcome::Waits(route.to_owned())
}

fn kept(reason: &str) -> Outcome {
    Outcome::Quarantined(QuarantineReason::parse(reason))
}

/// A test of each store.
macro_rules! in_both {
    ($(async fn $name:ident($site:ident: &mut Site) $body:block)*) => {
        $(mod $name {
            use super::*;

            async fn holds($site: &mut Site) $body

            #[tokio::test]
            async fn sqlite() {
                holds(&mut Site::sqlite().await).await;
            }

            #[needs(Postgres)]
            #[tokio::test]
            async fn postgres() {
                holds(&mut Site::postgres().await).await;
            }
        })*
    };
}

mod claim;
mod expect;
mod sums;

in_both! {
    async fn a_batch_is_decided_as_one_after_the_other(site: &mut Site) {
        let batch = [completed("a"), completed("a"), failed("X"), completed("b"), completed("a")];
        let conflict = || kept("event-conflict");
        let expected = [waits(COMPLETED), Outcome::Repeated, conflict(), conflict(), Outcome::Repeated];
        assert_eq!(site.store(&batch).await, expected);
        site.expect(&[("waiting", 3), ("quarantined", 1), ("quarantined", 1)]).await;
        assert_eq!(site.store(&batch).await, [const { Outcome::Repeated }; 5]);
        site.expect(&[("waiting", 6), ("quarantined", 2), ("quarantined", 2)]).await;
    }

    async fn what_comes_out_is_what_went_in(site: &mut Site) {
        let sent = completed("a");
        site.store(std::slice::from_ref(&sent)).await;
        let entry = site.claim_one(COMPLETED).await;
        assert_eq!((&entry.body[..], &entry.headers, &entry.path[..]), (&sent.body[..], &sent.headers, sent.path.as_bytes()));
        assert_eq!((entry.attempts, entry.lease, entry.redelivery), (1, 1, 0));
        assert_eq!((entry.supersedes, entry.overrides), (None, None));
    }

    async fn a_failure_that_waits_is_superseded(site: &mut Site) {
        site.store(&[failed("X")]).await;
        site.store(&[completed("a")]).await;
        assert_eq!(site.claim(FAILED).await.len(), 0);
        assert_eq!(site.claim_one(COMPLETED).await.supersedes, Some(Superseded::Failed));
        site.expect(&[("superseded", 1), ("in_flight", 1)]).await;
    }

    async fn a_failure_in_the_same_batch_is_superseded(site: &mut Site) {
        site.store(&[failed("X"), completed("a")]).await;
        assert_eq!(site.claim(FAILED).await.len(), 0);
        assert_eq!(site.claim_one(COMPLETED).await.supersedes, Some(Superseded::Failed));
    }

    async fn a_completion_waits_for_a_failure_under_way(site: &mut Site) {
        site.store(&[failed("X")]).await;
        let failure = site.claim_one(FAILED).await;
        site.store(&[completed("a")]).await;
        assert_eq!(site.claim(COMPLETED).await.len(), 0, "one of a generation at a time");
        site.finish(&failure, false).await;
        site.expect(&[("superseded", 1), ("waiting", 1)]).await;
        assert_eq!(site.claim_one(COMPLETED).await.supersedes, Some(Superseded::Failed));
    }

    async fn a_delivered_failure_stays_so(site: &mut Site) {
        site.store(&[failed("X")]).await;
        let failure = site.claim_one(FAILED).await;
        site.store(&[completed("a")]).await;
        site.finish(&failure, true).await;
        site.expect(&[("delivered", 1), ("waiting", 1)]).await;
        assert_eq!(site.claim_one(COMPLETED).await.supersedes, Some(Superseded::Failed));
    }

    async fn what_failed_is_tried_again(site: &mut Site) {
        site.store(&[completed("a")]).await;
        for attempt in 1..=3 {
            let entry = site.claim_one(COMPLETED).await;
            assert_eq!((entry.attempts, entry.lease), (attempt, attempt));
            site.finish(&entry, false).await;
        }
        let entry = site.claim_one(COMPLETED).await;
        site.finish(&entry, true).await;
        assert_eq!(site.claim(COMPLETED).await.len(), 0);
        site.expect(&[("delivered", 1)]).await;
    }

    async fn only_who_holds_it_may_say_that_it_failed(site: &mut Site) {
        site.store(&[completed("a")]).await;
        let first = site.claim_one(COMPLETED).await;
        site.finish(&first, false).await;
        let second = site.claim_one(COMPLETED).await;
        site.finish(&first, false).await;
        site.expect(&[("in_flight", 1)]).await;
        assert_eq!(site.driver().renew(&[(first.id, first.lease)], LEASE).await.unwrap(), NONE);
        assert_eq!(site.driver().renew(&[(second.id, second.lease)], LEASE).await.unwrap(), [second.id]);
        // But that it arrived is true, whoever says it.
        site.finish(&first, true).await;
        site.expect(&[("delivered", 1)]).await;
        site.finish(&second, false).await;
        site.expect(&[("delivered", 1)]).await;
    }

    async fn what_a_lost_holder_had_is_delivered_by_another(site: &mut Site) {
        site.store(&[completed("a")]).await;
        let first = site.claim_one(COMPLETED).await;
        // Of SQLite's own claims; who else holds what in PostgreSQL, time tells and not a clock.
        site.sql("UPDATE entry SET lease_until = 0").await;
        assert_eq!(site.driver().release_expired(&[first.id], 0).await.unwrap(), 0, "it knows what it holds");
        if let Place::Postgres(_) = site.place {
            assert_eq!(site.driver().release_expired(&[], LEASE).await.unwrap(), 0, "seen for the first time");
            site.sql("UPDATE entry SET lease_until = 1").await;
            assert_eq!(site.driver().release_expired(&[], 1_000).await.unwrap(), 0, "it was renewed");
        }
        assert_eq!(site.driver().release_expired(&[], 0).await.unwrap(), 1);
        let second = site.claim_one(COMPLETED).await;
        assert_eq!((second.id, second.lease, second.attempts), (first.id, 2, 2));
    }

    async fn a_restart_of_the_one_holder_voids_its_leases(site: &mut Site) {
        site.store(&[completed("a")]).await;
        site.claim_one(COMPLETED).await;
        site.reopen().await;
        // Of a database there may be other holders: their leases end by themselves.
        let expected = if matches!(site.place, Place::Sqlite(_)) { 1 } else { 0 };
        assert_eq!(site.claim(COMPLETED).await.len(), expected);
    }

    async fn seventy_two_hours_of_its_own_and_ten_attempts_are_the_end(site: &mut Site) {
        site.store(&[completed("a"), Arrival { generation: Some(TWO.to_owned()), ..completed("b") }]).await;
        site.sql("UPDATE entry SET tried = 259200000000, attempts = CASE WHEN id = (SELECT min(id) FROM entry) THEN 9 ELSE 8 END").await;
        let entries = site.claim(COMPLETED).await;
        assert_eq!(site.finish_with(&entries[0], false, false).await, NONE, "no room for the dead");
        site.expect(&[("waiting", 1), ("in_flight", 1)]).await;
        assert_eq!(site.finish(&entries[1], false).await, NONE, "nine attempts");
        let entry = site.driver().claim(COMPLETED, Wanted::due(1), LEASE).await.unwrap().entries.remove(0);
        assert_eq!(site.finish(&entry, false).await, [entry.id]);
        site.expect(&[("dead", 1), ("waiting", 1)]).await;
        // A repeat of it is none the less a repeat.
        assert_eq!(site.store(&[completed("a")]).await, [Outcome::Repeated]);
    }

    async fn each_of_a_thousand_replays_is_one_delivery(site: &mut Site) {
        const ROUNDS: usize = 1_000;
        let id = |number| format!("00000000-0000-4000-8000-{number:012x}");
        let batch: Vec<_> = (1..=ROUNDS).map(|number| completed("a").of(&id(number))).collect();
        site.store(&batch).await;
        let store = site.store.clone().unwrap();
        let ids = site.ids().await;
        // Two operators ask for all of it, while it is delivered.
        let operator = async |store: StoreHandle| {
            let session = &store;
            for ids in ids.chunks(10) {
                session.change(Change::Replay, &ids.iter().copied().collect()).await.unwrap();
            }
        };
        let deliverer = async |session: StoreHandle| {
            let (mut claims, started) = (BTreeMap::<i64, i64>::new(), std::time::Instant::now());
            let mut idle = 0_u32;
            while idle < 20 {
                assert!(started.elapsed() < DEADLINE);
                let claimed = session.claim(COMPLETED, Wanted::due(7), LEASE).await.unwrap().entries;
                idle = if claimed.is_empty() { idle.saturating_add(1) } else { 0 };
                for entry in &claimed {
                    let count = claims.entry(entry.id).or_default();
                    *count = count.saturating_add(1);
                }
                let finished: Vec<_> = claimed.iter().map(|entry| ended(entry, true)).collect();
                session.finish(&finished, GIVE_UP_AFTER).await.unwrap();
                tokio::task::yield_now().await;
            }
            claims
        };
        let first = deliverer(store.clone()).await;
        assert_eq!((first.len(), first.values().sum::<i64>()), (ROUNDS, i64::try_from(ROUNDS).unwrap()));
        let (_, _, claims) = tokio::join!(operator(store.clone()), operator(store.clone()), deliverer(store.clone()));
        let more = deliverer(store.clone()).await;
        for (id, redelivery) in site.redeliveries().await {
            let delivered = [&claims, &more].into_iter().filter_map(|claims| claims.get(&id)).sum::<i64>();
            assert_eq!(delivered, redelivery, "entry {id}");
            assert!((1..=2).contains(&redelivery), "entry {id} was replayed {redelivery} times");
        }
        assert!(site.states().await.iter().all(|(state, _)| state == "delivered"));
    }

    async fn a_token_keeps_twenty_bodies(site: &mut Site) {
        let bodies: Vec<_> = (1..=20).map(|number| quarantined(&number.to_string(), "t")).collect();
        assert_eq!(site.store(&bodies).await, vec![kept("json-invalid"); 20]);
        assert_eq!(site.store(&[quarantined("21", "t")]).await, [Outcome::TokenFull]);
        assert_eq!(site.store(&[quarantined("20", "t")]).await, [Outcome::Repeated]);
        assert_eq!(site.store(&[quarantined("21", "u")]).await, [kept("json-invalid")]);
        let both: Vec<_> = (1..=21).map(|number| quarantined(&number.to_string(), "v")).collect();
        assert_eq!(site.store(&both).await[20], Outcome::TokenFull, "in one batch");
    }

    async fn what_was_decided_on_makes_room_for_a_token(site: &mut Site) {
        let bodies: Vec<_> = (1..=20).map(|number| quarantined(&number.to_string(), "t")).collect();
        site.store(&bodies).await;
        site.sql("UPDATE entry SET state = 'dropped' WHERE id = (SELECT min(id) FROM entry)").await;
        assert_eq!(site.store(&[quarantined("21", "t")]).await, [kept("json-invalid")]);
        assert_eq!(site.store(&[quarantined("22", "t")]).await, [Outcome::TokenFull]);
    }

    async fn of_what_is_refused_nothing_stays(site: &mut Site) {
        let token = Some(Token { id: "t".to_owned(), binds: true });
        let with = |arrival: Arrival| Arrival { token: token.clone(), ..arrival };
        site.store(&[with(completed("a"))]).await;
        let another = with(completed("b").of(TWO));
        assert_eq!(site.store_with(std::slice::from_ref(&another), Room { is_full: true, ..Room::UNLIMITED }).await, [Outcome::QuarantineFull]);
        assert_eq!(site.count_rows("SELECT count(*) FROM generation").await, 1);
        assert_eq!(site.store(&[another]).await, [kept("token-reused")]);
        assert_eq!(site.count_rows("SELECT count(*) FROM generation").await, 1, "nor of what is only kept");
        assert_eq!(site.store(&[quarantined("c", "u")]).await, [kept("json-invalid")]);
        assert_eq!(site.count_rows("SELECT count(*) FROM token").await, 1);
    }

    async fn a_bad_row_of_a_batch_is_its_own(site: &mut Site) {
        // As another generation's event it would be one, but its place is taken.
        site.store(&[completed("a").of(TWO)]).await;
        site.sql("UPDATE generation SET completed_id = NULL, completed_fingerprint = NULL").await;
        let (queue, ending) = (Committing::start(site.store.as_ref().unwrap()), std::time::Instant::now());
        let (bad, good) = tokio::join!(queue.store(completed("a").of(TWO)), queue.store(completed("b")));
        assert_eq!((bad, good), (Err(crate::commit::NotStored::Store), Ok(waits(COMPLETED))));
        assert!(ending.elapsed() < std::time::Duration::from_secs(5), "nobody waits for what cannot be stored");
    }

    async fn a_token_keeps_twenty_bodies_of_its_own_generation(site: &mut Site) {
        let token = Some(Token { id: "t".to_owned(), binds: true });
        let own = |arrival: Arrival| Arrival { token: token.clone(), ..arrival };
        site.store(&[own(completed("a"))]).await;
        let bodies: Vec<_> = (1..=25).map(|number| own(completed(&number.to_string()))).collect();
        let expected = [vec![kept("event-conflict"); 20], vec![Outcome::TokenFull; 5]].concat();
        assert_eq!(site.store(&bodies).await, expected);
        assert_eq!(site.store(&bodies[..1]).await, [Outcome::Repeated], "a repeat takes no room");
        // For whatever reason: those that the gate quarantines are of it too.
        let flawed = Arrival { generation: Some(ONE.to_owned()), ..quarantined("x", "t") };
        assert_eq!(site.store(&[flawed]).await, [Outcome::TokenFull]);
        // What is about other generations is counted by itself, and so are other tokens.
        assert_eq!(site.store(&[quarantined("x", "t")]).await, [kept("json-invalid")]);
        let late = Arrival { generation: Some(TWO.to_owned()), ..quarantined("x", "u") };
        assert_eq!(site.store(&[late]).await, [kept("json-invalid")]);
        site.sql("UPDATE entry SET state = 'dropped' WHERE reason = 'event-conflict' AND state = 'quarantined' AND id % 2 = 0").await;
        assert_eq!(site.store(&bodies[20..21]).await, [kept("event-conflict")], "a person has made room");
    }

    async fn of_no_token_a_generation_keeps_twenty_bodies(site: &mut Site) {
        let flawed = |generation: &str, number: i64| {
            let body = format!("{generation} {number}");
            Arrival { token: None, generation: Some(generation.to_owned()), ..quarantined(&body, "") }
        };
        let bodies: Vec<_> = (1..=21).map(|number| flawed(ONE, number)).collect();
        assert_eq!(site.store(&bodies).await[19..], [kept("json-invalid"), Outcome::TokenFull]);
        assert_eq!(site.store(&[flawed(TWO, 1)]).await, [kept("json-invalid")]);
    }

    async fn a_static_url_keeps_twenty_bodies_of_each_generation(site: &mut Site) {
        let token = Some(Token { id: "static".to_owned(), binds: false });
        let of = |number: i64, generation: i64| Arrival {
            token: token.clone(),
            generation: Some(format!("ffd473d5-5bef-4e14-bf22-{generation:012x}")),
            ..quarantined(&format!("{generation} {number}"), "")
        };
        let bodies: Vec<_> = (1..=21).map(|number| of(number, 1)).collect();
        assert_eq!(site.store(&bodies).await[19..], [kept("json-invalid"), Outcome::TokenFull]);
        let others: Vec<_> = (2..=60).map(|generation| of(1, generation)).collect();
        assert_eq!(site.store(&others).await, vec![kept("json-invalid"); 59], "it speaks of every generation");
    }

    async fn a_token_keeps_no_more_bytes_than_one_may(site: &mut Site) {
        let size = quarantined("1", "t").size();
        let room = Room { is_full: false, max_bytes_of_token: size.saturating_mul(3) };
        let bodies: Vec<_> = (1..=4).map(|number| quarantined(&number.to_string(), "t")).collect();
        let batch: Vec<_> = bodies.iter().collect();
        let outcomes = site.driver().store(&batch, room).await.unwrap().outcomes;
        assert_eq!(outcomes[2..], [kept("json-invalid"), Outcome::TokenFull]);
        // The first body is taken however large it is.
        let small = Room { is_full: false, max_bytes_of_token: 1 };
        let (one, two) = (quarantined("1", "u"), quarantined("2", "u"));
        let outcomes = site.driver().store(&[&one, &two], small).await.unwrap().outcomes;
        assert_eq!(outcomes, [kept("json-invalid"), Outcome::TokenFull]);
    }

    async fn a_full_quarantine_takes_nothing_new(site: &mut Site) {
        site.store(&[quarantined("a", "t")]).await;
        let batch = [quarantined("a", "t"), quarantined("b", "t"), completed("c")];
        let expected = [Outcome::Repeated, Outcome::QuarantineFull, waits(COMPLETED)];
        assert_eq!(site.store_with(&batch, Room { is_full: true, ..Room::UNLIMITED }).await, expected);
    }

    async fn what_is_observed_is_delivered_each_time(site: &mut Site) {
        let observed = observed("a");
        let route = "veo3/observed/completed";
        assert_eq!(site.store(&[observed.clone(), observed]).await, [waits(route), waits(route)]);
        assert_eq!(site.claim(route).await.len(), 2);
        assert_eq!(site.store(&[completed("b")]).await, [waits(COMPLETED)], "it binds nothing");
    }

    async fn a_repeat_after_the_purge_is_still_a_repeat(site: &mut Site) {
        site.store(&[completed("a"), failed("X").of(TWO)]).await;
        let entry = site.claim_one(COMPLETED).await;
        site.finish(&entry, true).await;
        let size = completed("a").size();
        assert_eq!(site.driver().purge_bodies(crate::purge::BODY_AGE, 10).await.unwrap(), (0, 0), "not yet");
        assert_eq!(site.driver().purge_bodies(0, 10).await.unwrap(), (1, size), "what waits stays");
        assert_eq!(site.store(&[completed("a")]).await, [Outcome::Repeated]);
        assert_eq!(site.claim(COMPLETED).await.len(), 0);
        assert_eq!(site.driver().purge_tombstones(crate::purge::TOMBSTONE_AGE, 10).await.unwrap(), 0);
        assert_eq!(site.driver().purge_tombstones(0, 10).await.unwrap(), 1);
        assert_eq!(site.store(&[completed("b")]).await, [waits(COMPLETED)], "nobody remembers");
        site.expect(&[("waiting", 1), ("waiting", 1)]).await;
    }

    async fn what_is_purged_is_gone_and_a_repeat_of_it_a_repeat(site: &mut Site) {
        let dead_one = failed("Y").of("00000000-0000-4000-8000-000000000003");
        site.store(&[completed("a"), quarantined("b", "t"), observed("c"), dead_one.clone()]).await;
        let entry = site.claim_one(COMPLETED).await;
        site.finish(&entry, true).await;
        let observed = site.claim_one("veo3/observed/completed").await;
        site.finish(&observed, true).await;
        site.sql("UPDATE entry SET state = 'dead', ended_at = 1 WHERE state = 'waiting'").await;
        let ids = site.ids().await;
        let changed = site.driver().change(Change::Purge, &ids.iter().copied().collect()).await.unwrap();
        assert_eq!((changed.changed.len(), changed.refused.len()), (4, 0));
        site.expect(&[("delivered", 1), ("dropped", 1), ("delivered", 1), ("dropped", 1)]).await;
        for id in &ids {
            let (entry, payload) = site.store.as_ref().unwrap().show(*id).await.unwrap().unwrap();
            assert_eq!((entry.size, entry.answer, payload.is_none(), entry.digest.len()), (0, None, true, 32));
            assert!(entry.ended_at.is_some(), "it goes after 400 days");
        }
        let again = [completed("a"), quarantined("b", "t"), dead_one];
        assert_eq!(site.store(&again).await, [const { Outcome::Repeated }; 3]);
        assert_eq!(site.claim(COMPLETED).await.len(), 0);
        let changed = site.driver().change(Change::Purge, &ids.iter().copied().collect()).await.unwrap();
        assert_eq!(changed.refused.values().copied().collect::<Vec<_>>(), ["it is purged already"; 4]);
    }

    async fn what_is_to_be_delivered_is_not_purged(site: &mut Site) {
        site.store(&[completed("a"), failed("X").of(TWO)]).await;
        let entry = site.claim_one(COMPLETED).await;
        let ids = site.ids().await;
        let changed = site.driver().change(Change::Purge, &ids.iter().copied().collect()).await.unwrap();
        assert_eq!(changed.changed.len(), 0);
        assert_eq!(
            changed.refused.values().copied().collect::<Vec<_>>(),
            ["it is under way: wait for its end, or pause its route first", "it waits to be delivered: `drop` it first"]
        );
        assert_eq!(site.finish(&entry, true).await, NONE);
        site.expect(&[("delivered", 1), ("waiting", 1)]).await;
    }

    async fn purge_and_delivery_do_not_meet(site: &mut Site) {
        const EVENTS: usize = 1_000;
        let events: Vec<_> = (0..EVENTS).map(|number| completed("a").of(&format!("00000000-0000-4000-8000-{number:012x}"))).collect();
        for events in events.chunks(100) {
            site.store(events).await;
        }
        let mut left: std::collections::BTreeSet<i64> = site.ids().await.into_iter().collect();
        let purger = site.store.clone().unwrap();
        let purging = tokio::spawn(async move {
            let started = std::time::Instant::now();
            while !left.is_empty() {
                assert!(started.elapsed() < DEADLINE, "{} are left", left.len());
                let changed = purger.change(Change::Purge, &left).await.unwrap();
                left.retain(|id| !changed.changed.contains_key(id));
            }
        });
        let (mut delivered, started) = (0_usize, std::time::Instant::now());
        while delivered < EVENTS {
            assert!(started.elapsed() < DEADLINE, "{delivered} are delivered");
            let claimed = site.driver().claim(COMPLETED, Wanted::due(10), LEASE).await.unwrap().entries;
            assert!(claimed.iter().all(|entry| !entry.body.is_empty()));
            let finished: Vec<_> = claimed.iter().map(|entry| ended(entry, true)).collect();
            assert_eq!(site.driver().finish(&finished, GIVE_UP_AFTER).await.unwrap(), NONE);
            delivered = delivered.saturating_add(claimed.len());
            assert!(!purging.is_finished() || delivered == EVENTS, "what was not delivered is purged");
        }
        purging.await.unwrap();
        assert!(site.states().await.iter().all(|(state, _)| state == "delivered"));
        assert_eq!(site.driver().usage().await.unwrap().total, 0);
    }

    async fn usage_is_by_what_it_is(site: &mut Site) {
        site.store(&[completed("a"), quarantined("b", "t"), observed("c")]).await;
        let usage = site.driver().usage().await.unwrap();
        let one = completed("a").size();
        assert_eq!((usage.quarantine, usage.observed, usage.dead), (one, one, 0));
        assert_eq!(usage.total, [one; 3].iter().sum::<i64>());
        assert_eq!(usage.states.into_iter().collect::<Vec<_>>(), [(EntryState::Waiting, 2), (EntryState::Quarantined, 1)]);
    }

    async fn serves_newer_tables_only_if_they_allow_it(site: &mut Site) {
        // A migration of a newer program that only adds.
        site.sql("ALTER TABLE entry ADD COLUMN note TEXT").await;
        site.sql(NEXT_MIGRATION).await;
        site.reopen().await;
        assert_eq!(site.store(&[completed("a")]).await, [waits(COMPLETED)]);
        site.place.migrate().await.unwrap();
        // And one that declares otherwise.
        site.sql("UPDATE schema_version SET oldest_program = 2").await;
        site.close();
        let expected = "the store has tables of version 2, which need a program that knows version 2, and this program knows 1: start the newer program";
        assert_eq!(site.place.open().await.unwrap_err().to_string(), expected);
        assert_eq!(site.place.migrate().await.unwrap_err().to_string(), expected);
        site.sql("DELETE FROM schema_version").await;
        assert_eq!(site.place.open().await.unwrap_err().to_string(), expected, "nothing allows it");
    }

    async fn older_tables_are_refused(site: &mut Site) {
        site.sql("UPDATE _sqlx_migrations SET version = 0").await;
        site.close();
        let error = site.place.open().await.unwrap_err().to_string();
        assert_eq!(error, "the store has tables of version 0, and this program needs 1: run `blobgate inbox migrate`");
    }

    async fn each_route_says_when_it_is_due(site: &mut Site) {
        assert_eq!(site.driver().waiting().await.unwrap(), []);
        site.store(&[completed("a"), failed("X").of(TWO)]).await;
        let waiting = site.driver().waiting().await.unwrap();
        assert_eq!(waiting.iter().map(|(route, _)| route.as_str()).collect::<Vec<_>>(), [COMPLETED, FAILED]);
        assert!(waiting.iter().all(|(_, due_in)| *due_in <= 0), "{waiting:?}");
        site.sql("UPDATE entry SET due_at = due_at + 3600000000").await;
        let waiting = site.driver().waiting().await.unwrap();
        assert!(waiting.iter().all(|(_, due_in)| *due_in > 3_500_000_000), "{waiting:?}");
        assert_eq!(site.claim(COMPLETED).await.len(), 0, "not before it is due");
    }
}

/// As sqlx notes it.
const NEXT_MIGRATION: &str = "
INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
SELECT 2, 'newer', success, checksum, 0 FROM _sqlx_migrations WHERE version = 1";

#[test]
fn both_stores_have_tables_of_one_version() {
    let versions = [&super::sqlite::MIGRATOR, &super::postgres::MIGRATOR].map(super::version::newest);
    assert_eq!(versions, [1, 1]);
}

#[tokio::test]
async fn a_file_is_one_inbox_s() {
    let site = Site::sqlite().await;
    let error = site.place.open().await.unwrap_err().to_string();
    let Place::Sqlite(path) = &site.place else { return };
    let expected = format!("another inbox serves from {}: end it, or use a store of its own", path.display());
    assert_eq!(error, expected);
}

#[tokio::test]
async fn a_store_without_tables_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::Sqlite(directory.path().join("inbox.db"));
    let error = place.open().await.unwrap_err().to_string();
    assert!(error.ends_with("inbox.db yet: run `blobgate inbox migrate`"), "{error}");
}

#[needs(Postgres)]
#[tokio::test]
async fn a_database_without_tables_says_what_to_do() {
    // It ends with its last user.
    let cluster = Cluster::shared();
    let place: Place = cluster.database().parse().unwrap();
    let error = place.open().await.unwrap_err().to_string();
    assert_eq!(error, "the store has no tables yet: run `blobgate inbox migrate`");
}

/// With a control: it was in the file before.
#[tokio::test]
async fn what_is_purged_is_not_left_in_the_file() {
    let mut site = Site::sqlite().await;
    let Place::Sqlite(path) = site.place.clone() else { return };
    site.store(&[completed("that nobody may find"), completed("another").of(TWO)]).await;
    for entry in site.claim(COMPLETED).await {
        site.finish(&entry, true).await;
    }
    // The generation's row knows where a video is, by which a repeat is known: what is looked for is the body.
    let body = b"that nobody may find \x00\xff";
    let is_there = || std::fs::read(&path).unwrap().windows(body.len()).any(|bytes| bytes == body);
    site.sql("PRAGMA wal_checkpoint(TRUNCATE)").await;
    assert!(is_there());
    let first = site.ids().await.into_iter().take(1).collect();
    site.driver().change(Change::Purge, &first).await.unwrap();
    site.sql("PRAGMA wal_checkpoint(TRUNCATE)").await;
    assert!(!is_there());
}
