//! Stage 4: the method, the content encoding and the declared size.

use crate::Reason;
use crate::head::{Ending, Head};
use crate::headers::Headers;

/// Checks the method, `content-encoding`, `content-length`, and that a body follows.
///
/// # Errors
/// In this order: [`Reason::MethodNotAllowed`], [`Reason::HeaderInvalid`], [`Reason::UnsupportedEncoding`],
/// [`Reason::BodyTooLarge`], [`Reason::BodyMissing`].
pub fn check(max_body_bytes: usize, head: &Head<'_>) -> Result<(), Reason> {
    if head.method != b"POST" {
        return Err(Reason::MethodNotAllowed);
    }
    // `identity` is no encoding, and neither is an empty list (RFC 9110, section 8.4).
    if !head.headers.members("content-encoding").all(|coding| coding.eq_ignore_ascii_case(b"identity")) {
        let single = head.headers.one("content-encoding");
        return Err(single.map_or(Reason::HeaderInvalid, |_| Reason::UnsupportedEncoding));
    }
    let length = head.headers.one("content-length").map_err(|_| Reason::HeaderInvalid)?;
    if let Some(length) = length {
        let length: u64 = length.parse().map_err(|_| Reason::HeaderInvalid)?;
        // The stage `size` also counts the bytes that arrive.
        if usize::try_from(length).map_or(true, |length| length > max_body_bytes) {
            return Err(Reason::BodyTooLarge);
        }
    }
    match head.ending {
        Ending::Here => Err(Reason::BodyMissing),
        Ending::Later => Ok(()),
    }
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
    fn request(method: &str, headers: &[(&str, &str)], ending: Ending, expected: Result<(), Reason>) {
        let list = headers.iter().map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec())).collect();
        let headers = Headers::new(list);
        let head = Head { method: method.as_bytes(), ending, ..Head::of(&headers) };
        assert_eq!(check(100, &head), expected);
    }

    #[test]
    fn returns_the_first_violation_in_order() {
        use Ending::{Here, Later};
        let (gzip, long) = (("content-encoding", "gzip"), ("content-length", "101"));
        request("POST", &[], Later, Ok(()));
        request("POST", &[("content-encoding", "Identity"), ("content-length", "100")], Later, Ok(()));
        request("GET", &[gzip, gzip, long], Here, Err(Reason::MethodNotAllowed));
        request("post", &[], Later, Err(Reason::MethodNotAllowed));
        request("POST", &[gzip, gzip, long], Here, Err(Reason::HeaderInvalid));
        request("POST", &[("content-encoding", "gzip,br")], Here, Err(Reason::HeaderInvalid));
        request("POST", &[gzip, long], Here, Err(Reason::UnsupportedEncoding));
        request("POST", &[("content-encoding", "identity, gzip")], Later, Err(Reason::HeaderInvalid));
        request("POST", &[long], Later, Err(Reason::BodyTooLarge));
        request("POST", &[("content-length", "99999999999999999999")], Later, Err(Reason::HeaderInvalid));
        request("POST", &[("content-length", "18446744073709551615")], Later, Err(Reason::BodyTooLarge));
        request("POST", &[("content-length", "0")], Here, Err(Reason::BodyMissing));
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
