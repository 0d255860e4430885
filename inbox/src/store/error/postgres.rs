//! Classifies SQLSTATEs: postgresql.org/docs/current/errcodes-appendix.html.

use super::StoreError;
use sqlx::postgres::PgDatabaseError;

pub(super) fn classify(code: &str, message: String) -> StoreError {
    match code {
        // A missing right, a read-only transaction.
        "42501" | "25006" => StoreError::Denied(message),
        // An unknown table, function or schema. PostgreSQL reports the same for a missing USAGE on the schema.
        "42P01" | "42883" | "3F000" => StoreError::Misplaced(message),
        // The server ended a session that was idle in a transaction for too long.
        "25P03" | "25P04" => StoreError::Stopped(message),
        "57014" => StoreError::TooSlow(message),
        "40P01" => StoreError::Deadlock(message),
        "53100" => StoreError::Full(message),
        // Corrupted data, a corrupted index.
        "XX001" | "XX002" => StoreError::Damaged(message),
        _ => match code.get(..2).unwrap_or_default() {
            // Invalid data.
            "22" => StoreError::RejectedRow(message),
            // A refused login.
            "28" => StoreError::Denied(message),
            "3D" => StoreError::NoDatabase(message),
            "42" => StoreError::WrongSchema(message),
            "53" => StoreError::Exhausted(message),
            "54" => StoreError::TooLarge(message),
            "57" => StoreError::Stopped(message),
            _ => StoreError::Unavailable(message),
        },
    }
}

/// The message. A refused right has the right in its detail; other details can contain values of a row.
pub(super) fn message(error: &PgDatabaseError) -> String {
    match error.detail() {
        Some(detail) if error.code() == "42501" => {
            format!("{} ({})", error.message(), detail.trim_end_matches('.'))
        }
        _ => error.message().to_owned(),
    }
}

/// The remedy.
pub(in crate::store) fn remedy(error: &StoreError) -> &'static str {
    match error {
        StoreError::WrongSchema(_) | StoreError::Misplaced(_) => {
            "The tables differ from those of `blobgate inbox migrate`: revert the changes that were made by hand"
        }
        StoreError::Full(_) => "Give the database's tablespace more space",
        StoreError::Exhausted(_) => "Raise the limit that the database names",
        StoreError::Stopped(_) | StoreError::TooSlow(_) => "Wait for the database, or start it",
        _ => "Check the database and the connection to it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classifies_each_sqlstate() {
        for (code, expected) in [
            ("42501", "Denied"),
            ("25006", "Denied"),
            ("28P01", "Denied"),
            ("42P01", "Misplaced"),
            ("3F000", "Misplaced"),
            ("42703", "WrongSchema"),
            ("3D000", "NoDatabase"),
            ("22021", "RejectedRow"),
            ("57014", "TooSlow"),
            ("54000", "TooLarge"),
            ("57P01", "Stopped"),
            ("57P05", "Stopped"),
            ("25P03", "Stopped"),
            ("53100", "Full"),
            ("53300", "Exhausted"),
            ("40P01", "Deadlock"),
            ("XX001", "Damaged"),
            ("08P01", "Unavailable"),
        ] {
            let error = format!("{:?}", classify(code, "why".to_owned()));
            assert_eq!(error, format!("{expected}(\"why\")"), "{code}");
        }
    }
}
