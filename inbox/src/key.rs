//! The keys of Standard Webhooks with which the gate signs, and the inbox after it: HMAC-SHA256 over bytes. The official
//! crate takes text alone, and what is quarantined need not be any.

use axum::http::HeaderMap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;
use thiserror::Error;
use time::OffsetDateTime;

/// One key, or two while they rotate.
pub struct Keys(Vec<Hmac<Sha256>>);

/// Why keys cannot be used.
#[derive(Debug, Error)]
pub enum NotAKey {
    /// The variable's text has another form.
    #[error("{0} holds no key of Standard Webhooks: set it to whsec_ and the base64 of 24 to 64 bytes")]
    Form(String),
    /// Two variables, or one twice.
    #[error(
        "{0} holds the same key as {1}: name each key once, and a new one beside the old one while they rotate"
    )]
    Twice(String, String),
}

/// When a valid signature was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Signed {
    /// In seconds since 1970, by the signer's clock.
    pub(crate) at: i64,
    /// In seconds: how far that is ahead of this machine's clock.
    pub(crate) offset: i64,
}

/// Why a delivery does not count as the gate's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum NotSigned {
    #[error("it has no signature of the gate's key")]
    NoSignature,
    #[error(
        "its signature is valid, and its time is {} s {} this machine's clock: set both clocks by NTP (300 s are tolerated)",
        .0.offset.unsigned_abs(), if .0.offset < 0 { "behind" } else { "ahead of" }
    )]
    OutOfTime(Signed),
}

/// Before the key's base64.
const PREFIX: &str = "whsec_";
/// In bytes: the specification.
const LENGTH: std::ops::RangeInclusive<usize> = 24..=64;
/// Of an HMAC-SHA256.
const VERSION: &str = "v1";
/// In seconds, before and after: as in the official libraries.
const TOLERANCE: u64 = 5 * 60;

impl Keys {
    /// Reads the keys, each with the name of the variable that holds it.
    ///
    /// # Errors
    /// [`NotAKey`] for the first that is none, or is one of those before it.
    pub fn parse(keys: &[(String, String)]) -> Result<Self, NotAKey> {
        let mut parsed = Self(Vec::new());
        for (name, text) in keys {
            let key = parse(text).ok_or_else(|| NotAKey::Form(name.clone()))?;
            if let Some((_, (other, _))) = parsed.0.iter().zip(keys).find(|(other, _)| is_same(other, &key)) {
                return Err(NotAKey::Twice(name.clone(), other.clone()));
            }
            parsed.0.push(key);
        }
        Ok(parsed)
    }

    /// Whether a text that is meant for something else holds one of these keys.
    pub fn are_in(&self, text: &str) -> bool {
        let key = parse(text).or_else(|| parse(&format!("{PREFIX}{text}")));
        key.is_some_and(|key| self.0.iter().any(|own| is_same(own, &key)))
    }

    /// Whether one of them signed this, within five minutes.
    pub(crate) fn verify(&self, body: &[u8], headers: &HeaderMap) -> Result<Signed, NotSigned> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let (Some(id), Some(time), Some(signatures)) =
            (text("webhook-id"), text("webhook-timestamp"), text("webhook-signature"))
        else {
            return Err(NotSigned::NoSignature);
        };
        let signatures = signatures
            .split(' ')
            .filter_map(|one| one.split_once(','))
            .filter(|(version, _)| *version == VERSION);
        let mut macs = signatures.filter_map(|(_, encoded)| STANDARD.decode(encoded).ok());
        let is_signed =
            macs.any(|mac| self.0.iter().any(|key| over(key, id, time, body).verify_slice(&mac).is_ok()));
        let at = time.parse::<i64>().ok().filter(|_| is_signed).ok_or(NotSigned::NoSignature)?;
        let offset = at.saturating_sub(OffsetDateTime::now_utc().unix_timestamp());
        if offset.unsigned_abs() <= TOLERANCE {
            Ok(Signed { at, offset })
        } else {
            Err(NotSigned::OutOfTime(Signed { at, offset }))
        }
    }

    /// The value of `webhook-signature`, of an id, a time in seconds since 1970, and a body.
    pub fn sign(&self, id: &str, time: i64, body: &[u8]) -> String {
        let time = time.to_string();
        let sign = |key: &Hmac<Sha256>| {
            format!("{VERSION},{}", STANDARD.encode(over(key, id, &time, body).finalize().into_bytes()))
        };
        self.0.iter().map(sign).collect::<Vec<_>>().join(" ")
    }
}

fn parse(text: &str) -> Option<Hmac<Sha256>> {
    let key = STANDARD.decode(text.strip_prefix(PREFIX)?).ok()?;
    if LENGTH.contains(&key.len()) { Hmac::new_from_slice(&key).ok() } else { None }
}

fn is_same(one: &Hmac<Sha256>, other: &Hmac<Sha256>) -> bool {
    let mac = |key: &Hmac<Sha256>| key.clone().finalize();
    mac(one) == mac(other)
}

fn over(key: &Hmac<Sha256>, id: &str, time: &str, body: &[u8]) -> Hmac<Sha256> {
    let mut mac = key.clone();
    [id.as_bytes(), b".", time.as_bytes(), b".", body].iter().for_each(|part| mac.update(part));
    mac
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}
