//! The keys of a configuration, from environment variables. Each key has one use.

use crate::contract::signature::KEY_PREFIX;
use crate::contract::token::BASE64_PREFIX;
use crate::secret::{MAC_BYTES, Secret};
#[cfg(not(target_family = "wasm"))]
use crate::settings::ValueForm;
use crate::settings::{ConfigError, Environment, Node};
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD, STANDARD};
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use base64::{Engine, alphabet};

/// The keys of a configuration. Each has one use: a service that verifies signatures has the signing key. If tokens had the same
/// key, the service could make tokens.
pub(crate) struct Keyring<'e> {
    env: Environment<'e>,
    uses: Vec<KeyUse>,
}

/// The use of a key in a field.
struct KeyUse {
    field: String,
    /// The environment variable; `None` for a key in the configuration itself.
    variable: Option<String>,
    /// A MAC by each possible reading of the key's text.
    readings: Vec<[u8; MAC_BYTES]>,
}

/// Shorter readings do not count, because two fields could have one in common by chance.
const MIN_READING_BYTES: usize = 16;
const LENIENT: GeneralPurposeConfig =
    NO_PAD.with_decode_padding_mode(DecodePaddingMode::Indifferent).with_decode_allow_trailing_bits(true);
const ALPHABETS: [GeneralPurpose; 2] =
    [GeneralPurpose::new(&alphabet::STANDARD, LENIENT), GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT)];

impl<'e> Keyring<'e> {
    pub(crate) fn new(env: Environment<'e>) -> Self {
        Self { env, uses: Vec::new() }
    }

    /// Reads the environment variable that a field names. No other field may use its key.
    pub(crate) fn read_env(&mut self, node: &Node<'_>) -> Result<String, ConfigError> {
        const EXPECTED: &str = "the name of an environment variable, of A-Z a-z 0-9 and _";
        let name = node.text(EXPECTED)?;
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err(node.invalid(EXPECTED));
        }
        let text = (self.env)(name).filter(|text| !text.is_empty()).ok_or_else(|| {
            node.conflict(
                "is unset or empty, or Envoy does not pass it to the module",
                "a variable that is set, and list it in vm_config.environment_variables.host_env_keys",
            )
        })?;
        const OWN: &str = "a variable with another key: each key has one use";
        if let Some(other) = self.uses.iter().find(|other| other.variable.as_deref() == Some(name)) {
            return Err(node.conflict(&format!("{} names too", other.field), OWN));
        }
        let readings = readings(&text);
        if let Some(other) = self.find(&readings) {
            return Err(node.conflict(&format!("contains the key of {}", other.field), OWN));
        }
        let variable = Some(name.to_owned());
        self.uses.push(KeyUse { field: node.path().to_owned(), variable, readings });
        Ok(text)
    }

    /// Reads the secret in the variable that a field names: its bytes, or the standard base64 after `base64:`.
    pub(crate) fn read_secret(&mut self, node: &Node<'_>, min_bytes: usize) -> Result<Secret, ConfigError> {
        let text = self.read_env(node)?;
        let bytes = match text.strip_prefix(BASE64_PREFIX) {
            Some(encoded) => STANDARD.decode(encoded).map_err(|_| {
                node.conflict(
                    "contains no valid base64 after base64:",
                    "a variable with padded standard base64",
                )
            })?,
            None => text.into_bytes(),
        };
        if bytes.len() < min_bytes {
            return Err(node.conflict(
                &format!("contains {} bytes", bytes.len()),
                &format!("a variable with at least {min_bytes} bytes"),
            ));
        }
        Secret::new(&bytes).ok_or_else(|| node.invalid("the name of a variable with a key"))
    }

    /// Adds a key from the configuration itself. No other field may use it.
    pub(crate) fn add(&mut self, node: &Node<'_>, bytes: &[u8]) -> Result<(), ConfigError> {
        let readings: Vec<_> = reading(bytes).into_iter().collect();
        if let Some(other) = self.find(&readings) {
            return Err(node.conflict(&format!("is the key of {}", other.field), "another key"));
        }
        self.uses.push(KeyUse { field: node.path().to_owned(), variable: None, readings });
        Ok(())
    }

    fn find(&self, readings: &[[u8; MAC_BYTES]]) -> Option<&KeyUse> {
        self.uses.iter().find(|one| one.readings.iter().any(|reading| readings.contains(reading)))
    }
}

/// The name of an environment variable.
#[cfg(not(target_family = "wasm"))]
pub(crate) fn variable_form(written: &str) -> ValueForm {
    ValueForm::text(written, "[A-Za-z0-9_]+")
}

/// The possible readings of a key's text: the text, the text after a key's prefix, and the decoded base64 of the latter.
fn readings(text: &str) -> Vec<[u8; MAC_BYTES]> {
    let rest =
        [BASE64_PREFIX, KEY_PREFIX].iter().find_map(|prefix| text.strip_prefix(prefix)).unwrap_or(text);
    let decoded = ALPHABETS.iter().filter_map(|alphabet| alphabet.decode(rest).ok());
    let texts = [text, rest].map(|text| text.as_bytes().to_vec());
    texts.into_iter().chain(decoded).filter_map(|bytes| reading(&bytes)).collect()
}

/// A MAC by the key. Two keys with the same MAC are equal to HMAC, such as a key over 64 bytes and its hash.
fn reading(bytes: &[u8]) -> Option<[u8; MAC_BYTES]> {
    let secret = Secret::new(bytes).filter(|_| bytes.len() >= MIN_READING_BYTES)?;
    Some(secret.mac(&[b"blobgate: which key is this"]))
}
