//! Which program may serve which tables.

use sqlx::migrate::Migrator;
use std::path::PathBuf;

/// The versions that a store records of its tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tables {
    /// The newest migration of the store.
    pub(super) version: i64,
    /// The newest migration that a program must know to serve the tables.
    pub(super) oldest_program: i64,
}

pub(super) const VERSION: &str = "SELECT max(version) FROM _sqlx_migrations WHERE success";
pub(super) const OLDEST_PROGRAM: &str = "SELECT oldest_program FROM schema_version";

/// Why this program cannot serve the tables of a store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// The file does not exist.
    #[error("cannot open {}: it does not exist. Run `blobgate inbox migrate`", .0.display())]
    NoFile(PathBuf),
    /// The store has no tables.
    #[error("cannot open the store: it has no tables yet. Run `blobgate inbox migrate`")]
    NoTables,
    /// A migration is missing.
    #[error(
        "cannot open the store: its tables have version {version}, and this program needs {program}. Run `blobgate inbox migrate`"
    )]
    Older {
        /// The version of the tables.
        version: i64,
        /// The version that this program needs.
        program: i64,
    },
    /// A newer program, or one with another history of migrations, made the tables.
    #[error(
        "cannot open the store: its tables have version {version}, for programs from version {oldest_program}, and this program has {program}. Start the program that made them, or name another store"
    )]
    Unknown {
        /// The version of the tables.
        version: i64,
        /// The newest migration that a program must know.
        oldest_program: i64,
        /// The newest migration that this program knows.
        program: i64,
    },
    /// The store has a migration that this program does not have, or has otherwise.
    #[error(
        "cannot migrate the store: this program does not know the migration {0} of its tables. Start the program that made them, or name another store"
    )]
    Foreign(i64),
}

/// Accepts tables of this program's version, and newer ones whose `oldest_program` this program reaches.
pub(super) fn check(migrator: &Migrator, tables: Option<Tables>) -> Result<(), VersionError> {
    let program = newest(migrator);
    match tables {
        None => Err(VersionError::NoTables),
        Some(Tables { version, .. }) if version < program => Err(VersionError::Older { version, program }),
        Some(Tables { version, oldest_program }) if version > program && oldest_program > program => {
            Err(VersionError::Unknown { version, oldest_program, program })
        }
        Some(_) => Ok(()),
    }
}

/// Whether another program has migrated the tables further: then this one adds nothing.
pub(super) fn is_newer(migrator: &Migrator, tables: Option<Tables>) -> bool {
    tables.is_some_and(|tables| tables.version > newest(migrator))
}

/// The version of the tables after all migrations.
pub(super) fn newest(migrator: &Migrator) -> i64 {
    migrator.iter().map(|migration| migration.version).max().unwrap_or_default()
}
