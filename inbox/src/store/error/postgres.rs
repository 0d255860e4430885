//! What PostgreSQL's SQLSTATEs mean: postgresql.org/docs/current/errcodes-appendix.html.

use super::StoreError;

pub(super) fn classify(code: &str, message: String) -> StoreError {
    match code {
        // A right, a transaction that may only read.
        "42501" | "25006" => StoreError::Denied(message),
        // A table, a function, a schema that is not found. So it is too without USAGE on its schema.
        "42P01" | "42883" | "3F000" => StoreError::Misplaced(message),
        "57014" => StoreError::TooSlow(message),
        "40P01" => StoreError::Deadlock(message),
        "53100" => StoreError::Full(message),
        // Data, or an index, is corrupted.
        "XX001" | "XX002" => StoreError::Damaged(message),
        _ => match code.get(..2).unwrap_or_default() {
            // Data that the database does not take.
            "22" => StoreError::RejectedRow(message),
            // Who may log in.
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

/// What to do.
pub(in crate::store) fn remedy(error: &StoreError) -> &'static str {
    match error {
        StoreError::WrongSchema(_) | StoreError::Misplaced(_) => {
            "the tables differ from what `blobgate inbox migrate` makes, so take back what was changed by hand"
        }
        StoreError::Full(_) => "give the database's tablespace more space",
        StoreError::Exhausted(_) => "give the database more of what it names",
        StoreError::Stopped(_) | StoreError::TooSlow(_) => "wait for the database, or start it",
        _ => "look at the database and the way to it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_is_what_a_caller_can_do_about_it() {
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
