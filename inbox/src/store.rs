//! The store: SQLite in one file, or PostgreSQL.
//!
//! Nothing here is given up halfway: every transaction runs in a task of its own to its end, for a client that leaves must
//! not leave half of one behind.

mod admin;
mod batch;
mod change;
mod expect;
mod postgres;
mod sqlite;

use crate::arrival::Arrival;
use crate::deliver::Pause;
pub(crate) use admin::{Alike, Cursor, Entry, PausedSince, Payload, Which};
pub(crate) use batch::Outcome;
pub(crate) use change::{Change, UNKNOWN};
pub(crate) use expect::{
    Allowed, Answered, CONTRADICTED, Expectation, Expected, Next, Noted, Question, UNKNOWN as IS_UNKNOWN,
};
use serde::Serialize;
use sqlx::migrate::Migrator;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error as ThisError;

pub(crate) use postgres::Postgres;
pub(crate) use sqlite::Sqlite;

pub(crate) type Error = sqlx::Error;

/// Where events are stored.
#[derive(Clone, Debug)]
pub enum Store {
    /// A file, of which one `serve` has the use.
    #[doc(hidden)]
    Sqlite(Arc<Sqlite>),
    /// A database, for as many as like.
    #[doc(hidden)]
    Postgres(Arc<Postgres>),
}

/// A store's name: `sqlite:PATH` or `postgres://...`.
#[derive(Clone, Debug)]
pub enum Place {
    /// The file.
    Sqlite(PathBuf),
    /// The URL.
    Postgres(url::Url),
}

/// Why a store cannot be used.
#[derive(Debug, ThisError)]
pub enum CannotOpen {
    /// It has another version of the tables.
    #[error("{0}")]
    Version(String),
    /// Its settings lose what they have acknowledged.
    #[error("{0}")]
    Settings(String),
    /// Another process serves from it.
    #[error("another inbox serves from {0}: end it, or use a store of its own")]
    Taken(String),
    /// The database says so.
    #[error("the store cannot be opened: {0}")]
    Store(#[from] sqlx::Error),
    /// The database says so.
    #[error("the store cannot be brought to this version: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// The file system says so.
    #[error("{0} cannot be opened: {1}")]
    File(String, std::io::Error),
}

/// What is in a copy that was checked.
#[derive(Debug)]
pub struct Copied {
    /// Entries by state.
    pub states: BTreeMap<String, i64>,
    /// The file's size.
    pub bytes: u64,
}

/// A copy that is in its place.
#[derive(Debug)]
pub struct Restored {
    /// What is in it.
    pub copied: Copied,
    /// Where the file that it replaces is now.
    pub replaced: Option<PathBuf>,
    /// The hooks that are paused: what waits for them may have been delivered since the copy was made.
    pub paused: Vec<String>,
}

/// Why there is no copy.
#[derive(Debug, ThisError)]
pub enum CannotCopy {
    /// The database's own tools do it.
    #[error("PostgreSQL has its own tools for this: inbox/BACKUP.md says how to use them")]
    Postgres,
    /// Nothing is overwritten.
    #[error("{0} exists already: name a new file")]
    Exists(String),
    /// Not a file that was made by `backup`, or by this program's version or one before.
    #[error("{0} is not restored: {1}")]
    NotAStore(String, String),
    /// What SQLite says of the copy.
    #[error("the copy is not whole: {0}")]
    NotWhole(String),
    /// The store cannot be used.
    #[error(transparent)]
    Open(#[from] CannotOpen),
    /// The database says so.
    #[error("the store cannot be copied: {0}")]
    Store(#[from] sqlx::Error),
    /// The file system says so.
    #[error("{0}: {1}")]
    File(String, std::io::Error),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no store: write sqlite:PATH or postgres://USER@HOST/DATABASE");
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() { Err(wrong()) } else { Ok(Place::Sqlite(path.into())) };
        }
        match url::Url::parse(text) {
            Ok(url) if matches!(url.scheme(), "postgres" | "postgresql") => Ok(Place::Postgres(url)),
            _ => Err(wrong()),
        }
    }
}

impl Place {
    /// Brings the tables to this version, making what is missing. Twice is once.
    ///
    /// # Errors
    /// [`CannotOpen`].
    pub async fn migrate(&self) -> Result<(), CannotOpen> {
        match self {
            Place::Sqlite(path) => sqlite::migrate(path).await,
            Place::Postgres(url) => postgres::migrate(url).await,
        }
    }

    /// Copies the file to a new one, while it is served from. The copy is as the file was at one moment.
    ///
    /// # Errors
    /// [`CannotCopy`]; then there is no new file.
    pub async fn backup(&self, to: &Path) -> Result<Copied, CannotCopy> {
        match self {
            Place::Sqlite(path) => sqlite::backup(path, to).await,
            Place::Postgres(_) => Err(CannotCopy::Postgres),
        }
    }

