//! What it takes to open a database, and to make its tables.

use super::super::version::{self, OLDEST_PROGRAM, Tables, VERSION};
use super::super::{CannotOpen, StoreError};
use super::connect::{connect_bare, options, set};
use super::links::{self, FEWEST, Links};
use super::{MIGRATOR, Postgres, SCHEMA, pooling, rights};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, query, query_scalar};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// Connections of an inbox that was killed, or unused ones of another, are closed within this time.
const PATIENCE: Duration = Duration::from_secs(7);
const AGAIN: Duration = Duration::from_millis(250);
/// Tables that together are an inbox's.
const TABLES: [&str; 4] = ["_sqlx_migrations", "entry", "payload", "heartbeat"];

impl Postgres {
    pub(in crate::store) async fn open(url: &url::Url) -> Result<Self, CannotOpen> {
        let options = options(url)?;
        let mut connections = sessions(&options, FEWEST).await?;
        if let Some(connection) = connections.first_mut() {
            check_server(connection).await?;
            check_schema(connection).await?;
            check_tables(connection).await?;
        }
        Ok(Self { links: Links::new(options, connections), leases: Mutex::default() })
    }
}

pub(in crate::store) async fn migrate(url: &url::Url) -> Result<(), CannotOpen> {
    /// A dump has the transaction numbers of the cluster that it comes from. Here they may lie in the future, and `tail` would
    /// show old entries on the day when they come.
    const FORGET_FOREIGN_TRANSACTIONS: &str =
        "UPDATE entry SET written = '0' WHERE written >= pg_snapshot_xmax(pg_current_snapshot())";
    // Two are enough to find a pooler.
    let mut connections = sessions(&options(url)?, 2).await?;
    let Some(mut connection) = connections.pop() else { return Ok(()) };
    drop(connections);
    if !is_there(&mut connection, SCHEMA).await? {
        check_elsewhere(&mut connection).await?;
    }
    query("CREATE SCHEMA IF NOT EXISTS blobgate_inbox").execute(&mut connection).await?;
    check_schema(&mut connection).await?;
    let tables = tables(&mut connection).await?;
    if version::is_newer(&MIGRATOR, tables) {
        version::check(&MIGRATOR, tables)?;
    } else {
        MIGRATOR.run(&mut connection).await?;
    }
    // After a restore it is every row.
    query("SET statement_timeout = 0").execute(&mut connection).await?;
    query(FORGET_FOREIGN_TRANSACTIONS).execute(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

/// So many connections, each a session of its own with the inbox's settings.
async fn sessions(options: &PgConnectOptions, count: usize) -> Result<Vec<PgConnection>, CannotOpen> {
    let started = Instant::now();
    let mut connections = Vec::with_capacity(count);
    while connections.len() < count {
        match connect_bare(options).await {
            Ok(connection) => connections.push(connection),
            Err(error) if links::is_refused(&error) && started.elapsed() < PATIENCE && !is_final(&error) => {
                tokio::time::sleep(AGAIN).await;
            }
            Err(error) if connections.is_empty() => return Err(error.into()),
            Err(error) => {
                let sentence = format!(
                    "the database gives {} connections of {count} ({error}): {}",
                    connections.len(),
                    links::REMEDY
                );
                return Err(CannotOpen::Settings(sentence));
            }
        }
    }
    // Before anything is set: behind a pooler it would be set for others.
    pooling::check(&mut connections).await?;
    for connection in &mut connections {
        set(connection).await?;
    }
    Ok(connections)
}

/// Whether time does not change it: a wrong password, no such database, no right to connect.
fn is_final(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Denied(_)
            | StoreError::NoDatabase(_)
            | StoreError::WrongSchema(_)
            | StoreError::Misplaced(_)
    )
}

/// Refuses a server that can lose what is committed.
async fn check_server(connection: &mut PgConnection) -> Result<(), CannotOpen> {
    for (setting, loses) in [
        ("fsync", "a crash of the machine can lose or destroy what was acknowledged"),
        ("full_page_writes", "a crash of the machine can destroy what was acknowledged"),
    ] {
        let value: String =
            query_scalar("SELECT current_setting($1)").bind(setting).fetch_one(&mut *connection).await?;
        if value == "off" {
            return Err(CannotOpen::Settings(format!(
                "the database has {setting}=off: {loses}. Set it to on"
            )));
        }
    }
    Ok(())
}

/// Unqualified names are those of the inbox's own schema.
async fn check_schema(connection: &mut PgConnection) -> Result<(), CannotOpen> {
    const USED: &str =
        "SELECT coalesce(has_schema_privilege(oid, 'USAGE'), false) FROM pg_namespace WHERE nspname = $1";
    let used: Option<bool> = query_scalar(USED).bind(SCHEMA).fetch_optional(&mut *connection).await?;
    match used {
        Some(true) => {}
        Some(false) => {
            let missing = rights::missing(connection).await?;
            return Err(CannotOpen::Settings(format!("the role cannot use the schema {SCHEMA}: {missing}")));
        }
        None => check_elsewhere(connection).await?,
    }
    let current: Option<String> =
        query_scalar("SELECT current_schema()::text").fetch_one(&mut *connection).await?;
    match current {
        Some(schema) if used.is_some() && schema != SCHEMA => Err(CannotOpen::Settings(format!(
            "the session's schema is {schema} and not {SCHEMA}: {}",
            super::connect::SESSION_REMEDY
        ))),
        _ => Ok(()),
    }
}

/// An inbox's tables in `public` were once made by an inbox whose pooler had lost its settings. They may hold events.
async fn check_elsewhere(connection: &mut PgConnection) -> Result<(), CannotOpen> {
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
        Some(schema) => Err(CannotOpen::Settings(format!(
            "the inbox's tables are in the schema {schema} and not in {SCHEMA}: they may hold events, so rename it (ALTER SCHEMA {schema} RENAME TO {SCHEMA}), or drop the tables in it"
        ))),
        None => Ok(()),
    }
}

async fn is_there(connection: &mut PgConnection, schema: &str) -> Result<bool, sqlx::Error> {
    const FOUND: &str = "SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1)";
    query_scalar(FOUND).bind(schema).fetch_one(connection).await
}

async fn check_tables(connection: &mut PgConnection) -> Result<(), CannotOpen> {
    match tables(connection).await {
        Ok(tables) => version::check(&MIGRATOR, tables),
        Err(error @ StoreError::Denied(_)) => {
            let missing = rights::missing(connection).await?;
            Err(CannotOpen::Settings(format!("{error}: {missing}")))
        }
        Err(error) => Err(error.into()),
    }
}

/// What the database records of its tables; nothing where it has none.
async fn tables(connection: &mut PgConnection) -> Result<Option<Tables>, StoreError> {
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
