//! The keys of a configuration: read from the environment, each for one use.

use crate::contract::signature::KEY_PREFIX;
use crate::contract::token::BASE64_PREFIX;
use crate::secret::Secret;
use crate::settings::{ConfigError, Environment, Node};
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD, STANDARD};
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use base64::{Engine, alphabet};

/// The keys of a configuration. Each has one use: a service that verifies the gate's signature has its key, and could make
/// tokens if they were made with the same one.
pub(crate) struct Keyring<'e> {
    env: Environment<'e>,
    held: Vec<KeyUse>,
}

/// A key that a field has taken.
struct KeyUse {
    field: String,
    /// Where it is from, unless it stands in the configuration.
    variable: Option<String>,
    /// A MAC by each key that somebody could read in it.
    readings: Vec<Vec<u8>>,
}

/// What two fields have in common must not be found in a text as short as this by chance.
const MIN_READING_BYTES: usize = 16;
const LENIENT: GeneralPurposeConfig =
    NO_PAD.with_decode_padding_mode(DecodePaddingMode::Indifferent).with_decode_allow_trailing_bits(true);
const ALPHABETS: [GeneralPurpose; 2] =
    [GeneralPurpose::new(&alphabet::STANDARD, LENIENT), GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT)];

impl<'e> Keyring<'e> {
    pub(crate) fn new(env: Environment<'e>) -> Self {
        Self { env, held: Vec::new() }
    }

    /// The text of the environment variable that a field names, for this field alone.
    pub(crate) fn read_env(&mut self, node: &Node<'_>) -> Result<String, ConfigError> {
        const EXPECTED: &str = "the name of an environment variable, of A-Z a-z 0-9 and _";
        let name = node.text(EXPECTED)?;
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err(node.invalid(EXPECTED));
        }
        let text = (self.env)(name).filter(|text| !text.is_empty()).ok_or_else(|| {
            node.conflict(
                "is unset or empty, or Envoy does not hand it over",
                "one that is set, and name it in vm_config.environment_variables.host_env_keys",
            )
        })?;
        const OWN: &str = "a variable with a key of its own: a key has one use";
        if let Some(other) = self.held.iter().find(|other| other.variable.as_deref() == Some(name)) {
            return Err(node.conflict(&format!("{} names too", other.field), OWN));
        }
        let readings = readings(&text);
        if let Some(other) = self.find(&readings) {
            return Err(node.conflict(&format!("holds the key of {}", other.field), OWN));
        }
        let variable = Some(name.to_owned());
        self.held.push(KeyUse { field: node.path().to_owned(), variable, readings });
        Ok(text)
    }

    /// The secret in the variable that a field names: raw bytes, or standard base64 after `base64:`.
    pub(crate) fn read_secret(&mut self, node: &Node<'_>, min_bytes: usize) -> Result<Secret, ConfigError> {
        let text = self.read_env(node)?;
        let bytes = match text.strip_prefix(BASE64_PREFIX) {
            Some(encoded) => STANDARD
                .decode(encoded)
                .map_err(|_| node.conflict("holds no base64 after base64:", "one that does"))?,
            None => text.into_bytes(),
        };
        if bytes.len() < min_bytes {
            return Err(node.conflict(
                &format!("holds {} bytes", bytes.len()),
                &format!("one with at least {min_bytes}"),
            ));
        }
        Secret::new(&bytes).ok_or_else(|| node.invalid("the name of a variable that holds a key"))
    }

    /// Takes a key that stands in the configuration, for this field alone.
    pub(crate) fn hold(&mut self, node: &Node<'_>, bytes: &[u8]) -> Result<(), ConfigError> {
        let readings: Vec<_> = reading(bytes).into_iter().collect();
        if let Some(other) = self.find(&readings) {
            return Err(node.conflict(&format!("is the key of {}", other.field), "a key of its own"));
        }
        self.held.push(KeyUse { field: node.path().to_owned(), variable: None, readings });
        Ok(())
    }

    fn find(&self, readings: &[Vec<u8>]) -> Option<&KeyUse> {
        self.held.iter().find(|held| held.readings.iter().any(|reading| readings.contains(reading)))
    }
}

/// The text itself, what follows the prefix of a kind of key, and the bytes that this may be the base64 of.
fn readings(text: &str) -> Vec<Vec<u8>> {
    let rest =
        [BASE64_PREFIX, KEY_PREFIX].iter().find_map(|prefix| text.strip_prefix(prefix)).unwrap_or(text);
    let decoded = ALPHABETS.iter().filter_map(|alphabet| alphabet.decode(rest).ok());
    let texts = [text, rest].map(|text| text.as_bytes().to_vec());
    texts.into_iter().chain(decoded).filter_map(|bytes| reading(&bytes)).collect()
}

/// Two keys that this MAC does not tell apart are the same to HMAC: one of more than 64 bytes and its hash, say.
fn reading(bytes: &[u8]) -> Option<Vec<u8>> {
    let secret = Secret::new(bytes).filter(|_| bytes.len() >= MIN_READING_BYTES)?;
    Some(secret.mac(&[b"blobgate: which key is this"]))
}
