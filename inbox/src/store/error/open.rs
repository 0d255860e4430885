//! Why a store cannot be opened or migrated.

use super::super::version::VersionError;
use super::StoreError;
use super::settings::SettingsError;
use std::path::Path;
use thiserror::Error as ThisError;

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
        "cannot open {0}: another inbox serves it by another name, and its log is beside that name. Use that name, or end the inbox"
    )]
    OtherName(String),
    /// The disk is full.
    #[error("cannot open {0}: the disk has no room for the index of its log ({1}). Free some space")]
    NoRoom(String, std::io::Error),
    /// SQLite's or PostgreSQL's error.
    #[error("cannot open the store: {0}. {remedy}", remedy = remedy(.0))]
    Store(StoreError),
    /// The error of a migration.
    #[error("cannot migrate the store: {0}. {remedy}", remedy = remedy(.0))]
    Migrate(StoreError),
    /// The directory of the file does not exist.
    #[error("cannot open {0}: the directory does not exist. Create it, or name another path with --store")]
    NoDirectory(String),
    /// The path leads to a directory.
    #[error("cannot open {0}: it is a directory. Name a file with --store")]
    Directory(String),
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
        use sqlx::migrate::MigrateError::{Execute, ExecuteMigration, VersionMismatch, VersionMissing};
        match error {
            VersionMismatch(version) | VersionMissing(version) => VersionError::Foreign(version).into(),
            Execute(error) | ExecuteMigration(error, _) => Self::Migrate(error.into()),
            error => Self::Migrate(StoreError::WrongSchema(error.to_string())),
        }
    }
}

fn remedy(error: &StoreError) -> &'static str {
    match error {
        StoreError::Unreachable(_) | StoreError::Silent | StoreError::Stopped(_) => {
            "Check that the database runs, and its address in --store"
        }
        StoreError::Damaged(_) => "Name another file with --store, or restore a backup",
        StoreError::NoDatabase(_) => "Create the database, or name another with --store",
        _ => "Check that it exists, and that this user may use it",
    }
}

impl OpenError {
    pub(in crate::store) fn no_room(path: &Path, error: std::io::Error) -> Self {
        Self::NoRoom(path.display().to_string(), error)
    }
}
