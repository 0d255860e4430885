//! Finds a pooler that gives a connection another backend for each transaction. Settings and locks of a session are lost
//! behind one.

use super::super::{CannotOpen, Result, StoreError};
use super::CONNECT;
use super::connect::SESSION_REMEDY;
use sqlx::postgres::PgConnection;
use sqlx::raw_sql;

/// Once is enough behind an idle pooler. Another client can hide it by taking the backend at the right moment.
const ROUNDS: usize = 5;

/// Checks that each connection has its own backend, and keeps it: while the others are each inside a transaction, the first
/// one's backend is none of theirs and the same as before. A pooler by transaction gives the first one's idle backend to
/// another, or the first another idle one.
pub(super) async fn check(connections: &mut [PgConnection]) -> std::result::Result<(), CannotOpen> {
    let count = connections.len();
    let Some((first, others)) = connections.split_first_mut() else { return Ok(()) };
    let own = backend(first).await.map_err(|error| refused(error, count))?;
    for _ in 0..ROUNDS {
        let mut taken = vec![own.clone()];
        for other in &mut *others {
            run(other, "BEGIN").await.map_err(|error| refused(error, count))?;
            let backend = backend(other).await.map_err(|error| refused(error, count))?;
            if taken.contains(&backend) {
                return Err(pooled("two connections share one backend"));
            }
            taken.push(backend);
        }
        // With no backend left for it, it waits.
        match backend(first).await {
            Ok(now) if now == own => {}
            Ok(_) => return Err(pooled("a connection changes its backend")),
            Err(error) => return Err(pooled(&error.to_string())),
        }
        for other in &mut *others {
            run(other, "ROLLBACK").await.map_err(|error| refused(error, count))?;
        }
    }
    Ok(())
}

fn pooled(why: &str) -> CannotOpen {
    CannotOpen::Settings(format!("the database is behind a pooler by transaction ({why}): {SESSION_REMEDY}"))
}

fn refused(error: StoreError, count: usize) -> CannotOpen {
    // By pgbouncer, in its mode `statement`.
    if error.to_string().contains("statement pooling") {
        return CannotOpen::Settings(format!(
            "the database is behind a pooler by statement: {SESSION_REMEDY}"
        ));
    }
    CannotOpen::Settings(format!(
        "the database does not serve {count} connections at once ({error}): {}",
        super::links::REMEDY
    ))
}

/// By the simple protocol: a prepared statement may be gone behind a pooler.
async fn backend(connection: &mut PgConnection) -> Result<String> {
    use sqlx::Row;
    let asked = raw_sql("SELECT pg_backend_pid()::text").fetch_one(connection);
    Ok(tokio::time::timeout(CONNECT, asked).await.map_err(|_| StoreError::Silent)??.try_get(0)?)
}

async fn run(connection: &mut PgConnection, sql: &'static str) -> Result<()> {
    let run = raw_sql(sql).execute(connection);
    tokio::time::timeout(CONNECT, run).await.map_err(|_| StoreError::Silent)??;
    Ok(())
}
