//! The SQLite driver. One inbox serves a file. One connection writes, one transaction after the other: the group commit makes up
//! for that.
//!
//! Statements get lists as JSON, and long texts and bytes as bound values.

mod clock;
mod copy;
mod deciding;
mod files;
mod lock;
mod migrate;
mod open;
mod rescue;
mod rescued;

use super::audit;
use super::batch::{self, IdSource};
use super::error::{DAMAGED, sqlite::remedy};
use super::notification;
use super::read::{OLDEST_WAITING, USAGE, USAGE_OF_ROUTES};
use super::{
    ArrivalOutcome, ArrivalStore, CommittedBatch, NewAction, ReleaseResult, Result, Store, StoreError, Usage,
};
use crate::arrival::Arrival;
use crate::decide::QuarantineRoom;
use crate::health::{Fault, Faults};
use crate::line_limit::permits_condition;
use async_trait::async_trait;
use clock::Clock;
pub(super) use copy::{backup, restore};
use deciding::SqliteTransaction;
use files::StoreFiles;
pub(super) use migrate::migrate;
pub(super) use open::FULL;
use open::busy_timeout;
#[cfg(test)]
pub(super) use open::options;
pub(crate) use rescue::FileWatch;
use rescue::{Anchor, RescueState};
use rescued::rescued_beside;
use serde::Serialize;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqlitePool};
use sqlx::{Connection, Error, query, query_as, query_scalar};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

pub(super) static MIGRATOR: Migrator = sqlx::migrate!("migrations/sqlite");

/// The mode of a new file.
const OWNER_ONLY: u32 = 0o600;
/// A command of another process may be writing.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// After this time without an event, in microseconds, the log is truncated.
const IDLE_TIME: i64 = 5 * 1_000_000;
const EMPTY_LOG: &str = "PRAGMA wal_checkpoint(TRUNCATE)";

/// A store in a SQLite file.
#[derive(Debug)]
pub(crate) struct Sqlite {
    /// The only connection that writes. `None` after a failure, until the next transaction opens another.
    writer: Mutex<Option<SqliteConnection>>,
    options: SqliteConnectOptions,
    /// The read-only connections for operators.
    pub(crate) reads: SqlitePool,
    /// The read-only connection for deliveries: an operator's long read must not delay them.
    pub(crate) delivery_reads: SqlitePool,
    path: PathBuf,
    next_id: AtomicI64,
    clock: Clock,
    /// The time of the newest arrival, by `clock`.
    stored_at: AtomicI64,
    anchor: Anchor,
    files: StoreFiles,
    rescue: Arc<RescueState>,
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Runs a transaction on the writing connection. Closes the connection if the transaction fails.
macro_rules! transaction {
    ($sqlite:expr, |$connection:ident| $body:expr) => {
        transaction!($sqlite, "COMMIT", |$connection| $body)
    };
    ($sqlite:expr, $end:literal, |$connection:ident| $body:expr) => {{
        let mut writer = $sqlite.writer.lock().await;
        $sqlite.check(&mut writer).await?;
        let mut owned = match writer.take() {
            Some(connection) => connection,
            None => sqlx::ConnectOptions::connect(&$sqlite.options).await?,
        };
        let run = async {
            let $connection = &mut owned;
            sqlx::query("BEGIN IMMEDIATE").execute(&mut *$connection).await?;
            // A new connection has opened the file at the path, which may be another one by now.
            $sqlite.compare_files()?;
            let result = $body;
            $crate::failpoint::die_at!("before-commit");
            sqlx::query($end).execute(&mut *$connection).await?;
            Ok::<_, $crate::store::StoreError>(result)
        };
        let result = run.await;
        if result.is_ok() {
            *writer = Some(owned);
        } else {
            let _closed = sqlx::Connection::close_hard(owned).await;
        }
        // A commit into files that are gone from the path is lost at the next start: no client may get 200 for it.
        $sqlite.check(&mut writer).await?;
        result
    }};
}

// These modules use the macro above.
mod changes;
mod deliveries;
mod expectations;
mod finishing;
mod reading;
mod retention;

#[async_trait]
impl ArrivalStore for Sqlite {
    async fn store(&self, arrivals: &[&Arrival], room: QuarantineRoom) -> Result<CommittedBatch> {
        self.stored_at.store(self.clock.now(), Ordering::Relaxed);
        let (outcomes, begun, worked) = transaction!(self, |connection| {
            let begun = Instant::now();
            let outcomes = batch::store(
                &mut SqliteTransaction { connection, sqlite: self, ids: IdSource::Next },
                arrivals,
                room,
            )
            .await?;
            (outcomes, begun, begun.elapsed())
        })?;
        Ok(CommittedBatch { outcomes, worked, synced: begun.elapsed().saturating_sub(worked) })
    }

    async fn release(
        &self,
        id: i64,
        arrival: &Arrival,
        why: &str,
        action: Option<&NewAction>,
    ) -> Result<Option<ReleaseResult>> {
        let now = self.clock.now();
        transaction!(self, |connection| {
            let mut tx =
                SqliteTransaction { connection: &mut *connection, sqlite: self, ids: IdSource::Next };
            let outcome = batch::release(&mut tx, id, arrival, why).await?;
            audit::note_release(connection, now, id, outcome, action).await?
        })
    }

