//! SQLite: one file, of which one `serve` has the use. Every write goes through one connection, one transaction after the
//! other; the group commit makes up for that.

mod clock;
mod copy;
mod deciding;
mod files;
mod lock;
mod migrate;
mod rescue;
mod sql;

use super::batch::{self, Ids};
use super::change::{self, Change, Changed, Changing};
use super::{CannotOpen, Claim, Error, Finished, Outcome, Stored, Wanted, version};
use crate::arrival::Arrival;
use crate::decide::Room;
use crate::entry::EntryState;
use crate::failpoint::{broken_by, die_at};
use clock::Clock;
pub(super) use copy::{backup, restore};
use deciding::Tx;
use files::{Files, allocate_index, check_room, open_index};
use lock::{Held, is_locked, lock, log_of};
pub(super) use migrate::migrate;
pub(super) use rescue::FileWatch;
use rescue::{Anchor, Fate, rescued_beside};
use serde::Serialize;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, query, query_as, query_scalar};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

pub(super) static MIGRATOR: Migrator = sqlx::migrate!("migrations/sqlite");

/// 128 MiB of cache, in KiB as SQLite counts them: with its own 2 MiB a million rows are slower by a third.
const CACHE: &str = "-131072";
/// 40 MB of log between checkpoints; after SQLite's own 4 MB it would checkpoint several times a second under load.
const CHECKPOINT_PAGES: &str = "10000";
/// Prepared statements of a connection: 60 of the inbox's, and two for each number of rows up to 32.
const STATEMENTS: usize = 160;
/// Its owner's.
const OWN: u32 = 0o600;
/// A command of another process may write in between.
const BUSY: Duration = Duration::from_secs(10);

/// A file.
#[derive(Debug)]
pub struct Sqlite {
    /// The only one that writes. `None` after a failure, until the next transaction opens another.
    writer: Mutex<Option<SqliteConnection>>,
    options: SqliteConnectOptions,
    /// For reading only.
    pub(crate) reads: SqlitePool,
    /// The same for deliveries: what operators read must not hold them up.
    pub(crate) looks: SqlitePool,
    path: PathBuf,
    next_id: AtomicI64,
    clock: Clock,
    /// Keeps the files open, whatever becomes of the writer, and of their names.
    anchor: Anchor,
    files: Files,
    fate: Arc<Fate>,
}

