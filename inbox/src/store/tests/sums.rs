//! The sums of entries equal a full count after any operation, and each attempt has its record.

#![allow(clippy::arithmetic_side_effects, reason = "a test may panic: that is how it fails")]

use super::*;
use crate::store::RetryPace;
use std::collections::BTreeSet;

/// Selects the sums that differ from a full count.
const DIFFERENCES: &str = include_str!("../../../tests/kill/sums.sql");
/// Selects the entries whose attempts are not all recorded, or recorded too often.
const WRONG_ATTEMPTS: &str = include_str!("../../../tests/kill/attempts.sql");
const STEPS: u64 = 250;
const OBSERVED: &str = "veo3/observed/completed";

impl DriverStore {
    async fn texts(&self, sql: &'static str) -> Vec<String> {
        rows!(self, |connection| sqlx::query_scalar(sql).fetch_all(connection).await.unwrap())
    }

    #[track_caller]
    fn check_sums(&self, after: &str) -> impl Future<Output = ()> {
        let after = after.to_owned();
        async move {
            assert_eq!(self.texts(DIFFERENCES).await, Vec::<String>::new(), "after {after}");
            assert_eq!(self.texts(WRONG_ATTEMPTS).await, Vec::<String>::new(), "after {after}");
        }
    }

    /// The ids of some entries in any state.
    async fn random_ids(&self, dice: &mut Dice) -> BTreeSet<i64> {
        let ids = self.ids().await;
        (0..=dice.below(6)).filter_map(|_| ids.get(dice.place(ids.len())).copied()).collect()
    }
}

/// A reproducible random generator: xorshift64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn place(&mut self, count: usize) -> usize {
        usize::try_from(self.below(u64::try_from(count).unwrap().max(1))).unwrap()
    }

    fn arrival(&mut self) -> Arrival {
        let generation = format!("00000000-0000-4000-8000-{:012x}", self.below(60));
        let body = self.below(4).to_string();
        match self.below(6) {
            0 => quarantined(&self.below(90).to_string(), &self.below(9).to_string()),
            1 => observed(&body),
            2 => failed(&body).of(&generation),
            _ => completed(&body).of(&generation),
        }
    }
}

/// Runs a random operation. Returns its name.
async fn step(test: &mut DriverStore, dice: &mut Dice, held: &mut Vec<ClaimedEntry>) -> &'static str {
    let route = [COMPLETED, FAILED, OBSERVED][dice.place(3)];
    match dice.below(20) {
        0..=5 => {
            let batch: Vec<_> = (0..=dice.below(8)).map(|_| dice.arrival()).collect();
            // Fails if retention has deleted the generation of an existing entry. The batch then leaves nothing.
            let batch: Vec<_> = batch.iter().collect();
            let _stored = test
                .driver()
                .store(&batch, QuarantineRoom { is_full: dice.below(8) == 0, ..QuarantineRoom::UNLIMITED })
                .await;
            "store"
        }
        6..=8 => {
            held.extend(test.driver().claim(route, ClaimRequest::due(5), LEASE).await.unwrap().entries);
            "claim"
        }
        9 | 10 => {
            let attempts: Vec<_> = held.drain(..).map(|entry| finished(&entry, dice.below(3) > 0)).collect();
            test.driver().finish(&attempts, GIVE_UP_AFTER).await.unwrap();
            "finish"
        }
        11 => {
            test.sql("UPDATE entry SET tried = 259200000000, attempts = 20 WHERE state = 'in_flight'").await;
            let attempts: Vec<_> = held.drain(..).map(|entry| finished(&entry, false)).collect();
            test.driver().finish(&attempts, GIVE_UP_AFTER).await.unwrap();
            "finish of dead entries"
        }
        12 => {
            let leases: Vec<_> = held.iter().map(|entry| (entry.id, entry.lease)).collect();
            test.driver().renew(&leases, LEASE).await.unwrap();
            test.sql("UPDATE entry SET lease_until = 0 WHERE state = 'in_flight'").await;
            test.driver().release_expired(&[], 0).await.unwrap();
            test.driver().release_expired(&[], 0).await.unwrap();
            held.clear();
            "release of expired leases"
        }
        13 | 14 => {
            let pace = RetryPace { rate: std::num::NonZeroU32::MIN, before: 0, elapsed: 0 };
            let changes = [
                &[Change::Replay, Change::Release, Change::Retry(pace)][..],
                &[Change::Drop],
                &[Change::Purge],
            ];
            let changes = changes[dice.place(3)];
            let ids = test.random_ids(dice).await;
            for change in changes {
                test.driver().change(*change, &ids, &action(*change)).await.unwrap();
            }
            "change"
        }
        15 => {
            test.driver().purge_bodies(0, 4).await.unwrap();
            "purge of bodies"
        }
        16 => {
            test.driver().purge_tombstones(0, 3).await.unwrap();
            "purge of tombstones"
        }
        17 => {
            release(test, dice).await;
            "release"
        }
        18 => {
            test.driver()
                .fold_sums(crate::retention::DELIVERED_AGE, 1 + i64::try_from(dice.below(40)).unwrap())
                .await
                .unwrap();
            "fold"
        }
        _ => {
            by_hand(test, dice).await;
            "a statement by hand"
        }
    }
}

