//! The response that a client gets.

use blobgate::contract::header;
use serde_json::Value;
use std::fmt;

/// An HTTP response. Header names are in lower case; values are unchanged.
#[derive(Clone, Default)]
pub struct ClientResponse {
    pub status: u16,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
    /// In the form of `headers`. HTTP/2 only.
    pub trailers: Vec<(String, Vec<u8>)>,
}

impl ClientResponse {
    /// The value of a header. Panics if the header is repeated.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<String> {
        one(&self.headers, name)
    }

    /// The code of the reason for which the gate refused.
    #[track_caller]
    pub fn reason(&self) -> Option<String> {
        self.header(header::REASON)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    /// Whether the body has the length of `content-length`. True without that header.
    pub fn is_whole(&self) -> bool {
        self.header("content-length").is_none_or(|length| length == self.body.len().to_string())
    }

    /// Asserts status, reason and the problem document in the body.
    #[track_caller]
    pub fn assert_refused(&self, status: u16, reason: &str) {
        assert_eq!((self.status, self.reason().as_deref()), (status, Some(reason)), "{self:?}");
        self.assert_problem(reason);
    }

    /// Asserts that the body is an RFC 9457 document of this status and code.
    #[track_caller]
    pub fn assert_problem(&self, code: &str) {
        assert_eq!(self.header("content-type").as_deref(), Some("application/problem+json"), "{self:?}");
        assert!(self.is_whole(), "{self:?}");
        let problem = self.json();
        let mut members: Vec<&String> = problem.as_object().unwrap().keys().collect();
        members.sort();
        assert_eq!(members, ["code", "status", "title", "type"], "{problem}");
        assert_eq!((&problem["status"], &problem["code"]), (&self.status.into(), &code.into()), "{problem}");
        for member in ["type", "title"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{problem}");
        }
    }
}

impl fmt::Debug for ClientResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        show(&self.headers, &self.body, f)
    }
}

/// Prints the headers and the first 600 bytes of the body.
pub(super) fn show(headers: &[(String, Vec<u8>)], body: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    const MAX_SHOWN: usize = 600;
    for (name, value) in headers {
        write!(f, "\n  {name}: {}", value.escape_ascii())?;
    }
    write!(f, "\n  {} bytes: {}\n", body.len(), body[..body.len().min(MAX_SHOWN)].escape_ascii())
}

/// The value of a header. Panics if the header is repeated.
#[track_caller]
pub(super) fn one(headers: &[(String, Vec<u8>)], name: &str) -> Option<String> {
    let mut values = headers.iter().filter(|(n, _)| n == name).map(|(_, value)| value);
    let value = values.next()?;
    assert!(values.next().is_none(), "{name} is repeated: {headers:?}");
    Some(String::from_utf8_lossy(value).into_owned())
}
