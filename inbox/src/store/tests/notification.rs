use super::*;

const EVERY: i64 = 3_600_000_000;
const TURN: i64 = 30_000_000;

in_both! {
    async fn one_inbox_notifies_of_a_kind_at_a_time(test: &mut DriverStore) {
        let begin = async |test: &DriverStore, kind| test.driver().begin_notification(kind, TURN, EVERY).await.unwrap();
        let sessions: Vec<_> = (0..8).map(|_| test.store.clone().unwrap()).collect();
        let beginning: Vec<_> = sessions
            .into_iter()
            .map(|session| tokio::spawn(async move { session.begin_notification("dead", TURN, EVERY).await.unwrap() }))
            .collect();
        let mut begun = Vec::new();
        for one in beginning {
            begun.push(one.await.unwrap());
        }
        assert_eq!(begun.iter().filter(|begun| **begun).count(), 1);
        assert!(begin(test, "down").await, "another kind");
        // A failed call ends the turn at once.
        test.driver().end_notification("dead", 0).await.unwrap();
        assert!(begin(test, "dead").await);
        test.driver().end_notification("dead", EVERY).await.unwrap();
        test.reopen().await;
        assert!(!begin(test, "dead").await, "within the hour, also after a restart");
        test.sql("UPDATE notification SET next_at = next_at - 3600000000").await;
        assert!(begin(test, "dead").await, "after the hour");
        // Its process died before it ended the turn.
        assert!(!begin(test, "dead").await);
        test.sql("UPDATE notification SET next_at = next_at - 30000000").await;
        assert!(begin(test, "dead").await);
        // The clock was set back since.
        test.sql("UPDATE notification SET next_at = next_at + 7200000000").await;
        assert!(begin(test, "dead").await);
    }
}
