//! Migrates the tables of a SQLite file.

use super::super::OpenError;
use super::super::version;
use super::files::check_room;
use super::lock::{check_beside, check_writable};
use super::open::{options, tables};
use super::{MIGRATOR, OWNER_ONLY};
use sqlx::{ConnectOptions, Connection};
use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

pub(in crate::store) async fn migrate(path: &Path) -> Result<(), OpenError> {
    create_private(path)?;
    check_beside(path)?;
    check_writable(path)?;
    check_room(path).map_err(|error| OpenError::no_room(path, error))?;
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

/// Creates the file for its owner alone: it contains prompts and links to results. SQLite gives its log the same mode.
fn create_private(path: &Path) -> Result<(), OpenError> {
    if path.exists() {
        // Closing a descriptor of the file would release the POSIX locks of an inbox in this process.
        return Ok(());
    }
    let created = OpenOptions::new().create(true).append(true).mode(OWNER_ONLY).open(path);
    let name = path.display().to_string();
    created.map(|_| ()).map_err(|error| match error.kind() {
        ErrorKind::NotFound => OpenError::NoDirectory(name),
        _ => OpenError::File(name, error),
    })
}
