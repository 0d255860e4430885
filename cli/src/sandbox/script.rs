//! The chosen outcome and faults of a generation.

use super::fault::SandboxFault;
use serde::{Deserialize, Serialize};

/// The field `sandbox` of an order, and the body of `PUT /sandbox/faults`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Script {
    pub(super) outcome: Option<GenerationOutcome>,
    pub(super) faults: Vec<SandboxFault>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) enum GenerationOutcome {
    Completed,
    /// It fails at the time limit.
    Timeout,
    /// It fails with this error code.
    Failed(String),
}

/// The error code at the time limit.
pub(super) const TIMEOUT: &str = "TIMEOUT";

/// A text that names no outcome.
#[derive(Debug, thiserror::Error)]
#[error("unknown outcome {0:?}. Use completed, timeout or an error code such as UNSAFE_CONTENT")]
pub(super) struct UnknownOutcome(String);

impl TryFrom<String> for GenerationOutcome {
    type Error = UnknownOutcome;

    fn try_from(text: String) -> Result<Self, UnknownOutcome> {
        match text.as_str() {
            "completed" => Ok(Self::Completed),
            "timeout" | TIMEOUT => Ok(Self::Timeout),
            code if is_error_code(code) => Ok(Self::Failed(text)),
            _ => Err(UnknownOutcome(text)),
        }
    }
}

impl From<GenerationOutcome> for String {
    fn from(outcome: GenerationOutcome) -> Self {
        match outcome {
            GenerationOutcome::Completed => "completed".to_owned(),
            GenerationOutcome::Timeout => "timeout".to_owned(),
            GenerationOutcome::Failed(code) => code,
        }
    }
}

impl Script {
    /// One line for the log.
    pub(super) fn summary(&self) -> String {
        let outcome = self.outcome.iter().cloned().map(String::from);
        let words: Vec<_> = outcome.chain(self.faults.iter().cloned().map(String::from)).collect();
        if words.is_empty() { "none".to_owned() } else { words.join(", ") }
    }
}

/// Any name in capitals: the provider may have more codes than it documents.
fn is_error_code(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_uppercase())
        && text.chars().all(|letter| letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_')
}
