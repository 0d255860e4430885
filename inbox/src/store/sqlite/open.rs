//! What it takes to open a file.

use super::super::version::{self, OLDEST_PROGRAM, Tables, VERSION};
use super::super::{CannotOpen, MAX_DELAY};
use super::clock::Clock;
use super::files::{Files, allocate_index, check_room, open_index};
use super::lock::{Held, is_locked, lock, log_of, no_file};
use super::rescued::rescued_beside;
use super::{BUSY, EMPTY_LOG, MIGRATOR, Sqlite};
use crate::failpoint::broken_by;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, ConnectOptions, Error, query, query_scalar};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;
use tokio::sync::Mutex;

/// 128 MiB of cache, in KiB as SQLite counts them: with its own 2 MiB a million rows are slower by a third.
const CACHE: &str = "-131072";
/// 40 MB of log between checkpoints; after SQLite's own 4 MB it would checkpoint several times a second under load.
const CHECKPOINT_PAGES: &str = "10000";
/// Prepared statements of a connection: 60 of the inbox's, and two for each number of rows up to 32.
const STATEMENTS: usize = 160;
pub(in crate::store) fn options(path: &Path) -> SqliteConnectOptions {
    let synchronous =
        if broken_by!("break-synchronous-off") { SqliteSynchronous::Off } else { SqliteSynchronous::Full };
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .pragma("cache_size", CACHE)
        .statement_cache_capacity(STATEMENTS)
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
        .busy_timeout(BUSY)
        .disable_statement_logging();
    temporary_files(options, path)
}

/// Has temporary files lie beside this one, for all connections of the process: nowhere else has to be writable.
pub(super) fn temporary_files(options: SqliteConnectOptions, path: &Path) -> SqliteConnectOptions {
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // SQLite fails where it cannot write there, and then this is not what is missing.
    match folder.to_str().filter(|_| is_writable(folder)) {
        Some(name) => options.pragma("temp_store_directory", format!("'{}'", name.replace('\'', "''"))),
        None => options,
    }
}

