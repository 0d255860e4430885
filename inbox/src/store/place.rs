//! The place of a store: opens it, migrates it, and copies it.

mod database;

pub use database::DatabaseUrlError;

use super::postgres::{self, Postgres, SETTINGS};
use super::sqlite::{self, FULL, Sqlite};
use super::{CopyError, CopySummary, OpenError, RestoreSummary, StoreHandle};
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

/// Why a text is no place of a store.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
pub enum PlaceError {
    /// The text has neither scheme. The message does not show it: it may contain a password.
    #[error("it names no store: write sqlite:PATH or postgres://USER@HOST/DATABASE")]
    Scheme,
    /// The URL of the database is wrong.
    #[error(transparent)]
    Url(#[from] DatabaseUrlError),
}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() { Err(PlaceError::Scheme) } else { Ok(Place::Sqlite(path.into())) };
        }
        match text.split_once(':') {
            // Its errors never show the URL: it may contain a password.
            Some(("postgres" | "postgresql", _)) => Ok(Place::Postgres(database::parse(text)?)),
            _ => Err(PlaceError::Scheme),
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
    /// [`CopyError`]; then the old file is unchanged or renamed.
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
