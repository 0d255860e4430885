//! Classifies SQLite's primary result codes: sqlite.org/rescode.html.

use super::StoreError;

const PERM: i32 = 3;
const READONLY: i32 = 8;
const CORRUPT: i32 = 11;
const FULL: i32 = 13;
const CANTOPEN: i32 = 14;
const AUTH: i32 = 23;
const NOTADB: i32 = 26;

pub(super) fn classify(code: Option<&str>, message: String) -> StoreError {
    match code.and_then(|code| code.parse::<i32>().ok()).map(|code| code & 0xff) {
        Some(PERM | READONLY | CANTOPEN | AUTH) => StoreError::Denied(message),
        Some(CORRUPT | NOTADB) => StoreError::Damaged(message),
        Some(FULL) => StoreError::Full(message),
        _ => StoreError::Unavailable(message),
    }
}

/// The remedy.
pub(in crate::store) fn remedy(error: &StoreError) -> &'static str {
    match error {
        StoreError::Full(_) => "Give the store's disk more space",
        _ => "Check the file and its disk",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classifies_each_result_code() {
        // 1032 and 267 are extended codes.
        for (code, expected) in [
            ("8", "Denied"),
            ("1032", "Denied"),
            ("14", "Denied"),
            ("11", "Damaged"),
            ("267", "Damaged"),
            ("26", "Damaged"),
            ("13", "Full"),
            ("10", "Unavailable"),
            ("5", "Unavailable"),
        ] {
            let error = format!("{:?}", classify(Some(code), "why".to_owned()));
            assert_eq!(error, format!("{expected}(\"why\")"), "{code}");
        }
    }
}
