//! Copies of the file: made while it is served from, and put back in its place.

use super::super::{CannotCopy, Copied, Restored, version};
use super::files::check_room;
use super::lock::no_file;
use super::lock::{Held, Id, check_beside, lock, log_of};

use super::open::{options, tables, temporary_files};
use super::{BUSY, MIGRATOR, OWN, beside};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, query, query_as, query_scalar};
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use time::OffsetDateTime;
use time::macros::format_description;

pub(in crate::store) async fn backup(path: &Path, to: &Path) -> Result<Copied, CannotCopy> {
    if !path.exists() {
        return Err(no_file(path).into());
    }
    check_beside(path)?;
    // The name is taken before the copy is there, so that nothing else is overwritten in the end.
    let taken = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to);
    taken.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => CannotCopy::Exists(to.display().to_string()),
        _ => at(to)(error),
    })?;
    let part = beside(to, ".part");
    let made = async {
        copy(path, &part).await?;
        let copied = check(&part).await?;
        settle(&part, to)?;
        Ok(copied)
    };
    let made = made.await;
    if made.is_err() {
        let _gone = (fs::remove_file(&part), fs::remove_file(to));
    }
    made
}

pub(in crate::store) async fn restore(path: &Path, from: &Path) -> Result<Restored, CannotCopy> {
    let not = |why: String| CannotCopy::NotAStore(from.display().to_string(), why);
    let from_id = Id::of(&fs::metadata(from).map_err(at(from))?);
    if fs::metadata(path).is_ok_and(|there| Id::of(&there) == from_id) {
        return Err(not("it is the store itself".to_owned()));
    }
    // What replaces the file takes the place of it, and not of a link to it.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let held = if path.exists() { Some(lock(path)?) } else { None };
    check_version(from).await.map_err(not)?;
    let part = beside(path, ".restoring");
    // The file is locked before it has its name, so that no inbox starts on it too early.
    let next = hold_part(&part)?;
    let made = async {
        copy(from, &part).await?;
        let paused = pause_what_waits(&part).await?;
        let copied = check(&part).await?;
        let replaced = put_aside(path).await?;
        settle(&part, path)?;
        Ok(Restored { copied, replaced, paused })
    };
    let made = made.await;
    if made.is_err() {
        let _gone = fs::remove_file(&part);
    }
    drop((held, next));
    made
}

/// One `restore` at a time.
fn hold_part(part: &Path) -> Result<Held, CannotCopy> {
    let made = OpenOptions::new().append(true).create(true).mode(OWN).open(part);
    made.map_err(at(part))?;
    Ok(lock(part)?)
}

/// As it is, without a change of its journal.
fn plain(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new().filename(path).busy_timeout(BUSY).disable_statement_logging()
}

/// One read, however long it takes: whoever writes goes on, and the log grows meanwhile.
async fn copy(from: &Path, to: &Path) -> Result<(), CannotCopy> {
    // A copy has no log, and its folder may be full.
    if log_of(from).exists() {
        check_room(from).map_err(at(from))?;
    }
    let mut connection = temporary_files(plain(from), to).read_only(true).connect().await?;
    vacuum_into(&mut connection, to).await?;
    connection.close().await?;
    Ok(())
}

async fn vacuum_into(connection: &mut SqliteConnection, to: &Path) -> Result<(), CannotCopy> {
    // An empty file with this mode is taken by VACUUM INTO as if there were none.
    let made = OpenOptions::new().write(true).create(true).truncate(true).mode(OWN).open(to);
    made.map_err(at(to))?;
    let name = to.to_str().ok_or_else(|| at(to)(ErrorKind::InvalidFilename.into()))?;
    query("VACUUM INTO ?1").bind(name).execute(&mut *connection).await?;
    // It is not the file that an inbox has marked as its own.
    let mut copied = plain(to).connect().await?;
    query("PRAGMA user_version = 0").execute(&mut copied).await?;
    copied.close().await?;
    Ok(())
}

/// Copies what a connection has, whatever became of its files. Returns how many entries that are, and whether the copy is whole.
pub(super) async fn rescue_into(
    connection: &mut SqliteConnection,
    to: &Path,
) -> Result<(i64, Result<(), String>), CannotCopy> {
    if to.exists() {
        return Err(CannotCopy::Exists(to.display().to_string()));
    }
    let part = beside(to, ".part");
    let made = async {
        vacuum_into(connection, &part).await?;
        let mut copied = plain(&part).read_only(true).connect().await?;
        let is_whole = check_integrity(&mut copied).await;
        let entries = query_scalar("SELECT count(*) FROM entry").fetch_one(&mut copied).await?;
        copied.close().await?;
        settle(&part, to)?;
        Ok((entries, is_whole))
    };
    let made = made.await;
    if made.is_err() {
        let _gone = fs::remove_file(&part);
    }
    made
}

