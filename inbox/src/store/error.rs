//! Why a store did not do what it was asked for.

pub(super) mod postgres;
pub(super) mod sqlite;

use sqlx::postgres::PgDatabaseError;
use sqlx::sqlite::SqliteError;

/// By what a caller can do about it. Each says the database's own words.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no way to it.
    #[error("{0}")]
    Unreachable(String),
    /// Something else failed that may pass.
    #[error("{0}")]
    Unavailable(String),
    /// It ends, starts, or has ended the connection.
    #[error("{0}")]
    Stopped(String),
    /// Nothing came back in time.
    #[error("the database does not answer")]
    Silent,
    /// A statement was cancelled for its time.
    #[error("{0}")]
    TooSlow(String),
    /// A statement passes a limit of the database.
    #[error("{0}")]
    TooLarge(String),
    /// It does not take a row for what is in it.
    #[error("{0}")]
    RejectedRow(String),
    /// Its disk is full.
    #[error("{0}")]
    Full(String),
    /// It has no more of something else than disk.
    #[error("{0}")]
    Exhausted(String),
    /// A right is missing, or the disk is for reading only.
    #[error("{0}")]
    Denied(String),
    /// A name was not found: it is not there, or its schema may not be used.
    #[error("{0}")]
    Misplaced(String),
    /// The tables are not those of this program.
    #[error("{0}")]
    WrongSchema(String),
    /// There is no database of this name.
    #[error("{0}")]
    NoDatabase(String),
    /// A setting is not as it was set, or something drops rows.
    #[error("{0}")]
    WrongSetting(String),
    /// Two transactions waited for each other, and this one was ended.
    #[error("{0}")]
    Deadlock(String),
    /// The store itself is not whole.
    #[error("{0}")]
    Damaged(String),
    /// The store's files are not the ones that are open: nothing is read or written any more.
    #[error("{0} while the inbox used it")]
    Replaced(String),
}

impl StoreError {
    /// Whether only a person can end it.
    pub(crate) fn is_lasting(&self) -> bool {
        matches!(self, Self::Denied(_) | Self::Damaged(_))
    }

    /// Whether a row is to blame, and not the store.
    pub(crate) fn is_of_data(&self) -> bool {
        matches!(self, Self::RejectedRow(_))
    }

    /// Whether a smaller batch may do.
    pub(crate) fn is_too_much(&self) -> bool {
        matches!(self, Self::TooSlow(_) | Self::TooLarge(_))
    }

    /// Whether the store is not used any more, which a fault says already.
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
                    postgres::classify(error.code(), message)
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
            // Its pools are closed once its files are replaced, and at no other time.
            sqlx::Error::PoolClosed => Self::Replaced("its files were replaced".to_owned()),
            sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::TimedOut => Self::Silent,
            error => Self::Unreachable(error.to_string()),
        }
    }
}

/// What to do about a store that is not whole.
pub(super) const DAMAGED: &str =
    "end the inbox, and restore a backup: the store is not whole, and what it takes may be lost";
