//! The tables of this version.

use super::super::{CannotOpen, Error};
use super::{MIGRATOR, OWN, options, sql};
use crate::decide::place_as_digest;
use sqlx::sqlite::SqliteConnection;
use sqlx::{ConnectOptions, Connection, query, query_as};
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

pub(in crate::store) async fn migrate(path: &Path) -> Result<(), CannotOpen> {
    // Prompts, and links to results: for its owner. The log beside it gets the same mode.
    private(path)?;
    let mut connection = options(path).connect().await?;
    MIGRATOR.run(&mut connection).await?;
    note_places_as_digests(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

/// What PostgreSQL's migration to version 4 does itself: SQLite has no SHA-256.
async fn note_places_as_digests(connection: &mut SqliteConnection) -> Result<(), Error> {
    loop {
        let places: Vec<(i64, String)> = query_as(sql::PLACES).fetch_all(&mut *connection).await?;
        if places.is_empty() {
            return Ok(());
        }
        query("BEGIN IMMEDIATE").execute(&mut *connection).await?;
        for (row, place) in places {
            let digest = place_as_digest(&place);
            query(sql::NOTE_PLACE).bind(row).bind(&*digest).execute(&mut *connection).await?;
        }
        query("COMMIT").execute(&mut *connection).await?;
    }
}

fn private(path: &Path) -> Result<(), CannotOpen> {
    let made = OpenOptions::new().create(true).append(true).mode(OWN).open(path);
    made.map(|_| ()).map_err(|error| CannotOpen::File(path.display().to_string(), error))
}