    async fn preview_release(&self, id: i64, arrival: &Arrival) -> Result<Option<ArrivalOutcome>> {
        transaction!(self, "ROLLBACK", |connection| {
            batch::release(
                &mut SqliteTransaction { connection, sqlite: self, ids: IdSource::Next },
                id,
                arrival,
                "",
            )
            .await?
        })
    }
}

#[async_trait]
impl Store for Sqlite {
    async fn rehearse(&self, body: usize) -> Result<()> {
        transaction!(self, "ROLLBACK", |connection| {
            batch::rehearse(
                &mut SqliteTransaction { connection, sqlite: self, ids: IdSource::rehearsed() },
                body,
            )
            .await?;
        })
    }

    async fn heartbeat(&self) -> Result<()> {
        const HEARTBEAT: &str =
            "INSERT INTO heartbeat (one, at) VALUES (1, ?1) ON CONFLICT (one) DO UPDATE SET at = excluded.at";
        let now = self.clock.now();
        transaction!(self, |connection| query(HEARTBEAT)
            .bind(now)
            .execute(&mut *connection)
            .await
            .map(|_| ())?)
    }

    async fn begin_notification(&self, kind: &str, lease: i64, every: i64) -> Result<bool> {
        let now = self.clock.now();
        transaction!(self, |connection| {
            let begun = query(notification::BEGIN).bind(kind).bind(now).bind(lease).bind(every);
            begun.execute(&mut *connection).await?.rows_affected() == 1
        })
    }

    async fn end_notification(&self, kind: &str, next: i64) -> Result<()> {
        let now = self.clock.now();
        transaction!(self, |connection| {
            let ended = query(notification::END).bind(kind).bind(now).bind(next);
            ended.execute(&mut *connection).await.map(|_| ())?
        })
    }

    /// Counts the free pages of the file, and empties its log. SQLite fills free pages before the file grows.
    async fn reusable(&self) -> Result<u64> {
        const REUSABLE: &str =
            "SELECT freelist_count * page_size FROM pragma_freelist_count, pragma_page_size";
        let mut writer = self.writer.lock().await;
        self.check(&mut writer).await?;
        if let Err(error) = self.empty_log(&mut writer).await
            && permits_condition(("store-log", ""))
        {
            tracing::error!("cannot empty the store's log on a full disk: {error}. Free some space");
        }
        drop(writer);
        let bytes: i64 = query_scalar(REUSABLE).fetch_one(&self.reads).await?;
        Ok(u64::try_from(bytes).unwrap_or_default())
    }

    async fn usage(&self) -> Result<Usage> {
        let rows = query_as(USAGE).fetch_all(&self.reads).await?;
        let routes = query_as(USAGE_OF_ROUTES).fetch_all(&self.reads).await?;
        let oldest = query_as(OLDEST_WAITING).fetch_all(&self.reads).await?;
        Ok(Usage::of(rows, routes, oldest, self.clock.now()))
    }

    async fn explain(&self, error: &StoreError) -> (Fault, String) {
        match error {
            StoreError::Damaged(why) => (Fault::StoreDamaged, format!("{why}. {DAMAGED}")),
            StoreError::Denied(why) => {
                let path = self.path.display();
                let sentence = format!(
                    "{why}: the inbox cannot write to {path} or beside it. Give its user the file and its folder, on a file system that is mounted for writing"
                );
                (Fault::StoreDenied, sentence)
            }
            error => (Fault::StoreFailing, format!("{error}. {}", remedy(error))),
        }
    }

    async fn missing_rights(&self) -> Option<(bool, String)> {
        None
    }

    fn writers(&self) -> u32 {
        1
    }

    fn file(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn check_files(&self) -> Result<()> {
        self.compare_files()
    }

    fn watch_files(self: Arc<Self>, faults: &Arc<Faults>) -> Option<FileWatch> {
        Some(self.watch(Arc::clone(faults)))
    }

    fn rescued_copies(&self) -> Vec<String> {
        rescued_beside(&self.files.path).iter().map(|path| path.display().to_string()).collect()
    }
}

impl Sqlite {
    /// Writes the log into the file, and truncates it. Does not wait for a reader of the log.
    async fn empty_log(&self, writer: &mut Option<SqliteConnection>) -> Result<()> {
        let Some(mut owned) = writer.take() else { return Ok(()) };
        let empty = async {
            busy_timeout(&mut owned, Duration::ZERO).await?;
            query(EMPTY_LOG).execute(&mut owned).await?;
            busy_timeout(&mut owned, BUSY_TIMEOUT).await
        };
        match empty.await {
            Ok(()) => *writer = Some(owned),
            Err(error) => {
                let _closed = owned.close_hard().await;
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Whether no event has come for [`IDLE_TIME`].
    fn is_idle(&self) -> bool {
        self.clock.now().saturating_sub(self.stored_at.load(Ordering::Relaxed)) >= IDLE_TIME
    }
}

fn json<T: Serialize + ?Sized>(value: &T) -> std::result::Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::Encode(error.into()))
}

#[cfg(test)]
mod tests;
