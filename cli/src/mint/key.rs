//! The minter's key: where it comes from, what its form says, and how it signs.

use anyhow::{Result, anyhow, bail, ensure};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD as BASE64URL};
use blobgate::contract::token::{BASE64_PREFIX, MIN_HS256_KEY};
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, KeypairBytes};
use ed25519_dalek::{Signer, SigningKey};
use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use sha2::Sha256;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

/// The environment variable with the key, where `--key-env` names no other.
pub(super) const VARIABLE: &str = "BLOBGATE_MINT_KEY";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
pub(super) enum Algorithm {
    #[serde(rename = "EdDSA")]
    #[value(name = "EdDSA")]
    EdDsa,
    #[serde(rename = "HS256")]
    #[value(name = "HS256")]
    Hs256,
}

/// A key that signs tokens.
pub(super) enum MintKey {
    EdDsa(Box<SigningKey>),
    Hs256(Vec<u8>),
}

impl fmt::Debug for MintKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}([REDACTED])", self.algorithm())
    }
}

/// A key as it is written into a file or an environment.
pub(super) struct EncodedKey(pub(super) String);

impl fmt::Debug for EncodedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

impl MintKey {
    // What the option says is told in neither error: it may be the key itself, by mistake.

    pub(super) fn from_environment(variable: &str) -> Result<Self> {
        match std::env::var_os(variable).filter(|value| !value.is_empty()) {
            Some(value) => Self::parse(value.into_vec()),
            None if variable == VARIABLE => {
                bail!("{VARIABLE} is not set: put the key there, or name a file with --key-file")
            }
            None => bail!("the environment variable that --key-env names is not set"),
        }
    }

    pub(super) fn from_file(file: &Path) -> Result<Self> {
        let mut value = std::fs::read(file).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => anyhow!("the file that --key-file names is not there"),
            _ => anyhow!("the file that --key-file names cannot be read: {error}"),
        })?;
        value.pop_if(|byte| *byte == b'\n');
        value.pop_if(|byte| *byte == b'\r');
        Self::parse(value)
    }

    /// Errors say nothing of what the value holds.
    pub(super) fn parse(value: Vec<u8>) -> Result<Self> {
        let text = String::from_utf8(value).ok().filter(|text| !text.contains('\0'));
        let text = text.ok_or_else(|| {
            anyhow!("the key is neither PEM nor text: binary bytes are written as {BASE64_PREFIX} and base64")
        })?;
        if text.trim_start().starts_with("-----BEGIN ") {
            return Self::from_pem(&text);
        }
        let bytes = match text.strip_prefix(BASE64_PREFIX) {
            Some(coded) => BASE64_STANDARD
                .decode(coded)
                .map_err(|_| anyhow!("what the key has after {BASE64_PREFIX} is not standard base64"))?,
            None => text.into_bytes(),
        };
        let length = bytes.len();
        ensure!(
            length >= MIN_HS256_KEY,
            "the key has {length} bytes, and HS256 wants {MIN_HS256_KEY} or more: `blobgate mint --new-key` makes one"
        );
        Ok(Self::Hs256(bytes))
    }

    /// Line breaks may be written as `\n`: not every file of environment variables can hold them.
    fn from_pem(text: &str) -> Result<Self> {
        let pem = text.replace("\\n", "\n");
        let key = SigningKey::from_pkcs8_pem(pem.trim()).map_err(|_| {
            anyhow!(
                "the PEM holds no Ed25519 private key in PKCS#8 without a password, which EdDSA wants here"
            )
        })?;
        Ok(Self::EdDsa(Box::new(key)))
    }

    pub(super) fn random(algorithm: Algorithm) -> Result<Self> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        Ok(match algorithm {
            Algorithm::EdDsa => Self::EdDsa(Box::new(SigningKey::from_bytes(&bytes))),
            Algorithm::Hs256 => Self::Hs256(bytes.into()),
        })
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        match self {
            Self::EdDsa(_) => Algorithm::EdDsa,
            Self::Hs256(_) => Algorithm::Hs256,
        }
    }

    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        Ok(match self {
            Self::EdDsa(key) => key.try_sign(message)?.to_vec(),
            Self::Hs256(key) => {
                Hmac::<Sha256>::new_from_slice(key)?.chain_update(message).finalize().into_bytes().to_vec()
            }
        })
    }

    /// The form that [`Key::from_file`] reads. An EdDSA key goes without its public half (RFC 5208), which OpenSSL,
    /// and with it PyJWT and jose, does not take in every version.
    pub(super) fn written(&self) -> Result<EncodedKey> {
        Ok(EncodedKey(match self {
            Self::EdDsa(key) => {
                let bytes = KeypairBytes { secret_key: key.to_bytes(), public_key: None };
                let pem = ed25519_dalek::pkcs8::EncodePrivateKey::to_pkcs8_pem(&bytes, LineEnding::LF);
                pem.map_err(|error| anyhow!("the key cannot be written: {error}"))?.trim_end().to_owned()
            }
            Self::Hs256(key) => format!("{BASE64_PREFIX}{}", BASE64_STANDARD.encode(key)),
        }))
    }

    /// The public half of an EdDSA key, in unpadded base64url. An HS256 key has none.
    pub(super) fn public(&self) -> Option<String> {
        match self {
            Self::EdDsa(key) => Some(BASE64URL.encode(key.verifying_key().as_bytes())),
            Self::Hs256(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_key() {
        for algorithm in [Algorithm::EdDsa, Algorithm::Hs256] {
            let key = MintKey::random(algorithm).unwrap();
            assert_eq!(format!("{key:?}"), format!("{algorithm:?}([REDACTED])"));
            assert_eq!(format!("{:?}", key.written().unwrap()), "[REDACTED]");
        }
    }
}