    /// Puts a copy in the place of the file, which is kept beside it. Every hook for which something waits in the copy is
    /// paused: it may have been delivered since.
    ///
    /// # Errors
    /// [`CannotCopy`]; unless it says otherwise, the file is as it was.
    pub async fn restore(&self, from: &Path) -> Result<Restored, CannotCopy> {
        match self {
            Place::Sqlite(path) => sqlite::restore(path, from).await,
            Place::Postgres(_) => Err(CannotCopy::Postgres),
        }
    }

    /// Opens a store whose tables have this version.
    ///
    /// # Errors
    /// [`CannotOpen`].
    pub async fn open(&self) -> Result<Store, CannotOpen> {
        match self {
            Place::Sqlite(path) => Ok(Store::Sqlite(Arc::new(Sqlite::open(path).await?))),
            Place::Postgres(url) => Ok(Store::Postgres(Arc::new(Postgres::open(url).await?))),
        }
    }
}

/// Compares the tables' version with this program's.
fn check_version(migrator: &Migrator, applied: Option<i64>) -> Result<(), CannotOpen> {
    let ours = newest(migrator);
    let sentence = match applied {
        Some(version) if version == ours => return Ok(()),
        // What a newer version adds, an older one that still runs does not mind; but it does not start on it.
        Some(version) if version > ours => format!(
            "the store has tables of version {version}, and this program knows {ours}: start the newer program"
        ),
        Some(version) => format!(
            "the store has tables of version {version}, and this program wants {ours}: run `blobgate inbox migrate`"
        ),
        None => "the store has no tables yet: run `blobgate inbox migrate`".to_owned(),
    };
    Err(CannotOpen::Version(sentence))
}

/// The tables' version after all of these.
fn newest(migrator: &Migrator) -> i64 {
    migrator.iter().map(|migration| migration.version).max().unwrap_or_default()
}

/// A batch that is committed.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) outcomes: Vec<Outcome>,
    /// How long the statements took.
    pub(crate) worked: Duration,
    /// How long the commit took: for the most part, the disk's time.
    pub(crate) synced: Duration,
}

/// An entry that is to be delivered, under a lease.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct Claimed {
    pub(crate) id: i64,
    pub(crate) event: Option<String>,
    pub(crate) supersedes: Option<String>,
    #[sqlx(rename = "override")]
    pub(crate) overrides: Option<String>,
    pub(crate) redelivery: i64,
    pub(crate) attempts: i64,
    pub(crate) lease: i64,
    pub(crate) path: Vec<u8>,
    pub(crate) headers: Vec<u8>,
    pub(crate) body: Vec<u8>,
}

/// How an attempt ended.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finished {
    pub(crate) id: i64,
    pub(crate) lease: i64,
    /// Whether the service said 2xx.
    pub(crate) done: bool,
    pub(crate) status: Option<i64>,
    /// The beginning of its answer, escaped, or why there was none.
    pub(crate) answer: String,
    /// Until the next attempt, in microseconds.
    pub(crate) delay: i64,
    /// What counts as its own trying, in microseconds.
    pub(crate) tried: i64,
}

/// How full the store is, in bytes of what can still be delivered or shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) total: i64,
    pub(crate) quarantine: i64,
    pub(crate) dead: i64,
    pub(crate) observed: i64,
    /// Entries by state.
    pub(crate) states: BTreeMap<String, i64>,
    /// The age of the oldest entry that waits, in seconds.
    pub(crate) oldest_waiting: i64,
}

const PAUSES: &str = "SELECT hook, event FROM pause";
const USAGE: &str = "SELECT lane, state, count(*), CAST(sum(size) AS bigint) FROM entry GROUP BY lane, state";

/// A connection, and whoever owns it. A failed one is closed, and the next statement opens another.
#[derive(Debug)]
pub(crate) enum Session {
    Sqlite(Arc<Sqlite>),
    Postgres(Box<postgres::Session>),
}

/// An event is given up after so much of its own trying: 72 h.
const GIVEN_UP: i64 = 72 * 3_600 * 1_000_000;
/// And not before so many attempts.
const LEAST_ATTEMPTS: i64 = 10;

impl Store {
    pub(crate) fn session(&self) -> Session {
        match self {
            Store::Sqlite(sqlite) => Session::Sqlite(Arc::clone(sqlite)),
            Store::Postgres(postgres) => Session::Postgres(Box::new(postgres.session())),
        }
    }
}

impl Session {
    /// Stores a batch in one transaction: what it returns is committed.
    pub(crate) async fn store(&mut self, arrivals: &[&Arrival], room: bool) -> Result<Stored, Error> {
        match self {
            Session::Sqlite(sqlite) => sqlite.store(arrivals, room).await,
            Session::Postgres(session) => session.store(arrivals, room).await,
        }
    }

    /// What would become of an arrival: decided as ever, and taken back.
    pub(crate) async fn would_store(&mut self, arrival: &Arrival) -> Result<Outcome, Error> {
        let outcomes = match self {
            Session::Sqlite(sqlite) => sqlite.would_store(&[arrival]).await?,
            Session::Postgres(session) => session.would_store(&[arrival]).await?,
        };
        outcomes.into_iter().next().ok_or(Error::RowNotFound)
    }

