use super::deliveries::claim;
use super::*;
use crate::store::{AttemptClass, Pick};
use blobgate_testkit::{Cluster, needs};
use sqlx::AssertSqlSafe;

/// A backlog of one route with entries of both classes, and a row for each generation.
const BACKLOG: &str = "
INSERT INTO generation (hook, generation, seen_at) SELECT 'veo3', n::text, 1 FROM generate_series(1, 2000) AS n;
INSERT INTO entry (id, lane, state, hook, generation, event, authenticated, digest, size, route, seen, received_at, seen_at, due_at,
    attempts)
SELECT n, 'deliver', 'waiting', 'veo3', n::text, 'completed', true, '', 1, 'veo3/completed', 1, n, n, n, n % 2
FROM generate_series(1, 2000) AS n";

#[needs(Postgres)]
#[tokio::test]
async fn claims_use_an_index() {
    let cluster = Cluster::shared();
    let url = cluster.database().parse().unwrap();
    migrate(&url).await.unwrap();
    let mut connection = connect(&options(&url).unwrap(), &SETTINGS).await.unwrap();
    sqlx::raw_sql("SET plan_cache_mode = force_generic_plan").execute(&mut connection).await.unwrap();
    for stored in ["SELECT 1", BACKLOG, "ANALYZE entry"] {
        sqlx::raw_sql(stored).execute(&mut connection).await.unwrap();
        for (pick, index) in [
            (Pick::Due, "entry_waiting"),
            (Pick::Oldest(AttemptClass::First), "entry_first"),
            (Pick::Newest(AttemptClass::First), "entry_first"),
            (Pick::Oldest(AttemptClass::Again), "entry_again"),
            (Pick::Newest(AttemptClass::Again), "entry_again"),
        ] {
            for observed in [false, true] {
                let claim = claim(pick, observed);
                let prepare = format!("PREPARE claim (text, bigint, bigint) AS {claim}");
                sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut connection).await.unwrap();
                let plan: Vec<String> = query_scalar("EXPLAIN EXECUTE claim ('veo3/completed', 10, 1)")
                    .persistent(false)
                    .fetch_all(&mut connection)
                    .await
                    .unwrap();
                sqlx::raw_sql("DEALLOCATE claim").execute(&mut connection).await.unwrap();
                let plan = plan.join("\n");
                assert!(plan.contains(&format!("{index} on entry e")), "{stored} {pick:?}: {plan}");
                assert!(!plan.contains("Seq Scan"), "{stored} {pick:?}: {plan}");
            }
        }
    }
}
