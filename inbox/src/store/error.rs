//! The errors of a store.

mod copy;
mod open;
pub(super) mod postgres;
pub(super) mod settings;
pub(super) mod sqlite;

pub use copy::{CopyError, IntegrityError, SourceError};
pub use open::OpenError;
pub use settings::SettingsError;

use sqlx::postgres::PgDatabaseError;
use sqlx::sqlite::SqliteError;

/// An error of a store, classified by its remedy. Most contain the message of the database.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached.
    #[error("{0}")]
    Unreachable(String),
    /// Another error, which may pass.
    #[error("{0}")]
    Unavailable(String),
    /// The database is starting or stopping, or has closed the connection.
    #[error("{0}")]
    Stopped(String),
    /// The database did not answer in time.
    #[error("the database does not answer")]
    Silent,
    /// The database cancelled a statement after its timeout.
    #[error("{0}")]
    TooSlow(String),
    /// A statement exceeds a limit of the database.
    #[error("{0}")]
    TooLarge(String),
    /// The database refuses the values of a row.
    #[error("{0}")]
    RejectedRow(String),
    /// The disk is full.
    #[error("{0}")]
    Full(String),
    /// Another resource than the disk is exhausted.
    #[error("{0}")]
    Exhausted(String),
    /// A right is missing, or the file system is read-only.
    #[error("{0}")]
    Denied(String),
    /// The database does not find a name: the object is missing, or the role cannot use its schema.
    #[error("{0}")]
    Misplaced(String),
    /// The tables differ from those of this program.
    #[error("{0}")]
    WrongSchema(String),
    /// The database does not exist.
    #[error("{0}")]
    NoDatabase(String),
    /// The session lost a setting, or a trigger, rule or policy drops rows.
    #[error("{0}")]
    WrongSetting(String),
    /// The database ended this transaction because of a deadlock.
    #[error("{0}")]
    Deadlock(String),
    /// The store is damaged.
    #[error("{0}")]
    Damaged(String),
    /// The files at the store's path are not the open ones. The inbox no longer reads or writes.
    #[error("{0} while the inbox used it")]
    Replaced(String),
}

impl StoreError {
    /// Whether the database closed the connection, or none is there: another connection may work.
    pub(crate) fn is_disconnected(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Stopped(_))
    }

    /// Whether the error lasts until a person acts.
    pub(crate) fn is_lasting(&self) -> bool {
        matches!(self, Self::Denied(_) | Self::Damaged(_))
    }

    /// Whether the cause is a row, and not the store.
    pub(crate) fn is_row_refused(&self) -> bool {
        matches!(self, Self::RejectedRow(_))
    }

    /// Whether a smaller batch may succeed.
    pub(crate) fn is_too_large(&self) -> bool {
        matches!(self, Self::TooSlow(_) | Self::TooLarge(_))
    }

    /// Whether the inbox no longer uses the store. The fault is raised already.
    pub(crate) fn is_replaced(&self) -> bool {
        matches!(self, Self::Replaced(_))
    }

    pub(crate) fn is_damaged(&self) -> bool {
        matches!(self, Self::Damaged(_))
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::error::ErrorKind::{
            CheckViolation, ForeignKeyViolation, NotNullViolation, UniqueViolation,
        };
        match error {
            sqlx::Error::Database(error) => {
                let message = error.message().to_owned();
                if matches!(
                    error.kind(),
                    UniqueViolation | ForeignKeyViolation | NotNullViolation | CheckViolation
                ) {
                    Self::RejectedRow(message)
                } else if let Some(error) = error.try_downcast_ref::<PgDatabaseError>() {
                    postgres::classify(error.code(), postgres::message(error))
                } else if let Some(error) = error.try_downcast_ref::<SqliteError>() {
                    sqlite::classify(sqlx::error::DatabaseError::code(error).as_deref(), message)
                } else {
                    Self::Unavailable(message)
                }
            }
            sqlx::Error::Encode(error) => Self::RejectedRow(error.to_string()),
            sqlx::Error::Configuration(error) => Self::WrongSetting(error.to_string()),
            error @ (sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::Decode(_)) => Self::WrongSchema(error.to_string()),
            // The inbox closes its pools only when the files are replaced.
            sqlx::Error::PoolClosed => Self::Replaced("its files were replaced".to_owned()),
            sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::TimedOut => Self::Silent,
            error => Self::Unreachable(error.to_string()),
        }
    }
}

/// The remedy for a damaged store.
pub(super) const DAMAGED: &str =
    "End the inbox, and restore a backup: the store is damaged, and new events in it may be lost";