fn is_writable(folder: &Path) -> bool {
    rustix::fs::access(folder, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_ok()
}

impl Sqlite {
    pub(in crate::store) async fn open(path: &Path) -> Result<Self, CannotOpen> {
        /// Of any entry that ever was: a purged one's id is nobody else's.
        const LAST_ID: &str = "SELECT seq FROM sqlite_sequence WHERE name = 'entry'";
        let held = lock(path)?;
        let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if is_locked(&log_of(path)) {
            return Err(CannotOpen::Taken(format!("{}-wal", real.display())));
        }
        for rescued in rescued_beside(&real) {
            tracing::warn!(
                "{} lies beside the store, and may have events that the store has not: restore it as `blobgate inbox restore --help` says, or move it away",
                rescued.display()
            );
        }
        check_room(path).map_err(|error| CannotOpen::no_room(path, &error))?;
        let options = options(path);
        let mut writer = options
            .connect()
            .await
            .map_err(|error| if path.exists() { error.into() } else { no_file(path) })?;
        version::check(&MIGRATOR, tables(&mut writer).await?)?;
        check_settings(&mut writer).await?;
        let (anchor, files) = keep_open(path, real, held, &options, &mut writer).await?;
        let last: Option<i64> = query_scalar(LAST_ID).fetch_optional(&mut writer).await?;
        let clock = Clock::start();
        take_over(&mut writer, clock.now()).await?;
        let reading = |connections| {
            let options = options.clone().read_only(true);
            SqlitePoolOptions::new().max_connections(connections).connect_lazy_with(options)
        };
        let (reads, looks) = (reading(2), reading(1));
        Ok(Self {
            writer: Mutex::new(Some(writer)),
            options,
            reads,
            looks,
            path: path.to_owned(),
            next_id: AtomicI64::new(last.unwrap_or_default().saturating_add(1)),
            clock,
            anchor: Mutex::new(Some(anchor)),
            files,
            fate: Arc::default(),
        })
    }
}

/// Ends the leases of the run before: there is one process at a time. The clock may have been stepped back meanwhile.
async fn take_over(writer: &mut SqliteConnection, now: i64) -> Result<(), Error> {
    const VOID_LEASES: &str = "
        UPDATE entry SET state = CASE WHEN retired THEN 'superseded' ELSE 'waiting' END, lease_until = NULL,
            ended_at = CASE WHEN retired THEN ?1 END
        WHERE state = 'in_flight'";
    /// By an index of its own: a start must not read every generation.
    const VOID_HOLDS: &str = "UPDATE generation SET busy = NULL WHERE busy IS NOT NULL";
    /// After n attempts nothing is due later than in 2^n seconds, nor than in the longest delay. Route by route, from what is
    /// due in more than a second on: what is due now is not read, however much of it waits.
    const DUE_IN_TIME: &str = "
        UPDATE entry SET due_at = ?1 WHERE id IN (
            WITH RECURSIVE routes (route) AS (
                SELECT min(route) FROM entry WHERE state = 'waiting'
                UNION ALL
                SELECT (SELECT min(e.route) FROM entry e WHERE e.state = 'waiting' AND e.route > routes.route)
                FROM routes WHERE routes.route IS NOT NULL
            )
            SELECT e.id FROM routes CROSS JOIN (SELECT 0 AS behind UNION ALL SELECT 1) AS k CROSS JOIN entry e
            WHERE e.state = 'waiting' AND e.route = routes.route AND e.behind = k.behind AND e.due_at > ?1 + min(?2, 1000000)
                AND e.due_at > ?1 + min(?2, 1000000 << min(e.attempts, 12)))";
    query(VOID_LEASES).bind(now).execute(&mut *writer).await?;
    query(VOID_HOLDS).execute(&mut *writer).await?;
    query(DUE_IN_TIME).bind(now).bind(MAX_DELAY).execute(writer).await.map(|_| ())
}

/// Opens once more what SQLite has opened, so that it stays open, and can be compared with what lies at the path.
async fn keep_open(
    path: &Path,
    real: PathBuf,
    held: Held,
    options: &SqliteConnectOptions,
    writer: &mut SqliteConnection,
) -> Result<(SqliteConnection, Files), CannotOpen> {
    let cannot = |error| CannotOpen::File(path.display().to_string(), error);
    let no_room = |error| CannotOpen::no_room(path, &error);
    let index = open_index(&real).map_err(cannot)?;
    allocate_index(index, &real).map_err(no_room)?;
    let mark = mark(writer).await;
    let mut anchor = options.connect().await?;
    let _read: i64 = query_scalar("SELECT count(*) FROM sqlite_master").fetch_one(&mut anchor).await?;
    let files = Files::open(path, real, held, index, mark).map_err(cannot)?;
    Ok((anchor, files))
}

/// Marks the file, so that another one in its place is told from it. `None` where nothing can be written.
async fn mark(writer: &mut SqliteConnection) -> Option<u32> {
    let random = std::hash::RandomState::new();
    let mark = u32::try_from(std::hash::BuildHasher::hash_one(&random, std::process::id()) >> 33).ok()?;
    query(AssertSqlSafe(format!("PRAGMA user_version = {mark}"))).execute(&mut *writer).await.ok()?;
    // The log of a run before gives its place back. Another program that reads it is not waited for.
    busy_timeout(writer, Duration::ZERO).await.ok()?;
    let _emptied = query(EMPTY_LOG).execute(&mut *writer).await;
    busy_timeout(writer, BUSY).await.ok()?;
    Some(mark)
}

pub(super) async fn busy_timeout(connection: &mut SqliteConnection, time: Duration) -> Result<(), Error> {
    let sql = AssertSqlSafe(format!("PRAGMA busy_timeout = {}", time.as_millis()));
    query(sql).execute(connection).await.map(|_| ())
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

async fn check_settings(connection: &mut SqliteConnection) -> Result<(), CannotOpen> {
    let mode: String = query_scalar("PRAGMA journal_mode").fetch_one(&mut *connection).await?;
    let synchronous: i64 = query_scalar("PRAGMA synchronous").fetch_one(&mut *connection).await?;
    const FULL: i64 = 2;
    if mode != "wal" || (synchronous != FULL && !broken_by!("break-synchronous-off")) {
        let sentence = format!(
            "the file takes neither WAL nor synchronous=FULL (journal_mode {mode}, synchronous {synchronous}): put it on a local disk"
        );
        return Err(CannotOpen::Settings(sentence));
    }
    Ok(())
}
