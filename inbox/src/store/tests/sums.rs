//! The sums of entries are what a full count finds, whatever was done.

#![allow(clippy::arithmetic_side_effects, reason = "a test may panic: that is how it fails")]

use super::*;
use std::collections::BTreeSet;

/// Lines of what differs.
const DIFFERENCES: &str = include_str!("../../../tests/kill/sums.sql");
const STEPS: u64 = 250;
const OBSERVED: &str = "veo3/observed/completed";

impl Site {
    async fn texts(&self, sql: &'static str) -> Vec<String> {
        rows!(self, |connection| sqlx::query_scalar(sql).fetch_all(connection).await.unwrap())
    }

    #[track_caller]
    fn check_sums(&self, after: &str) -> impl Future<Output = ()> {
        let after = after.to_owned();
        async move { assert_eq!(self.texts(DIFFERENCES).await, Vec::<String>::new(), "after {after}") }
    }

    /// Ids of some entries, of any state.
    async fn some(&self, dice: &mut Dice) -> BTreeSet<i64> {
        let ids = self.ids().await;
        (0..=dice.below(6)).filter_map(|_| ids.get(dice.place(ids.len())).copied()).collect()
    }
}

/// Chance that repeats itself: xorshift64.
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

/// One operation on whatever there is. Returns its name.
async fn step(site: &mut Site, dice: &mut Dice, held: &mut Vec<Claimed>) -> &'static str {
    let route = [COMPLETED, FAILED, OBSERVED][dice.place(3)];
    match dice.below(20) {
        0..=5 => {
            let batch: Vec<_> = (0..=dice.below(8)).map(|_| dice.arrival()).collect();
            // One whose generation's row is purged while its entry is not: nothing of that batch stays.
            let batch: Vec<_> = batch.iter().collect();
            let _stored =
                site.driver().store(&batch, Room { is_full: dice.below(8) == 0, ..Room::UNLIMITED }).await;
            "store"
        }
        6..=8 => {
            held.extend(site.driver().claim(route, Wanted::due(5), LEASE).await.unwrap().entries);
            "claim"
        }
        9 | 10 => {
            let ended: Vec<_> = held.drain(..).map(|entry| ended(&entry, dice.below(3) > 0)).collect();
            site.driver().finish(&ended, GIVE_UP_AFTER).await.unwrap();
            "finish"
        }
        11 => {
            site.sql("UPDATE entry SET tried = 259200000000, attempts = 20 WHERE state = 'in_flight'").await;
            let ended: Vec<_> = held.drain(..).map(|entry| ended(&entry, false)).collect();
            site.driver().finish(&ended, GIVE_UP_AFTER).await.unwrap();
            "finish of what dies"
        }
        12 => {
            let leases: Vec<_> = held.iter().map(|entry| (entry.id, entry.lease)).collect();
            site.driver().renew(&leases, LEASE).await.unwrap();
            site.sql("UPDATE entry SET lease_until = 0 WHERE state = 'in_flight'").await;
            site.driver().release_expired(&[], 0).await.unwrap();
            site.driver().release_expired(&[], 0).await.unwrap();
            held.clear();
            "release of expired leases"
        }
        13 | 14 => {
            let changes = [&[Change::Replay, Change::Release][..], &[Change::Drop], &[Change::Purge]];
            let changes = changes[dice.place(3)];
            let ids = site.some(dice).await;
            for change in changes {
                site.driver().change(*change, &ids).await.unwrap();
            }
            "change"
        }
        15 => {
            site.driver().purge_bodies(0, 4).await.unwrap();
            "purge of bodies"
        }
        16 => {
            site.driver().purge_tombstones(0, 3).await.unwrap();
            "purge of tombstones"
        }
        17 => {
            release(site, dice).await;
            "release"
        }
        18 => {
            site.driver()
                .fold_sums(crate::purge::DELIVERED_AGE, 1 + i64::try_from(dice.below(40)).unwrap())
                .await
                .unwrap();
            "fold"
        }
        _ => {
            by_hand(site, dice).await;
            "a statement by hand"
        }
    }
}

async fn release(site: &mut Site, dice: &mut Dice) {
    let arrival = dice.arrival();
    for id in site.some(dice).await {
        // Not where a purge has left the entry without its generation.
        let _decided = site.driver().would_release(id, &arrival).await;
        site.driver().want_for(id, "veo3", ONE, b"").await.unwrap();
        let _decided = site.driver().release(id, &arrival, "released").await;
    }
}

async fn by_hand(site: &mut Site, dice: &mut Dice) {
    match dice.below(4) {
        // Another moment, another place, another lane.
        0 => {
            site.sql(
                "UPDATE entry SET ended_at = ended_at - 700000000 WHERE state = 'delivered' AND id % 3 = 0",
            )
            .await
        }
        1 => site.sql("UPDATE entry SET route = 'other/completed', size = size + 1 WHERE id % 5 = 0").await,
        2 => site.sql("UPDATE entry SET reason = 'r' || id WHERE lane = 'quarantine' AND id % 7 = 0").await,
        _ => site.sql("DELETE FROM entry WHERE id % 11 = 0").await,
    }
}

