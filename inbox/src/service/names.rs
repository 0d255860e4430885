//! The names of states, lanes and events, in the store and in JSON.

use super::BadRequest;
pub use crate::entry::{EntryState, ExpectationState, Lane};

use blobgate::event::Kind;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Parses a name. An error lists all names.
macro_rules! from_str {
    ($($type:ident: $what:literal,)*) => {$(
        impl FromStr for $type {
            type Err = BadRequest;

            fn from_str(name: &str) -> Result<Self, BadRequest> {
                Self::parse(name).ok_or_else(|| {
                    BadRequest::not_one_of($what, name, Self::ALL.iter().map(|value| value.name()))
                })
            }
        }
    )*};
}

from_str! {
    EntryState: "state",
    Lane: "lane",
}

/// The kind of an event, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EventKind(pub Kind);

impl EventKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self(Kind::Completed), Self(Kind::Failed), Self(Kind::Timeout)];

    /// Its name.
    pub const fn name(self) -> &'static str {
        self.0.name()
    }
}

impl FromStr for EventKind {
    type Err = BadRequest;

    fn from_str(name: &str) -> Result<Self, BadRequest> {
        Kind::parse(name)
            .map(Self)
            .ok_or_else(|| BadRequest::not_one_of("event", name, Self::ALL.iter().map(|event| event.name())))
    }
}

impl TryFrom<String> for EventKind {
    type Error = BadRequest;

    fn try_from(name: String) -> Result<Self, BadRequest> {
        name.parse()
    }
}

impl From<EventKind> for String {
    fn from(event: EventKind) -> Self {
        event.name().to_owned()
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_names_read_back() {
        assert_eq!(EventKind::ALL.map(EventKind::name), ["completed", "failed", "timeout"]);
        for event in EventKind::ALL {
            let json = format!("\"{event}\"");
            assert_eq!(serde_json::to_string(&event).unwrap(), json);
            assert_eq!(serde_json::from_str::<EventKind>(&json).unwrap(), event);
        }
    }
}
