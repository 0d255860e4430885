//! SQLite: one file, of which one `serve` has the use. Every write goes through one connection, one transaction after the
//! other; the group commit makes up for that.
//!
//! Statements get lists as JSON; what is long or bytes is bound as it is.

mod clock;
mod copy;
mod deciding;
mod files;
mod lock;
mod migrate;
mod open;
mod rescue;
mod rescued;

use super::batch::{self, Ids};
use super::error::{DAMAGED, sqlite::remedy};
use super::read::{OLDEST_WAITING, USAGE};
use super::row::seconds;
use super::{ArrivalStore, Outcome, Result, Store, StoreError, Stored, Usage};
use crate::arrival::Arrival;
use crate::decide::Room;
use crate::health::{Fault, Faults};
use async_trait::async_trait;
use clock::Clock;
pub(super) use copy::{backup, restore};
use deciding::Tx;
use files::Files;
pub(super) use migrate::migrate;
use open::busy_timeout;
#[cfg(test)]
pub(super) use open::options;
pub(crate) use rescue::FileWatch;
use rescue::{Anchor, Fate};
use rescued::rescued_beside;
use serde::Serialize;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqlitePool};
use sqlx::{Connection, Error, query, query_as, query_scalar};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

pub(super) static MIGRATOR: Migrator = sqlx::migrate!("migrations/sqlite");

/// Its owner's.
const OWN: u32 = 0o600;
/// A command of another process may write in between.
const BUSY: Duration = Duration::from_secs(10);
const EMPTY_LOG: &str = "PRAGMA wal_checkpoint(TRUNCATE)";

/// A file.
#[derive(Debug)]
pub(crate) struct Sqlite {
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

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
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
            None => sqlx::ConnectOptions::connect(&$sqlite.options).await?,
        };
        let run = async {
            let $connection = &mut owned;
            sqlx::query("BEGIN IMMEDIATE").execute(&mut *$connection).await?;
            // A connection that was just opened has opened what lies at the path.
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
        // What was written into other files than those at the path is not stored: nobody may get an answer to it.
        $sqlite.check(&mut writer).await?;
        result
    }};
}

// Below the macro that they use.
mod changes;
mod deliveries;
mod expectations;
mod reading;
mod retention;

#[async_trait]
impl ArrivalStore for Sqlite {
    async fn store(&self, arrivals: &[&Arrival], room: Room) -> Result<Stored> {
        let (outcomes, begun, worked) = transaction!(self, |connection| {
            let begun = Instant::now();
            let outcomes =
                batch::store(&mut Tx { connection, sqlite: self, ids: Ids::Next }, arrivals, room).await?;
            (outcomes, begun, begun.elapsed())
        })?;
        Ok(Stored { outcomes, worked, synced: begun.elapsed().saturating_sub(worked) })
    }

    async fn release(&self, id: i64, arrival: &Arrival, why: &str) -> Result<Option<Outcome>> {
        transaction!(self, |connection| batch::release(
            &mut Tx { connection, sqlite: self, ids: Ids::Next },
            id,
            arrival,
            why
        )
        .await?)
    }

    async fn would_release(&self, id: i64, arrival: &Arrival) -> Result<Option<Outcome>> {
        transaction!(self, "ROLLBACK", |connection| {
            batch::release(&mut Tx { connection, sqlite: self, ids: Ids::Next }, id, arrival, "").await?
        })
    }
}

#[async_trait]
impl Store for Sqlite {
    /// Runs each statement that stores an event, and takes it back.
    async fn rehearse(&self, body: usize) -> Result<()> {
        transaction!(self, "ROLLBACK", |connection| {
            batch::rehearse(&mut Tx { connection, sqlite: self, ids: Ids::rehearsed() }, body).await?;
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

    /// Bytes in the file that hold nothing, and are written to before it grows; its log takes none of the disk then.
    async fn reusable(&self) -> Result<u64> {
        const REUSABLE: &str =
            "SELECT freelist_count * page_size FROM pragma_freelist_count, pragma_page_size";
        let mut writer = self.writer.lock().await;
        self.check(&mut writer).await?;
        if let Some(mut owned) = writer.take() {
            let empty = async {
                // A reader that is in its way is not waited for.
                busy_timeout(&mut owned, Duration::ZERO).await?;
                query(EMPTY_LOG).execute(&mut owned).await?;
                busy_timeout(&mut owned, BUSY).await
            };
            match empty.await {
                Ok(()) => *writer = Some(owned),
                Err(error) => {
                    tracing::error!("the store's log cannot be emptied on a full disk: {error}");
                    let _closed = owned.close_hard().await;
                }
            }
        }
        drop(writer);
        let bytes: i64 = query_scalar(REUSABLE).fetch_one(&self.reads).await?;
        Ok(u64::try_from(bytes).unwrap_or_default())
    }

    async fn usage(&self) -> Result<Usage> {
        let rows = query_as(USAGE).fetch_all(&self.reads).await?;
        let oldest: Option<i64> = query_scalar(OLDEST_WAITING).fetch_optional(&self.reads).await?;
        Ok(Usage::of(rows, oldest.map_or(0, |oldest| seconds(self.clock.now(), oldest))))
    }

    async fn explain(&self, error: &StoreError) -> (Fault, String) {
        match error {
            StoreError::Damaged(why) => (Fault::StoreDamaged, format!("{why}: {DAMAGED}")),
            StoreError::Denied(why) => {
                let path = self.path.display();
                let sentence = format!(
                    "{why}: the inbox cannot write to {path} or beside it, so give its user the file and its folder, on a file system that is mounted for writing"
                );
                (Fault::StoreDenied, sentence)
            }
            error => (Fault::StoreFailing, format!("{error}: {}", remedy(error))),
        }
    }

    async fn lacks(&self) -> Option<(bool, String)> {
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

    fn rescued(&self) -> Vec<String> {
        rescued_beside(&self.files.path).iter().map(|path| path.display().to_string()).collect()
    }
}

fn json<T: Serialize + ?Sized>(value: &T) -> std::result::Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::Encode(error.into()))
}

#[cfg(test)]
mod tests;