/// Has SQLite look at every page and every index, and counts.
async fn check(path: &Path) -> Result<Copied, CannotCopy> {
    let mut connection = plain(path).read_only(true).connect().await?;
    check_integrity(&mut connection).await.map_err(CannotCopy::NotWhole)?;
    let states: Vec<(String, i64)> =
        query_as("SELECT state, count(*) FROM entry GROUP BY state").fetch_all(&mut connection).await?;
    connection.close().await?;
    let bytes = fs::metadata(path).map_err(at(path))?.len();
    Ok(Copied { states: states.into_iter().collect(), bytes })
}

async fn check_integrity(connection: &mut SqliteConnection) -> Result<(), String> {
    let said: Result<String, _> = query_scalar("PRAGMA integrity_check(1)").fetch_one(connection).await;
    match said {
        Ok(said) if said == "ok" => Ok(()),
        Ok(said) => Err(said),
        Err(error) => Err(error.to_string()),
    }
}

/// Refuses what is broken, no inbox's, or of a version that this program does not know.
async fn check_version(from: &Path) -> Result<(), String> {
    let no_inbox = |error: sqlx::Error| format!("it is no inbox's store ({error})");
    let mut connection = plain(from).read_only(true).connect().await.map_err(no_inbox)?;
    check_integrity(&mut connection).await?;
    let tables = tables(&mut connection).await.map_err(no_inbox)?;
    let _closed = connection.close().await;
    match tables {
        None => Err("it is no inbox's store (it has no tables)".to_owned()),
        Some(_) if version::is_newer(&MIGRATOR, tables) => {
            version::check(&MIGRATOR, tables).map_err(|error| error.to_string())
        }
        // `migrate` brings it to this version.
        Some(_) => Ok(()),
    }
}

/// What waits in the copy may have been delivered since.
async fn pause_what_waits(path: &Path) -> Result<Vec<String>, CannotCopy> {
    let now = i64::try_from(OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000).unwrap_or_default();
    let mut connection = plain(path).connect().await?;
    query(
        "INSERT INTO pause (hook, event, since)
         SELECT DISTINCT hook, '', ?1 FROM entry WHERE state IN ('waiting', 'in_flight')
         ON CONFLICT (hook, event) DO NOTHING",
    )
    .bind(now)
    .execute(&mut connection)
    .await?;
    let paused =
        query_scalar("SELECT DISTINCT hook FROM entry WHERE state IN ('waiting', 'in_flight') ORDER BY hook")
            .fetch_all(&mut connection)
            .await?;
    connection.close().await?;
    Ok(paused)
}

/// With its log, so that it can be opened under its new name.
async fn put_aside(path: &Path) -> Result<Option<PathBuf>, CannotCopy> {
    if !path.exists() {
        // A log without its file would be read into the next one.
        for log in ["-wal", "-shm"].map(|log| beside(path, log)).iter().filter(|log| log.exists()) {
            fs::rename(log, beside(log, ".before-restore")).map_err(at(log))?;
        }
        return Ok(None);
    }
    // What is broken cannot be brought together, and is kept in its pieces.
    if let Ok(mut connection) = options(path).connect().await {
        let _log = query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut connection).await;
        let _closed = connection.close().await;
    }
    let aside = beside(path, &format!(".before-restore-{}", stamp()));
    if aside.exists() {
        return Err(CannotCopy::Exists(aside.display().to_string()));
    }
    // The log first: a file that has lost it would be taken for whole.
    for suffix in ["-wal", "-shm", ""] {
        let piece = beside(path, suffix);
        if piece.exists() {
            fs::rename(&piece, beside(&aside, suffix)).map_err(at(&piece))?;
        }
    }
    Ok(Some(aside))
}

/// The time, as a part of a file's name.
pub(super) fn stamp() -> String {
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    OffsetDateTime::now_utc().format(format).unwrap_or_default()
}

/// On the disk, and then under its name.
fn settle(part: &Path, name: &Path) -> Result<(), CannotCopy> {
    File::open(part).and_then(|file| file.sync_all()).map_err(at(part))?;
    fs::rename(part, name).map_err(at(name))?;
    let folder = match name.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(at(folder))
}

fn at(path: &Path) -> impl Fn(std::io::Error) -> CannotCopy {
    let name = path.display().to_string();
    move |error| CannotCopy::File(name.clone(), error)
}
