//! RunBlob's Veo3 webhook: <https://docs.runblob.io/api-reference/veo3/webhooks>.
//!
//! Load-bearing: `generation_id`, `status` and, on `completed`, an https `video_url`. Everything else is expected.

mod iso8601;
#[cfg(not(target_family = "wasm"))]
mod webhook;

use super::{Claim, Drift, Unfit};
use crate::Reason;
use crate::event::{Class, Failure, GenerationId, Kind};
use crate::json::{Known, KnownBelow, Value};
use iso8601::Instant;
#[cfg(not(target_family = "wasm"))]
pub(crate) use webhook::webhook;

/// The keys that are read: the documented ones, and the one in which other copies of the page show a failure's code.
pub const KNOWN: Known = &[
    ("generation_id", None),
    ("status", None),
    ("prompt", None),
    ("video_url", None),
    ("created_at", None),
    ("completed_at", None),
    ("seed", None),
    ("error", Some(&KnownBelow(&[("message", None), ("details", None)]))),
    (OLDER_MESSAGE, None),
];

/// Read, and drift all the same.
const OLDER_MESSAGE: &str = "message";

/// The drift of keys that are not documented.
const UNKNOWN_KEYS: &str = "unknown-keys";

/// The code that makes a failure a timeout.
const TIMEOUT: &str = "TIMEOUT";

/// The provider's table of codes: <https://docs.runblob.io/api-reference/veo3/errors>. The flag, whether generating
/// again unchanged may work, is ours: `PHOTOREAL_UPLOAD` is refused "about 50 %" of the time at random, and what the
/// system could not do it may do later, save `TASK_FAILED`, which the page says was stopped for its content.
const CODES: &[(&str, Class, bool)] = &[
    ("INSUFFICIENT_CREDITS", Class::User, false),
    ("TASK_NOT_FOUND", Class::User, false),
    ("INVALID_TASK_ID", Class::User, false),
    ("INVALID_IMAGE", Class::User, false),
    ("IMAGE_TOO_LARGE", Class::User, false),
    ("UNSUPPORTED_IMAGE_FORMAT", Class::User, false),
    ("NON_ENGLISH_PROMPT", Class::Content, false),
    ("UNSAFE_CONTENT", Class::Content, false),
    ("PROMINENT_PEOPLE_UPLOAD", Class::Content, false),
    ("PHOTOREAL_UPLOAD", Class::Content, true),
    ("MODERATION_FAILED", Class::Content, false),
    ("GOOGLE_DECLINED", Class::System, true),
    ("TASK_FAILED", Class::System, false),
    (TIMEOUT, Class::System, true),
    ("MAINTENANCE", Class::System, true),
];

/// Reads a payload.
///
/// # Errors
/// [`Reason::SchemaInvalid`] where it is no object, or a load-bearing field is missing or not as documented.
pub fn read<'a>(payload: &'a Value<'_>) -> Result<Claim<'a>, Unfit> {
    let text = |key| payload.field(key).and_then(Value::as_text);
    let generation_id = text("generation_id");
    let unfit = || Unfit {
        reason: Reason::SchemaInvalid,
        generation_id: generation_id.and_then(GenerationId::parse),
        event: None,
    };
    let id = generation_id.ok_or_else(unfit)?;
    let mut drift = Drift::default();
    let (kind, failure, result_url) = match (text("status"), text("video_url")) {
        (Some("completed"), Some(url)) if is_https(url) => {
            drift.expect("error", matches!(payload.field("error"), Some(Value::Null)));
            (Kind::Completed, None, Some(url))
        }
        (Some("failed"), _) => {
            drift.expect("video_url", matches!(payload.field("video_url"), Some(Value::Null)));
            let failure = read_failure(payload, &mut drift);
            let timeout = failure.code.as_deref() == Some(TIMEOUT);
            (if timeout { Kind::Timeout } else { Kind::Failed }, Some(failure), None)
        }
        _ => return Err(unfit()),
    };
    expect_common(payload, &mut drift);
    Ok(Claim { generation_id: id, kind, failure, result_url, drift })
}

/// <https://docs.runblob.io/api-reference/veo3/status>
pub fn status_path(id: GenerationId) -> String {
    format!("/v1/veo/generations/{id}")
}

/// A URL with the scheme `https` and something after it, whatever it is.
fn is_https(url: &str) -> bool {
    // By a character: to search for a text brings more code into the caches than all of this.
    let Some((scheme, rest)) = url.split_once(':') else { return false };
    let rest = rest.strip_prefix("//").unwrap_or_default();
    scheme.eq_ignore_ascii_case("https") && !rest.is_empty() && !rest.starts_with(['/', '?', '#'])
}

/// The failure, wherever a copy of the provider's page puts its code: `error.message`, or else a plain string
/// `error`, or else a top-level `message`.
fn read_failure(payload: &Value<'_>, drift: &mut Drift) -> Failure {
    let error = payload.field("error");
    let documented = error.and_then(|error| error.field("message")).and_then(Value::as_text);
    match error {
        Some(Value::Object(fields)) => {
            drift.expect("error.message", documented.is_some());
            drift.expect(
                "error.details",
                matches!(error.and_then(|e| e.field("details")), Some(Value::Object(_))),
            );
            drift.expect(UNKNOWN_KEYS, fields.iter().all(|(key, _)| key == "message" || key == "details"));
        }
        _ => drift.note("error"),
    }
    let code = documented
        .or_else(|| error.and_then(Value::as_text))
        .or_else(|| payload.field(OLDER_MESSAGE).and_then(Value::as_text));
    let Some(code) = code else {
        return Failure { code: None, class: Class::Unknown, retryable: None };
    };
    match CODES.iter().find(|(known, _, _)| *known == code) {
        Some((_, class, retryable)) => {
            Failure { code: Some(code.to_owned()), class: *class, retryable: Some(*retryable) }
        }
        None => {
            drift.note(if documented.is_some() { "error.message" } else { "error" });
            let code = is_code(code).then(|| code.to_owned());
            Failure { code, class: Class::Unknown, retryable: None }
        }
    }
}

fn is_code(text: &str) -> bool {
    const MAX_CODE: usize = 64;
    (1..=MAX_CODE).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

/// What the page shows on every payload.
fn expect_common(payload: &Value<'_>, drift: &mut Drift) {
    let instant = |key| payload.field(key).and_then(Value::as_text).and_then(Instant::parse);
    let (created, completed) = (instant("created_at"), instant("completed_at"));
    drift.expect("prompt", matches!(payload.field("prompt"), Some(Value::String(_))));
    drift.expect("created_at", created.is_some());
    drift.expect("completed_at", completed.is_some());
    if let (Some(created), Some(completed)) = (created, completed) {
        drift.expect("completed_at", !completed.is_before(&created));
    }
    drift.expect("seed", matches!(payload.field("seed"), Some(Value::Number(_))));
    if let Value::Object(fields) = payload {
        let is_documented = |key: &str| key != OLDER_MESSAGE && KNOWN.iter().any(|(known, _)| *known == key);
        drift.expect(UNKNOWN_KEYS, fields.iter().all(|(key, _)| is_documented(key)));
    }
}
