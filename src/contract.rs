//! The contract: every name that crosses a process. The gate, the inbox, the tool and the tests take them from here.
//!
//! `tests/contract.rs` has each of them a second time as a literal, so that no edit changes the wire by accident.

pub mod header;
pub mod signature;
pub mod token;

use std::fmt::Write;

/// The base URL of the documentation, without a slash at its end. The book has no public address yet: change it here when
/// it has one. The setting `docs` of the filter replaces it.
pub const DOCS: &str = "https://docs.blobgate.example";

/// The `type` of a problem document (RFC 9457, section 3.1.1): the reason's anchor in the book's list of reasons.
///
/// ```
/// use blobgate::contract::problem_type;
///
/// let url = "https://docs.example/reference/reasons.html#source-denied";
/// assert_eq!(problem_type("https://docs.example", "source-denied"), url);
/// ```
pub fn problem_type(docs: &str, code: &str) -> String {
    format!("{docs}/reference/reasons.html#{code}")
}

/// The version of the gate's headers, in [`header::CONTRACT`].
pub const VERSION: &str = "1";

/// Whether a reader of [`VERSION`] can read the headers of `version`. A minor version only adds headers.
///
/// ```
/// use blobgate::contract::is_understood;
///
/// assert!(is_understood("1") && is_understood("1.7"));
/// assert!(!is_understood("2"));
/// ```
pub fn is_understood(version: &str) -> bool {
    version.split('.').next() == Some(VERSION)
}

/// Whether a request id has a safe form: 1 to 64 letters, digits, `.`, `_` or `-`. It stands in lines, headers and tables.
///
/// ```
/// use blobgate::contract::is_request_id;
///
/// assert!(is_request_id("5f1c2b8e-6b0a-4c3f-9a55-0d9a3c1b7e11") && is_request_id("01J.a_b"));
/// assert!(!is_request_id("") && !is_request_id("a b") && !is_request_id(&"a".repeat(65)));
/// ```
pub fn is_request_id(text: &str) -> bool {
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(is_safe)
}

/// The largest size of a [`header::DETAIL`].
pub const MAX_DETAIL: usize = 160;

/// Whether a text can be the value of [`header::DETAIL`]: up to [`MAX_DETAIL`] bytes of visible ASCII without `"` and `\\`.
///
/// ```
/// use blobgate::contract::is_detail;
///
/// assert!(is_detail("video_url: scheme is http, expected https"));
/// assert!(!is_detail("") && !is_detail("a\"b") && !is_detail("a\tb") && !is_detail(&"a".repeat(161)));
/// ```
pub fn is_detail(text: &str) -> bool {
    let is_safe = |byte: u8| matches!(byte, b' '..=b'~') && !b"\"\\".contains(&byte);
    (1..=MAX_DETAIL).contains(&text.len()) && text.bytes().all(is_safe)
}

/// Whether a text is a `traceparent` of version 00 ([W3C Trace Context](https://www.w3.org/TR/trace-context/), section 3.2).
///
/// ```
/// use blobgate::contract::is_traceparent;
///
/// assert!(is_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
/// assert!(!is_traceparent("00-00000000000000000000000000000000-b7ad6b7169203331-01"));
/// assert!(!is_traceparent("00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01"));
/// ```
pub fn is_traceparent(text: &str) -> bool {
    let is_hex = |text: &str, length| {
        text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_id = |text: &str, length| is_hex(text, length) && text.bytes().any(|byte| byte != b'0');
    let mut parts = text.split('-');
    let mut next = || parts.next().unwrap_or_default();
    let (version, trace, parent, flags) = (next(), next(), next(), next());
    let is_whole = parts.next().is_none();
    is_whole && version == "00" && is_id(trace, 32) && is_id(parent, 16) && is_hex(flags, 2)
}

macro_rules! wire_values {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident $text:literal)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[$value_doc])* $value,)* }

        impl $name {
            /// Every value.
            pub const ALL: &[$name] = &[$($name::$value,)*];

            /// The value on the wire.
            pub const fn name(self) -> &'static str {
                match self { $($name::$value => $text,)* }
            }

            /// Reads the value on the wire.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some($name::$value),)* _ => None }
            }
        }
    };
}

wire_values! {
    /// The verdict on a forwarded delivery: the value of [`header::VERDICT`].
    Verdict {
        /// The delivery breaks no rule.
        Accepted "accepted"
        /// The sender is authenticated, and the delivery breaks a rule.
        Quarantined "quarantined"
        /// The hook only observes.
        Observed "observed"
    }
}

wire_values! {
    /// A proof that held: a value in the list of [`header::PROOFS`].
    Proof {
        /// The callback token is valid and in time.
        Token "token"
        /// The provider's status API confirmed the event.
        Confirmed "confirmed"
    }
}

wire_values! {
    /// The end of a generation: the value of [`header::EVENT`].
    Kind {
        /// With a video.
        Completed "completed"
        /// With a failure.
        Failed "failed"
        /// With the failure code `TIMEOUT`.
        Timeout "timeout"
    }
}

wire_values! {
    /// The origin of a delivery without a webhook: the value of [`header::SOURCE`].
    EventSource {
        /// The inbox fetched the event from the provider's status API.
        Reconcile "reconcile"
        /// `blobgate inbox tail --forward` copied a delivery.
        Tail "tail"
    }
}

/// The key by which a service detects a repeat: `dialect:generation:event`. The value of [`header::IDEMPOTENCY_KEY`].
///
/// ```
/// use blobgate::contract::{Kind, idempotency_key};
///
/// let id = "ffd473d5-5bef-4e14-bf22-8d559be3c19f";
/// assert_eq!(idempotency_key("veo3", id, Kind::Failed), "veo3:ffd473d5-5bef-4e14-bf22-8d559be3c19f:failed");
/// ```
pub fn idempotency_key(dialect: &str, generation: &str, kind: Kind) -> String {
    let mut key = String::with_capacity(64);
    key.extend([dialect, ":", generation, ":", kind.name()]);
    key
}

/// Whether an idempotency key names this event, in any dialect.
///
/// ```
/// use blobgate::contract::{Kind, is_key_of};
///
/// assert!(is_key_of("veo3:one:failed", "one", Kind::Failed));
/// assert!(!is_key_of("veo3:one:failed", "one", Kind::Timeout));
/// ```
pub fn is_key_of(key: &str, generation: &str, kind: Kind) -> bool {
    let event = key.split_once(':').and_then(|(_dialect, event)| event.split_once(':'));
    event == Some((generation, kind.name()))
}

/// The [`header::WEBHOOK_ID`] of a quarantined delivery without a readable event: `dialect:SHA-256:quarantined`.
pub fn quarantine_key(dialect: &str, body_sha256: &[u8]) -> String {
    let mut key = format!("{dialect}:");
    for byte in body_sha256 {
        // Writing to a string does not fail.
        let _ = write!(key, "{byte:02x}");
    }
    key.extend([":", Verdict::Quarantined.name()]);
    key
}
