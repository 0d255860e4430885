//! Detects a pooler that gives each transaction of a connection another backend. Behind one, the settings and locks of a session
//! are lost.

use super::super::SettingsError;
use super::super::{Result, StoreError};
use super::CONNECT_TIMEOUT;
use sqlx::postgres::PgConnection;
use sqlx::raw_sql;

/// One round detects an idle pooler. A client that takes the backend at the right moment can hide it for a round.
const ROUNDS: usize = 5;

/// Checks that each connection has a backend of its own, and keeps it.
///
/// While each other connection is in a transaction, the first connection must have the same backend as before, and none of theirs.
/// A pooler in transaction mode gives the idle backend of the first connection to another one, or gives it a different idle backend.
pub(super) async fn check(connections: &mut [PgConnection]) -> std::result::Result<(), SettingsError> {
    let needed = connections.len();
    let Some((first, others)) = connections.split_first_mut() else { return Ok(()) };
    let own = backend(first).await.map_err(|error| failed(error, needed))?;
    for _ in 0..ROUNDS {
        let mut taken = vec![own.clone()];
        for other in &mut *others {
            run(other, "BEGIN").await.map_err(|error| failed(error, needed))?;
            let backend = backend(other).await.map_err(|error| failed(error, needed))?;
            if taken.contains(&backend) {
                return Err(pooled("two connections share a backend"));
            }
            taken.push(backend);
        }
        // A pooler without a free backend lets this query wait until its timeout.
        match backend(first).await {
            Ok(now) if now == own => {}
            Ok(_) => return Err(pooled("a connection changes its backend")),
            Err(error) => return Err(pooled(&error.to_string())),
        }
        for other in &mut *others {
            run(other, "ROLLBACK").await.map_err(|error| failed(error, needed))?;
        }
    }
    Ok(())
}

fn pooled(evidence: &str) -> SettingsError {
    SettingsError::TransactionPooler { evidence: evidence.to_owned() }
}

fn failed(error: StoreError, needed: usize) -> SettingsError {
    // pgbouncer's message in its mode `statement`.
    if error.to_string().contains("statement pooling") {
        return SettingsError::StatementPooler;
    }
    SettingsError::BusyConnections { needed, error }
}

/// Uses the simple protocol: behind a pooler a prepared statement may be gone.
async fn backend(connection: &mut PgConnection) -> Result<String> {
    use sqlx::Row;
    let query = raw_sql("SELECT pg_backend_pid()::text").fetch_one(connection);
    Ok(tokio::time::timeout(CONNECT_TIMEOUT, query).await.map_err(|_| StoreError::Silent)??.try_get(0)?)
}

async fn run(connection: &mut PgConnection, sql: &'static str) -> Result<()> {
    let run = raw_sql(sql).execute(connection);
    tokio::time::timeout(CONNECT_TIMEOUT, run).await.map_err(|_| StoreError::Silent)??;
    Ok(())
}
