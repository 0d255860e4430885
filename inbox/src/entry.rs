//! The words of an entry: each is one enum, stored and shown as its text.

use blobgate::Reason;
use blobgate::event::Kind;
use std::fmt;

/// An enum with its texts. The texts are stored: they do not change.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $count:literal { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// All texts.
            #[allow(dead_code, reason = "not every word is listed for a person")]
            pub(crate) const TEXTS: [&str; $count] = [$($text),*];

            pub(crate) const fn as_str(self) -> &'static str {
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
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// What an entry can be.
    EntryState, 7 {
        Waiting = "waiting",
        InFlight = "in_flight",
        Delivered = "delivered",
        /// Given up after 72 h of trying.
        Dead = "dead",
        /// Another event of its generation took its place; of quarantine: released as another entry.
        Superseded = "superseded",
        Quarantined = "quarantined",
        /// A person gave it up.
        Dropped = "dropped",
    }
}

words! {
    /// Where an entry is.
    Lane, 3 {
        Deliver = "deliver",
        Quarantine = "quarantine",
        /// Delivered each time, and bound to nothing.
        Observed = "observed",
    }
}

words! {
    /// What has become of an expectation.
    ExpectationState, 6 {
        Expected = "expected",
        /// The application does not expect it: the status API is called for its quarantined entries alone.
        Quarantined = "quarantined",
        Arrived = "arrived",
        Reconciled = "reconciled",
        Unknown = "unknown",
        Contradicted = "contradicted",
    }
}

words! {
    /// What brought an event.
    Origin, 2 {
        Webhook = "webhook",
        Reconcile = "reconcile",
    }
}

words! {
    /// What an event takes the place of, as `blobgate-supersedes` says it.
    Superseded, 3 {
        Failed = "failed",
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
        let make = match parse_event(kind)? {
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

pub(crate) fn parse_event(name: &str) -> Option<Kind> {
    [Kind::Completed, Kind::Failed, Kind::Timeout].into_iter().find(|kind| kind.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands in stores.
    #[test]
    fn texts_are_these_and_read_back() {
        let states = ["waiting", "in_flight", "delivered", "dead", "superseded", "quarantined", "dropped"];
        assert_eq!(EntryState::TEXTS, states);
        assert_eq!(Lane::TEXTS, ["deliver", "quarantine", "observed"]);
        let expectations = ["expected", "quarantined", "arrived", "reconciled", "unknown", "contradicted"];
        assert_eq!(ExpectationState::TEXTS, expectations);
        assert_eq!(Origin::TEXTS, ["webhook", "reconcile"]);
        assert_eq!(Superseded::TEXTS, ["failed", "timeout", "unauthenticated"]);
        for text in states {
            assert_eq!(EntryState::parse(text).map(EntryState::as_str), Some(text));
        }
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
