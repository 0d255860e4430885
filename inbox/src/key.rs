//! The keys of Standard Webhooks with which the gate signs, and the inbox after it.

use axum::http::HeaderMap;
use standardwebhooks::Webhook;
use std::fmt;
use thiserror::Error;

/// One key, or two while they rotate.
pub struct Keys(Vec<Webhook>);

/// Why keys cannot be used.
#[derive(Debug, Error)]
#[error("{0} holds no key of Standard Webhooks: set it to whsec_ and the base64 of 24 to 64 bytes")]
pub struct NotAKey(String);

impl Keys {
    /// Reads the keys, each with the name of the variable that holds it.
    ///
    /// # Errors
    /// [`NotAKey`] for the first that is none.
    pub fn parse(keys: &[(String, String)]) -> Result<Self, NotAKey> {
        let key = |(name, text): &(String, String)| {
            Some(text)
                .filter(|text| text.starts_with("whsec_"))
                .and_then(|text| Webhook::new(text).ok())
                .ok_or_else(|| NotAKey(name.clone()))
        };
        keys.iter().map(key).collect::<Result<_, _>>().map(Self)
    }

    /// Whether one of them signed this, within five minutes.
    pub(crate) fn verify(&self, body: &[u8], headers: &HeaderMap) -> bool {
        self.0.iter().any(|key| key.verify(body, headers).is_ok())
    }

    /// The value of `webhook-signature`, of an id, a time in seconds since 1970, and a body. `None` for a time that is none.
    pub fn sign(&self, id: &str, time: i64, body: &[u8]) -> Option<String> {
        let signed: Result<Vec<_>, _> = self.0.iter().map(|key| key.sign(id, time, body)).collect();
        signed.ok().map(|signatures| signatures.join(" "))
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}
