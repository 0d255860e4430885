//! Opens a database.

use super::super::SettingsError;
use super::super::version::{self, OLDEST_PROGRAM, Tables, VERSION};
use super::super::{OpenError, StoreError};
use super::connect::{SessionSettings, connect_bare, options, set};
use super::connections::{self, ConnectionPool, MIN_CONNECTIONS};
use super::{MIGRATOR, Postgres, SCHEMA, pooling, rights};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::query_scalar;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// Within this time the connections of a killed inbox, and the unused ones of another inbox, close.
const CONNECT_PATIENCE: Duration = Duration::from_secs(7);
const RETRY_DELAY: Duration = Duration::from_millis(250);
/// A schema with all of these tables is an inbox's.
const TABLES: [&str; 4] = ["_sqlx_migrations", "entry", "payload", "heartbeat"];

impl Postgres {
    pub(in crate::store) async fn open(
        url: &url::Url,
        settings: Vec<(&'static str, &'static str)>,
    ) -> Result<Self, OpenError> {
        let options = options(url)?;
        let mut connections = sessions(&options, &settings, MIN_CONNECTIONS).await?;
        if let Some(connection) = connections.first_mut() {
            check_server(connection).await?;
            check_schema(connection).await?;
            check_tables(connection).await?;
        }
        Ok(Self {
            connections: ConnectionPool::new(options, settings, connections),
            leases: Mutex::default(),
        })
    }
}

/// Opens `count` connections. Each is a session of its own with these settings.
pub(super) async fn sessions(
    options: &PgConnectOptions,
    settings: SessionSettings<'_>,
    count: usize,
) -> Result<Vec<PgConnection>, OpenError> {
    let started = Instant::now();
    let mut connections = Vec::with_capacity(count);
    while connections.len() < count {
        match connect_bare(options).await {
            Ok(connection) => connections.push(connection),
            Err(error)
                if connections::is_refused(&error)
                    && started.elapsed() < CONNECT_PATIENCE
                    && !is_final(&error) =>
            {
                tokio::time::sleep(RETRY_DELAY).await;
            }
            Err(error) if connections.is_empty() => return Err(error.into()),
            Err(error) => {
                let open = connections.len();
                return Err(SettingsError::Connections { open, needed: count, error }.into());
            }
        }
    }
    // Before `set`: behind a pooler the settings would reach other programs.
    pooling::check(&mut connections).await?;
    for connection in &mut connections {
        set(connection, settings).await?;
    }
    Ok(connections)
}

/// Whether a retry cannot succeed: a wrong password, no such database, no right to connect.
fn is_final(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Denied(_)
            | StoreError::NoDatabase(_)
            | StoreError::WrongSchema(_)
            | StoreError::Misplaced(_)
    )
}

/// Refuses a server that can lose committed rows.
async fn check_server(connection: &mut PgConnection) -> Result<(), OpenError> {
    for (setting, risk) in [
        ("fsync", "lose or destroy acknowledged events"),
        ("full_page_writes", "destroy acknowledged events"),
    ] {
        let value: String =
            query_scalar("SELECT current_setting($1)").bind(setting).fetch_one(&mut *connection).await?;
        if value == "off" {
            return Err(SettingsError::Server { setting, risk }.into());
        }
    }
    Ok(())
}

/// Checks that unqualified names resolve to the inbox's schema.
pub(super) async fn check_schema(connection: &mut PgConnection) -> Result<(), OpenError> {
    const USED: &str =
        "SELECT coalesce(has_schema_privilege(oid, 'USAGE'), false) FROM pg_namespace WHERE nspname = $1";
    let used: Option<bool> = query_scalar(USED).bind(SCHEMA).fetch_optional(&mut *connection).await?;
    match used {
        Some(true) => {}
        Some(false) => {
            let missing = rights::missing(connection).await?.to_string();
            let problem = format!("the role cannot use the schema {SCHEMA}");
            return Err(SettingsError::Rights { problem, missing }.into());
        }
        None => check_elsewhere(connection).await?,
    }
    let current: Option<String> =
        query_scalar("SELECT current_schema()::text").fetch_one(&mut *connection).await?;
    match current {
        Some(schema) if used.is_some() && schema != SCHEMA => {
            Err(SettingsError::SessionSchema { schema, expected: SCHEMA }.into())
        }
        _ => Ok(()),
    }
}

/// Refuses an inbox's tables in another schema: a pooler that loses `search_path` puts them into `public`. They may contain events.
pub(super) async fn check_elsewhere(connection: &mut PgConnection) -> Result<(), OpenError> {
    const FOUND: &str = "
        SELECT n.nspname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relname = ANY($1) AND c.relkind IN ('r', 'p') AND n.nspname <> $2
        GROUP BY 1 HAVING count(*) = cardinality($1) ORDER BY 1 LIMIT 1";
    let found: Option<String> = query_scalar(FOUND)
        .bind(TABLES.map(str::to_owned).to_vec())
        .bind(SCHEMA)
        .fetch_optional(&mut *connection)
        .await?;
    match found {
        Some(schema) => Err(SettingsError::TablesElsewhere { schema, expected: SCHEMA }.into()),
        None => Ok(()),
    }
}

async fn check_tables(connection: &mut PgConnection) -> Result<(), OpenError> {
    match tables(connection).await {
        Ok(tables) => Ok(version::check(&MIGRATOR, tables)?),
        Err(error @ StoreError::Denied(_)) => {
            let missing = rights::missing(connection).await?.to_string();
            Err(SettingsError::Rights { problem: error.to_string(), missing }.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// The versions of the database's tables. `None` if it has none.
pub(super) async fn tables(connection: &mut PgConnection) -> Result<Option<Tables>, StoreError> {
    const HAS: &str = "SELECT to_regclass($1) IS NOT NULL";
    if !query_scalar::<_, bool>(HAS).bind("_sqlx_migrations").fetch_one(&mut *connection).await? {
        return Ok(None);
    }
    let version: Option<i64> = query_scalar(VERSION).fetch_one(&mut *connection).await?;
    let Some(version) = version else { return Ok(None) };
    let oldest_program = match query_scalar(HAS).bind("schema_version").fetch_one(&mut *connection).await? {
        false => None,
        true => query_scalar(OLDEST_PROGRAM).fetch_optional(connection).await?,
    };
    Ok(Some(Tables { version, oldest_program: oldest_program.unwrap_or(version) }))
}
