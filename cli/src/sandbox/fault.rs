//! What can go wrong, by name.

use serde::{Deserialize, Serialize};
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) enum Fault {
    OfStatus(StatusFault),
    OfCallback(CallbackFault),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StatusFault {
    /// No answer, ever.
    Hang,
    /// An answer so much later. Goes together with any other.
    Slow(Duration),
    Lie(Lie),
    /// Tens of MiB.
    Huge,
    /// JSON that ends half-way.
    BadJson,
    /// Another HTTP status: 200 to 599.
    Http(u16),
    /// Headers, and then the end of the connection.
    Cut,
    StillProcessing,
}

/// What the status says otherwise than the webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lie {
    Status,
    Url,
    Code,
    Id,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallbackFault {
    Never,
    /// The same once more, after the first was taken or given up.
    Twice,
    /// The opposite, after the first was taken or given up.
    Contradict,
}

impl TryFrom<String> for Fault {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (name, argument) = text.split_once(':').map_or((&*text, None), |(name, rest)| (name, Some(rest)));
        let fault = match (name, argument) {
            ("hang", None) => Self::OfStatus(StatusFault::Hang),
            ("slow", Some(millis)) => match millis.parse() {
                Ok(millis) => Self::OfStatus(StatusFault::Slow(Duration::from_millis(millis))),
                Err(_) => return Err(format!("{text:?} has no milliseconds: write slow:1500")),
            },
            ("lie", None | Some("status")) => Self::OfStatus(StatusFault::Lie(Lie::Status)),
            ("lie", Some("url")) => Self::OfStatus(StatusFault::Lie(Lie::Url)),
            ("lie", Some("code")) => Self::OfStatus(StatusFault::Lie(Lie::Code)),
            ("lie", Some("id")) => Self::OfStatus(StatusFault::Lie(Lie::Id)),
            ("huge", None) => Self::OfStatus(StatusFault::Huge),
            ("bad-json", None) => Self::OfStatus(StatusFault::BadJson),
            ("status", Some(code)) => match code.parse().ok().filter(|code| (200..600).contains(code)) {
                Some(code) => Self::OfStatus(StatusFault::Http(code)),
                None => return Err(format!("{text:?} has no HTTP status from 200 to 599: write status:503")),
            },
            ("cut", None) => Self::OfStatus(StatusFault::Cut),
            ("still-processing", None) => Self::OfStatus(StatusFault::StillProcessing),
            ("never", None) => Self::OfCallback(CallbackFault::Never),
            ("twice", None) => Self::OfCallback(CallbackFault::Twice),
            ("contradict", None) => Self::OfCallback(CallbackFault::Contradict),
            _ => return Err(format!("the fault {text:?} is none: `blobgate sandbox --help` lists them")),
        };
        Ok(fault)
    }
}

impl From<Fault> for String {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::OfStatus(fault) => fault.name(),
            Fault::OfCallback(CallbackFault::Never) => "never".to_owned(),
            Fault::OfCallback(CallbackFault::Twice) => "twice".to_owned(),
            Fault::OfCallback(CallbackFault::Contradict) => "contradict".to_owned(),
        }
    }
}

impl StatusFault {
    pub(super) fn name(self) -> String {
        match self {
            Self::Hang => "hang".to_owned(),
            Self::Slow(time) => format!("slow:{}", time.as_millis()),
            Self::Lie(Lie::Status) => "lie:status".to_owned(),
            Self::Lie(Lie::Url) => "lie:url".to_owned(),
            Self::Lie(Lie::Code) => "lie:code".to_owned(),
            Self::Lie(Lie::Id) => "lie:id".to_owned(),
            Self::Huge => "huge".to_owned(),
            Self::BadJson => "bad-json".to_owned(),
            Self::Http(code) => format!("status:{code}"),
            Self::Cut => "cut".to_owned(),
            Self::StillProcessing => "still-processing".to_owned(),
        }
    }
}
