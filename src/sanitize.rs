//! Stage 0: removes headers that only the gate may set, before any other stage reads the head.

use crate::contract::header;
use crate::headers::Headers;
use crate::hook::Hook;
use crate::reason::Stage;
use crate::trace::{StageReport, StageVerdict};

/// Removes the reserved headers from the list, and returns their names, so that the host can remove them too.
///
/// Every spelling of a name counts. WSGI and others turn `-` into `_`, so that a service would read `blobgate_event` as
/// `blobgate-event`. A proxy's copies of the path are reserved too, because they may contain a token.
pub fn head(headers: &mut Headers) -> Vec<String> {
    let reserved = headers.names().filter(|name| is_reserved_name(name));
    let reserved: Vec<String> = reserved.map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    if !reserved.is_empty() {
        headers.retain(|name| !is_reserved_name(name));
    }
    reserved
}

/// The hook's path without token and query; `None` if the path is already clean. No service sees a token or a query.
///
/// Envoy accepts bytes in a query that the next server refuses, such as `"` and raw UTF-8 (hyper 1.12: 400).
pub(crate) fn path<'h>(hook: Option<&'h Hook>, path: &[u8]) -> Option<&'h str> {
    hook.map(|hook| hook.path.as_str()).filter(|clean| clean.as_bytes() != path)
}

/// The report of this stage: the removed headers, and the path if it changed.
pub(crate) fn report(reserved: &[String], clean: Option<&str>) -> StageReport {
    let headers = if reserved.is_empty() { "nothing".to_owned() } else { reserved.join(",") };
    let path = clean.map_or_else(String::new, |clean| format!("; the path became {clean}"));
    StageReport::new(Stage::Sanitize, &format!("removed {headers}{path}"), StageVerdict::Passed)
}

/// Copies of the path that Envoy, nginx, Traefik and IIS make when they rewrite it.
const COPIES_OF_PATH: &[&str] =
    &["x-envoy-original-path", "x-original-uri", "x-original-url", "x-rewrite-url", "x-forwarded-uri"];

/// Whether the gate removes a header of this name from a request.
///
/// ```
/// use blobgate::sanitize::is_reserved;
///
/// assert!(is_reserved("blobgate-event") && is_reserved("Blobgate_Event"));
/// assert!(!is_reserved("content-type"));
/// ```
pub fn is_reserved(name: &str) -> bool {
    is_reserved_name(name.as_bytes())
}

fn is_reserved_name(name: &[u8]) -> bool {
    // The first letter decides quickly: this runs for every header of every request.
    match name.first().copied().map(folded) {
        Some(b'b') => starts_with(name, header::PREFIX),
        Some(b'w') => starts_with(name, header::WEBHOOK_PREFIX),
        Some(b'i') => equals(name, header::IDEMPOTENCY_KEY),
        Some(b'x') => COPIES_OF_PATH.iter().any(|copy| equals(name, copy)),
        _ => false,
    }
}

fn starts_with(name: &[u8], prefix: &str) -> bool {
    name.len() >= prefix.len() && name.iter().copied().map(folded).zip(prefix.bytes()).all(|(a, b)| a == b)
}

fn equals(name: &[u8], other: &str) -> bool {
    name.len() == other.len() && starts_with(name, other)
}

fn folded(byte: u8) -> u8 {
    match byte {
        _ if byte.is_ascii_alphanumeric() => byte.to_ascii_lowercase(),
        _ => b'-',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserves_every_spelling() {
        for name in [
            header::EVENT,
            "blobgate_event",
            "Blobgate-Verdict",
            "blobgate-anything",
            header::WEBHOOK_ID,
            "webhook_signature",
            header::IDEMPOTENCY_KEY,
            "idempotency_key",
            "Idempotency_Key",
            "blobgate.event",
            "x-envoy-original-path",
            "X_Original_URI",
        ] {
            assert!(is_reserved(name), "{name}");
        }
        for name in ["blobgate", "x-blobgate-event", "webhooks", "idempotency-key-2", "content-type", ""] {
            assert!(!is_reserved(name), "{name}");
        }
    }
}