    /// Takes up to `limit` entries of a route that are due, under a lease of so many microseconds.
    pub(crate) async fn claim(&mut self, route: &str, limit: i64, lease: i64) -> Result<Vec<Claimed>, Error> {
        match self {
            Session::Sqlite(sqlite) => sqlite.claim(route, limit, lease).await,
            Session::Postgres(session) => session.claim(route, limit, lease).await,
        }
    }

    /// Holds these entries for another lease. Returns those that are still held.
    pub(crate) async fn renew(&mut self, leases: &[(i64, i64)], lease: i64) -> Result<Vec<i64>, Error> {
        match self {
            Session::Sqlite(sqlite) => sqlite.renew(leases, lease).await,
            Session::Postgres(session) => session.renew(leases, lease).await,
        }
    }

    /// Writes how attempts ended. Returns those that are given up now, if any `may_die`.
    pub(crate) async fn finish(&mut self, finished: &[Finished], may_die: bool) -> Result<Vec<i64>, Error> {
        let given_up = if may_die { GIVEN_UP } else { i64::MAX };
        match self {
            Session::Sqlite(sqlite) => sqlite.finish(finished, given_up).await,
            Session::Postgres(session) => session.finish(finished, given_up).await,
        }
    }

    /// Lets others have what a holder has lost; what is `held` here is left, for here it is known how it ends. Returns how
    /// many.
    pub(crate) async fn release_expired(&mut self, held: &[i64], lease: i64) -> Result<usize, Error> {
        match self {
            Session::Sqlite(sqlite) => sqlite.release_expired(held).await,
            Session::Postgres(session) => session.release_expired(held, lease).await,
        }
    }

    /// Writes, to find out whether the store can be written to.
    pub(crate) async fn heartbeat(&mut self) -> Result<(), Error> {
        match self {
            Session::Sqlite(sqlite) => sqlite.heartbeat().await,
            Session::Postgres(session) => session.heartbeat().await,
        }
    }

    /// What an operator has paused.
    pub(crate) async fn pauses(&mut self) -> Result<Vec<Pause>, Error> {
        match self {
            Session::Sqlite(sqlite) => sqlx::query_as(PAUSES).fetch_all(&sqlite.looks).await,
            Session::Postgres(session) => session.pauses().await,
        }
    }

    /// How full the store is.
    pub(crate) async fn usage(&mut self) -> Result<Usage, Error> {
        let rows: Vec<(String, String, i64, i64)> = match self {
            Session::Sqlite(sqlite) => sqlx::query_as(USAGE).fetch_all(&sqlite.reads).await?,
            Session::Postgres(session) => session.usage().await?,
        };
        let mut usage = Usage::default();
        for (lane, state, count, bytes) in rows {
            usage.total = usage.total.saturating_add(bytes);
            let share = match (lane.as_str(), state.as_str()) {
                ("quarantine", "kept") => Some(&mut usage.quarantine),
                ("observed", "waiting" | "in_flight") => Some(&mut usage.observed),
                (_, "dead") => Some(&mut usage.dead),
                _ => None,
            };
            if let Some(share) = share {
                *share = share.saturating_add(bytes);
            }
            let states = usage.states.entry(state).or_default();
            *states = states.saturating_add(count);
        }
        usage.oldest_waiting = match self {
            Session::Sqlite(sqlite) => sqlite.oldest_waiting().await?,
            Session::Postgres(session) => session.oldest_waiting().await?,
        };
        Ok(usage)
    }

    /// Takes the bodies of up to `limit` entries that ended more than `age` microseconds ago, the oldest first. Returns how
    /// many, and their bytes.
    pub(crate) async fn purge_bodies(&mut self, age: i64, limit: i64) -> Result<(i64, i64), Error> {
        match self {
            Session::Sqlite(sqlite) => sqlite.purge_bodies(age, limit).await,
            Session::Postgres(session) => session.purge_bodies(age, limit).await,
        }
    }

    /// Takes up to `limit` entries without a body that ended more than `age` microseconds ago, and generations and tokens
    /// last seen before that. Returns how many.
    pub(crate) async fn purge_tombstones(&mut self, age: i64, limit: i64) -> Result<u64, Error> {
        match self {
            Session::Sqlite(sqlite) => sqlite.purge_tombstones(age, limit).await,
            Session::Postgres(session) => session.purge_tombstones(age, limit).await,
        }
    }

    /// The routes on which something waits, with when it is due at the earliest, in microseconds from now.
    pub(crate) async fn waiting(&mut self) -> Result<Vec<(String, i64)>, Error> {
        match self {
            Session::Sqlite(sqlite) => sqlite.waiting().await,
            Session::Postgres(session) => session.waiting().await,
        }
    }
}

#[cfg(test)]
mod tests;
