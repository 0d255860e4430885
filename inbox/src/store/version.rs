//! Which program may serve which tables.

use super::CannotOpen;
use sqlx::migrate::Migrator;

/// What a store records of its tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tables {
    /// Of the newest migration that was applied.
    pub(super) version: i64,
    /// The newest migration that a program has to know to serve them.
    pub(super) oldest_program: i64,
}

pub(super) const VERSION: &str = "SELECT max(version) FROM _sqlx_migrations WHERE success";
pub(super) const OLDEST_PROGRAM: &str = "SELECT oldest_program FROM schema_version";

/// Whether this program may serve these tables: those of its own version, and newer ones that say so.
pub(super) fn check(migrator: &Migrator, tables: Option<Tables>) -> Result<(), CannotOpen> {
    let ours = newest(migrator);
    let sentence = match tables {
        None => "the store has no tables yet: run `blobgate inbox migrate`".to_owned(),
        Some(Tables { version, .. }) if version < ours => format!(
            "the store has tables of version {version}, and this program needs {ours}: run `blobgate inbox migrate`"
        ),
        Some(Tables { version, oldest_program }) if version > ours && oldest_program > ours => format!(
            "the store has tables of version {version}, which need a program that knows version {oldest_program}, and this program knows {ours}: start the newer program"
        ),
        Some(_) => return Ok(()),
    };
    Err(CannotOpen::Version(sentence))
}

/// Whether a newer program has migrated them: then this one has nothing to add.
pub(super) fn is_newer(migrator: &Migrator, tables: Option<Tables>) -> bool {
    tables.is_some_and(|tables| tables.version > newest(migrator))
}

/// The tables' version after all of these.
pub(super) fn newest(migrator: &Migrator) -> i64 {
    migrator.iter().map(|migration| migration.version).max().unwrap_or_default()
}
