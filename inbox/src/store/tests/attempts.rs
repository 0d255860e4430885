#![allow(clippy::arithmetic_side_effects, reason = "a test may panic: that is how it fails")]

use super::*;

/// The attempts of an entry.
async fn attempts_of(test: &DriverStore, id: i64) -> Vec<AttemptRow> {
    test.driver().attempts(&[id].into()).await.unwrap().remove(&id).unwrap_or_default()
}

/// The number, status and answer of each attempt.
async fn log(test: &DriverStore, id: i64) -> Vec<(i64, Option<i64>, String)> {
    let attempts = attempts_of(test, id).await;
    assert!(attempts.windows(2).all(|pair| pair[0].at <= pair[1].at), "{attempts:?}");
    attempts.into_iter().map(|attempt| (attempt.number, attempt.status, attempt.answer)).collect()
}

async fn numbers(test: &DriverStore, id: i64) -> Vec<i64> {
    log(test, id).await.into_iter().map(|(number, ..)| number).collect()
}

/// Claims and finishes one attempt of a route, with success.
async fn attempt_of(test: &mut DriverStore, route: &str) {
    let entry = test.claim_one(route).await;
    test.finish(&entry, true).await;
}

/// Claims and finishes one attempt.
async fn attempt(test: &mut DriverStore, done: bool) -> ClaimedEntry {
    let entry = test.claim_one(COMPLETED).await;
    test.finish(&entry, done).await;
    entry
}

/// Ends the lease of each entry in flight, as a process does that was killed.
async fn expire(test: &mut DriverStore, held: &[i64]) {
    test.sql("UPDATE entry SET lease_until = 1 WHERE state = 'in_flight'").await;
    assert_eq!(test.driver().release_expired(held, 0).await.unwrap(), 1);
}

const ANSWER: &str = "as it \\x00 came";

