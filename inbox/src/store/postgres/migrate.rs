//! Migrates the tables of a database.

use super::super::version;
use super::super::{OpenError, SettingsError, StoreError};
use super::connect::{SETTINGS, options};
use super::open::{check_elsewhere, check_schema, sessions, tables};
use super::{MIGRATOR, SCHEMA, rights};
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Error, query, query_as, query_scalar};

pub(in crate::store) async fn migrate(url: &url::Url) -> Result<(), OpenError> {
    // Two connections are enough to detect a pooler.
    let mut connections = sessions(&options(url)?, &SETTINGS, 2).await?;
    let Some(mut connection) = connections.pop() else { return Ok(()) };
    drop(connections);
    let migrated = match change(&mut connection).await {
        Err(OpenError::Migrate(StoreError::Denied(problem))) => {
            let missing = rights::missing_to_migrate(&mut connection).await?;
            Err(SettingsError::MigrationRights { problem, missing }.into())
        }
        migrated => migrated,
    };
    connection.close().await?;
    migrated
}

async fn change(connection: &mut PgConnection) -> Result<(), OpenError> {
    /// A dump contains transaction numbers of its source cluster. They can be in this cluster's future: `inbox tail` would print
    /// the old entries as new ones when this cluster reaches them.
    const FORGET_FOREIGN_TRANSACTIONS: &str =
        "UPDATE entry SET written = '0' WHERE written >= pg_snapshot_xmax(pg_current_snapshot())";
    // Where the schema exists, a role without CREATE on the database can migrate. `IF NOT EXISTS` would require that right.
    if !is_there(connection).await? {
        check_elsewhere(connection).await?;
        let created = query("CREATE SCHEMA IF NOT EXISTS blobgate_inbox").execute(&mut *connection).await;
        created.map_err(denied)?;
    }
    check_schema(connection).await.map_err(|error| match error {
        OpenError::Settings(SettingsError::Rights { problem, .. }) => {
            OpenError::Migrate(StoreError::Denied(problem))
        }
        error => error,
    })?;
    let tables = tables(connection).await.map_err(OpenError::Migrate)?;
    if version::is_newer(&MIGRATOR, tables) {
        version::check(&MIGRATOR, tables)?;
    } else if tables.is_none() || !is_complete(connection).await? {
        MIGRATOR.run(&mut *connection).await?;
    }
    // After a restore the update changes every row.
    query("SET statement_timeout = 0").execute(&mut *connection).await?;
    query(FORGET_FOREIGN_TRANSACTIONS).execute(connection).await.map_err(denied)?;
    Ok(())
}

fn denied(error: Error) -> OpenError {
    OpenError::Migrate(error.into())
}

async fn is_there(connection: &mut PgConnection) -> Result<bool, Error> {
    const FOUND: &str = "SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1)";
    query_scalar(FOUND).bind(SCHEMA).fetch_one(connection).await
}

/// Whether the tables have exactly this program's migrations. Then a role that only serves can run `migrate` too: the migrator
/// itself requires the right to create a table.
async fn is_complete(connection: &mut PgConnection) -> Result<bool, OpenError> {
    const APPLIED: &str = "SELECT version, checksum, success FROM _sqlx_migrations ORDER BY version";
    let applied: Vec<(i64, Vec<u8>, bool)> = query_as(APPLIED).fetch_all(connection).await.map_err(denied)?;
    let known = MIGRATOR.iter().map(|migration| (migration.version, migration.checksum.to_vec(), true));
    Ok(known.eq(applied))
}