in_both! {
    async fn sums_are_a_full_count_after_any_operation(site: &mut Site) {
        let mut dice = Dice(0x5eed_0006);
        let (mut held, mut done) = (Vec::new(), BTreeSet::new());
        for number in 0..STEPS {
            let name = step(site, &mut dice, &mut held).await;
            done.insert(name);
            site.check_sums(&format!("step {number}, {name}")).await;
        }
        assert_eq!(done.len(), 11, "{done:?}");
        let met = site.texts("SELECT lane || ' ' || state FROM entry_sum WHERE since = -1 GROUP BY lane, state").await;
        assert!(met.len() >= 15, "of 18 kinds of entries too few were met: {met:?}");
        site.reopen().await;
        site.check_sums("a restart").await;
        site.sql("DELETE FROM entry").await;
        site.check_sums("the end of all").await;
        assert_eq!(site.driver().usage().await.unwrap().total, 0);
    }

    async fn sums_are_folded_into_one_row_a_kind(site: &mut Site) {
        for number in 0..40 {
            site.store(&[completed("a").of(&format!("00000000-0000-4000-8000-{number:012x}"))]).await;
        }
        for entry in site.driver().claim(COMPLETED, Wanted::due(40), LEASE).await.unwrap().entries {
            site.finish(&entry, true).await;
        }
        let day = crate::purge::DELIVERED_AGE;
        while site.driver().fold_sums(day, 7).await.unwrap() == 7 {}
        site.check_sums("all were folded").await;
        assert_eq!(site.count_rows("SELECT count(*) FROM entry_sum WHERE since = -1").await, 3, "waiting, in_flight, delivered");
        assert_eq!(site.count_rows("SELECT CAST(sum(entries) AS bigint) FROM entry_sum WHERE since >= 0").await, 40);
        site.driver().fold_sums(-SPAN, 7).await.unwrap();
        assert_eq!(site.count_rows("SELECT count(*) FROM entry_sum WHERE since >= 0").await, 0, "a day is over");
        assert_eq!(site.driver().usage().await.unwrap().states[&EntryState::Delivered], 40);
    }

    async fn stats_say_what_was_delivered_in_the_last_day(site: &mut Site) {
        let ids = ["a", "b", "c"].map(|body| completed(body).of(&format!("00000000-0000-4000-8000-00000000000{body}")));
        site.store(&ids).await;
        for entry in site.claim(COMPLETED).await {
            site.finish(&entry, true).await;
        }
        site.store(&[failed("X").of(TWO)]).await;
        site.sql("UPDATE entry SET ended_at = ended_at - 87600000000 WHERE id = (SELECT min(id) FROM entry)").await;
        let store = site.store.clone().unwrap();
        let day_ago = store.now().await.unwrap() - 86_400_000_000;
        let alike = store.alike(day_ago).await.unwrap();
        let seen: Vec<_> = alike.iter().map(|one| (one.route.as_deref(), one.state.name(), one.count, one.lately)).collect();
        assert_eq!(seen, [(Some(COMPLETED), "delivered", 3, 2), (Some(FAILED), "waiting", 1, 0)]);
        let oldest = store.oldest_waiting().await.unwrap().unwrap();
        assert_eq!(site.count_rows("SELECT received_at FROM entry WHERE state = 'waiting'").await, oldest);
        site.sql("UPDATE entry SET state = 'dropped'").await;
        assert_eq!(store.oldest_waiting().await.unwrap(), None);
    }
}

/// Two that write at once wait for no sum, and one that folds meanwhile loses none.
#[needs(Postgres)]
#[tokio::test]
async fn writers_do_not_wait_for_each_others_sums() {
    let mut site = Site::postgres().await;
    let store = site.store.clone().unwrap();
    let Place::Postgres(url) = site.place.clone() else { return };
    site.store(&[completed("a").of(ONE)]).await;
    // Its sums are changed by a transaction that stays open.
    let mut open =
        super::super::postgres::connect(&super::super::postgres::options(&url).unwrap()).await.unwrap();
    sqlx::raw_sql("BEGIN; UPDATE entry SET size = size + 5, state = 'dead'")
        .execute(&mut open)
        .await
        .unwrap();
    let session = &store;
    let late = std::time::Instant::now();
    session.store(&[&completed("b").of(TWO)], Room::UNLIMITED).await.unwrap();
    assert_eq!(session.fold_sums(crate::purge::DELIVERED_AGE, 100).await.unwrap(), 2, "of what is committed");
    assert!(late.elapsed() < std::time::Duration::from_secs(5), "a lock is waited for: {:?}", late.elapsed());
    sqlx::raw_sql("COMMIT").execute(&mut open).await.unwrap();
    site.check_sums("both").await;
    let before = site.count_rows("SELECT CAST(sum(entries) AS bigint) FROM entry_sum WHERE since = -1").await;
    assert_eq!((before, session.fold_sums(crate::purge::DELIVERED_AGE, 100).await.unwrap()), (2, 2));
    sqlx::raw_sql("TRUNCATE entry").execute(&mut open).await.unwrap();
    site.check_sums("a truncation").await;
}
