//! The key of a minter: sources, forms and signatures.

use crate::option::UsageError;
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

/// The default of `--key-env`.
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

/// A new random key of 32 bytes, as text after this prefix.
pub(crate) fn base64_key(prefix: &str) -> Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(format!("{prefix}{}", BASE64_STANDARD.encode(bytes)))
}

/// A key in its form for a file or an environment variable.
pub(super) struct EncodedKey(pub(super) String);

impl fmt::Debug for EncodedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

impl MintKey {
    // Errors do not show the option's value: it may be the key itself, by mistake.

    pub(super) fn from_environment(variable: &str) -> Result<Self> {
        match std::env::var_os(variable).filter(|value| !value.is_empty()) {
            Some(value) => Ok(Self::parse(value.into_vec()).map_err(UsageError::new)?),
            None if variable == VARIABLE => {
                bail!(UsageError(format!(
                    "no key: {VARIABLE} is not set. Set it, or name a file with --key-file"
                )))
            }
            None => bail!(UsageError(
                "no key: the environment variable of --key-env is not set. Set it, or name another"
                    .to_owned()
            )),
        }
    }

    pub(super) fn from_file(file: &Path) -> Result<Self> {
        let mut value = std::fs::read(file).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => anyhow!(
                "no key: the file of --key-file does not exist. Name another, or make a key with --new-key"
            ),
            _ => anyhow!("cannot read the file of --key-file: {error}. Check its permissions"),
        })?;
        value.pop_if(|byte| *byte == b'\n');
        value.pop_if(|byte| *byte == b'\r');
        Self::parse(value)
    }

    /// Errors contain no part of the value.
    pub(super) fn parse(value: Vec<u8>) -> Result<Self> {
        let text = String::from_utf8(value).ok().filter(|text| !text.contains('\0'));
        let text = text.ok_or_else(|| {
            anyhow!(
                "cannot read the key: it is neither PEM nor text. Write bytes as {BASE64_PREFIX} and base64"
            )
        })?;
        if text.trim_start().starts_with("-----BEGIN ") {
            return Self::from_pem(&text);
        }
        let bytes = match text.strip_prefix(BASE64_PREFIX) {
            Some(coded) => BASE64_STANDARD.decode(coded).map_err(|_| {
                anyhow!(
                    "cannot read the key: it has no standard base64 after {BASE64_PREFIX}. Encode it again"
                )
            })?,
            None => text.into_bytes(),
        };
        let length = bytes.len();
        ensure!(
            length >= MIN_HS256_KEY,
            "the key has {length} bytes, and HS256 needs {MIN_HS256_KEY}. Make one with `blobgate mint --new-key`"
        );
        Ok(Self::Hs256(bytes))
    }

    /// Accepts `\n` for a line break: some environment files have no multi-line values.
    fn from_pem(text: &str) -> Result<Self> {
        let pem = text.replace("\\n", "\n");
        let key = SigningKey::from_pkcs8_pem(pem.trim()).map_err(|_| {
            anyhow!(
                "cannot read the PEM: EdDSA needs an Ed25519 private key in PKCS#8 without a password. Make one with `blobgate mint --new-key`"
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

    /// The form that [`MintKey::from_file`] reads. PKCS#8 without the public half (RFC 5208), which some versions of OpenSSL,
    /// PyJWT and jose refuse.
    pub(super) fn encode(&self) -> Result<EncodedKey> {
        Ok(EncodedKey(match self {
            Self::EdDsa(key) => {
                let bytes = KeypairBytes { secret_key: key.to_bytes(), public_key: None };
                let pem = ed25519_dalek::pkcs8::EncodePrivateKey::to_pkcs8_pem(&bytes, LineEnding::LF);
                pem.map_err(|error| anyhow!("cannot encode the key: {error}"))?.trim_end().to_owned()
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
            assert_eq!(format!("{:?}", key.encode().unwrap()), "[REDACTED]");
        }
    }
}
