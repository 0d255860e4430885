//! The tables of this version.

use super::super::CannotOpen;
use super::super::version;
use super::files::check_room;
use super::lock::check_beside;
use super::open::{options, tables};
use super::{MIGRATOR, OWN};
use sqlx::{ConnectOptions, Connection};
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

fn private(path: &Path) -> Result<(), CannotOpen> {
    if path.exists() {
        // Closing a descriptor of it would end the locks of an inbox in this process.
        return Ok(());
    }
    let made = OpenOptions::new().create(true).append(true).mode(OWN).open(path);
    made.map(|_| ()).map_err(|error| CannotOpen::File(path.display().to_string(), error))
}
