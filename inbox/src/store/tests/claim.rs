use super::*;
use crate::store::{AttemptClass, Pick};

const FIRST: AttemptClass = AttemptClass::First;
const AGAIN: AttemptClass = AttemptClass::Again;

/// Stores events of one route and of different generations.
async fn store_events(test: &mut DriverStore, count: usize) {
    let ids: Vec<_> = (1..=count).map(|n| format!("00000000-0000-4000-8000-{n:012}")).collect();
    test.store(&ids.iter().map(|id| completed("a").of(id)).collect::<Vec<_>>()).await;
}

fn ids(claim: &ClaimedBatch) -> Vec<i64> {
    let mut ids: Vec<_> = claim.entries.iter().map(|entry| entry.id).collect();
    ids.sort_unstable();
    ids
}

in_both! {
    async fn claims_each_class_from_each_end(test: &mut DriverStore) {
        store_events(test, 7).await;
        let tried = test.driver().claim(COMPLETED, ClaimRequest::due(3), LEASE).await.unwrap();
        assert_eq!((ids(&tried), tried.all), (vec![1, 2, 3], false));
        for entry in &tried.entries {
            test.finish(entry, false).await;
        }
        let one_each = vec![(Pick::Newest(FIRST), 1), (Pick::Oldest(FIRST), 1), (Pick::Oldest(AGAIN), 1)];
        let claim = test.driver().claim(COMPLETED, ClaimRequest::of(one_each.clone(), 9, 9, 9), LEASE).await.unwrap();
        assert_eq!((ids(&claim), claim.all), (vec![1, 4, 7], false));
        // Reserves the last place for the newest entry.
        let wanted = ClaimRequest::of(one_each, 2, 9, 9).reserve_for_newest(1);
        let claim = test.driver().claim(COMPLETED, wanted, LEASE).await.unwrap();
        assert_eq!((ids(&claim), claim.all), (vec![6], false));
        // Respects the limit of a class.
        let rest = vec![(Pick::Newest(AGAIN), 9), (Pick::Oldest(FIRST), 9)];
        let claim = test.driver().claim(COMPLETED, ClaimRequest::of(rest.clone(), 9, 9, 1), LEASE).await.unwrap();
        assert_eq!((ids(&claim), claim.all), (vec![3, 5], false));
        let claim = test.driver().claim(COMPLETED, ClaimRequest::of(rest, 9, 9, 9), LEASE).await.unwrap();
        assert_eq!((ids(&claim), claim.all), (vec![2], true));
    }

    async fn a_replay_is_a_first_attempt_again(test: &mut DriverStore) {
        store_events(test, 1).await;
        let entry = test.claim_one(COMPLETED).await;
        test.finish(&entry, true).await;
        test.driver().change(Change::Replay, &[entry.id].into(), &action(Change::Replay)).await.unwrap();
        let first = ClaimRequest::of(vec![(Pick::Newest(FIRST), 1)], 1, 1, 1);
        assert_eq!(test.driver().claim(COMPLETED, first, LEASE).await.unwrap().entries.len(), 1);
    }

    async fn notes_successes_beside_a_failed_entry(test: &mut DriverStore) {
        let other = completed("a").of("00000000-0000-4000-8000-000000000009");
        store_events(test, 2).await;
        let claimed = test.claim(COMPLETED).await;
        assert!(claimed.iter().all(|entry| !entry.beside_success), "first attempts");
        for entry in &claimed {
            test.finish(entry, false).await;
        }
        let claimed = test.claim(COMPLETED).await;
        assert!(claimed.iter().all(|entry| !entry.beside_success), "no success on the route");
        test.finish(&claimed[0], false).await;
        let success = FinishedAttempt { succeeded_on: Some(COMPLETED.to_owned()), ..finished(&claimed[1], true) };
        test.driver().finish(&[success], GIVE_UP_AFTER).await.unwrap();
        test.store(&[other]).await;
        let claimed = test.claim(COMPLETED).await;
        let beside: Vec<_> = claimed.iter().map(|entry| entry.beside_success).collect();
        assert_eq!(beside, [true, false], "a first attempt counts none");
        test.finish(&claimed[0], false).await;
        let again = test.claim_one(COMPLETED).await;
        assert!(!again.beside_success, "no success since");
        // Another route has no success.
        test.store(&[failed("X").of("00000000-0000-4000-8000-000000000008")]).await;
        let failure = test.claim_one(FAILED).await;
        test.finish(&failure, false).await;
        assert!(!test.claim_one(FAILED).await.beside_success);
    }
}
