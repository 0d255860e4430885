//! The names of states, lanes and events, as the store and JSON have them.

use super::BadRequest;

use blobgate::event::Kind;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// An enum whose values are names, the same on the wire and in the store.
macro_rules! named {
    ($(#[$doc:meta])* $type:ident, $what:literal, $($(#[$about:meta])* $value:ident = $name:literal,)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $type {
            $($(#[$about])* $value,)*
        }

        impl $type {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$value),*];

            /// Its name.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$value => $name,)*
                }
            }
        }

        impl FromStr for $type {
            type Err = BadRequest;

            fn from_str(name: &str) -> Result<Self, BadRequest> {
                Self::ALL.iter().copied().find(|value| value.name() == name).ok_or_else(|| {
                    BadRequest::not_one_of($what, name, Self::ALL.iter().map(|value| value.name()))
                })
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }
    };
}

named! {
    /// The state of an entry.
    EntryState, "state",
    /// To be delivered, now or at its next attempt.
    Waiting = "waiting",
    /// With its service.
    InFlight = "in_flight",
    /// Its service answered 2xx.
    Delivered = "delivered",
    /// Given up after 72 hours of attempts.
    Dead = "dead",
    /// Replaced by another event of its generation, or released as another entry.
    Superseded = "superseded",
    /// Stored for a person to decide on.
    Quarantined = "quarantined",
    /// Given up by a person.
    Dropped = "dropped",
}

named! {
    /// The way that an entry takes.
    Lane, "lane",
    /// To its service.
    Deliver = "deliver",
    /// To a person.
    Quarantine = "quarantine",
    /// To its service, from a hook that only observes.
    Observed = "observed",
}

named! {
    /// The state of an expectation.
    ExpectationState, "state",
    /// No event is there yet.
    Expected = "expected",
    /// Only a quarantined event is to be confirmed.
    Quarantined = "quarantined",
    /// Its webhook came.
    Arrived = "arrived",
    /// The reconciler fetched its event.
    Reconciled = "reconciled",
    /// The provider knows no such generation.
    Unknown = "unknown",
    /// The provider contradicts the quarantined events.
    Contradicted = "contradicted",
}

/// The kind of an event, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EventKind(pub Kind);

impl EventKind {
    /// All of them.
    pub const ALL: &'static [Self] = &[Self(Kind::Completed), Self(Kind::Failed), Self(Kind::Timeout)];

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

    #[track_caller]
    fn row<T>(all: &[T], name: fn(T) -> &'static str, expected: &[&str])
    where
        T: Copy + fmt::Debug + PartialEq + Serialize + for<'de> Deserialize<'de> + FromStr<Err = BadRequest>,
    {
        let names: Vec<_> = all.iter().map(|value| name(*value)).collect();
        assert_eq!(names, expected);
        for value in all {
            let json = format!("\"{}\"", name(*value));
            assert_eq!(serde_json::to_string(value).unwrap(), json);
            assert_eq!(serde_json::from_str::<T>(&json).unwrap(), *value);
            assert_eq!(name(*value).parse::<T>().unwrap(), *value);
        }
    }

    #[test]
    fn names_are_the_same_on_the_wire_and_in_the_store() {
        let states = ["waiting", "in_flight", "delivered", "dead", "superseded", "quarantined", "dropped"];
        row(EntryState::ALL, EntryState::name, &states);
        row(Lane::ALL, Lane::name, &["deliver", "quarantine", "observed"]);
        row(EventKind::ALL, EventKind::name, &["completed", "failed", "timeout"]);
        let states = ["expected", "quarantined", "arrived", "reconciled", "unknown", "contradicted"];
        row(ExpectationState::ALL, ExpectationState::name, &states);
    }
}
