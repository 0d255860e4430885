//! Opens a SQLite file.

use super::super::SettingsError;
use super::super::version::{self, OLDEST_PROGRAM, Tables, VERSION};
use super::super::{MAX_DELAY, NO_RESULT, OpenError};
use super::clock::Clock;
use super::deliveries::TRIM_ATTEMPTS;
use super::files::{StoreFiles, allocate_index, check_room, open_index};
use super::lock::{FileLock, check_writable, is_locked, lock, log_of, no_file};
use super::rescued::rescued_beside;
use super::{BUSY_TIMEOUT, EMPTY_LOG, MIGRATOR, Sqlite, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Error, query, query_scalar};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;
use tokio::sync::Mutex;

/// `PRAGMA synchronous = FULL`: a commit returns once it is on the disk.
pub(in crate::store) const FULL: i64 = 2;
/// 128 MiB of cache, in KiB as SQLite counts them: with SQLite's default of 2 MiB a million rows are slower by a third.
const CACHE_SIZE: &str = "-131072";
/// 40 MB of log between checkpoints. With SQLite's default of 4 MB a load test had several checkpoints a second.
const CHECKPOINT_PAGES: &str = "10000";
/// Prepared statements of a connection: 60 of the inbox, and two for each number of rows up to 32.
const MAX_STATEMENTS: usize = 160;

pub(in crate::store) fn options(path: &Path) -> SqliteConnectOptions {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .pragma("synchronous", FULL.to_string())
        .pragma("cache_size", CACHE_SIZE)
        .statement_cache_capacity(MAX_STATEMENTS)
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging();
    temporary_files(options, path)
}

/// Puts the temporary files of all connections of this process beside the store: no other folder must be writable.
pub(super) fn temporary_files(options: SqliteConnectOptions, path: &Path) -> SqliteConnectOptions {
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // With a read-only folder SQLite would report the temporary file, which hides the actual problem.
    match folder.to_str().filter(|_| is_writable(folder)) {
        Some(name) => options.pragma("temp_store_directory", format!("'{}'", name.replace('\'', "''"))),
        None => options,
    }
}

