//! Stage 4: the method, the content encoding and the declared size.

use crate::head::{Ending, Head};
use crate::headers::Headers;
use crate::violation::Detail;
use crate::{Reason, Violation};

/// Checks the method, `content-encoding`, `content-length`, and that a body follows.
///
/// # Errors
/// In this order: [`Reason::MethodNotAllowed`], [`Reason::HeaderInvalid`], [`Reason::UnsupportedEncoding`],
/// [`Reason::BodyTooLarge`], [`Reason::BodyMissing`].
pub fn check(max_body_bytes: usize, head: &Head<'_>) -> Result<(), Violation> {
    if head.method != b"POST" {
        let found = known(head.method, METHODS, "is another");
        return Err(Detail::new("method", found, "POST").of(Reason::MethodNotAllowed));
    }
    // `identity` is no encoding, and neither is an empty list (RFC 9110, section 8.4).
    if !head.headers.members(ENCODING).all(|coding| coding.eq_ignore_ascii_case(b"identity")) {
        return Err(check_encoding(head));
    }
    check_length(max_body_bytes, head)?;
    match head.ending {
        Ending::Here => Err(NO_BODY),
        Ending::Later => Ok(()),
    }
}

/// The field of a detail about the body as a whole.
pub(crate) const BODY: &str = "body";
const ENCODING: &str = "content-encoding";

/// The violation of a request without a body, or with an empty one.
pub(crate) const NO_BODY: Violation = Detail::new(BODY, "is empty", "a JSON object").of(Reason::BodyMissing);

/// The violation of a body over the limit.
pub(crate) const fn too_large(field: &'static str, max_body_bytes: usize) -> Violation {
    Detail::new(field, "is over the limit", "at most # bytes")
        .with_number(max_body_bytes)
        .of(Reason::BodyTooLarge)
}

/// The methods and codings that a detail names. Another one is a text of the client.
const METHODS: &[(&str, &str)] = &[
    ("GET", "is GET"),
    ("HEAD", "is HEAD"),
    ("PUT", "is PUT"),
    ("PATCH", "is PATCH"),
    ("DELETE", "is DELETE"),
    ("OPTIONS", "is OPTIONS"),
    ("POST", "is not in capitals"),
];
const CODINGS: &[(&str, &str)] = &[
    ("gzip", "is gzip"),
    ("deflate", "is deflate"),
    ("br", "is br"),
    ("zstd", "is zstd"),
    ("compress", "is compress"),
];

fn known(value: &[u8], names: &[(&str, &'static str)], other: &'static str) -> &'static str {
    let named = names.iter().find(|(name, _)| value.eq_ignore_ascii_case(name.as_bytes()));
    named.map_or(other, |(_, found)| found)
}

fn check_encoding(head: &Head<'_>) -> Violation {
    let (reason, found) = match head.headers.one(ENCODING) {
        Ok(coding) => {
            let coding = coding.unwrap_or_default().trim();
            (Reason::UnsupportedEncoding, known(coding.as_bytes(), CODINGS, "is another coding"))
        }
        Err(invalid) => (Reason::HeaderInvalid, invalid.found()),
    };
    Detail::new(ENCODING, found, "identity or none").of(reason)
}

fn check_length(max_body_bytes: usize, head: &Head<'_>) -> Result<(), Violation> {
    const LENGTH: &str = "content-length";
    let invalid = |found| Detail::new(LENGTH, found, "one whole number").of(Reason::HeaderInvalid);
    let Some(length) = head.headers.one(LENGTH).map_err(|error| invalid(error.found()))? else {
        return Ok(());
    };
    let length: u64 = length.parse().map_err(|_| invalid("is not a 64-bit number"))?;
    // The stage `size` also counts the bytes that arrive.
    if usize::try_from(length).map_or(true, |length| length > max_body_bytes) {
        return Err(too_large(LENGTH, max_body_bytes));
    }
    Ok(())
}

/// The declared type of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentType {
    /// Exactly `application/json`.
    Json,
    /// `application/json` in other letters or with parameters.
    JsonVariant,
    /// Another type, or none.
    Other,
}

/// Reads `content-type`. The provider documents no header of its webhooks, so another type is drift and not a violation.
pub fn content_type(head: &Head<'_>) -> ContentType {
    match head.headers.one("content-type") {
        Ok(Some("application/json")) => ContentType::Json,
        Ok(Some(value)) if is_json(value) => ContentType::JsonVariant,
        _ => ContentType::Other,
    }
}

/// Whether Envoy may treat the request as gRPC.
pub fn is_grpc(headers: &Headers) -> bool {
    headers.first("content-type").starts_with(b"application/grpc")
}

