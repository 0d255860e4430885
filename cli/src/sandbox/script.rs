//! How a generation is to end, and what is to go wrong.

use super::fault::Fault;
use serde::{Deserialize, Serialize};

/// The `sandbox` of an order, and what is set for every order.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Script {
    pub(super) outcome: Option<Outcome>,
    pub(super) faults: Vec<Fault>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) enum Outcome {
    Completed,
    /// Failed past the time limit.
    Timeout,
    /// Failed with an error code.
    Failed(String),
}

/// The code of a generation that took too long.
pub(super) const TIMEOUT: &str = "TIMEOUT";

impl TryFrom<String> for Outcome {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "completed" => Ok(Self::Completed),
            "timeout" | TIMEOUT => Ok(Self::Timeout),
            code if is_error_code(code) => Ok(Self::Failed(text)),
            _ => Err(format!(
                "the outcome {text:?} is none: use completed, timeout or an error code such as UNSAFE_CONTENT"
            )),
        }
    }
}

impl From<Outcome> for String {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Completed => "completed".to_owned(),
            Outcome::Timeout => "timeout".to_owned(),
            Outcome::Failed(code) => code,
        }
    }
}

impl Script {
    /// In a line.
    pub(super) fn words(&self) -> String {
        let outcome = self.outcome.iter().cloned().map(String::from);
        let words: Vec<_> = outcome.chain(self.faults.iter().cloned().map(String::from)).collect();
        if words.is_empty() { "none".to_owned() } else { words.join(", ") }
    }
}

/// Any that is written like the documented ones: the provider may have more.
fn is_error_code(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_uppercase())
        && text.chars().all(|letter| letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_')
}
