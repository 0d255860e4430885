//! A connection, and the settings of its session.

use super::super::{Result, StoreError};
use super::{CONNECT, SCHEMA};
use crate::failpoint::broken_by;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row, raw_sql};
use std::fmt::Write;
use std::str::FromStr;
use std::time::Duration;

/// Set after connecting and read back. A pooler refuses or ignores `options` in the startup message.
const SETTINGS: [(&str, &str); 12] = [
    ("search_path", SCHEMA),
    // A statement that hangs must not hold its batch for longer than a sender waits, and an inbox whose machine sleeps must
    // not hold the rows of the others.
    ("statement_timeout", "7s"),
    ("lock_timeout", "7s"),
    ("idle_in_transaction_session_timeout", "5s"),
    // Every statement finds its rows by an index, however small the tables were, or how long ago, when it was planned: a plan
    // from an empty table would be kept for as long as the connection.
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    // Nor is every generation read once to be kept. Sorting stays on: without it, a plan walks all generations in their order
    // to find the few that a finish locks.
    ("enable_bitmapscan", "off"),
    ("enable_material", "off"),
    ("jit", "off"),
    // A commit is acknowledged once it is on the disk.
    ("synchronous_commit", "on"),
    // A policy that hides rows is an error: an update of hidden rows would change nothing and succeed.
    ("row_security", "off"),
];

pub(in crate::store) fn options(url: &url::Url) -> Result<PgConnectOptions> {
    let mut options = PgConnectOptions::from_str(url.as_str())?
        // pgbouncer refuses startup parameters that it does not know, and no column here is a float.
        .extra_float_digits(None)
        .disable_statement_logging();
    if !url.query_pairs().any(|(name, _)| name == "application_name") {
        options = options.application_name("blobgate-inbox");
    }
    Ok(options)
}

/// A connection with the settings of this inbox.
pub(in crate::store) async fn connect(options: &PgConnectOptions) -> Result<PgConnection> {
    let connecting = async {
        let mut connection = options.connect().await?;
        set(&mut connection).await?;
        Ok::<_, StoreError>(connection)
    };
    tokio::time::timeout(CONNECT, connecting).await.map_err(|_| StoreError::Silent)?
}

/// A connection without settings: behind a pooler they could become another program's.
pub(super) async fn connect_bare(options: &PgConnectOptions) -> Result<PgConnection> {
    Ok(tokio::time::timeout(CONNECT, options.connect()).await.map_err(|_| StoreError::Silent)??)
}

pub(super) async fn set(connection: &mut PgConnection) -> Result<()> {
    let mut sql = String::new();
    for (name, value) in SETTINGS {
        let _written = write!(sql, "SET {name} = '{value}';");
    }
    raw_sql(AssertSqlSafe(sql)).execute(&mut *connection).await?;
    check(connection).await?;
    if broken_by!("break-synchronous-off") {
        raw_sql("SET synchronous_commit = off").execute(&mut *connection).await?;
    }
    Ok(())
}

/// What to do about a pooler that changes sessions.
pub(super) const SESSION_REMEDY: &str = "the inbox needs a session of its own, so set the pooler's pool_mode to session for this database, or connect to PostgreSQL itself";

/// Reads the settings back.
pub(super) async fn check(connection: &mut PgConnection) -> Result<()> {
    let columns: Vec<_> = SETTINGS.iter().map(|(name, _)| format!("current_setting('{name}')")).collect();
    let sql = format!("SELECT {}", columns.join(", "));
    let row = raw_sql(AssertSqlSafe(sql)).fetch_one(connection).await?;
    for (place, (name, value)) in SETTINGS.iter().enumerate() {
        let found: String = row.try_get(place)?;
        if found != *value && !broken_by!("break-synchronous-off") {
            let why =
                format!("the database has {name}={found} after SET {name}='{value}': {}", SESSION_REMEDY);
            return Err(StoreError::WrongSetting(why));
        }
    }
    Ok(())
}

pub(super) async fn close(connection: PgConnection) {
    const CLOSED_WITHIN: Duration = Duration::from_secs(1);
    let _closed = tokio::time::timeout(CLOSED_WITHIN, connection.close()).await;
}
