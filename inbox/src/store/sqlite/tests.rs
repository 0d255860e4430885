use super::deliveries::due;
use super::*;
use crate::store::{AttemptClass, Pick};
use sqlx::{AssertSqlSafe, ConnectOptions};

#[tokio::test]
async fn claims_use_an_index_and_its_order() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("inbox.db");
    super::super::Place::Sqlite(path.clone()).migrate().await.unwrap();
    let mut connection = options(&path).connect().await.unwrap();
    for (pick, index) in [
        (Pick::Due, "entry_waiting"),
        (Pick::Oldest(AttemptClass::First), "entry_first"),
        (Pick::Newest(AttemptClass::First), "entry_first"),
        (Pick::Oldest(AttemptClass::Again), "entry_again"),
        (Pick::Newest(AttemptClass::Again), "entry_again"),
    ] {
        let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", due(pick)));
        let plan: Vec<(i64, i64, i64, String)> = query_as(explain)
            .bind("veo3/completed")
            .bind(10)
            .bind(1)
            .fetch_all(&mut connection)
            .await
            .unwrap();
        let plan: Vec<_> = plan.into_iter().map(|(.., step)| step).collect();
        assert!(plan[0].starts_with(&format!("SEARCH e USING INDEX {index} (route=?")), "{pick:?} {plan:?}");
        assert!(!plan.iter().any(|step| step.contains("TEMP B-TREE")), "{pick:?} {plan:?}");
    }
}