fn is_writable(folder: &Path) -> bool {
    rustix::fs::access(folder, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_ok()
}

impl Sqlite {
    pub(in crate::store) async fn open(path: &Path, synchronous: i64) -> Result<Self, OpenError> {
        /// The highest id of all entries so far, purged ones included: no id is used twice.
        const LAST_ID: &str = "SELECT seq FROM sqlite_sequence WHERE name = 'entry'";
        let lock = lock(path)?;
        let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if is_locked(&log_of(path)) {
            return Err(OpenError::Taken(format!("{}-wal", real.display())));
        }
        for rescued in rescued_beside(&real) {
            tracing::warn!(
                "the rescue copy {} may contain events that the store lacks. Restore it (`blobgate inbox restore --help`), or move it away",
                rescued.display()
            );
        }
        check_writable(path)?;
        check_room(path).map_err(|error| OpenError::no_room(path, error))?;
        let options = options(path).pragma("synchronous", synchronous.to_string());
        let mut writer = options
            .connect()
            .await
            .map_err(|error| if path.exists() { error.into() } else { no_file(path) })?;
        version::check(&MIGRATOR, tables(&mut writer).await?)?;
        check_settings(&mut writer, synchronous).await?;
        let (anchor, files) = keep_open(path, real, lock, &options, &mut writer).await?;
        let last: Option<i64> = query_scalar(LAST_ID).fetch_optional(&mut writer).await?;
        let clock = Clock::start();
        take_over(&mut writer, clock.now()).await?;
        let reading = |connections| {
            let options = options.clone().read_only(true);
            SqlitePoolOptions::new().max_connections(connections).connect_lazy_with(options)
        };
        let (reads, delivery_reads) = (reading(2), reading(1));
        Ok(Self {
            writer: Mutex::new(Some(writer)),
            options,
            reads,
            delivery_reads,
            path: path.to_owned(),
            next_id: AtomicI64::new(last.unwrap_or_default().saturating_add(1)),
            stored_at: AtomicI64::new(clock.now()),
            clock,
            anchor: Mutex::new(Some(anchor)),
            files,
            rescue: Arc::default(),
        })
    }
}

/// Ends the leases of the previous process: one process serves a file at a time. Moves due times that a clock stepped back has
/// put too far ahead.
async fn take_over(writer: &mut SqliteConnection, now: i64) -> Result<(), Error> {
    const VOID_LEASES: &str = "
        UPDATE entry SET state = CASE WHEN retired THEN 'superseded' ELSE 'waiting' END, lease_until = NULL,
            ended_at = CASE WHEN retired THEN ?1 END
        WHERE state = 'in_flight'";
    const IN_FLIGHT: &str = "SELECT id FROM entry WHERE state = 'in_flight' AND lease_until IS NOT NULL";
    const RECORD_VOID: &str = "
        INSERT INTO attempt (entry_id, number, at, answer) SELECT id, lease, ?2, ?3 FROM entry
        WHERE id IN (SELECT value FROM json_each(?1)) AND size > 0 ON CONFLICT (entry_id, number) DO NOTHING";
    /// Uses the index on `busy`: a start must not read every generation.
    const VOID_HOLDS: &str = "UPDATE generation SET busy = NULL WHERE busy IS NOT NULL";
    /// After n attempts an entry is due within 2^n seconds and within the longest delay. Goes route by route, and reads only
    /// entries that are due in more than a second.
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
    let in_flight: Vec<i64> = query_scalar(IN_FLIGHT).fetch_all(&mut *writer).await?;
    let in_flight = json(&in_flight)?;
    query(RECORD_VOID).bind(&in_flight).bind(now).bind(NO_RESULT).execute(&mut *writer).await?;
    query(TRIM_ATTEMPTS).bind(&in_flight).execute(&mut *writer).await?;
    query(VOID_LEASES).bind(now).execute(&mut *writer).await?;
    query(VOID_HOLDS).execute(&mut *writer).await?;
    query(DUE_IN_TIME).bind(now).bind(MAX_DELAY).execute(writer).await.map(|_| ())
}

/// Opens SQLite's files a second time: they stay open, and the inbox can compare them with the files at the path.
async fn keep_open(
    path: &Path,
    real: PathBuf,
    lock: FileLock,
    options: &SqliteConnectOptions,
    writer: &mut SqliteConnection,
) -> Result<(SqliteConnection, StoreFiles), OpenError> {
    let failed = |error| OpenError::File(path.display().to_string(), error);
    let index = open_index(&real).map_err(failed)?;
    allocate_index(index, &real).map_err(|error| OpenError::no_room(path, error))?;
    let mark = mark(writer).await;
    let mut anchor = options.connect().await?;
    // SQLite opens the log and its index at the first read.
    let _read: i64 = query_scalar("SELECT count(*) FROM sqlite_master").fetch_one(&mut anchor).await?;
    let files = StoreFiles::open(path, real, lock, index, mark).map_err(failed)?;
    Ok((anchor, files))
}

/// Marks the file with a random number, so that the inbox can tell it from another file in its place. `None` if the file is
/// read-only.
async fn mark(writer: &mut SqliteConnection) -> Option<u32> {
    let random = std::hash::RandomState::new();
    let mark = u32::try_from(std::hash::BuildHasher::hash_one(&random, std::process::id()) >> 33).ok()?;
    query(AssertSqlSafe(format!("PRAGMA user_version = {mark}"))).execute(&mut *writer).await.ok()?;
    // Frees the disk space of the previous process's log. Does not wait for another program that reads it.
    busy_timeout(writer, Duration::ZERO).await.ok()?;
    let _emptied = query(EMPTY_LOG).execute(&mut *writer).await;
    busy_timeout(writer, BUSY_TIMEOUT).await.ok()?;
    Some(mark)
}

pub(super) async fn busy_timeout(connection: &mut SqliteConnection, time: Duration) -> Result<(), Error> {
    let sql = AssertSqlSafe(format!("PRAGMA busy_timeout = {}", time.as_millis()));
    query(sql).execute(connection).await.map(|_| ())
}

/// The versions of the file's tables. `None` if it has none.
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

/// Reads the settings back: a network file system can refuse them.
async fn check_settings(connection: &mut SqliteConnection, expected: i64) -> Result<(), OpenError> {
    let journal_mode: String = query_scalar("PRAGMA journal_mode").fetch_one(&mut *connection).await?;
    let synchronous: i64 = query_scalar("PRAGMA synchronous").fetch_one(&mut *connection).await?;
    if journal_mode != "wal" || synchronous != expected {
        return Err(SettingsError::Journal { journal_mode, synchronous }.into());
    }
    Ok(())
}
