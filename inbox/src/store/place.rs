//! Where a store is, and what it takes to open it.

mod database;

pub use database::BadUrl;

use super::postgres::{self, Postgres};
use super::sqlite::{self, Sqlite};
use super::{StoreError, StoreHandle};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use thiserror::Error as ThisError;

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
    /// Another process serves from it, by another of its names.
    #[error(
        "another inbox serves from {0} by another name, beside which its log lies: use that name, or end the inbox"
    )]
    OtherName(String),
    /// The disk is full.
    #[error("{0} cannot be opened: the disk has no room for the index of its log ({1}): free some space")]
    NoRoom(String, String),
    /// The database says so.
    #[error("the store cannot be opened: {0}")]
    Store(#[from] StoreError),
    /// The database says so.
    #[error("the store cannot be brought to this version: {0}")]
    Migrate(String),
    /// The file system says so.
    #[error("{0} cannot be opened: {1}")]
    File(String, std::io::Error),
}

impl From<sqlx::Error> for CannotOpen {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<sqlx::migrate::MigrateError> for CannotOpen {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        Self::Migrate(error.to_string())
    }
}

impl From<sqlx::Error> for CannotCopy {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl CannotOpen {
    pub(super) fn no_room(path: &Path, error: &std::io::Error) -> Self {
        Self::NoRoom(path.display().to_string(), error.to_string())
    }
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
    Store(#[from] StoreError),
    /// The file system says so.
    #[error("{0}: {1}")]
    File(String, std::io::Error),
}

/// Why a text names no store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPlace {
    /// It is of neither kind.
    #[error("{0:?} is no store: write sqlite:PATH or postgres://USER@HOST/DATABASE")]
    Kind(String),
    /// It is a database's URL, and a wrong one.
    #[error(transparent)]
    Url(#[from] BadUrl),
}

impl FromStr for Place {
    type Err = BadPlace;

    fn from_str(text: &str) -> Result<Self, BadPlace> {
        let wrong = || BadPlace::Kind(text.to_owned());
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() { Err(wrong()) } else { Ok(Place::Sqlite(path.into())) };
        }
        match text.split_once(':') {
            // The whole of it is not shown: a password may be in it.
            Some(("postgres" | "postgresql", _)) => Ok(Place::Postgres(database::parse(text)?)),
            _ => Err(wrong()),
        }
    }
}

impl Place {
    /// Brings the tables to this version, making what is missing. Twice is once. Newer ones stay as they are, where this program may
    /// serve them.
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

    /// Opens a store whose tables this program may serve.
    ///
    /// # Errors
    /// [`CannotOpen`].
    pub(crate) async fn open(&self) -> Result<StoreHandle, CannotOpen> {
        match self {
            Place::Sqlite(path) => Ok(Arc::new(Sqlite::open(path).await?)),
            Place::Postgres(url) => Ok(Arc::new(Postgres::open(url).await?)),
        }
    }
}