async fn release(test: &mut DriverStore, dice: &mut Dice) {
    let arrival = dice.arrival();
    for id in test.random_ids(dice).await {
        // Fails if a purge has deleted the generation of the entry.
        let _decided = test.driver().preview_release(id, &arrival).await;
        test.driver()
            .request_call_for(id, "veo3", ONE, b"", &NewAction::of(ActionKind::Reevaluate))
            .await
            .unwrap();
        let _decided = test.driver().release(id, &arrival, "released", None).await;
    }
}

async fn by_hand(test: &mut DriverStore, dice: &mut Dice) {
    match dice.below(4) {
        // Changes the time, the route or the reason, or deletes rows.
        0 => {
            test.sql(
                "UPDATE entry SET ended_at = ended_at - 700000000 WHERE state = 'delivered' AND id % 3 = 0",
            )
            .await
        }
        1 => test.sql("UPDATE entry SET route = 'other/completed', size = size + 1 WHERE id % 5 = 0").await,
        2 => test.sql("UPDATE entry SET reason = 'r' || id WHERE lane = 'quarantine' AND id % 7 = 0").await,
        _ => {
            test.sql("DELETE FROM entry WHERE id % 11 = 0; DELETE FROM attempt WHERE entry_id % 11 = 0").await
        }
    }
}

