//! Copies a SQLite file while an inbox serves it, and restores such a copy.

use super::super::version::{self, VersionError};
use super::super::{CopyError, CopySummary, IntegrityError, RestoreSummary, SourceError};
use super::files::check_room;
use super::lock::{FileId, FileLock, check_beside, lock, log_of, no_file};
use super::open::{options, tables, temporary_files};
use super::{BUSY_TIMEOUT, MIGRATOR, OWNER_ONLY, beside};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, query, query_as, query_scalar};
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use tempfile::Builder;
use time::OffsetDateTime;
use time::macros::format_description;

pub(in crate::store) async fn backup(path: &Path, to: &Path) -> Result<CopySummary, CopyError> {
    if !path.exists() {
        return Err(CopyError::Open(no_file(path)));
    }
    check_beside(path)?;
    let exists = || CopyError::Exists(to.display().to_string());
    if fs::symlink_metadata(to).is_ok() {
        return Err(exists());
    }
    // It is removed when the copy fails. After `kill -9` it stays, and `to` does not exist.
    let name = to.file_name().unwrap_or_default().display();
    let part = Builder::new().prefix(&format!(".{name}.")).suffix(".part").tempfile_in(folder(to));
    let part = part.map_err(failed(to))?;
    copy(path, part.path()).await?;
    let summary = check(part.path()).await?;
    part.as_file().sync_all().map_err(failed(part.path()))?;
    part.persist_noclobber(to).map_err(|unnamed| match unnamed.error.kind() {
        ErrorKind::AlreadyExists => exists(),
        _ => failed(to)(unnamed.error),
    })?;
    sync_folder(to)?;
    Ok(summary)
}

pub(in crate::store) async fn restore(path: &Path, from: &Path) -> Result<RestoreSummary, CopyError> {
    let refused = |error| CopyError::Source(from.display().to_string(), error);
    let from_id = FileId::of(&fs::metadata(from).map_err(failed(from))?);
    if fs::metadata(path).is_ok_and(|there| FileId::of(&there) == from_id) {
        return Err(refused(SourceError::SameFile));
    }
    // The copy replaces the file itself, not a symbolic link to it.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let replaced_lock = if path.exists() { Some(lock(path)?) } else { None };
    check_source(from).await.map_err(refused)?;
    let part = beside(path, ".restoring");
    // Locks the new file before it has its name, so that no inbox opens it too early.
    let part_lock = lock_part(&part)?;
    let restoring = async {
        copy(from, &part).await?;
        let paused = pause_waiting(&part).await?;
        let copy = check(&part).await?;
        let replaced = rename_replaced(path).await?;
        publish(&part, path)?;
        Ok(RestoreSummary { copy, replaced, paused })
    };
    let result = restoring.await;
    if result.is_err() {
        let _removed = fs::remove_file(&part);
    }
    drop((replaced_lock, part_lock));
    result
}

/// Creates and locks the new file: one restore runs at a time.
fn lock_part(part: &Path) -> Result<FileLock, CopyError> {
    let created = OpenOptions::new().append(true).create(true).mode(OWNER_ONLY).open(part);
    created.map_err(failed(part))?;
    Ok(lock(part)?)
}

/// Options that leave the journal mode of a file as it is.
fn plain(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new().filename(path).busy_timeout(BUSY_TIMEOUT).disable_statement_logging()
}

/// Copies a file in one read. Writers continue meanwhile, and the log grows.
async fn copy(from: &Path, to: &Path) -> Result<(), CopyError> {
    // A file without a log needs no index, and its folder may be full.
    if log_of(from).exists() {
        check_room(from).map_err(failed(from))?;
    }
    let mut connection = temporary_files(plain(from), to).read_only(true).connect().await?;
    vacuum_into(&mut connection, to).await?;
    connection.close().await?;
    Ok(())
}

async fn vacuum_into(connection: &mut SqliteConnection, to: &Path) -> Result<(), CopyError> {
    // VACUUM INTO accepts an empty file. Creating it here gives it its mode.
    let created = OpenOptions::new().write(true).create(true).truncate(true).mode(OWNER_ONLY).open(to);
    created.map_err(failed(to))?;
    let name = to.to_str().ok_or_else(|| failed(to)(ErrorKind::InvalidFilename.into()))?;
    query("VACUUM INTO ?1").bind(name).execute(&mut *connection).await?;
    // Removes the mark of the inbox that serves the original.
    let mut copy = plain(to).connect().await?;
    query("PRAGMA user_version = 0").execute(&mut copy).await?;
    copy.close().await?;
    Ok(())
}

