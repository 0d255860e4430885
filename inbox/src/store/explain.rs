//! Why a store takes no events, and what to do about it.

use super::postgres::{is_denied, is_misplaced};
use super::{Error, Session};
use crate::health::Fault;

/// Of SQLite, without their extensions: see sqlite.org/rescode.html.
const PERM: i32 = 3;
const READONLY: i32 = 8;
const CANTOPEN: i32 = 14;
const AUTH: i32 = 23;
const CORRUPT: i32 = 11;
const NOTADB: i32 = 26;

impl Session {
    /// Runs each statement that stores an event, with bodies of so many bytes, and takes it back.
    pub(crate) async fn rehearse(&mut self, body: usize) -> Result<(), Error> {
        match self {
            Session::Sqlite(sqlite) => sqlite.rehearse(body).await,
            Session::Postgres(session) => session.rehearse(body).await,
        }
    }

    /// The fault that an error stands for, with what is missing where that can be found out.
    pub(crate) async fn explain(&mut self, error: &Error) -> (Fault, String) {
        let why = sentence(error);
        match self {
            _ if is_damaged(error) => {
                let remedy = "end the inbox, and restore a backup: the store is not whole, and what it takes may be lost";
                (Fault::StoreDamaged, format!("{why}: {remedy}"))
            }
            Session::Postgres(session) if is_denied(error) || is_misplaced(error) => {
                session.reconnect();
                let missing = match session.missing_rights().await {
                    Ok(missing) if is_denied(error) || !missing.is_nothing() => missing.to_string(),
                    // Without a connection nothing more is found out.
                    Err(_) if is_denied(error) => "look at the role and its rights".to_owned(),
                    Ok(_) | Err(_) => return (Fault::StoreFailing, format!("{why}: {}", remedy(error))),
                };
                (Fault::StoreDenied, format!("{why}: {missing}"))
            }
            Session::Sqlite(sqlite) if is_denied_by_file(error) => {
                let path = sqlite.path().display();
                let sentence = format!(
                    "{why}: the inbox cannot write to {path} or beside it, so give its user the file and its folder, on a file system that is mounted for writing"
                );
                (Fault::StoreDenied, sentence)
            }
            _ => (Fault::StoreFailing, format!("{why}: {}", remedy(error))),
        }
    }

    /// The rights that serving needs beside storing, and that are missing; and whether deliveries need one of them.
    pub(crate) async fn lacks(&mut self) -> Option<(bool, String)> {
        match self {
            Session::Sqlite(_) => None,
            Session::Postgres(session) => {
                let missing = session.missing_rights().await.ok()?;
                (!missing.is_nothing()).then(|| (missing.holds_up_deliveries(), missing.to_string()))
            }
        }
    }
}

/// Whether the store itself is not whole.
pub(crate) fn is_damaged(error: &Error) -> bool {
    /// Of PostgreSQL: data, or an index, is corrupted.
    const CORRUPTED: [&str; 2] = ["XX001", "XX002"];
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| match code.parse::<i32>() {
        Ok(code) => [CORRUPT, NOTADB].contains(&(code & 0xff)),
        Err(_) => CORRUPTED.contains(&&*code),
    })
}

/// Whether an error is of the kind that only a person can end.
pub(crate) fn is_lasting(error: &Error) -> bool {
    is_denied(error) || is_denied_by_file(error) || is_damaged(error)
}

/// The database's own message, without what sqlx says around it.
fn sentence(error: &Error) -> String {
    match error {
        Error::Database(error) => error.message().to_owned(),
        Error::Configuration(error) => error.to_string(),
        error => error.to_string(),
    }
}

fn is_denied_by_file(error: &Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    let code = code.and_then(|code| code.parse::<i32>().ok());
    code.is_some_and(|code| [PERM, READONLY, CANTOPEN, AUTH].contains(&(code & 0xff)))
}

/// What to do, by the class of the error's SQLSTATE.
fn remedy(error: &Error) -> &'static str {
    let code = error.as_database_error().and_then(|error| error.code());
    match code.as_deref() {
        Some(code) if code.len() == 5 && code.starts_with("42") => {
            "the tables differ from what `blobgate inbox migrate` makes, so take back what was changed by hand"
        }
        Some("53100") => "give the database's tablespace more space",
        Some(code) if code.starts_with("53") => "give the database more of what it names",
        Some(code) if code.len() == 5 && code.starts_with("57") => "wait for the database, or start it",
        Some("13") => "give the store's disk more space",
        _ => "look at the database and the way to it",
    }
}
