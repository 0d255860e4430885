//! The keys that verify the gate's signatures and sign attempts.

use axum::http::HeaderMap;
use blobgate::contract::header::{WEBHOOK_ID, WEBHOOK_SIGNATURE, WEBHOOK_TIMESTAMP};
use blobgate::contract::signature::{KEY_PREFIX, Signature, SigningKey, SigningKeys};
pub(crate) use blobgate::contract::signature::{SignatureError, SigningTime};
use thiserror::Error;
use time::OffsetDateTime;

/// Signing keys of Standard Webhooks: one, or two during a rotation.
#[derive(Debug)]
pub struct WebhookKeys(SigningKeys);

/// Why a key is invalid.
#[derive(Debug, Error)]
pub enum InvalidKey {
    /// The variable's text is not a key.
    #[error(
        "the variable {0} has no key of Standard Webhooks: set it to whsec_ and the base64 of 24 to 64 bytes"
    )]
    Form(String),
    /// Two variables contain the same key.
    #[error("the variables {0} and {1} contain the same key: pass each key once")]
    Twice(String, String),
}

impl WebhookKeys {
    /// Reads the keys, each with the name of its variable.
    ///
    /// # Errors
    /// [`InvalidKey`] for the first invalid or repeated key.
    pub fn parse(keys: &[(String, String)]) -> Result<Self, InvalidKey> {
        let mut parsed: Vec<SigningKey> = Vec::new();
        for (name, text) in keys {
            let key = SigningKey::parse(text).ok_or_else(|| InvalidKey::Form(name.clone()))?;
            if let Some((_, (other, _))) = parsed.iter().zip(keys).find(|(other, _)| other.is_same(&key)) {
                return Err(InvalidKey::Twice(name.clone(), other.clone()));
            }
            parsed.push(key);
        }
        Ok(Self(SigningKeys::new(parsed)))
    }

    /// Whether another secret is one of these keys.
    pub fn are_in(&self, text: &str) -> bool {
        let key = SigningKey::parse(text).or_else(|| SigningKey::parse(&format!("{KEY_PREFIX}{text}")));
        key.is_some_and(|key| self.0.contains(&key))
    }

    /// Verifies a signature. Its time may differ by five minutes.
    pub(crate) fn verify(&self, body: &[u8], headers: &HeaderMap) -> Result<SigningTime, SignatureError> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let (Some(id), Some(timestamp), Some(signatures)) =
            (text(WEBHOOK_ID), text(WEBHOOK_TIMESTAMP), text(WEBHOOK_SIGNATURE))
        else {
            return Err(SignatureError::NoSignature);
        };
        self.0.verify(Signature { id, timestamp, signatures }, body, now())
    }

    /// The three headers of Standard Webhooks for a message with this id, signed now.
    pub fn headers(&self, id: &str, body: &[u8]) -> [(&'static str, String); 3] {
        self.0.headers(id.to_owned(), now(), body)
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    OffsetDateTime::now_utc().unix_timestamp().unsigned_abs()
}
