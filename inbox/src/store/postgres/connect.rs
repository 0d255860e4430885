//! Connects to PostgreSQL, and sets the settings of a session.

use super::super::error::settings::SESSION_REMEDY;
use super::super::{Result, StoreError};
use super::{CONNECT_TIMEOUT, SCHEMA};
use crate::deadline;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row, raw_sql};
use std::fmt::Write;
use std::str::FromStr;
use std::time::Duration;

/// The settings of a session. The inbox sets them after connecting and reads them back: a pooler refuses or ignores `options` in
/// the startup message.
pub(in crate::store) const SETTINGS: [(&str, &str); 12] = [
    ("search_path", SCHEMA),
    // A hanging statement must not delay its batch for longer than a sender waits. An inbox on a sleeping machine must not lock
    // the rows of the others.
    ("statement_timeout", "7s"),
    ("lock_timeout", "7s"),
    ("idle_in_transaction_session_timeout", "5s"),
    // Every statement must use an index. A connection keeps its plans, and a plan that was made on an empty table would scan it.
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    // Prevents a plan that reads every generation once. Sorting stays on: without it, a plan reads all generations in order to
    // find the few that a finish locks.
    ("enable_bitmapscan", "off"),
    ("enable_material", "off"),
    ("jit", "off"),
    // A commit returns once it is on the disk.
    ("synchronous_commit", "on"),
    // A policy that hides rows causes an error. Otherwise an update of hidden rows succeeds and changes nothing.
    ("row_security", "off"),
];

pub(in crate::store) fn options(url: &url::Url) -> Result<PgConnectOptions> {
    let mut options = PgConnectOptions::from_str(url.as_str())?
        // pgbouncer refuses unknown startup parameters, and the inbox has no floats.
        .extra_float_digits(None)
        .disable_statement_logging();
    if !url.query_pairs().any(|(name, _)| name == "application_name") {
        options = options.application_name("blobgate-inbox");
    }
    Ok(options)
}

/// The settings of the sessions of one inbox.
pub(in crate::store) type SessionSettings<'a> = &'a [(&'static str, &'static str)];

/// Opens a connection with these settings.
pub(in crate::store) async fn connect(
    options: &PgConnectOptions,
    settings: SessionSettings<'_>,
) -> Result<PgConnection> {
    let connecting = async {
        let mut connection = options.connect().await?;
        set(&mut connection, settings).await?;
        Ok::<_, StoreError>(connection)
    };
    deadline::within(CONNECT_TIMEOUT, connecting).await.ok_or(StoreError::Silent)?
}

/// Opens a connection without settings: behind a pooler they could reach another program.
pub(super) async fn connect_bare(options: &PgConnectOptions) -> Result<PgConnection> {
    Ok(deadline::within(CONNECT_TIMEOUT, options.connect()).await.ok_or(StoreError::Silent)??)
}

pub(super) async fn set(connection: &mut PgConnection, settings: SessionSettings<'_>) -> Result<()> {
    let mut sql = String::new();
    for (name, value) in settings {
        let _written = write!(sql, "SET {name} = '{value}';");
    }
    raw_sql(AssertSqlSafe(sql)).execute(&mut *connection).await?;
    check(connection, settings).await
}

/// A setting that a session lost.
#[derive(Debug, thiserror::Error)]
#[error("the database has {name}={found} after SET {name}='{value}'. {SESSION_REMEDY}")]
struct LostSetting {
    name: &'static str,
    value: &'static str,
    found: String,
}

/// Reads the settings back.
pub(super) async fn check(connection: &mut PgConnection, settings: SessionSettings<'_>) -> Result<()> {
    let columns: Vec<_> = settings.iter().map(|(name, _)| format!("current_setting('{name}')")).collect();
    let sql = format!("SELECT {}", columns.join(", "));
    let row = raw_sql(AssertSqlSafe(sql)).fetch_one(connection).await?;
    for (place, (name, value)) in settings.iter().enumerate() {
        let found: String = row.try_get(place)?;
        if found != *value {
            return Err(StoreError::WrongSetting(LostSetting { name, value, found }.to_string()));
        }
    }
    Ok(())
}

pub(super) async fn close(connection: PgConnection) {
    const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
    let _closed = tokio::time::timeout(CLOSE_TIMEOUT, connection.close()).await;
}
