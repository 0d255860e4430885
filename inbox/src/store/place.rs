//! The place of a store: opens it, migrates it, and copies it.

mod database;
mod settings;

pub use database::DatabaseUrlError;
pub use settings::SettingsError;
pub(super) use settings::{CONNECTIONS_REMEDY, SESSION_REMEDY};

use super::postgres::{self, Postgres, SETTINGS};
use super::sqlite::{self, FULL, Sqlite};
use super::{StoreError, StoreHandle, VersionError};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use thiserror::Error as ThisError;

/// The place of a store: `sqlite:PATH` or `postgres://...`.
#[derive(Clone, Debug)]
pub enum Place {
    /// A file.
    Sqlite(PathBuf),
    /// The URL of a database.
    Postgres(url::Url),
}

/// The settings that make a commit durable.
#[derive(Clone, Debug)]
pub(crate) struct OpenSettings {
    /// SQLite's `PRAGMA synchronous`, as its number.
    pub(crate) synchronous: i64,
    /// The settings of each PostgreSQL session.
    pub(crate) session: Vec<(&'static str, &'static str)>,
}

impl Default for OpenSettings {
    fn default() -> Self {
        Self { synchronous: FULL, session: SETTINGS.to_vec() }
    }
}

/// Why a store cannot be opened or migrated.
#[derive(Debug, ThisError)]
pub enum OpenError {
    /// This program cannot serve its tables.
    #[error(transparent)]
    Version(#[from] VersionError),
    /// Its settings endanger acknowledged events.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Another process serves it.
    #[error("cannot open {0}: another inbox serves it. End that inbox, or name another store")]
    Taken(String),
    /// Another process serves it under another of its names.
    #[error(
        "cannot open {0}: another inbox serves it by another name, and its log lies beside that name. Use that name, or end the inbox"
    )]
    OtherName(String),
    /// The disk is full.
    #[error("cannot open {0}: the disk has no room for the index of its log ({1}). Free some space")]
    NoRoom(String, std::io::Error),
    /// SQLite's or PostgreSQL's error.
    #[error("cannot open the store: {0}. Check that it exists, and that this user may use it")]
    Store(StoreError),
    /// The error of a migration.
    #[error("cannot migrate the store: {0}. Check that its user may create tables")]
    Migrate(String),
    /// The error of the file system.
    #[error("cannot open {0}: {1}. Check the path and its permissions")]
    File(String, std::io::Error),
}

// These errors stand in the message, so they are no `source`: a chain would show them twice.
impl From<StoreError> for OpenError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<sqlx::Error> for OpenError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<sqlx::migrate::MigrateError> for OpenError {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        use sqlx::migrate::MigrateError::{VersionMismatch, VersionMissing};
        match error {
            VersionMismatch(version) | VersionMissing(version) => VersionError::Foreign(version).into(),
            error => Self::Migrate(error.to_string()),
        }
    }
}

impl OpenError {
    pub(super) fn no_room(path: &Path, error: std::io::Error) -> Self {
        Self::NoRoom(path.display().to_string(), error)
    }
}

/// The contents of a checked copy.
#[derive(Debug)]
pub struct CopySummary {
    /// The number of entries in each state.
    pub states: BTreeMap<String, i64>,
    /// The size of the file.
    pub bytes: u64,
}

/// The result of a restore.
#[derive(Debug)]
pub struct RestoreSummary {
    /// The contents of the copy.
    pub copy: CopySummary,
    /// The new path of the replaced file.
    pub replaced: Option<PathBuf>,
    /// The paused hooks. The inbox may have delivered their waiting entries after the copy was made.
    pub paused: Vec<String>,
}

/// Why a store is not copied or restored.
#[derive(Debug, ThisError)]
pub enum CopyError {
    /// The store is a PostgreSQL database.
    #[error("cannot copy a PostgreSQL store: PostgreSQL has its own tools. inbox/BACKUP.md has the commands")]
    Postgres,
    /// The new file exists.
    #[error("cannot write {0}: the file exists. Name a new file")]
    Exists(String),
    /// A file cannot replace the store.
    #[error("cannot restore {0}: {1}")]
    Source(String, SourceError),
    /// The copy is damaged.
    #[error("cannot copy the store: {0}. Check the disk, and restore an older backup if this lasts")]
    Integrity(IntegrityError),
    /// The store cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// SQLite's error.
    #[error("cannot copy the store: {0}. Check the file and its disk")]
    Store(StoreError),
    /// The error of the file system.
    #[error("cannot use {0}: {1}. Check the path, its permissions and the free space")]
    File(String, std::io::Error),
}

