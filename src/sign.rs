//! Signs forwarded deliveries: Standard Webhooks (<https://www.standardwebhooks.com>), HMAC-SHA256.

use crate::contract::quarantine_key;
use crate::contract::signature::{SigningKey, SigningKeys};
use crate::dialect::Dialect;
use crate::event::Event;
use crate::keyring::Keyring;
#[cfg(not(target_family = "wasm"))]
use crate::settings::ValueForm;
use crate::settings::{ConfigError, Node, keys};
use sha2::{Digest, Sha256};

/// The signer of forwarded deliveries (`sign`).
#[derive(Debug)]
pub struct Signer(SigningKeys);

/// The new key and the old one, during a rotation.
const MAX_KEYS: usize = 2;

keys! {
    /// The keys that sign deliveries to services, by [Standard Webhooks](https://www.standardwebhooks.com).
    "sign": KEYS, section {
        /// The environment variables that contain the keys: `whsec_` and the base64 of 24 to 64 bytes. With two names each
        /// delivery has two signatures, so that services can change to the new key.
        "env": ValueForm::list(&crate::keyring::variable_form("the name of a variable"))
            .written(format!("a list of 1 to {MAX_KEYS} names of variables"))
            .with("maxItems", MAX_KEYS.into())
            .with("uniqueItems", true.into());
    }
}

impl Signer {
    /// Signs a delivery at `now`, in seconds since the epoch, and returns the three headers.
    pub fn headers(
        &self,
        dialect: Dialect,
        event: Option<&Event>,
        body: &[u8],
        now: u64,
    ) -> [(&'static str, String); 3] {
        let id = match event {
            Some(event) => event.idempotency_key(dialect.name()),
            None => quarantine_key(dialect.name(), &Sha256::digest(body)),
        };
        self.0.headers(id, now, body)
    }

    pub(crate) fn parse(node: &Node<'_>, keyring: &mut Keyring<'_>) -> Result<Self, ConfigError> {
        const EXPECTED: &str = "a list of one environment variable, or of two during a key rotation";
        let list = node.fields(KEYS, "an object with env")?.required("env", EXPECTED)?;
        let names = list.list(EXPECTED)?;
        if names.is_empty() || names.len() > MAX_KEYS {
            return Err(list.invalid(EXPECTED));
        }
        let keys = names.iter().map(|name| parse_key(name, keyring)).collect::<Result<_, _>>()?;
        Ok(Self(SigningKeys::new(keys)))
    }
}

fn parse_key(node: &Node<'_>, keyring: &mut Keyring<'_>) -> Result<SigningKey, ConfigError> {
    SigningKey::parse(&keyring.read_env(node)?).ok_or_else(|| {
        node.conflict(
            "contains no key of Standard Webhooks",
            "a variable with whsec_ and the base64 of 24 to 64 bytes",
        )
    })
}
