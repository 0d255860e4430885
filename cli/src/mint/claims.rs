//! The claims of a token, and its compact form (RFC 7515, section 7.1).

use super::key::{Algorithm, MintKey};
use anyhow::Result;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL;
use blobgate::contract::token::{is_audience, is_kid, is_reference};
use serde::Serialize;
use std::fmt;
use std::str::FromStr;

/// The claims that the gate reads.
#[derive(Serialize)]
pub(super) struct MintedClaims {
    /// Seconds since 1970.
    pub(super) exp: i64,
    pub(super) aud: Audience,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) job: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) jti: Option<Reference>,
    /// The prompt's [`digest`](blobgate::contract::token::digest).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ph: Option<String>,
}

#[derive(Serialize)]
struct Header<'a> {
    alg: Algorithm,
    typ: &'static str,
    kid: &'a Kid,
}

impl MintedClaims {
    pub(super) fn sign(&self, key: &MintKey, kid: &Kid) -> Result<String> {
        let header = Header { alg: key.algorithm(), typ: "JWT", kid };
        let (header, claims) = (serde_json::to_vec(&header)?, serde_json::to_vec(self)?);
        let signed = format!("{}.{}", BASE64URL.encode(header), BASE64URL.encode(claims));
        let signature = BASE64URL.encode(key.sign(signed.as_bytes())?);
        Ok(format!("{signed}.{signature}"))
    }
}

/// A text that is no claim of its kind.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClaimError {
    #[error("a kid has 1 to 32 letters, digits, `_` or `-`")]
    Kid,
    #[error("an audience is environment/hook, each with 1 to 32 lower-case letters, digits or `-`")]
    Audience,
    #[error("it needs 1 to 64 letters, digits, `.`, `_`, `~` or `-`")]
    Reference,
}

/// The name of a key: 1 to 32 of `A-Z a-z 0-9 _ -`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Kid(String);

impl Kid {
    /// The gate's environment variable for the HS256 key of this name.
    pub(super) fn variable(&self) -> String {
        format!("BLOBGATE_TOKEN_KEY_{}", self.0.to_ascii_uppercase().replace('-', "_"))
    }
}

impl FromStr for Kid {
    type Err = ClaimError;

    fn from_str(kid: &str) -> Result<Self, Self::Err> {
        if is_kid(kid) { Ok(Self(kid.to_owned())) } else { Err(ClaimError::Kid) }
    }
}

impl fmt::Display for Kid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The audience of a token: `environment/hook`, each 1 to 32 of `a-z 0-9 -`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Audience(String);

impl Audience {
    /// The name of the hook.
    pub(crate) fn hook(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, hook)| hook)
    }
}

impl FromStr for Audience {
    type Err = ClaimError;

    fn from_str(aud: &str) -> Result<Self, Self::Err> {
        if is_audience(aud) { Ok(Self(aud.to_owned())) } else { Err(ClaimError::Audience) }
    }
}

impl fmt::Display for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A `job` or `jti`, which the service gets in a header: 1 to 64 of `A-Z a-z 0-9 . _ ~ -`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Reference(String);

impl Reference {
    /// 96 random bits are unique among a trillion tokens, and have 16 characters of the URL.
    pub(super) fn random() -> Result<Self> {
        let mut bytes = [0; 12];
        getrandom::fill(&mut bytes)?;
        Ok(Self(BASE64URL.encode(bytes)))
    }
}

impl FromStr for Reference {
    type Err = ClaimError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if is_reference(text) { Ok(Self(text.to_owned())) } else { Err(ClaimError::Reference) }
    }
}