impl From<sqlx::Error> for CopyError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Why a file cannot replace a store.
#[derive(Debug, ThisError)]
pub enum SourceError {
    /// It is the file of the store.
    #[error("it is the store itself. Name a copy that `blobgate inbox backup` made")]
    SameFile,
    /// SQLite cannot read it.
    #[error("it is not an inbox's store ({0}). Name a copy that `blobgate inbox backup` made")]
    Unreadable(StoreError),
    /// It has no tables.
    #[error("it is not an inbox's store: it has no tables. Name a copy that `blobgate inbox backup` made")]
    NoTables,
    /// It is damaged.
    #[error("{0}. Name another copy")]
    Integrity(IntegrityError),
    /// This program cannot serve its tables.
    #[error(transparent)]
    Version(#[from] VersionError),
}

/// Why SQLite's integrity check does not pass.
#[derive(Debug, ThisError)]
pub enum IntegrityError {
    /// The first damage that SQLite found.
    #[error("SQLite's integrity check found damage: {0}")]
    Damage(String),
    /// SQLite could not run the check.
    #[error("SQLite's integrity check failed: {0}")]
    Check(StoreError),
}

/// Why a text is no place of a store.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
pub enum PlaceError {
    /// The text has neither scheme.
    #[error("{0:?} names no store: write sqlite:PATH or postgres://USER@HOST/DATABASE")]
    Scheme(String),
    /// The URL of the database is wrong.
    #[error(transparent)]
    Url(#[from] DatabaseUrlError),
}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let no_scheme = || PlaceError::Scheme(text.to_owned());
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() { Err(no_scheme()) } else { Ok(Place::Sqlite(path.into())) };
        }
        match text.split_once(':') {
            // Its errors never show the URL: it may contain a password.
            Some(("postgres" | "postgresql", _)) => Ok(Place::Postgres(database::parse(text)?)),
            _ => Err(no_scheme()),
        }
    }
}

impl Place {
    /// Creates the tables, or migrates them to this program's version. Keeps newer tables that this program may serve.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn migrate(&self) -> Result<(), OpenError> {
        match self {
            Place::Sqlite(path) => sqlite::migrate(path).await,
            Place::Postgres(url) => postgres::migrate(url).await,
        }
    }

    /// Copies a file while an inbox serves it. The copy is the store at one moment.
    ///
    /// # Errors
    /// [`CopyError`]; then the new file does not exist.
    pub async fn backup(&self, to: &Path) -> Result<CopySummary, CopyError> {
        match self {
            Place::Sqlite(path) => sqlite::backup(path, to).await,
            Place::Postgres(_) => Err(CopyError::Postgres),
        }
    }

    /// Replaces the file by a copy, and renames the old file. Pauses every hook with waiting entries in the copy: the inbox may
    /// have delivered them after the copy was made.
    ///
    /// # Errors
    /// [`CopyError`]; unless it says otherwise, the old file is unchanged.
    pub async fn restore(&self, from: &Path) -> Result<RestoreSummary, CopyError> {
        match self {
            Place::Sqlite(path) => sqlite::restore(path, from).await,
            Place::Postgres(_) => Err(CopyError::Postgres),
        }
    }

    /// Opens a store whose tables this program may serve.
    ///
    /// # Errors
    /// [`OpenError`].
    pub(crate) async fn open(&self) -> Result<StoreHandle, OpenError> {
        self.open_with(OpenSettings::default()).await
    }

    /// Opens a store with these settings.
    ///
    /// # Errors
    /// [`OpenError`].
    pub(crate) async fn open_with(&self, settings: OpenSettings) -> Result<StoreHandle, OpenError> {
        match self {
            Place::Sqlite(path) => Ok(Arc::new(Sqlite::open(path, settings.synchronous).await?)),
            Place::Postgres(url) => Ok(Arc::new(Postgres::open(url, settings.session).await?)),
        }
    }
}
