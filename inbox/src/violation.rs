//! Describes the violation of a quarantined entry, without a value of its body.

use crate::arrival::{MAX_DEPTH, read_headers};
use blobgate::contract::header;
use blobgate::dialect::Dialect;
use blobgate::{Reason, event, json};

/// The violation behind a reason code, where the entry shows more than the code.
pub(crate) fn describe(code: &str, headers: &[u8], body: &[u8]) -> Option<String> {
    let reason = Reason::parse(code)?;
    let headers = read_headers(headers);
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    match reason {
        Reason::SchemaInvalid | Reason::GenerationIdInvalid => {
            let dialect = Dialect::by_name(text(header::DIALECT)?)?;
            let payload = json::parse(body, MAX_DEPTH, dialect.known()).ok()?;
            let checked = dialect.read(&payload).and_then(event::check);
            checked.err().and_then(|unfit| unfit.violation.text()).or_else(|| {
                let drift = text(header::DRIFT)?;
                Some(format!(
                    "the hook's schema is strict, and these fields differ from the documentation: {drift}"
                ))
            })
        }
        Reason::ResultUrlDenied => {
            Some("video_url: is another URL, expected a URL that result_url allows".to_owned())
        }
        Reason::TokenMismatch => {
            Some("prompt: is another text, expected the prompt of the token's claim ph".to_owned())
        }
        Reason::BodyMissing
        | Reason::JsonInvalid
        | Reason::JsonTooDeep
        | Reason::JsonDuplicateKey
        | Reason::UnsupportedEncoding => Some(reason.sentence().trim_end_matches('.').to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn row(code: &str, headers: &str, body: &str, expected: Option<&str>) {
        let headers = format!("{}: veo3\r\n{headers}", header::DIALECT);
        assert_eq!(describe(code, headers.as_bytes(), body.as_bytes()).as_deref(), expected);
    }

    #[test]
    fn names_the_field_without_its_value() {
        const ID: &str = "ffd473d5-5bef-4e14-bf22-8d559be3c19f";
        let body = format!(r#"{{"generation_id":"{ID}","status":"succeeded"}}"#);
        let status = "status: is another text, expected completed or failed";
        row("schema-invalid", "", &body, Some(status));
        let good = body.replace("succeeded", "failed");
        let drift = "the hook's schema is strict, and these fields differ from the documentation: seed,error";
        row("schema-invalid", "blobgate-drift: seed,error\r\n", &good, Some(drift));
        row("schema-invalid", "", &good, None);
        row("json-invalid", "", "{", Some("The body is not JSON in UTF-8"));
        row("source-denied", "", &body, None);
        row("event-conflict", "", &body, None);
        row("of-tomorrow", "", &body, None);
    }
}
