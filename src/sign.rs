//! What leaves the gate is signed: Standard Webhooks (<https://www.standardwebhooks.com>), HMAC-SHA256.

use crate::config::{ConfigError, Node};
use crate::dialect::Dialect;
use crate::event::Event;
use crate::secret::{Keyring, Secret};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// The keys that sign (`sign`).
#[derive(Debug)]
pub struct Signer(Vec<Secret>);

/// Keys of Standard Webhooks have this before their base64.
const PREFIX: &str = "whsec_";
/// The specification: from 24 to 64 bytes.
const LEAST_KEY: usize = 24;
const MOST_KEY: usize = 64;
/// The new one and the old one, while they rotate.
const MOST_KEYS: usize = 2;

impl Signer {
    /// The three headers of a delivery that leaves at `now`, in seconds since the epoch.
    ///
    /// They cover the id, the time and the exact body, and nothing else: not the gate's other headers.
    pub fn headers(
        &self,
        dialect: Dialect,
        event: Option<&Event>,
        body: &[u8],
        now: u64,
    ) -> [(&'static str, String); 3] {
        let id = match event {
            Some(event) => event.idempotency_key(dialect),
            None => format!("{}:{}:quarantined", dialect.name(), hex(&Sha256::digest(body))),
        };
        let time = now.to_string();
        let parts = [id.as_bytes(), b".", time.as_bytes(), b".", body];
        let sign = |key: &Secret| format!("v1,{}", STANDARD.encode(key.mac(&parts)));
        let signatures = self.0.iter().map(sign).collect::<Vec<_>>().join(" ");
        [("webhook-id", id), ("webhook-timestamp", time), ("webhook-signature", signatures)]
    }

    pub(crate) fn parse(node: &Node<'_>, keyring: &mut Keyring<'_>) -> Result<Self, ConfigError> {
        const RIGHT: &str = "one environment variable's name, or two while keys rotate";
        let list = node.fields(&["env"], "an object with env")?.required("env", RIGHT)?;
        let names = list.list(RIGHT)?;
        if names.is_empty() || names.len() > MOST_KEYS {
            return Err(list.wrong(RIGHT));
        }
        names.iter().map(|name| parse_key(name, keyring)).collect::<Result<_, _>>().map(Self)
    }
}

fn parse_key(node: &Node<'_>, keyring: &mut Keyring<'_>) -> Result<Secret, ConfigError> {
    let text = keyring.read_env(node)?;
    let key = text.strip_prefix(PREFIX).and_then(|encoded| STANDARD.decode(encoded).ok());
    key.filter(|key| (LEAST_KEY..=MOST_KEY).contains(&key.len()))
        .and_then(|key| Secret::new(&key))
        .ok_or_else(|| {
            node.because(
                "holds no key of Standard Webhooks",
                "one that holds whsec_ and the base64 of 24 to 64 bytes",
            )
        })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
