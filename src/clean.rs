//! Stage 0: what only the gate may say is taken out of the head, before anything reads it.

use crate::headers::Headers;
use crate::hook::{self, Hook};
use std::sync::Arc;

/// Takes the headers out of the list that only the gate may set, and returns their names for the host to remove.
///
/// A name counts in every spelling that an upstream may merge with ours: WSGI and others turn `-` into `_`, so that
/// `blobgate_event` would arrive beside `blobgate-event`.
pub fn head(headers: &mut Headers) -> Vec<String> {
    let reserved: Vec<String> = headers.names().filter(|name| is_reserved(name)).map(str::to_owned).collect();
    headers.retain(|name| !is_reserved(name));
    reserved
}

/// The path to go on with where the one that came may hold a token: nothing that comes after may see it.
pub fn path(hooks: &[Arc<Hook>], path: &[u8]) -> Option<String> {
    hook::without_token(hooks, path).map(str::to_owned)
}

/// Whether only the gate may set a header of this name.
pub fn is_reserved(name: &str) -> bool {
    starts_with(name, "blobgate-") || starts_with(name, "webhook-") || equals(name, "idempotency-key")
}

fn starts_with(name: &str, prefix: &str) -> bool {
    name.len() >= prefix.len() && name.bytes().map(folded).zip(prefix.bytes()).all(|(a, b)| a == b)
}

fn equals(name: &str, other: &str) -> bool {
    name.len() == other.len() && starts_with(name, other)
}

fn folded(byte: u8) -> u8 {
    match byte {
        b'_' => b'-',
        _ => byte.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_ours_is_reserved() {
        for name in [
            "blobgate-event",
            "blobgate_event",
            "Blobgate-Verdict",
            "blobgate-anything",
            "webhook-id",
            "webhook_signature",
            "idempotency-key",
            "idempotency_key",
            "Idempotency_Key",
        ] {
            assert!(is_reserved(name), "{name}");
        }
        for name in ["blobgate", "x-blobgate-event", "webhooks", "idempotency-key-2", "content-type", ""] {
            assert!(!is_reserved(name), "{name}");
        }
    }
}
