//! Settings of a file, a database or a session with which the inbox could lose events.

use super::StoreError;
use std::path::PathBuf;

/// Why the inbox cannot serve a store with its present settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// SQLite did not take the settings that make a commit durable.
    #[error(
        "cannot open the store: its file system takes neither WAL nor synchronous=FULL (journal_mode {journal_mode}, synchronous {synchronous}). Move it to a local disk"
    )]
    Journal {
        /// The value of `PRAGMA journal_mode`.
        journal_mode: String,
        /// The value of `PRAGMA synchronous`.
        synchronous: i64,
    },
    /// The file has hard links. A copy by `cp` lacks the events in the log.
    #[error(
        "cannot open {}: it has {names} names (hard links), and SQLite's log is beside only one of them. Remove the other names; for a copy, run `blobgate inbox backup`", .path.display()
    )]
    HardLinks {
        /// The file.
        path: PathBuf,
        /// The number of its names.
        names: u64,
    },
    /// A setting of the server endangers committed rows.
    #[error(
        "cannot open the store: the database has {setting}=off, and a crash of its machine can {risk}. Set it to on"
    )]
    Server {
        /// The setting.
        setting: &'static str,
        /// The effect of a crash.
        risk: &'static str,
    },
    /// The role lacks a right, or the database is read-only.
    #[error("cannot open the store: {problem}: {missing}")]
    Rights {
        /// PostgreSQL's message, or the refused action.
        problem: String,
        /// The missing rights, and the statements that grant them.
        missing: String,
    },
    /// The role lacks a right that a migration needs, or the database is read-only.
    #[error("cannot migrate the store: {problem}: {missing}")]
    MigrationRights {
        /// PostgreSQL's message.
        problem: String,
        /// The missing right, and the statement that grants it.
        missing: String,
    },
    /// The session did not take `search_path`.
    #[error("cannot open the store: the session's schema is {schema}, not {expected}. {SESSION_REMEDY}")]
    SessionSchema {
        /// The schema of the session.
        schema: String,
        /// The inbox's schema.
        expected: &'static str,
    },
    /// Another schema has the inbox's tables.
    #[error(
        "cannot open the store: the inbox's tables are in the schema {schema}, not in {expected}, and may contain events. Rename the schema (ALTER SCHEMA {schema} RENAME TO {expected}), or drop the tables in it"
    )]
    TablesElsewhere {
        /// The schema of the tables.
        schema: String,
        /// The inbox's schema.
        expected: &'static str,
    },
    /// The database accepts fewer connections than the inbox needs.
    #[error(
        "cannot open the store: the database accepts {open} of {needed} connections ({error}). {CONNECTIONS_REMEDY}"
    )]
    Connections {
        /// The number of open connections.
        open: usize,
        /// The number of connections that the inbox opens at its start.
        needed: usize,
        /// The database's answer to the next one.
        error: StoreError,
    },
    /// The database does not serve all connections at once.
    #[error(
        "cannot open the store: the database does not serve {needed} connections at once ({error}). {CONNECTIONS_REMEDY}"
    )]
    BusyConnections {
        /// The number of connections that the inbox opens at its start.
        needed: usize,
        /// The error of one of them.
        error: StoreError,
    },
    /// A pooler gives each transaction another backend.
    #[error(
        "cannot open the store: the database is behind a pooler in transaction mode ({evidence}). {SESSION_REMEDY}"
    )]
    TransactionPooler {
        /// The observation that shows it.
        evidence: String,
    },
    /// A pooler gives each statement another backend.
    #[error("cannot open the store: the database is behind a pooler in statement mode. {SESSION_REMEDY}")]
    StatementPooler,
}

/// The remedy for a pooler that changes sessions.
pub(in crate::store) const SESSION_REMEDY: &str = "The inbox needs sessions of its own: set the pooler's pool_mode to session for this database, or connect to PostgreSQL directly";

/// The remedy for too few connections.
pub(in crate::store) const CONNECTIONS_REMEDY: &str = "The inbox needs 4 connections and uses up to 12: raise the connection limit of the role or the database, max_connections, or the pooler's pool size";
