//! Stage 4: method, encoding and declared size.

use crate::Reason;
use crate::head::{Ending, Head};
use crate::headers::Headers;

/// Decides on the request line and the headers that decide something.
///
/// # Errors
/// In this order: [`Reason::MethodNotAllowed`], [`Reason::HeaderInvalid`], [`Reason::UnsupportedEncoding`],
/// [`Reason::BodyTooLarge`], [`Reason::BodyMissing`].
pub fn check(max_body_bytes: usize, head: &Head<'_>) -> Result<(), Reason> {
    if head.method != b"POST" {
        return Err(Reason::MethodNotAllowed);
    }
    let encoding = head.headers.one("content-encoding").map_err(|_| Reason::HeaderInvalid)?;
    if !encoding.is_none_or(|encoding| encoding.eq_ignore_ascii_case("identity")) {
        return Err(Reason::UnsupportedEncoding);
    }
    let length = head.headers.one("content-length").map_err(|_| Reason::HeaderInvalid)?;
    if let Some(length) = length {
        let length: u64 = length.parse().map_err(|_| Reason::HeaderInvalid)?;
        // What really arrives is counted as well.
        if usize::try_from(length).map_or(true, |length| length > max_body_bytes) {
            return Err(Reason::BodyTooLarge);
        }
    }
    match head.ending {
        Ending::Here => Err(Reason::BodyMissing),
        Ending::Later => Ok(()),
    }
}

/// What the head says that the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentType {
    /// `application/json`, as it is forwarded.
    Json,
    /// The same in another spelling, or with parameters.
    JsonInOtherWords,
    /// Something else, or nothing.
    Other,
}

/// Reads `content-type`. The provider documents no header of its callback, so that anything else is drift, not a flaw.
pub fn content_type(head: &Head<'_>) -> ContentType {
    match head.headers.one("content-type") {
        Ok(Some("application/json")) => ContentType::Json,
        Ok(Some(value)) if is_json(value) => ContentType::JsonInOtherWords,
        _ => ContentType::Other,
    }
}

/// Whether Envoy may take the request for gRPC, whatever else it is.
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
    fn the_first_flaw_in_order_is_the_reason() {
        use Ending::{Here, Later};
        let (gzip, long) = (("content-encoding", "gzip"), ("content-length", "101"));
        request("POST", &[], Later, Ok(()));
        request("POST", &[("content-encoding", "Identity"), ("content-length", "100")], Later, Ok(()));
        request("GET", &[gzip, gzip, long], Here, Err(Reason::MethodNotAllowed));
        request("post", &[], Later, Err(Reason::MethodNotAllowed));
        request("POST", &[gzip, gzip, long], Here, Err(Reason::HeaderInvalid));
        request("POST", &[("content-encoding", "gzip,br")], Here, Err(Reason::HeaderInvalid));
        request("POST", &[gzip, long], Here, Err(Reason::UnsupportedEncoding));
        request("POST", &[("content-encoding", "")], Later, Err(Reason::UnsupportedEncoding));
        request("POST", &[long], Later, Err(Reason::BodyTooLarge));
        request("POST", &[("content-length", "99999999999999999999")], Later, Err(Reason::HeaderInvalid));
        request("POST", &[("content-length", "18446744073709551615")], Later, Err(Reason::BodyTooLarge));
        request("POST", &[("content-length", "0")], Here, Err(Reason::BodyMissing));
    }

    #[track_caller]
    fn read(values: &[&str], expected: ContentType) {
        let list = values.iter().map(|v| ("content-type".to_owned(), v.as_bytes().to_vec())).collect();
        assert_eq!(content_type(&Head::of(&Headers::new(list))), expected, "{values:?}");
    }

    #[test]
    fn json_is_announced_with_or_without_parameters() {
        read(&["application/json"], ContentType::Json);
        read(&["Application/JSON; charset=utf-8"], ContentType::JsonInOtherWords);
        read(&["application/json ;charset=utf-8"], ContentType::JsonInOtherWords);
        read(&[], ContentType::Other);
        read(&["text/plain"], ContentType::Other);
        read(&["application/jsonp"], ContentType::Other);
        read(&["application/json", "application/json"], ContentType::Other);
    }
}
