//! What a token says, and its compact form (RFC 7515, section 7.1).

use super::key::{Algorithm, MintKey};
use anyhow::Result;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL;
use blobgate::contract::token::{is_audience, is_kid, is_reference};
use serde::Serialize;
use std::fmt;
use std::str::FromStr;

/// The claims that the gate reads, in their order.
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

/// The name of a key: 1 to 32 of `A-Z a-z 0-9 _ -`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Kid(String);

impl Kid {
    /// The environment variable from which the gate takes the HS256 key of this name.
    pub(super) fn variable(&self) -> String {
        format!("BLOBGATE_TOKEN_KEY_{}", self.0.to_ascii_uppercase().replace('-', "_"))
    }
}

impl FromStr for Kid {
    type Err = &'static str;

    fn from_str(kid: &str) -> Result<Self, Self::Err> {
        if is_kid(kid) {
            Ok(Self(kid.to_owned()))
        } else {
            Err("a kid is 1 to 32 letters, digits, `_` or `-`")
        }
    }
}

impl fmt::Display for Kid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whom a token is for: `environment/hook`, each 1 to 32 of `a-z 0-9 -`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Audience(String);

impl Audience {
    /// The name of the hook that a token is for.
    pub(crate) fn hook(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, hook)| hook)
    }
}

impl FromStr for Audience {
    type Err = &'static str;

    fn from_str(aud: &str) -> Result<Self, Self::Err> {
        if is_audience(aud) {
            Ok(Self(aud.to_owned()))
        } else {
            Err("an audience is environment/hook, each 1 to 32 lower-case letters, digits or `-`")
        }
    }
}

/// What a service behind the gate gets in a header, `job` or `jti`: 1 to 64 of `A-Z a-z 0-9 . _ ~ -`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Reference(String);

impl Reference {
    /// 96 random bits: no two alike in a trillion tokens, in 16 characters, as each of them makes the URL longer.
    pub(super) fn random() -> Result<Self> {
        let mut bytes = [0; 12];
        getrandom::fill(&mut bytes)?;
        Ok(Self(BASE64URL.encode(bytes)))
    }
}

impl FromStr for Reference {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if is_reference(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err("it is 1 to 64 letters, digits, `.`, `_`, `~` or `-`")
        }
    }
}