fn is_json(content_type: &str) -> bool {
    let (essence, _parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    essence.trim().eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn request(method: &str, headers: &[(&str, &str)], ending: Ending, expected: Result<(), (Reason, &str)>) {
        let list = headers.iter().map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec())).collect();
        let headers = Headers::new(list);
        let head = Head { method: method.as_bytes(), ending, ..Head::of(&headers) };
        let found = check(100, &head).map_err(|violation| (violation.reason, violation.text().unwrap()));
        assert_eq!(found, expected.map_err(|(reason, detail)| (reason, detail.to_owned())));
    }

    #[test]
    fn returns_the_first_violation_in_order() {
        use Ending::{Here, Later};
        use Reason::{BodyMissing, BodyTooLarge, HeaderInvalid, MethodNotAllowed, UnsupportedEncoding};
        const NO_NUMBER: &str = "content-length: is not a 64-bit number, expected one whole number";
        const REPEATED: &str = "content-encoding: is repeated, expected identity or none";
        const TOO_LONG: &str = "content-length: is over the limit, expected at most 100 bytes";
        const MISSING: &str = "body: is empty, expected a JSON object";
        let (gzip, long) = (("content-encoding", "gzip"), ("content-length", "101"));
        request("POST", &[], Later, Ok(()));
        request("POST", &[("content-encoding", "Identity"), ("content-length", "100")], Later, Ok(()));
        request("GET", &[gzip, gzip, long], Here, Err((MethodNotAllowed, "method: is GET, expected POST")));
        for (method, class) in [
            ("post", "is not in capitals"),
            ("HEAD", "is HEAD"),
            ("OPTIONS", "is OPTIONS"),
            ("PUT", "is PUT"),
            ("PATCH", "is PATCH"),
            ("DELETE", "is DELETE"),
            ("SECRET", "is another"),
            ("", "is another"),
        ] {
            let expected = format!("method: {class}, expected POST");
            request(method, &[], Later, Err((MethodNotAllowed, &expected)));
        }
        request("POST", &[gzip, gzip, long], Here, Err((HeaderInvalid, REPEATED)));
        request("POST", &[("content-encoding", "gzip,br")], Here, Err((HeaderInvalid, REPEATED)));
        for (coding, class) in [
            ("gzip", "is gzip"),
            ("BR", "is br"),
            (" deflate ", "is deflate"),
            ("zstd", "is zstd"),
            ("compress", "is compress"),
            ("secret", "is another coding"),
            ("x-gzip", "is another coding"),
        ] {
            let expected = format!("content-encoding: {class}, expected identity or none");
            request(
                "POST",
                &[("content-encoding", coding), long],
                Here,
                Err((UnsupportedEncoding, &expected)),
            );
        }
        request("POST", &[("content-encoding", "identity, gzip")], Later, Err((HeaderInvalid, REPEATED)));
        let binary = "content-encoding: is not visible ASCII, expected identity or none";
        request("POST", &[("content-encoding", "\u{e9}")], Later, Err((HeaderInvalid, binary)));
        let repeated = "content-length: is repeated, expected one whole number";
        request("POST", &[long, long], Later, Err((HeaderInvalid, repeated)));
        request("POST", &[long], Later, Err((BodyTooLarge, TOO_LONG)));
        for length in ["99999999999999999999", "secret", "", "-1", "1e3", "0x1"] {
            request("POST", &[("content-length", length)], Later, Err((HeaderInvalid, NO_NUMBER)));
        }
        request("POST", &[("content-length", "18446744073709551615")], Later, Err((BodyTooLarge, TOO_LONG)));
        request("POST", &[("content-length", "0")], Here, Err((BodyMissing, MISSING)));
    }

    #[test]
    fn accepts_every_list_without_an_encoding() {
        for values in [
            &[""][..],
            &[" "],
            &[","],
            &["", ""],
            &["identity", "identity"],
            &["identity, identity"],
            &["IDENTITY,identity ,, Identity,"],
            &[",identity"],
            &["identity", "", "\tidentity\t,"],
        ] {
            let headers: Vec<_> = values.iter().map(|value| ("content-encoding", *value)).collect();
            request("POST", &headers, Ending::Later, Ok(()));
        }
        for value in ["identity\u{a0}", "identities", "identity;q=1", "\"identity\""] {
            assert_ne!(check(100, &Head { method: b"POST", ..Head::of(&of(value)) }), Ok(()), "{value}");
        }
    }

    fn of(encoding: &str) -> Headers {
        Headers::new(vec![("content-encoding".to_owned(), encoding.as_bytes().to_vec())])
    }

    #[track_caller]
    fn read(values: &[&str], expected: ContentType) {
        let list = values.iter().map(|v| ("content-type".to_owned(), v.as_bytes().to_vec())).collect();
        assert_eq!(content_type(&Head::of(&Headers::new(list))), expected, "{values:?}");
    }

    #[test]
    fn reads_json_with_and_without_parameters() {
        read(&["application/json"], ContentType::Json);
        read(&["Application/JSON; charset=utf-8"], ContentType::JsonVariant);
        read(&["application/json ;charset=utf-8"], ContentType::JsonVariant);
        read(&[], ContentType::Other);
        read(&["text/plain"], ContentType::Other);
        read(&["application/jsonp"], ContentType::Other);
        read(&["application/json", "application/json"], ContentType::Other);
    }
}
