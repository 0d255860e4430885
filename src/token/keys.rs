//! The keys that tokens are made with (`token`).

use crate::contract::token::{MIN_HS256_KEY, is_kid};
use crate::keyring::Keyring;
use crate::secret::Secret;
use crate::settings::{ConfigError, Node};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, VerifyingKey};
use std::sync::Arc;
use std::time::Duration;

/// The keys by `kid`.
#[derive(Debug)]
pub(crate) struct TokenKeys {
    keys: Vec<(Arc<str>, VerificationKey)>,
    pub(super) leeway: Duration,
}

/// A key, which decides the algorithm.
#[derive(Debug)]
pub(super) enum VerificationKey {
    EdDsa(Box<VerifyingKey>),
    Hs256(Secret),
}

/// Clocks that are set at all differ by less.
const DEFAULT_LEEWAY: Duration = Duration::from_secs(60);
const MAX_LEEWAY: Duration = Duration::from_secs(3600);

impl TokenKeys {
    pub(super) fn find(&self, kid: &str) -> Option<(&Arc<str>, &VerificationKey)> {
        self.keys.iter().find(|(name, _)| **name == *kid).map(|(name, key)| (name, key))
    }

    pub(crate) fn parse(node: &Node<'_>, keyring: &mut Keyring<'_>) -> Result<Self, ConfigError> {
        let fields = node.fields(&["keys", "leeway"], "an object with keys")?;
        let node = fields.required("keys", "an object of keys by their kid")?;
        let entries = node.entries("an object of keys by their kid")?;
        if entries.is_empty() {
            return Err(node.invalid("at least one key"));
        }
        let mut keys: Vec<(Arc<str>, VerificationKey)> = Vec::with_capacity(entries.len());
        for (kid, node) in entries {
            if !is_kid(kid) {
                return Err(node.misnamed("a kid of 1 to 32 of A-Z a-z 0-9 _ -"));
            }
            // As JSON it would not have been read: both forms of a configuration are the same configuration.
            if keys.iter().any(|(other, _)| other.eq_ignore_ascii_case(kid)) {
                return Err(node.misnamed("a kid that differs from the others by more than case"));
            }
            keys.push((kid.into(), VerificationKey::parse(&node, keyring)?));
        }
        let leeway = match fields.optional("leeway") {
            Some(node) => node.duration(Duration::ZERO, MAX_LEEWAY)?,
            None => DEFAULT_LEEWAY,
        };
        Ok(Self { keys, leeway })
    }
}

impl VerificationKey {
    pub(super) const fn algorithm(&self) -> &'static str {
        match self {
            VerificationKey::EdDsa(_) => "EdDSA",
            VerificationKey::Hs256(_) => "HS256",
        }
    }

    /// Whether the signature is this key's, in constant time.
    pub(super) fn verifies(&self, signed: &[u8], signature: &[u8]) -> bool {
        match self {
            // Strict: no second spelling of a signature, no key of small order.
            VerificationKey::EdDsa(key) => Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(signed, &signature).is_ok()),
            VerificationKey::Hs256(secret) => secret.verifies(&[signed], signature),
        }
    }

    fn parse(node: &Node<'_>, keyring: &mut Keyring<'_>) -> Result<Self, ConfigError> {
        const EXPECTED: &str = "{alg: EdDSA, public: \"...\"} or {alg: HS256, env: NAME}";
        let fields = node.fields(&["alg", "public", "env"], EXPECTED)?;
        let alg = fields.required("alg", "EdDSA or HS256")?;
        match alg.one_of(&[("EdDSA", true), ("HS256", false)])? {
            true => {
                fields.none_of(&["env"], "for HS256, and alg is EdDSA; write public instead")?;
                let public =
                    fields.required("public", "the 32 bytes of a public key in unpadded base64url")?;
                let key = parse_public(&public)?;
                keyring.hold(&public, key.as_bytes())?;
                Ok(VerificationKey::EdDsa(Box::new(key)))
            }
            false => {
                fields.none_of(&["public"], "for EdDSA, and alg is HS256; write env instead")?;
                let name = fields.required("env", "the name of an environment variable")?;
                keyring.read_secret(&name, MIN_HS256_KEY).map(VerificationKey::Hs256)
            }
        }
    }
}

fn parse_public(node: &Node<'_>) -> Result<VerifyingKey, ConfigError> {
    const EXPECTED: &str = "the 32 bytes of an Ed25519 public key in unpadded base64url";
    let bytes = URL_SAFE_NO_PAD.decode(node.text(EXPECTED)?).map_err(|_| node.invalid(EXPECTED))?;
    let bytes: [u8; 32] = bytes.try_into().map_err(|_| node.invalid(EXPECTED))?;
    let key = VerifyingKey::from_bytes(&bytes).map_err(|_| node.invalid(EXPECTED))?;
    // Under a key of small order signatures hold that nobody made.
    if key.is_weak() { Err(node.invalid(EXPECTED)) } else { Ok(key) }
}