in_both! {
    async fn an_entry_that_its_service_accepts_at_once_has_no_attempts(test: &mut DriverStore) {
        test.store(&[completed("a")]).await;
        let entry = attempt(test, true).await;
        assert_eq!(test.count_rows("SELECT count(*) FROM attempt").await, 0);
        // A person's replay is no first attempt.
        test.driver().change(Change::Replay, &[entry.id].into(), &action(Change::Replay)).await.unwrap();
        attempt(test, true).await;
        assert_eq!(log(test, entry.id).await, [(2, Some(200), ANSWER.to_owned())]);
    }

    async fn records_failures_and_the_success_after_them(test: &mut DriverStore) {
        test.store(&[completed("a"), completed("b").of(TWO)]).await;
        let claimed = test.claim(COMPLETED).await;
        let (one, other) = (claimed[0].id, claimed[1].id);
        test.finish(&claimed[0], false).await;
        test.finish(&claimed[1], true).await;
        let again = test.claim_one(COMPLETED).await;
        let late = FinishedAttempt { lease: again.lease - 1, ..finished(&again, false) };
        test.driver().finish(&[late], GIVE_UP_AFTER).await.unwrap();
        assert_eq!(numbers(test, one).await, [1], "a failure counts only with the lease");
        let unanswered = FinishedAttempt { status: None, answer: String::new(), ..finished(&again, false) };
        test.driver().finish(&[unanswered], GIVE_UP_AFTER).await.unwrap();
        attempt(test, true).await;
        let failed = (1, Some(500), ANSWER.to_owned());
        let expected = [failed.clone(), (2, None, String::new()), (3, Some(200), ANSWER.to_owned())];
        assert_eq!(log(test, one).await, expected);
        assert_eq!(numbers(test, other).await, NONE);
        let first = attempts_of(test, one).await.remove(0);
        assert_eq!(first.duration, Some(17));
        let now = test.driver().now().await.unwrap();
        assert!(first.at <= now && first.at > now - 120_000_000, "{first:?} {now}");
        // The numbers go on after a replay.
        test.driver().change(Change::Replay, &[one].into(), &action(Change::Replay)).await.unwrap();
        attempt(test, false).await;
        assert_eq!(numbers(test, one).await, [1, 2, 3, 4]);
    }

    async fn records_the_attempts_of_a_batch(test: &mut DriverStore) {
        test.store(&[completed("a"), completed("b").of(TWO), completed("c").of(&TWO.replace('2', "3"))]).await;
        let claimed = test.claim(COMPLETED).await;
        let failed: Vec<_> = claimed.iter().map(|entry| finished(entry, false)).collect();
        test.driver().finish(&failed, GIVE_UP_AFTER).await.unwrap();
        let claimed = test.claim(COMPLETED).await;
        let mixed: Vec<_> = claimed.iter().map(|entry| finished(entry, entry.id != claimed[0].id)).collect();
        test.driver().finish(&mixed, GIVE_UP_AFTER).await.unwrap();
        for (place, entry) in claimed.iter().enumerate() {
            let statuses: Vec<_> = log(test, entry.id).await.into_iter().map(|(number, status, _)| (number, status)).collect();
            assert_eq!(statuses, [(1, Some(500)), (2, Some(if place == 0 { 500 } else { 200 }))]);
        }
        let two = claimed.iter().take(2).map(|entry| entry.id).chain([9_999]).collect();
        let of_two: Vec<_> = test.driver().attempts(&two).await.unwrap().into_iter().collect();
        let numbers: Vec<_> = of_two.iter().map(|(id, all)| (*id, all.iter().map(|one| one.number).collect::<Vec<_>>())).collect();
        let [one, other] = [0, 1].map(|place: usize| claimed[place].id);
        assert_eq!(numbers, [(one.min(other), vec![1, 2]), (one.max(other), vec![1, 2])]);
    }

    async fn the_first_3_and_the_last_17_attempts_stay(test: &mut DriverStore) {
        test.store(&[completed("a"), completed("b").of(TWO)]).await;
        let claimed = test.claim(COMPLETED).await;
        let (mut entry, other) = (claimed[0].clone(), claimed[1].clone());
        test.finish(&entry, false).await;
        while entry.lease < 20 {
            entry = attempt(test, false).await;
        }
        let all: Vec<_> = (1..=20).collect();
        assert_eq!(numbers(test, entry.id).await, all);
        entry = attempt(test, false).await;
        let kept = |last: i64| (1..=3).chain(last - 16..=last).collect::<Vec<_>>();
        assert_eq!(numbers(test, entry.id).await, kept(21));
        // An attempt without a result, and a success, also leave out an older one.
        test.claim_one(COMPLETED).await;
        expire(test, &[other.id]).await;
        assert_eq!(numbers(test, entry.id).await, kept(22));
        attempt(test, true).await;
        assert_eq!(numbers(test, entry.id).await, kept(23));
        assert_eq!(numbers(test, other.id).await, NONE, "another entry has its own");
    }

    async fn a_late_success_leaves_out_the_same_attempts(test: &mut DriverStore) {
        for (generation, late, status) in [(ONE, 5, None), (TWO, 10, Some(200))] {
            test.store(&[completed("a").of(generation)]).await;
            let mut entry = test.claim_one(COMPLETED).await;
            while entry.lease < 24 {
                test.finish(&entry, false).await;
                entry = test.claim_one(COMPLETED).await;
            }
            // The process of an older lease was stopped for long.
            let success = FinishedAttempt { lease: late, ..finished(&entry, true) };
            test.driver().finish(&[success], GIVE_UP_AFTER).await.unwrap();
            let recorded = attempts_of(test, entry.id).await;
            let kept: Vec<_> = (1..=3).chain(8..=23).collect();
            assert_eq!(recorded.iter().map(|attempt| attempt.number).collect::<Vec<_>>(), kept);
            let of_late = recorded.into_iter().find(|attempt| attempt.number == late);
            assert_eq!(of_late.and_then(|attempt| attempt.status), status);
        }
        test.expect(&[("delivered", 1); 2]).await;
    }

    async fn a_batch_records_no_failure_of_an_entry_that_it_delivers(test: &mut DriverStore) {
        test.store(&[completed("a")]).await;
        attempt(test, false).await;
        let entry = test.claim_one(COMPLETED).await;
        let late = FinishedAttempt { lease: 1, is_first: false, ..finished(&entry, true) };
        test.driver().finish(&[finished(&entry, false), late], GIVE_UP_AFTER).await.unwrap();
        assert_eq!(log(test, entry.id).await, [(1, Some(200), ANSWER.to_owned())]);
        test.expect(&[("delivered", 1)]).await;
    }

    async fn a_success_in_flight_was_not_superseded(test: &mut DriverStore) {
        let by = async |test: &DriverStore, id: i64| test.driver().show(id).await.unwrap().unwrap().0.superseded_by;
        for (generation, replay) in [(ONE, false), (TWO, true)] {
            test.store(&[failed("X").of(generation)]).await;
            let failure = test.claim_one(FAILED).await;
            test.store(&[completed("a").of(generation)]).await;
            let completed = *test.ids().await.last().unwrap();
            assert_eq!(by(test, failure.id).await, Some(completed));
            if replay {
                // It was superseded, and the story still tells so.
                test.finish(&failure, false).await;
                test.driver().change(Change::Replay, &[failure.id].into(), &action(Change::Replay)).await.unwrap();
                attempt_of(test, FAILED).await;
            } else {
                test.finish(&failure, true).await;
            }
            assert_eq!(by(test, failure.id).await, replay.then_some(completed));
            attempt(test, true).await;
        }
        test.expect(&[("delivered", 1); 4]).await;
    }

    async fn records_an_attempt_that_no_process_ended(test: &mut DriverStore) {
        test.store(&[completed("a")]).await;
        let first = test.claim_one(COMPLETED).await;
        expire(test, &[]).await;
        let lost = |number: i64| (number, None, NO_RESULT.to_owned());
        assert_eq!(log(test, first.id).await, [lost(1)]);
        assert_eq!(attempts_of(test, first.id).await[0].duration, None);
        let second = test.claim_one(COMPLETED).await;
        expire(test, &[]).await;
        // The process was not killed after all: its answer replaces the record.
        test.finish(&second, true).await;
        assert_eq!(log(test, first.id).await, [lost(1), (2, Some(200), ANSWER.to_owned())]);
        test.expect(&[("delivered", 1)]).await;
    }

    async fn a_purge_and_retention_delete_the_senders_values_with_the_body(test: &mut DriverStore) {
        let ids = RequestIds { request_id: Some("r-17".to_owned()), traceparent: Some("00-x".to_owned()) };
        let detail = Some("seed: is a text, expected a number".to_owned());
        let with = |arrival: Arrival| Arrival { ids: ids.clone(), detail: detail.clone(), ..arrival };
        test.store(&[with(quarantined("a", "t")), with(quarantined("b", "t")), with(completed("c"))]).await;
        let entries = test.ids().await;
        attempt(test, false).await;
        attempt(test, true).await;
        // A repeat changes none of them.
        let repeat = RequestIds { request_id: Some("r-18".to_owned()), traceparent: None };
        let repeat = Arrival { ids: repeat, detail: None, ..quarantined("b", "t") };
        assert_eq!(test.store(&[repeat]).await, [ArrivalOutcome::Repeated]);
        let check = async |test: &mut DriverStore, kept: [bool; 3]| {
            for (place, kept) in kept.into_iter().enumerate() {
                let (entry, _) = test.driver().show(entries[place]).await.unwrap().unwrap();
                assert_eq!(entry.ids, if kept { ids.clone() } else { RequestIds::default() }, "{place}");
                assert_eq!(entry.client.is_some(), kept && place < 2, "{place}");
                assert_eq!(numbers(test, entries[place]).await.len(), if kept && place == 2 { 2 } else { 0 });
                assert_eq!(entry.detail.is_some(), place < 2, "the detail stays with the reason");
            }
        };
        check(test, [true; 3]).await;
        test.driver().change(Change::Purge, &[entries[0]].into(), &action(Change::Purge)).await.unwrap();
        test.driver().change(Change::Drop, &[entries[1]].into(), &action(Change::Drop)).await.unwrap();
        check(test, [false, true, true]).await;
        test.sql("UPDATE entry SET ended_at = ended_at - 7200000000 WHERE id <> 3").await;
        assert_eq!(test.driver().purge_bodies(3_600_000_000, 10).await.unwrap().0, 1);
        check(test, [false, false, true]).await;
        test.driver().change(Change::Purge, &[entries[2]].into(), &action(Change::Purge)).await.unwrap();
        check(test, [false; 3]).await;
        assert_eq!(test.count_rows("SELECT count(*) FROM attempt").await, 0);
    }

    async fn claims_and_releases_have_the_ids_of_the_request(test: &mut DriverStore) {
        let ids = RequestIds { request_id: Some("r-17".to_owned()), traceparent: Some("00-x".to_owned()) };
        test.store(&[Arrival { ids: ids.clone(), ..completed("a") }, Arrival { ids: ids.clone(), ..quarantined("b", "t") }]).await;
        let claimed = test.claim_one(COMPLETED).await;
        assert_eq!((claimed.ids, claimed.generation.as_deref()), (ids.clone(), Some(ONE)));
        let quarantined = test.driver().quarantined(test.ids().await[1]).await.unwrap().unwrap();
        assert_eq!(quarantined.ids, ids);
    }
}

/// A start ends the leases of the process before.
#[tokio::test]
async fn a_start_records_the_attempts_in_flight() {
    let mut test = DriverStore::sqlite().await;
    test.store(&[completed("a")]).await;
    let first = test.claim_one(COMPLETED).await;
    test.reopen().await;
    assert_eq!(log(&test, first.id).await, [(1, None, NO_RESULT.to_owned())]);
    attempt(&mut test, true).await;
    test.reopen().await;
    assert_eq!(numbers(&test, first.id).await, [1, 2]);
}
