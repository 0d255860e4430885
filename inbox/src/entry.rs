//! The words of an entry: each is one enum, stored and shown as its text.

use blobgate::Reason;
use blobgate::event::Kind;
use serde::{Deserialize, Serialize};
use std::fmt;

/// An enum with its texts. The texts are stored and stand in JSON: they do not change.
macro_rules! words {
    ($(#[$doc:meta])* $vis:vis $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        $vis enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// All of them.
            #[allow(dead_code, reason = "only some are listed for a person")]
            $vis const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Its text.
            $vis const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }

            pub(crate) fn parse(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }
    };
}

words! {
    /// The state of an entry.
    pub EntryState {
        /// To be delivered, now or at its next attempt.
        Waiting = "waiting",
        /// With its service.
        InFlight = "in_flight",
        /// Its service answered 2xx.
        Delivered = "delivered",
        /// Given up after 72 hours of attempts.
        Dead = "dead",
        /// Another event of its generation took its place; of quarantine: released as another entry.
        Superseded = "superseded",
        /// Stored for a person to decide on.
        Quarantined = "quarantined",
        /// Given up by a person.
        Dropped = "dropped",
    }
}

words! {
    /// The way that an entry takes.
    pub Lane {
        /// To its service.
        Deliver = "deliver",
        /// To a person.
        Quarantine = "quarantine",
        /// To its service, from a hook that only observes: each time, and bound to nothing.
        Observed = "observed",
    }
}

words! {
    /// The state of an expectation.
    pub ExpectationState {
        /// No event is there yet.
        Expected = "expected",
        /// The application does not expect it: the status API is called for its quarantined entries alone.
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
}

words! {
    /// What brought an event.
    pub(crate) Origin {
        /// The provider's own call.
        Webhook = "webhook",
        /// The reconciler's call of the status API.
        Reconcile = "reconcile",
    }
}

words! {
    /// What an event takes the place of, as `blobgate-supersedes` says it.
    pub(crate) Superseded {
        /// A failure.
        Failed = "failed",
        /// A timeout.
        Timeout = "timeout",
        /// An event of an unauthenticated sender.
        Unauthenticated = "unauthenticated",
    }
}

/// Why an entry is in quarantine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum QuarantineReason {
    /// The violation that the gate found.
    Gate(Reason),
    /// Another generation came with this token.
    TokenReused,
    /// This generation came with another token.
    TokenConflict,
    /// This generation ended otherwise.
    EventConflict,
    /// A reason of a newer gate.
    Other(String),
}

impl QuarantineReason {
    /// The inbox's own.
    pub(crate) const OWN: [Self; 3] = [Self::TokenReused, Self::TokenConflict, Self::EventConflict];
    /// Those that an expectation can explain, once it is there.
    pub(crate) const EXPLAINED: [Self; 2] = [Self::TokenReused, Self::TokenConflict];

    /// Each that this version knows.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Reason::ALL.iter().copied().map(Self::Gate).chain(Self::OWN)
    }

    pub(crate) fn as_str(&self) -> &str {
        self.known().unwrap_or(match self {
            Self::Other(text) => text,
            _ => "",
        })
    }

    /// Its text, unless it is of a newer gate.
    pub(crate) fn known(&self) -> Option<&'static str> {
        match self {
            Self::Gate(reason) => Some(reason.code()),
            Self::TokenReused => Some("token-reused"),
            Self::TokenConflict => Some("token-conflict"),
            Self::EventConflict => Some("event-conflict"),
            Self::Other(_) => None,
        }
    }

    pub(crate) fn parse(text: &str) -> Self {
        let of_gate = Reason::ALL.iter().copied().find(|reason| reason.code() == text).map(Self::Gate);
        let own = || Self::OWN.into_iter().find(|own| own.known() == Some(text));
        of_gate.or_else(own).unwrap_or_else(|| Self::Other(text.to_owned()))
    }
}

impl fmt::Display for QuarantineReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What two deliveries of one event have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fingerprint {
    /// A digest, in hexadecimal, of where the video is.
    Completed(String),
    /// An error code; empty where there is none.
    Failed(String),
    Timeout(String),
}

impl Fingerprint {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Completed(_) => Kind::Completed,
            Self::Failed(_) => Kind::Failed,
            Self::Timeout(_) => Kind::Timeout,
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(' ')?;
        let make = match Kind::parse(kind)? {
            Kind::Completed => Self::Completed,
            Kind::Failed => Self::Failed,
            Kind::Timeout => Self::Timeout,
        };
        Some(make(rest.to_owned()))
    }
}

/// `KIND DIGEST` or `KIND CODE`.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Completed(rest) | Self::Failed(rest) | Self::Timeout(rest)) = self;
        write!(f, "{} {rest}", self.kind().name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn row<T>(all: &[T], parse: fn(&str) -> Option<T>, expected: &[&str])
    where
        T: Copy + fmt::Debug + fmt::Display + PartialEq + Serialize + for<'de> Deserialize<'de>,
    {
        assert_eq!(all.iter().map(T::to_string).collect::<Vec<_>>(), expected);
        for value in all {
            let json = format!("\"{value}\"");
            assert_eq!(serde_json::to_string(value).unwrap(), json);
            assert_eq!(serde_json::from_str::<T>(&json).unwrap(), *value);
            assert_eq!(parse(&value.to_string()), Some(*value));
        }
    }

    #[test]
    fn texts_are_the_same_in_json_and_in_the_store() {
        let states = ["waiting", "in_flight", "delivered", "dead", "superseded", "quarantined", "dropped"];
        row(EntryState::ALL, EntryState::parse, &states);
        row(Lane::ALL, Lane::parse, &["deliver", "quarantine", "observed"]);
        let states = ["expected", "quarantined", "arrived", "reconciled", "unknown", "contradicted"];
        row(ExpectationState::ALL, ExpectationState::parse, &states);
        row(Origin::ALL, Origin::parse, &["webhook", "reconcile"]);
        row(Superseded::ALL, Superseded::parse, &["failed", "timeout", "unauthenticated"]);
        assert_eq!(EntryState::parse("Waiting"), None);
    }

    #[test]
    fn a_reason_is_the_gate_s_or_ours_or_of_tomorrow() {
        for (text, expected) in [
            ("json-invalid", QuarantineReason::Gate(Reason::JsonInvalid)),
            ("token-reused", QuarantineReason::TokenReused),
            ("token-conflict", QuarantineReason::TokenConflict),
            ("event-conflict", QuarantineReason::EventConflict),
            ("of-tomorrow", QuarantineReason::Other("of-tomorrow".to_owned())),
        ] {
            assert_eq!(QuarantineReason::parse(text), expected);
            assert_eq!(expected.as_str(), text);
        }
    }

    #[test]
    fn a_fingerprint_reads_back() {
        for (text, expected) in [
            ("completed 00ff", Fingerprint::Completed("00ff".to_owned())),
            ("failed NSFW", Fingerprint::Failed("NSFW".to_owned())),
            ("timeout ", Fingerprint::Timeout(String::new())),
        ] {
            assert_eq!(Fingerprint::parse(text), Some(expected.clone()));
            assert_eq!(expected.to_string(), text);
        }
        assert_eq!(Fingerprint::parse("started 1"), None);
        assert_eq!(Fingerprint::parse("completed"), None);
    }
}
