//! Why a store is not copied or restored.

use super::super::version::VersionError;
use super::StoreError;
use super::open::OpenError;
use thiserror::Error as ThisError;

/// Why a store is not copied or restored.
#[derive(Debug, ThisError)]
pub enum CopyError {
    /// The store is a PostgreSQL database.
    #[error(
        "cannot copy a PostgreSQL store: PostgreSQL has its own tools. docs/howto/backup.md has the commands"
    )]
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
