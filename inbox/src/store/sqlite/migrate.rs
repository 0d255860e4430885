//! The tables of this version.

use super::super::CannotOpen;
use super::super::version::{self, OLDEST_PROGRAM, Tables, VERSION};
use super::files::check_room;
use super::lock::check_beside;
use super::open::options;
use super::{MIGRATOR, OWN};
use sqlx::sqlite::SqliteConnection;
use sqlx::{ConnectOptions, Connection, Error, query_scalar};
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

pub(in crate::store) async fn migrate(path: &Path) -> Result<(), CannotOpen> {
    // Prompts, and links to results: for its owner. The log beside it gets the same mode.
    private(path)?;
    check_beside(path)?;
    check_room(path).map_err(|error| CannotOpen::no_room(path, &error))?;
    let mut connection = options(path).connect().await?;
    let tables = tables(&mut connection).await?;
    if version::is_newer(&MIGRATOR, tables) {
        version::check(&MIGRATOR, tables)?;
    } else {
        MIGRATOR.run(&mut connection).await?;
    }
    connection.close().await?;
    Ok(())
}

/// What the file records of its tables; nothing where it has none.
pub(super) async fn tables(connection: &mut SqliteConnection) -> Result<Option<Tables>, Error> {
    const HAS: &str = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = $1";
    let count: i64 = query_scalar(HAS).bind("_sqlx_migrations").fetch_one(&mut *connection).await?;
    if count == 0 {
        return Ok(None);
    }
    let version: Option<i64> = query_scalar(VERSION).fetch_one(&mut *connection).await?;
    let Some(version) = version else { return Ok(None) };
    let count: i64 = query_scalar(HAS).bind("schema_version").fetch_one(&mut *connection).await?;
    let oldest_program = match count {
        0 => None,
        _ => query_scalar(OLDEST_PROGRAM).fetch_optional(connection).await?,
    };
    Ok(Some(Tables { version, oldest_program: oldest_program.unwrap_or(version) }))
}

fn private(path: &Path) -> Result<(), CannotOpen> {
    if path.exists() {
        // Closing a descriptor of it would end the locks of an inbox in this process.
        return Ok(());
    }
    let made = OpenOptions::new().create(true).append(true).mode(OWN).open(path);
    made.map(|_| ()).map_err(|error| CannotOpen::File(path.display().to_string(), error))
}
