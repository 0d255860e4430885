//! Compares what the schema of the configuration and its loader decide on one configuration.

use serde_json::Value;
use std::sync::LazyLock;

/// The decision of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreement {
    Accepted,
    Refused,
    /// The loader refuses for one of [`BEYOND_A_SCHEMA`].
    Beyond(&'static str),
}

/// Parts of the loader's errors for rules that a schema cannot have: they compare values with each other, calculate with
/// addresses, or need the environment.
pub const BEYOND_A_SCHEMA: &[&str] = &[
    "which another hook has; write a different",
    "can have no other hook below its path",
    "write the range's first address",
    "covers every IPv",
    "covers more than a sixteenth of the internet",
    "is unset or empty, or Envoy does not pass it to the module",
    "names too; write a variable with another key",
    "which contains the key of",
    "which is the key of",
    "which contains no valid base64 after base64:",
    "bytes; write a variable with at least 32 bytes",
    "which contains no key of Standard Webhooks",
    // 43 characters are 32 bytes. Some are no point of the curve, or one of small order.
    "is a text of 43 bytes; write the 32 bytes of an Ed25519 public key",
    "has a key twice in one object",
];

static SCHEMA: LazyLock<jsonschema::Validator> =
    LazyLock::new(|| jsonschema::validator_for(&blobgate::config::schema()).unwrap());

/// Panics where the schema refuses what the loader accepts, or accepts what the loader refuses for another reason than
/// [`BEYOND_A_SCHEMA`]. `refusal` is the loader's error.
#[track_caller]
pub fn agreement(config: &Value, refusal: Option<&str>) -> Agreement {
    match (SCHEMA.validate(config), refusal) {
        (Ok(()), None) => Agreement::Accepted,
        (Err(_), Some(_)) => Agreement::Refused,
        (Err(error), None) => {
            panic!("the schema refuses what loads: {}: {error}\n{config}", error.instance_path())
        }
        (Ok(()), Some(sentence)) => {
            let kind = BEYOND_A_SCHEMA.iter().find(|kind| sentence.contains(*kind));
            Agreement::Beyond(kind.unwrap_or_else(|| panic!("the schema accepts: {sentence}\n{config}")))
        }
    }
}