/// Copies the contents of an open connection, whose files may be gone. Returns the number of entries, and the result of the
/// integrity check.
pub(super) async fn rescue_into(
    connection: &mut SqliteConnection,
    to: &Path,
) -> Result<(i64, Result<(), IntegrityError>), CopyError> {
    if to.exists() {
        return Err(CopyError::Exists(to.display().to_string()));
    }
    let part = beside(to, ".part");
    let copying = async {
        vacuum_into(connection, &part).await?;
        let mut copy = plain(&part).read_only(true).connect().await?;
        let integrity = check_integrity(&mut copy).await;
        let entries = query_scalar("SELECT count(*) FROM entry").fetch_one(&mut copy).await?;
        copy.close().await?;
        publish(&part, to)?;
        Ok((entries, integrity))
    };
    let result = copying.await;
    if result.is_err() {
        let _removed = fs::remove_file(&part);
    }
    result
}

/// Checks a copy, and counts its entries.
async fn check(path: &Path) -> Result<CopySummary, CopyError> {
    let mut connection = plain(path).read_only(true).connect().await?;
    check_integrity(&mut connection).await.map_err(CopyError::Integrity)?;
    let states: Vec<(String, i64)> =
        query_as("SELECT state, count(*) FROM entry GROUP BY state").fetch_all(&mut connection).await?;
    connection.close().await?;
    let bytes = fs::metadata(path).map_err(failed(path))?.len();
    Ok(CopySummary { states: states.into_iter().collect(), bytes })
}

/// Has SQLite check every page and every index.
async fn check_integrity(connection: &mut SqliteConnection) -> Result<(), IntegrityError> {
    let finding: Result<String, _> = query_scalar("PRAGMA integrity_check(1)").fetch_one(connection).await;
    match finding {
        Ok(finding) if finding == "ok" => Ok(()),
        Ok(finding) => Err(IntegrityError::Damage(finding)),
        Err(error) => Err(IntegrityError::Check(error.into())),
    }
}

/// Refuses a file that is damaged, is no inbox's store, or has tables that this program cannot serve.
async fn check_source(from: &Path) -> Result<(), SourceError> {
    let unreadable = |error: sqlx::Error| SourceError::Unreadable(error.into());
    let mut connection = plain(from).read_only(true).connect().await.map_err(unreadable)?;
    check_integrity(&mut connection).await.map_err(SourceError::Integrity)?;
    let tables = tables(&mut connection).await.map_err(unreadable)?;
    let _closed = connection.close().await;
    match version::check(&MIGRATOR, tables) {
        Err(VersionError::NoTables) => Err(SourceError::NoTables),
        // `blobgate inbox migrate` brings older tables to this version.
        Ok(()) | Err(VersionError::Older { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Pauses each hook with waiting entries: the inbox may have delivered them after the copy was made.
async fn pause_waiting(path: &Path) -> Result<Vec<String>, CopyError> {
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

/// Renames the file, its log and its index. SQLite can open the file under its new name.
async fn rename_replaced(path: &Path) -> Result<Option<PathBuf>, CopyError> {
    if !path.exists() {
        // SQLite would read a log without its file into the restored one.
        for log in ["-wal", "-shm"].map(|log| beside(path, log)).iter().filter(|log| log.exists()) {
            fs::rename(log, beside(log, ".before-restore")).map_err(failed(log))?;
        }
        return Ok(None);
    }
    // Writes the log into the file. SQLite cannot do that with a damaged file, whose log then stays beside it.
    if let Ok(mut connection) = options(path).connect().await {
        let _emptied = query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut connection).await;
        let _closed = connection.close().await;
    }
    let aside = beside(path, &format!(".before-restore-{}", stamp()));
    if aside.exists() {
        return Err(CopyError::Exists(aside.display().to_string()));
    }
    // The log first: SQLite would accept a file without its log as complete.
    for suffix in ["-wal", "-shm", ""] {
        let piece = beside(path, suffix);
        if piece.exists() {
            fs::rename(&piece, beside(&aside, suffix)).map_err(failed(&piece))?;
        }
    }
    Ok(Some(aside))
}

/// The time, for the name of a file.
pub(super) fn stamp() -> String {
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    OffsetDateTime::now_utc().format(format).unwrap_or_default()
}

/// Writes a file to the disk, and then gives it its name.
fn publish(part: &Path, name: &Path) -> Result<(), CopyError> {
    File::open(part).and_then(|file| file.sync_all()).map_err(failed(part))?;
    fs::rename(part, name).map_err(failed(name))?;
    sync_folder(name)
}

/// Writes a new name to the disk.
fn sync_folder(name: &Path) -> Result<(), CopyError> {
    let folder = folder(name);
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed(folder))
}

fn folder(name: &Path) -> &Path {
    name.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> CopyError {
    let name = path.display().to_string();
    move |error| CopyError::File(name.clone(), error)
}
