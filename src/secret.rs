//! A shared secret, for HMAC-SHA256 (RFC 2104). It is never shown, and compared by the MAC's own crate only.

use crate::config::{ConfigError, Environment, Node};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;

/// The key of a MAC, ready to use.
#[derive(Clone)]
pub(crate) struct Secret(Hmac<Sha256>);

impl Secret {
    /// Takes the variable that a field names: raw bytes, or standard base64 after `base64:`.
    pub(crate) fn from_env(
        node: &Node<'_>,
        env: Environment<'_>,
        least_bytes: usize,
    ) -> Result<Self, ConfigError> {
        let text = read_env(node, env)?;
        let bytes = match text.strip_prefix("base64:") {
            Some(encoded) => STANDARD
                .decode(encoded)
                .map_err(|_| node.because("holds no base64 after base64:", "one that does"))?,
            None => text.into_bytes(),
        };
        if bytes.len() < least_bytes {
            return Err(node.because(
                &format!("holds {} bytes", bytes.len()),
                &format!("one with at least {least_bytes}"),
            ));
        }
        Self::new(&bytes).ok_or_else(|| node.wrong("the name of a variable that holds a key"))
    }

    pub(crate) fn new(bytes: &[u8]) -> Option<Self> {
        Hmac::new_from_slice(bytes).ok().map(Self)
    }

    /// The MAC of these bytes, one after the other.
    pub(crate) fn mac(&self, parts: &[&[u8]]) -> Vec<u8> {
        self.over(parts).finalize().into_bytes().to_vec()
    }

    /// Whether `mac` is the whole MAC of these bytes, in constant time.
    pub(crate) fn verifies(&self, parts: &[&[u8]], mac: &[u8]) -> bool {
        self.over(parts).verify_slice(mac).is_ok()
    }

    fn over(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut hmac = self.0.clone();
        parts.iter().for_each(|part| hmac.update(part));
        hmac
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

/// The text of the environment variable that a field names.
pub(crate) fn read_env(node: &Node<'_>, env: Environment<'_>) -> Result<String, ConfigError> {
    const RIGHT: &str = "the name of an environment variable, of A-Z a-z 0-9 and _";
    let name = node.text(RIGHT)?;
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Err(node.wrong(RIGHT));
    }
    env(name).filter(|text| !text.is_empty()).ok_or_else(|| {
        node.because(
            "is unset or empty, or Envoy does not hand it over",
            "one that is set, and name it in vm_config.environment_variables.host_env_keys",
        )
    })
}
