//! RunBlob's Veo3 webhook: <https://docs.runblob.io/api-reference/veo3/webhooks>.
//!
//! Required fields: `generation_id`, `status` and, on `completed`, an https `video_url`. A wrong required field refuses the
//! payload. Any other difference is drift.

#[cfg(not(target_family = "wasm"))]
mod envelope;
mod iso8601;
#[cfg(not(target_family = "wasm"))]
mod webhook;

use crate::Reason;
use crate::violation::Detail;
use crate::event::{Claim, Class, Drift, Failure, GenerationId, Kind, InvalidPayload};
use crate::json::{KnownKeys, KnownObject, Value};
use crate::request::BODY;
use crate::result_url::other_scheme;
use iso8601::Instant;
#[cfg(not(target_family = "wasm"))]
pub(crate) use envelope::{event_as, generation, result_url};
#[cfg(not(target_family = "wasm"))]
pub(crate) use webhook::webhook;

/// The keys that the dialect reads: the documented ones, and the top-level `message` of older copies of the page.
pub const KNOWN: KnownKeys = &[
    ("generation_id", None),
    ("status", None),
    ("prompt", None),
    ("video_url", None),
    ("created_at", None),
    ("completed_at", None),
    ("seed", None),
    ("error", Some(&KnownObject(&[("error.message", None), ("error.details", None)]))),
    (OLDER_MESSAGE, None),
];

/// Older copies of the provider's page have a failure's code here. It is drift.
const OLDER_MESSAGE: &str = "message";

/// The field with the video's URL.
pub(super) const RESULT_FIELD: &str = "video_url";

/// The code of a timeout.
const TIMEOUT: &str = "TIMEOUT";

/// The provider's table of codes: <https://docs.runblob.io/api-reference/veo3/errors>. The provider does not document the
/// flag: whether an unchanged second generation may succeed. The page says that `PHOTOREAL_UPLOAD` refuses "about 50 %" at
/// random. A second try can help after a system failure, except `TASK_FAILED`: the page says that its content caused it.
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
/// [`Reason::SchemaInvalid`] where it is not an object, or a required field is missing or not as documented.
pub fn read<'a>(payload: &'a Value<'_>) -> Result<Claim<'a>, InvalidPayload> {
    let fields = PayloadFields::of(payload);
    let id = text(fields.generation_id).ok_or_else(|| no_id(payload, &fields))?;
    let mut drift = Drift::default();
    let (kind, failure, result_url) = match (text(fields.status), text(fields.video_url)) {
        (Some("completed"), Some(url)) if is_https(url) => {
            drift.expect("error", matches!(fields.error, Some(Value::Null)));
            (Kind::Completed, None, Some(url))
        }
        (Some("failed"), _) => {
            drift.expect("video_url", matches!(fields.video_url, Some(Value::Null)));
            let failure = read_failure(&fields, &mut drift);
            let timeout = failure.code.as_deref() == Some(TIMEOUT);
            (if timeout { Kind::Timeout } else { Kind::Failed }, Some(failure), None)
        }
        _ => return Err(InvalidPayload { generation_id: GenerationId::parse(id), ..no_event(&fields) }),
    };
    expect_common(&fields, &mut drift);
    Ok(Claim { generation_id: id, kind, failure, result_url, drift })
}

/// The violation of a payload without a text as its id.
fn no_id(payload: &Value<'_>, fields: &PayloadFields<'_>) -> InvalidPayload {
    match payload {
        Value::Object(_) => unfit("generation_id", class(fields.generation_id), "a UUID"),
        _ => unfit(BODY, class(Some(payload)), "a JSON object"),
    }
}

/// The violation of a payload with an id and without an event.
fn no_event(fields: &PayloadFields<'_>) -> InvalidPayload {
    const STATUS: &str = "completed or failed";
    match (text(fields.status), text(fields.video_url)) {
        (Some("completed"), Some(url)) => match other_scheme(url) {
            Some(found) => unfit(RESULT_FIELD, found, "https"),
            None => unfit(RESULT_FIELD, "has no host", "an https URL with a host"),
        },
        (Some("completed"), None) => unfit(RESULT_FIELD, class(fields.video_url), "an https URL"),
        (Some(_), _) => unfit("status", "is another text", STATUS),
        (None, _) => unfit("status", class(fields.status), STATUS),
    }
}

fn unfit(field: &'static str, found: &'static str, expected: &'static str) -> InvalidPayload {
    Detail::new(field, found, expected).of(Reason::SchemaInvalid).into()
}

