//! Faults of the status API and of callbacks, by name.

use serde::{Deserialize, Serialize};
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) enum SandboxFault {
    OfStatus(StatusFault),
    OfCallback(CallbackFault),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StatusFault {
    /// The sandbox never answers.
    Hang,
    /// The answer comes later. It combines with any other fault.
    Slow(Duration),
    Lie(StatusLie),
    /// An answer of 32 MiB.
    Huge,
    /// The first half of the JSON.
    BadJson,
    /// This HTTP status, 200 to 599.
    Http(u16),
    /// The connection ends after the headers.
    Cut,
    StillProcessing,
}

/// The field in which the status contradicts the webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StatusLie {
    Status,
    Url,
    Code,
    Id,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallbackFault {
    Never,
    /// The same callback again, once the first has ended.
    Twice,
    /// The opposite outcome, once the first callback has ended.
    Contradict,
}

/// A text that names no fault.
#[derive(Debug, thiserror::Error)]
pub(super) enum FaultError {
    #[error("unknown fault {0:?}. `blobgate sandbox --help` lists the faults")]
    Unknown(String),
    #[error("the fault {0:?} has no milliseconds. Write slow:1500")]
    NoMillis(String),
    #[error("the fault {0:?} has no HTTP status from 200 to 599. Write status:503")]
    NoStatus(String),
}

impl TryFrom<String> for SandboxFault {
    type Error = FaultError;

    fn try_from(text: String) -> Result<Self, FaultError> {
        let (name, argument) = text.split_once(':').map_or((&*text, None), |(name, rest)| (name, Some(rest)));
        let fault = match (name, argument) {
            ("hang", None) => Self::OfStatus(StatusFault::Hang),
            ("slow", Some(millis)) => match millis.parse() {
                Ok(millis) => Self::OfStatus(StatusFault::Slow(Duration::from_millis(millis))),
                Err(_) => return Err(FaultError::NoMillis(text)),
            },
            ("lie", None | Some("status")) => Self::OfStatus(StatusFault::Lie(StatusLie::Status)),
            ("lie", Some("url")) => Self::OfStatus(StatusFault::Lie(StatusLie::Url)),
            ("lie", Some("code")) => Self::OfStatus(StatusFault::Lie(StatusLie::Code)),
            ("lie", Some("id")) => Self::OfStatus(StatusFault::Lie(StatusLie::Id)),
            ("huge", None) => Self::OfStatus(StatusFault::Huge),
            ("bad-json", None) => Self::OfStatus(StatusFault::BadJson),
            ("status", Some(code)) => match code.parse().ok().filter(|code| (200..600).contains(code)) {
                Some(code) => Self::OfStatus(StatusFault::Http(code)),
                None => return Err(FaultError::NoStatus(text)),
            },
            ("cut", None) => Self::OfStatus(StatusFault::Cut),
            ("still-processing", None) => Self::OfStatus(StatusFault::StillProcessing),
            ("never", None) => Self::OfCallback(CallbackFault::Never),
            ("twice", None) => Self::OfCallback(CallbackFault::Twice),
            ("contradict", None) => Self::OfCallback(CallbackFault::Contradict),
            _ => return Err(FaultError::Unknown(text)),
        };
        Ok(fault)
    }
}

impl From<SandboxFault> for String {
    fn from(fault: SandboxFault) -> Self {
        match fault {
            SandboxFault::OfStatus(fault) => fault.name(),
            SandboxFault::OfCallback(CallbackFault::Never) => "never".to_owned(),
            SandboxFault::OfCallback(CallbackFault::Twice) => "twice".to_owned(),
            SandboxFault::OfCallback(CallbackFault::Contradict) => "contradict".to_owned(),
        }
    }
}

impl StatusFault {
    pub(super) fn name(self) -> String {
        match self {
            Self::Hang => "hang".to_owned(),
            Self::Slow(time) => format!("slow:{}", time.as_millis()),
            Self::Lie(StatusLie::Status) => "lie:status".to_owned(),
            Self::Lie(StatusLie::Url) => "lie:url".to_owned(),
            Self::Lie(StatusLie::Code) => "lie:code".to_owned(),
            Self::Lie(StatusLie::Id) => "lie:id".to_owned(),
            Self::Huge => "huge".to_owned(),
            Self::BadJson => "bad-json".to_owned(),
            Self::Http(code) => format!("status:{code}"),
            Self::Cut => "cut".to_owned(),
            Self::StillProcessing => "still-processing".to_owned(),
        }
    }
}