pub(super) fn options(path: &Path) -> SqliteConnectOptions {
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
fn temporary_files(options: SqliteConnectOptions, path: &Path) -> SqliteConnectOptions {
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
    pub(super) async fn open(path: &Path) -> Result<Self, CannotOpen> {
        let held = lock(path)?;
        let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if is_locked(&log_of(path)) {
            return Err(CannotOpen::Taken(format!("{}-wal", real.display())));
        }
        for rescued in rescued_beside(&real) {
            log::warn!(
                "{} lies beside the store, and may have events that the store has not: restore it as `blobgate inbox restore --help` says, or move it away",
                rescued.display()
            );
        }
        check_room(path).map_err(|error| CannotOpen::no_room(path, &error))?;
        let options = options(path);
        let mut writer = options
            .connect()
            .await
            .map_err(|error| if path.exists() { CannotOpen::Store(error) } else { no_file(path) })?;
        version::check(&MIGRATOR, migrate::tables(&mut writer).await?)?;
        check_settings(&mut writer).await?;
        let (anchor, files) = keep_open(path, real, held, &options, &mut writer).await?;
        let last: Option<i64> = query_scalar(sql::LAST_ID).fetch_optional(&mut writer).await?;
        let clock = Clock::start();
        // Whoever had them is gone: there is one process at a time.
        query(sql::VOID_LEASES).bind(clock.now()).execute(&mut writer).await?;
        query(sql::VOID_HOLDS).execute(&mut writer).await?;
        // The clock may have been stepped back meanwhile.
        query(sql::DUE_IN_TIME)
            .bind(clock.now())
            .bind(crate::deliver::LONGEST_DELAY)
            .execute(&mut writer)
            .await?;
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

    /// Copies of rescues that still lie beside it.
    pub(crate) fn rescued(&self) -> Vec<PathBuf> {
        rescued_beside(&self.files.path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
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
    let _emptied = query(sql::EMPTY_LOG).execute(&mut *writer).await;
    busy_timeout(writer, BUSY).await.ok()?;
    Some(mark)
}

async fn busy_timeout(connection: &mut SqliteConnection, time: Duration) -> Result<(), Error> {
    let sql = AssertSqlSafe(format!("PRAGMA busy_timeout = {}", time.as_millis()));
    query(sql).execute(connection).await.map(|_| ())
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn no_file(path: &Path) -> CannotOpen {
    CannotOpen::Version(format!("there is no store {} yet: run `blobgate inbox migrate`", path.display()))
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

/// Runs a transaction on the one connection that writes; one that has failed is closed.
macro_rules! transaction {
    ($sqlite:expr, |$connection:ident| $body:expr) => {
        transaction!($sqlite, "COMMIT", |$connection| $body)
    };
    ($sqlite:expr, $end:literal, |$connection:ident| $body:expr) => {{
        let mut writer = $sqlite.writer.lock().await;
        $sqlite.check(&mut writer).await?;
        let mut owned = match writer.take() {
            Some(connection) => connection,
            None => $sqlite.options.connect().await?,
        };
        let run = async {
            let $connection = &mut owned;
            query("BEGIN IMMEDIATE").execute(&mut *$connection).await?;
            // A connection that was just opened has opened what lies at the path.
            $sqlite.check_files()?;
            let result = $body;
            die_at!("before-commit");
            query($end).execute(&mut *$connection).await?;
            Ok::<_, Error>(result)
        };
        let result = run.await;
        if result.is_ok() {
            *writer = Some(owned);
        } else {
            let _closed = owned.close_hard().await;
        }
        // What was written into other files than those at the path is not stored: nobody may get an answer to it.
        $sqlite.check(&mut writer).await?;
        result
    }};
}

// Below the macro that it uses.
mod expect;

impl Sqlite {
    pub(super) async fn store(&self, arrivals: &[&Arrival], room: Room) -> Result<Stored, Error> {
        let (outcomes, begun, worked) = transaction!(self, |connection| {
            let begun = Instant::now();
            let outcomes =
                batch::store(&mut Tx { connection, sqlite: self, ids: Ids::Next }, arrivals, room).await?;
            (outcomes, begun, begun.elapsed())
        })?;
        Ok(Stored { outcomes, worked, synced: begun.elapsed().saturating_sub(worked) })
    }

    pub(super) async fn release(
        &self,
        id: i64,
        arrival: &Arrival,
        why: &str,
    ) -> Result<Option<Outcome>, Error> {
        transaction!(self, |connection| batch::release(
            &mut Tx { connection, sqlite: self, ids: Ids::Next },
            id,
            arrival,
            why
        )
        .await?)
    }

    pub(super) async fn would_release(&self, id: i64, arrival: &Arrival) -> Result<Option<Outcome>, Error> {
        transaction!(self, "ROLLBACK", |connection| {
            batch::release(&mut Tx { connection, sqlite: self, ids: Ids::Next }, id, arrival, "").await?
        })
    }

    pub(super) async fn claim(&self, route: &str, mut wanted: Wanted, lease: i64) -> Result<Claim, Error> {
        let now = self.clock.now();
        transaction!(self, |connection| {
            let mut claimed = Vec::new();
            for (pick, most) in wanted.picks.clone() {
                let limit = wanted.limit(pick, most);
                if limit == 0 {
                    continue;
                }
                let due: Vec<i64> = query_scalar(sql::due(pick))
                    .bind(route)
                    .bind(limit)
                    .bind(now)
                    .fetch_all(&mut *connection)
                    .await?;
                wanted.took(pick, limit, due.len());
                if due.is_empty() {
                    continue;
                }
                let ids = json(&due)?;
                query(sql::HOLD).bind(&ids).execute(&mut *connection).await?;
                query(sql::CLAIM)
                    .bind(&ids)
                    .bind(now.saturating_add(lease))
                    .execute(&mut *connection)
                    .await?;
                claimed.extend(due);
            }
            if claimed.is_empty() {
                wanted.claim(Vec::new())
            } else {
                let ids = json(&claimed)?;
                wanted.claim(query_as(sql::READ_CLAIMED).bind(&ids).fetch_all(&mut *connection).await?)
            }
        })
    }

    pub(super) async fn renew(&self, leases: &[(i64, i64)], lease: i64) -> Result<Vec<i64>, Error> {
        // Nobody else can take them: what is renewed is only shown.
        let until = self.clock.now().saturating_add(lease);
        transaction!(self, |connection| {
            query_scalar(sql::RENEW).bind(json(leases)?).bind(until).fetch_all(&mut *connection).await?
        })
    }

    /// One process, whose deliveries end with it: what it holds without knowing is a claim that failed after its commit.
    pub(super) async fn release_expired(&self, held: &[i64]) -> Result<usize, Error> {
        let (now, held) = (self.clock.now(), json(held)?);
        let ids: Vec<i64> = query_scalar(sql::EXPIRED).bind(&held).bind(now).fetch_all(&self.looks).await?;
        if !ids.is_empty() {
            let ids = json(&ids)?;
            transaction!(self, |connection| {
                query(sql::RELEASE_EXPIRED).bind(&ids).bind(now).execute(&mut *connection).await?;
                query(sql::LET_GO).bind(&ids).execute(&mut *connection).await?;
            })?;
        }
        Ok(ids.len())
    }

    pub(super) async fn finish(&self, finished: &[Finished], given_up: i64) -> Result<Vec<i64>, Error> {
        let ids = json(&finished.iter().map(|finished| finished.id).collect::<Vec<_>>())?;
        let succeeded = json(&super::succeeded_on(finished))?;
        let (now, json) = (self.clock.now(), json(finished)?);
        transaction!(self, |connection| {
            query(sql::FINISH_DONE).bind(&json).bind(now).execute(&mut *connection).await?;
            let failed: Vec<(i64, EntryState)> = query_as(sql::FINISH_FAILED)
                .bind(&json)
                .bind(now)
                .bind(given_up)
                .bind(super::LEAST_ATTEMPTS)
                .fetch_all(&mut *connection)
                .await?;
            query(sql::LET_GO).bind(&ids).execute(&mut *connection).await?;
            if succeeded != "[]" {
                query(sql::NOTE_SUCCESS).bind(&succeeded).bind(now).execute(&mut *connection).await?;
            }
            failed.into_iter().filter(|(_, state)| *state == EntryState::Dead).map(|(id, _)| id).collect()
        })
    }

    /// Runs each statement that stores an event, and takes it back.
    pub(super) async fn rehearse(&self, body: usize) -> Result<(), Error> {
        transaction!(self, "ROLLBACK", |connection| {
            batch::rehearse(&mut Tx { connection, sqlite: self, ids: Ids::rehearsed() }, body).await?;
        })
    }

    pub(super) async fn heartbeat(&self) -> Result<(), Error> {
        let now = self.clock.now();
        transaction!(self, |connection| query(sql::HEARTBEAT)
            .bind(now)
            .execute(&mut *connection)
            .await
            .map(|_| ())?)
    }

    /// Bytes in the file that hold nothing, and are written to before it grows; its log takes none of the disk then.
    pub(super) async fn reusable(&self) -> Result<u64, Error> {
        let mut writer = self.writer.lock().await;
        self.check(&mut writer).await?;
        if let Some(mut owned) = writer.take() {
            let empty = async {
                // A reader that is in its way is not waited for.
                busy_timeout(&mut owned, Duration::ZERO).await?;
                query(sql::EMPTY_LOG).execute(&mut owned).await?;
                busy_timeout(&mut owned, BUSY).await
            };
            match empty.await {
                Ok(()) => *writer = Some(owned),
                Err(error) => {
                    log::error!("the store's log cannot be emptied on a full disk: {error}");
                    let _closed = owned.close_hard().await;
                }
            }
        }
        drop(writer);
        let bytes: i64 = query_scalar(sql::REUSABLE).fetch_one(&self.reads).await?;
        Ok(u64::try_from(bytes).unwrap_or_default())
    }

    pub(super) async fn oldest_waiting(&self) -> Result<i64, Error> {
        let oldest: Option<i64> = query_scalar(super::OLDEST_WAITING).fetch_optional(&self.reads).await?;
        Ok(oldest.map_or(0, |oldest| super::seconds(self.clock.now(), oldest)))
    }

    pub(super) async fn purge_bodies(&self, age: i64, limit: i64) -> Result<(i64, i64), Error> {
        let before = self.clock.now().saturating_sub(age);
        transaction!(self, |connection| {
            let old: Vec<(i64, i64)> =
                query_as(sql::OLD_BODIES).bind(before).bind(limit).fetch_all(&mut *connection).await?;
            let (ids, sizes): (Vec<i64>, Vec<i64>) = old.into_iter().unzip();
            let json = json(&ids)?;
            query(sql::EMPTY).bind(&json).execute(&mut *connection).await?;
            query(sql::DELETE_PAYLOADS).bind(&json).execute(&mut *connection).await?;
            (i64::try_from(ids.len()).unwrap_or(i64::MAX), sizes.into_iter().fold(0, i64::saturating_add))
        })
    }

    pub(super) async fn purge_tombstones(&self, age: i64, limit: i64) -> Result<u64, Error> {
        let before = self.clock.now().saturating_sub(age);
        transaction!(self, |connection| {
            let old: Vec<(i64, String, Option<String>, Option<String>)> =
                query_as(sql::OLD_TOMBSTONES).bind(before).bind(limit).fetch_all(&mut *connection).await?;
            let json = json(&old)?;
            for statement in sql::PURGE_TOMBSTONES {
                query(statement).bind(&json).bind(before).execute(&mut *connection).await?;
            }
            u64::try_from(old.len()).unwrap_or_default()
        })
    }

    pub(super) async fn forget_delivered(&self, age: i64) -> Result<(), Error> {
        let before = self.clock.now().saturating_sub(age);
        transaction!(self, |connection| {
            query(sql::FORGET_DELIVERED).bind(before).execute(&mut *connection).await.map(|_| ())?
        })
    }

    pub(super) async fn waiting(&self) -> Result<Vec<(String, i64)>, Error> {
        query_as(sql::WAITING).bind(self.clock.now()).fetch_all(&self.looks).await
    }

    pub(super) fn now(&self) -> i64 {
        self.clock.now()
    }

    pub(super) async fn change(&self, change: Change, ids: &BTreeSet<i64>) -> Result<Changed, Error> {
        let now = self.clock.now();
        transaction!(self, |connection| {
            if change == Change::Purge {
                query(sql::OVERWRITE).execute(&mut *connection).await?;
            }
            let changed = change::change(connection, now, change, ids).await?;
            if change == Change::Purge {
                query(sql::DO_NOT_OVERWRITE).execute(&mut *connection).await?;
            }
            changed
        })
    }

    pub(super) async fn pause(&self, hook: &str, event: &str) -> Result<bool, Error> {
        let now = self.clock.now();
        transaction!(self, |connection| connection.pause(hook, event, now).await?)
    }

    pub(super) async fn resume(&self, hook: &str, event: &str) -> Result<bool, Error> {
        transaction!(self, |connection| connection.resume(hook, event).await?)
    }
}

fn json<T: Serialize + ?Sized>(value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::Encode(error.into()))
}

#[cfg(test)]
mod tests;