/// The class of a value that should have another type.
fn class(value: Option<&Value<'_>>) -> &'static str {
    match value {
        None => "is missing",
        Some(Value::Null) => "is null",
        Some(Value::Bool(_)) => "is a boolean",
        Some(Value::Number(_)) => "is a number",
        Some(Value::String(_)) => "is a text",
        Some(Value::Array(_)) => "is a list",
        Some(Value::Object(_)) => "is an object",
    }
}

/// A payload's values under the keys of [`KNOWN`].
#[derive(Default)]
struct PayloadFields<'a> {
    generation_id: Option<&'a Value<'a>>,
    status: Option<&'a Value<'a>>,
    prompt: Option<&'a Value<'a>>,
    video_url: Option<&'a Value<'a>>,
    created_at: Option<&'a Value<'a>>,
    completed_at: Option<&'a Value<'a>>,
    seed: Option<&'a Value<'a>>,
    error: Option<&'a Value<'a>>,
    older_message: Option<&'a Value<'a>>,
    /// Whether the payload has other keys.
    has_unknown: bool,
}

impl<'a> PayloadFields<'a> {
    /// Reads all fields in one pass, because every payload needs all of them.
    fn of(payload: &'a Value<'_>) -> Self {
        let mut found = Self::default();
        let Value::Object(fields) = payload else { return found };
        for (key, value) in fields {
            let field = match &**key {
                "generation_id" => &mut found.generation_id,
                "status" => &mut found.status,
                "prompt" => &mut found.prompt,
                "video_url" => &mut found.video_url,
                "created_at" => &mut found.created_at,
                "completed_at" => &mut found.completed_at,
                "seed" => &mut found.seed,
                "error" => &mut found.error,
                OLDER_MESSAGE => &mut found.older_message,
                _ => {
                    found.has_unknown = true;
                    continue;
                }
            };
            *field = Some(value);
        }
        found
    }
}

fn text<'a>(value: Option<&'a Value<'_>>) -> Option<&'a str> {
    value.and_then(Value::as_text)
}

pub(super) fn prompt<'a>(payload: &'a Value<'_>) -> Option<&'a str> {
    payload.field("prompt").and_then(Value::as_text)
}

pub(super) fn is_still_working(answer: &Value<'_>) -> bool {
    matches!(answer.field("status").and_then(Value::as_text), Some("pending" | "processing"))
}

/// The provider's own 404 names the missing thing: `TASK_NOT_FOUND`, `Generation not found`.
pub(super) fn is_no_such_generation(answer: &Value<'_>) -> bool {
    const NO_SUCH_PATH: &str = "Not Found";
    let found = ["detail", "message", "error"].iter().find_map(|key| answer.field(key)?.as_text());
    found.is_some_and(|found| !found.is_empty() && found != NO_SUCH_PATH)
}

/// <https://docs.runblob.io/api-reference/veo3/status>
pub fn status_path(id: GenerationId) -> String {
    format!("/v1/veo/generations/{id}")
}

/// A URL with the scheme `https` and any host.
fn is_https(url: &str) -> bool {
    const SCHEME: &[u8] = b"https://";
    url.as_bytes().split_at_checked(SCHEME.len()).is_some_and(|(scheme, rest)| {
        scheme.eq_ignore_ascii_case(SCHEME) && !matches!(rest.first(), None | Some(b'/' | b'?' | b'#'))
    })
}

