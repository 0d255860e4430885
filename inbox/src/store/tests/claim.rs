use super::*;
use crate::store::{AttemptClass, Pick};

const FIRST: AttemptClass = AttemptClass::First;
const AGAIN: AttemptClass = AttemptClass::Again;

/// So many events of one route, each of another generation.
async fn stored(site: &mut TestStore, count: usize) {
    let ids: Vec<_> = (1..=count).map(|n| format!("00000000-0000-4000-8000-{n:012}")).collect();
    site.store(&ids.iter().map(|id| completed("a").of(id)).collect::<Vec<_>>()).await;
}

fn ids(claim: &ClaimedBatch) -> Vec<i64> {
    let mut ids: Vec<_> = claim.entries.iter().map(|entry| entry.id).collect();
    ids.sort_unstable();
    ids
}

in_both! {
    async fn a_claim_takes_each_class_from_each_end(site: &mut TestStore) {
        stored(site, 7).await;
        let tried = site.driver().claim(COMPLETED, ClaimRequest::due(3), LEASE).await.unwrap();
        assert_eq!((ids(&tried), tried.all), (vec![1, 2, 3], false));
        for entry in &tried.entries {
            site.finish(entry, false).await;
        }
        let one_each = vec![(Pick::Newest(FIRST), 1), (Pick::Oldest(FIRST), 1), (Pick::Oldest(AGAIN), 1)];
        let claim = site.driver().claim(COMPLETED, ClaimRequest::of(one_each.clone(), 9, 9, 9), LEASE).await.unwrap();
        assert_eq!((ids(&claim), claim.all), (vec![1, 4, 7], false));
        // The last of what is left is the newest's.
        let wanted = ClaimRequest::of(one_each, 2, 9, 9).reserve_for_newest(1);
        let claim = site.driver().claim(COMPLETED, wanted, LEASE).await.unwrap();
        assert_eq!((ids(&claim), claim.all), (vec![6], false));
        // Of a class no more than it may.
        let rest = vec![(Pick::Newest(AGAIN), 9), (Pick::Oldest(FIRST), 9)];
        let claim = site.driver().claim(COMPLETED, ClaimRequest::of(rest.clone(), 9, 9, 1), LEASE).await.unwrap();
        assert_eq!((ids(&claim), claim.all), (vec![3, 5], false));
        let claim = site.driver().claim(COMPLETED, ClaimRequest::of(rest, 9, 9, 9), LEASE).await.unwrap();
        assert_eq!((ids(&claim), claim.all), (vec![2], true));
    }

    async fn a_replayed_entry_is_as_one_that_was_never_tried(site: &mut TestStore) {
        stored(site, 1).await;
        let entry = site.claim_one(COMPLETED).await;
        site.finish(&entry, true).await;
        site.driver().change(Change::Replay, &[entry.id].into()).await.unwrap();
        let first = ClaimRequest::of(vec![(Pick::Newest(FIRST), 1)], 1, 1, 1);
        assert_eq!(site.driver().claim(COMPLETED, first, LEASE).await.unwrap().entries.len(), 1);
    }

    async fn a_failure_beside_a_success_is_known(site: &mut TestStore) {
        let other = completed("a").of("00000000-0000-4000-8000-000000000009");
        stored(site, 2).await;
        let claimed = site.claim(COMPLETED).await;
        assert!(claimed.iter().all(|entry| !entry.beside_success), "none was tried before");
        for entry in &claimed {
            site.finish(entry, false).await;
        }
        let claimed = site.claim(COMPLETED).await;
        assert!(claimed.iter().all(|entry| !entry.beside_success), "nothing has succeeded");
        site.finish(&claimed[0], false).await;
        let success = FinishedAttempt { succeeded_on: Some(COMPLETED.to_owned()), ..ended(&claimed[1], true) };
        site.driver().finish(&[success], GIVE_UP_AFTER).await.unwrap();
        site.store(&[other]).await;
        let claimed = site.claim(COMPLETED).await;
        let beside: Vec<_> = claimed.iter().map(|entry| entry.beside_success).collect();
        assert_eq!(beside, [true, false], "and one that was never tried has nothing to count");
        site.finish(&claimed[0], false).await;
        let again = site.claim_one(COMPLETED).await;
        assert!(!again.beside_success, "nothing has succeeded since");
        // On another route nothing has.
        site.store(&[failed("X").of("00000000-0000-4000-8000-000000000008")]).await;
        let failure = site.claim_one(FAILED).await;
        site.finish(&failure, false).await;
        assert!(!site.claim_one(FAILED).await.beside_success);
    }
}