in_both! {
    async fn sums_equal_a_full_count_after_any_operation(test: &mut DriverStore) {
        let mut dice = Dice(0x5eed_0006);
        let (mut held, mut done) = (Vec::new(), BTreeSet::new());
        for number in 0..STEPS {
            let name = step(test, &mut dice, &mut held).await;
            done.insert(name);
            test.check_sums(&format!("step {number}, {name}")).await;
        }
        assert_eq!(done.len(), 11, "{done:?}");
        let met = test.texts("SELECT lane || ' ' || state FROM entry_sum WHERE since = -1 GROUP BY lane, state").await;
        assert!(met.len() >= 15, "too few of 18 kinds of entries: {met:?}");
        test.reopen().await;
        test.check_sums("a restart").await;
        test.sql("DELETE FROM entry; DELETE FROM attempt").await;
        test.check_sums("the end of all").await;
        assert_eq!(test.driver().usage().await.unwrap().total, 0);
    }

    async fn folds_sums_into_one_row_for_each_kind(test: &mut DriverStore) {
        for number in 0..40 {
            test.store(&[completed("a").of(&format!("00000000-0000-4000-8000-{number:012x}"))]).await;
        }
        for entry in test.driver().claim(COMPLETED, ClaimRequest::due(40), LEASE).await.unwrap().entries {
            test.finish(&entry, true).await;
        }
        let day = crate::retention::DELIVERED_AGE;
        while test.driver().fold_sums(day, 7).await.unwrap() == 7 {}
        test.check_sums("all were folded").await;
        assert_eq!(test.count_rows("SELECT count(*) FROM entry_sum WHERE since = -1").await, 3, "waiting, in_flight, delivered");
        assert_eq!(test.count_rows("SELECT CAST(sum(entries) AS bigint) FROM entry_sum WHERE since >= 0").await, 40);
        test.driver().fold_sums(-SUM_SPAN, 7).await.unwrap();
        assert_eq!(test.count_rows("SELECT count(*) FROM entry_sum WHERE since >= 0").await, 0, "a day is over");
        assert_eq!(test.driver().usage().await.unwrap().states[&EntryState::Delivered], 40);
    }

    async fn sums_entries_delivered_in_the_last_day(test: &mut DriverStore) {
        let ids = ["a", "b", "c"].map(|body| completed(body).of(&format!("00000000-0000-4000-8000-00000000000{body}")));
        test.store(&ids).await;
        for entry in test.claim(COMPLETED).await {
            test.finish(&entry, true).await;
        }
        test.store(&[failed("X").of(TWO)]).await;
        test.sql("UPDATE entry SET ended_at = ended_at - 87600000000 WHERE id = (SELECT min(id) FROM entry)").await;
        let store = test.store.clone().unwrap();
        let day_ago = store.now().await.unwrap() - 86_400_000_000;
        let alike = store.entry_groups(day_ago).await.unwrap();
        let seen: Vec<_> = alike.iter().map(|one| (one.route.as_deref(), one.state.name(), one.count, one.recently_delivered)).collect();
        assert_eq!(seen, [(Some(COMPLETED), "delivered", 3, 2), (Some(FAILED), "waiting", 1, 0)]);
    }

    async fn measures_routes_and_their_oldest_waiting_entry(test: &mut DriverStore) {
        test.store(&[completed("a").of(ONE), failed("X").of(TWO), quarantined("b", "t"), quarantined("c", "t"), observed("d")]).await;
        for entry in test.claim(COMPLETED).await {
            test.finish(&entry, true).await;
        }
        test.store(&[failed("Y").of("00000000-0000-4000-8000-000000000003")]).await;
        test.sql("UPDATE entry SET received_at = received_at - 1000000 * id").await;
        let usage = test.driver().usage().await.unwrap();
        let seen: std::collections::BTreeSet<_> =
            usage.routes.iter().filter(|row| row.count > 0).map(|row| (row.route.as_str(), row.state.name(), row.reason.as_ref().and_then(|reason| reason.known()), row.count)).collect();
        let expected = [
            (COMPLETED, "delivered", None, 1),
            (FAILED, "waiting", None, 2),
            (OBSERVED, "waiting", None, 1),
            ("veo3/quarantined", "quarantined", Some("json-invalid"), 2),
        ];
        assert_eq!(seen, expected.into());
        assert_eq!(usage.oldest_waiting.keys().collect::<Vec<_>>(), [FAILED, OBSERVED]);
        let store = test.store.clone().unwrap();
        let oldest = store.oldest_waiting().await.unwrap();
        assert_eq!(oldest.iter().map(|(route, _)| &**route).collect::<Vec<_>>(), [FAILED, OBSERVED]);
        let first = test.count_rows("SELECT min(received_at) FROM entry WHERE state = 'waiting' AND route = 'veo3/failed'").await;
        assert_eq!(oldest[0].1, first);
        assert!(usage.oldest_waiting[FAILED] >= 2, "{usage:?}");
        test.sql("UPDATE entry SET state = 'dropped'").await;
        assert_eq!(store.oldest_waiting().await.unwrap(), []);
        assert!(test.driver().usage().await.unwrap().oldest_waiting.is_empty());
    }
}

/// Two writers of the same sum do not wait for each other, and a concurrent fold loses no count.
#[needs(Postgres)]
#[tokio::test]
async fn writers_do_not_wait_for_sums() {
    let mut test = DriverStore::postgres().await;
    let store = test.store.clone().unwrap();
    let Place::Postgres(url) = test.place.clone() else { return };
    test.store(&[completed("a").of(ONE)]).await;
    // A transaction that stays open changes the same sums.
    let mut open = super::super::postgres::connect(
        &super::super::postgres::options(&url).unwrap(),
        &super::super::postgres::SETTINGS,
    )
    .await
    .unwrap();
    sqlx::raw_sql("BEGIN; UPDATE entry SET size = size + 5, state = 'dead'")
        .execute(&mut open)
        .await
        .unwrap();
    let session = &store;
    let late = std::time::Instant::now();
    session.store(&[&completed("b").of(TWO)], QuarantineRoom::UNLIMITED).await.unwrap();
    assert_eq!(
        session.fold_sums(crate::retention::DELIVERED_AGE, 100).await.unwrap(),
        2,
        "the committed differences"
    );
    assert!(
        late.elapsed() < std::time::Duration::from_secs(5),
        "a writer waited for a lock: {:?}",
        late.elapsed()
    );
    sqlx::raw_sql("COMMIT").execute(&mut open).await.unwrap();
    test.check_sums("both").await;
    let before = test.count_rows("SELECT CAST(sum(entries) AS bigint) FROM entry_sum WHERE since = -1").await;
    assert_eq!((before, session.fold_sums(crate::retention::DELIVERED_AGE, 100).await.unwrap()), (2, 2));
    sqlx::raw_sql("TRUNCATE entry").execute(&mut open).await.unwrap();
    test.check_sums("a truncation").await;
}
