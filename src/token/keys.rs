//! The keys of tokens (`token`).

#[cfg(not(target_family = "wasm"))]
use crate::contract::token::MAX_KID;
use crate::contract::token::{MIN_HS256_KEY, is_kid};
use crate::keyring::Keyring;
use crate::names::Names;
use crate::secret::Secret;
#[cfg(not(target_family = "wasm"))]
use crate::settings::ValueForm;
use crate::settings::{ConfigError, Node, keys};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, VerifyingKey};
use std::sync::Arc;
use std::time::Duration;

/// The keys by `kid`.
#[derive(Debug)]
pub(crate) struct TokenKeys {
    keys: Vec<(Arc<str>, VerificationKey)>,
    /// The kids of `keys`.
    kids: Names,
    pub(super) leeway: Duration,
}

/// A key. It determines the algorithm.
#[derive(Debug)]
pub(super) enum VerificationKey {
    EdDsa(Box<VerifyingKey>),
    Hs256(Secret),
}

#[derive(Clone, Copy, Debug)]
enum TokenAlgorithm {
    EdDsa,
    Hs256,
}

const ALGORITHMS: &[(&str, TokenAlgorithm)] =
    &[("EdDSA", TokenAlgorithm::EdDsa), ("HS256", TokenAlgorithm::Hs256)];

/// Synchronized clocks differ by less.
const DEFAULT_LEEWAY: Duration = Duration::from_secs(60);
const MAX_LEEWAY: Duration = Duration::from_secs(3600);

keys! {
    /// The keys that verify callback tokens.
    "token": KEYS, section {
        /// The keys by their `kid`, `[A-Za-z0-9_-]{1,32}`. Two kids must not differ only in case.
        "keys": ValueForm::sections_by_name("key", &format!("[A-Za-z0-9_-]{{1,{MAX_KID}}}"))
            .written("[keys](#key) by `kid`");
        /// The allowed difference between the clocks of the gate and of the program that makes tokens.
        "leeway": ValueForm::duration(Duration::ZERO, MAX_LEEWAY)
            => format!("`{}s`", DEFAULT_LEEWAY.as_secs());
    }
}

keys! {
    /// A key: `{alg: EdDSA, public: ...}` or `{alg: HS256, env: ...}`. `blobgate mint --new-key` prints one.
    "token.keys.KID": KEY_KEYS, key_section {
        /// The algorithm of the tokens. A token with another one is invalid.
        "alg": ValueForm::words(ALGORITHMS);
        /// The public key. The gate cannot make tokens with it.
        "public": ValueForm::text("32 bytes in unpadded base64url", "[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]") => "required for `EdDSA`";
        /// The environment variable that contains the key: its bytes, or `base64:` and their base64.
        "env": crate::keyring::variable_form(&format!("the name of a variable with {MIN_HS256_KEY} bytes or more")) => "required for `HS256`";
    }
}

impl TokenKeys {
    pub(super) fn find(&self, kid: &str) -> Option<(&Arc<str>, &VerificationKey)> {
        let (kid, key) = self.keys.get(self.kids.place(kid.as_bytes())?)?;
        Some((kid, key))
    }

    /// The names of the keys.
    pub(crate) fn kids(&self) -> impl Iterator<Item = &Arc<str>> {
        self.keys.iter().map(|(kid, _)| kid)
    }

    pub(crate) fn parse(node: &Node<'_>, keyring: &mut Keyring<'_>) -> Result<Self, ConfigError> {
        let fields = node.fields(KEYS, "an object with keys")?;
        let node = fields.required("keys", "an object of keys by their kid")?;
        let entries = node.entries("an object of keys by their kid")?;
        if entries.is_empty() {
            return Err(node.invalid("at least one key"));
        }
        let mut keys: Vec<(Arc<str>, VerificationKey)> = Vec::with_capacity(entries.len());
        let (mut kids, mut folded) = (Names::for_number(entries.len()), Names::for_number(entries.len()));
        for (kid, node) in entries {
            if !is_kid(kid) {
                return Err(node.invalid_key("a kid of 1 to 32 of A-Z a-z 0-9 _ -"));
            }
            // The JSON reader refuses such keys too, so both forms of a configuration have the same rule.
            if folded
                .add(kid.to_ascii_lowercase().as_bytes())
                .and_then(|()| kids.add(kid.as_bytes()))
                .is_err()
            {
                return Err(node.invalid_key("a kid that differs from the others by more than case"));
            }
            keys.push((kid.into(), VerificationKey::parse(&node, keyring)?));
        }
        let leeway = match fields.optional("leeway") {
            Some(node) => node.duration(Duration::ZERO, MAX_LEEWAY)?,
            None => DEFAULT_LEEWAY,
        };
        Ok(Self { keys, kids, leeway })
    }
}

impl VerificationKey {
    pub(super) const fn algorithm(&self) -> &'static str {
        match self {
            VerificationKey::EdDsa(_) => "EdDSA",
            VerificationKey::Hs256(_) => "HS256",
        }
    }

    /// Whether the signature is by this key, in constant time.
    pub(super) fn verifies(&self, signed: &[u8], signature: &[u8]) -> bool {
        match self {
            // Strict: accepts only one form of a signature, and no key of small order.
            VerificationKey::EdDsa(key) => Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(signed, &signature).is_ok()),
            VerificationKey::Hs256(secret) => secret.verifies(&[signed], signature),
        }
    }

    fn parse(node: &Node<'_>, keyring: &mut Keyring<'_>) -> Result<Self, ConfigError> {
        const EXPECTED: &str = "{alg: EdDSA, public: \"...\"} or {alg: HS256, env: NAME}";
        let fields = node.fields(KEY_KEYS, EXPECTED)?;
        let alg = fields.required("alg", "EdDSA or HS256")?;
        match alg.one_of(ALGORITHMS)? {
            TokenAlgorithm::EdDsa => {
                fields.none_of(&["env"], "for HS256, and alg is EdDSA; write public instead")?;
                let public =
                    fields.required("public", "the 32 bytes of a public key in unpadded base64url")?;
                let key = parse_public(&public)?;
                keyring.add(&public, key.as_bytes())?;
                Ok(VerificationKey::EdDsa(Box::new(key)))
            }
            TokenAlgorithm::Hs256 => {
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
    // A key of small order verifies signatures that nobody made with the private key.
    if key.is_weak() { Err(node.invalid(EXPECTED)) } else { Ok(key) }
}
