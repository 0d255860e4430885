//! The payload of an entry, in JSON.

use crate::arrival::read_headers;
use crate::store::StoredPayload;
use axum::http::HeaderMap;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

/// The payload of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryPayload {
    /// The path. Everything except visible ASCII is escaped.
    pub path: String,
    /// The headers.
    pub headers: Vec<HeaderLine>,
    /// The encoding of `body`.
    pub body_encoding: BodyEncoding,
    /// The body.
    pub body: String,
}

/// The encoding of a body in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BodyEncoding {
    /// UTF-8.
    Text,
    /// Base64, for a body that is not UTF-8.
    Base64,
}

/// A header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderLine {
    /// Its name.
    pub name: String,
    /// Its value. Everything except visible ASCII is escaped.
    pub value: String,
}

impl From<StoredPayload> for EntryPayload {
    fn from(payload: StoredPayload) -> Self {
        let headers = read_headers(&payload.headers);
        Self::with(payload, &headers)
    }
}

impl EntryPayload {
    /// The payload with other headers.
    pub(super) fn with(payload: StoredPayload, headers: &HeaderMap) -> Self {
        let headers = headers.iter().map(|(name, value)| HeaderLine {
            name: name.to_string(),
            value: value.as_bytes().escape_ascii().to_string(),
        });
        let headers = headers.collect();
        let (body_encoding, body) = match String::from_utf8(payload.body) {
            Ok(text) => (BodyEncoding::Text, text),
            Err(bytes) => (BodyEncoding::Base64, BASE64_STANDARD.encode(bytes.into_bytes())),
        };
        Self { path: payload.path.escape_ascii().to_string(), headers, body_encoding, body }
    }

    /// The bytes of the body; nothing if its encoding is wrong.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        match self.body_encoding {
            BodyEncoding::Text => Some(self.body.clone().into_bytes()),
            BodyEncoding::Base64 => BASE64_STANDARD.decode(&self.body).ok(),
        }
    }
}