/// Reads the failure. Copies of the provider's page have its code in three places: `error.message`, a plain string
/// `error`, and a top-level `message`. The first of them counts.
fn read_failure(payload: &PayloadFields<'_>, drift: &mut Drift) -> Failure {
    let error = payload.error;
    let documented = text(error.and_then(|error| error.field("message")));
    match error {
        Some(Value::Object(fields)) => {
            drift.expect("error.message", documented.is_some());
            drift.expect(
                "error.details",
                matches!(error.and_then(|e| e.field("details")), Some(Value::Object(_))),
            );
            drift.expect(Drift::UNKNOWN_KEYS, fields.iter().all(|(key, _)| key == "message" || key == "details"));
        }
        _ => drift.note("error"),
    }
    let code = documented.or_else(|| text(error)).or_else(|| text(payload.older_message));
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

/// Notes drift in the fields that the page shows in every payload.
fn expect_common(payload: &PayloadFields<'_>, drift: &mut Drift) {
    let (created, completed) = (instant(payload.created_at), instant(payload.completed_at));
    drift.expect("prompt", matches!(payload.prompt, Some(Value::String(_))));
    drift.expect("created_at", created.is_some());
    drift.expect("completed_at", completed.is_some());
    if let (Some(created), Some(completed)) = (created, completed) {
        drift.expect("completed_at", !completed.is_before(&created));
    }
    drift.expect("seed", matches!(payload.seed, Some(Value::Number(_))));
    drift.expect(Drift::UNKNOWN_KEYS, payload.older_message.is_none() && !payload.has_unknown);
}

fn instant(value: Option<&Value<'_>>) -> Option<Instant> {
    text(value).and_then(Instant::parse)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [`KNOWN`] and [`PayloadFields`] list the same keys.
    #[test]
    fn reads_every_known_key() {
        for (key, _) in KNOWN {
            let payload = Value::Object(vec![((*key).into(), Value::Null)]);
            assert!(!PayloadFields::of(&payload).has_unknown, "{key}");
        }
        assert!(PayloadFields::of(&Value::Object(vec![("model".into(), Value::Null)])).has_unknown);
    }

    const GOOD: &str = r#"{"generation_id":"ffd473d5-5bef-4e14-bf22-8d559be3c19f","status":"completed",
        "video_url":"https://a.example/1.mp4","error":null}"#;

    /// The detail of a body's violation; `None` for a body with an event.
    #[track_caller]
    fn violates(body: &str, expected: Option<&str>) {
        let payload = crate::json::parse(body.as_bytes(), 16, KNOWN).unwrap();
        let checked = read(&payload).and_then(crate::event::check);
        let found = checked.err().map(|unfit| unfit.violation.text().unwrap());
        assert_eq!(found.as_deref(), expected, "{body}");
    }

    #[test]
    fn names_the_first_wrong_field_and_the_class_of_its_value() {
        const STATUS: &str = "expected completed or failed";
        violates(GOOD, None);
        violates(&GOOD.replace("completed", "failed"), None);
        for (status, class) in [
            ("\"succeeded\"", "is another text"),
            ("\"\"", "is another text"),
            ("7", "is a number"),
            ("null", "is null"),
            ("true", "is a boolean"),
            ("[\"completed\"]", "is a list"),
            ("{}", "is an object"),
        ] {
            let body = GOOD.replace("\"completed\"", status);
            violates(&body, Some(&format!("status: {class}, {STATUS}")));
        }
        violates(&GOOD.replace("status", "state"), Some(&format!("status: is missing, {STATUS}")));
        violates(&GOOD.replace("video_url", "url"), Some("video_url: is missing, expected an https URL"));
        for (url, class) in [("null", "is null"), ("{\"url\":\"https://a.example/1\"}", "is an object")] {
            let body = GOOD.replace("\"https://a.example/1.mp4\"", url);
            violates(&body, Some(&format!("video_url: {class}, expected an https URL")));
        }
        for (scheme, class) in [
            ("http:", "scheme is http"),
            ("HTTP:", "scheme is http"),
            ("ftp:", "scheme is ftp"),
            ("file:", "scheme is file"),
            ("sftp:", "scheme is another"),
            (" https:", "has a space or control character"),
            ("\\thttps:", "has a space or control character"),
            ("https:/", "has no host"),
            ("", "has no scheme"),
        ] {
            let (body, host) = (GOOD.replace("https:", scheme), class == "has no host");
            let expected = if host { "an https URL with a host" } else { "https" };
            violates(&body, Some(&format!("video_url: {class}, expected {expected}")));
        }
        let id = |class| format!("generation_id: {class}, expected a UUID");
        violates(&GOOD.replace("generation_id", "id"), Some(&id("is missing")));
        violates(&GOOD.replace("\"ffd473d5-5bef-4e14-bf22-8d559be3c19f\"", "7"), Some(&id("is a number")));
        violates(
            &GOOD.replace("ffd4", "xyz"),
            Some("generation_id: is another text, expected a UUID as 8-4-4-4-12, neither nil nor max"),
        );
        for (body, class) in [
            (format!("[{GOOD}]"), "is a list"),
            ("null".to_owned(), "is null"),
            ("\"completed\"".to_owned(), "is a text"),
            ("7".to_owned(), "is a number"),
        ] {
            violates(&body, Some(&format!("body: {class}, expected a JSON object")));
        }
        violates(&format!(r#"{{"data":{GOOD}}}"#), Some(&id("is missing")));
    }
}
