//! The enums of an entry. Each is stored and shown as its text.

use blobgate::Reason;
use blobgate::event::Kind;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;

/// Defines an enum with its texts. The texts are in the store and in JSON, so they must not change.
macro_rules! words {
    ($(#[$doc:meta])* $vis:vis $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        $vis enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// All variants.
            #[allow(dead_code, reason = "only some are listed for a person")]
            $vis const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The text.
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
        /// To be delivered, now or at the next attempt.
        Waiting = "waiting",
        /// An attempt is running.
        InFlight = "in_flight",
        /// The service answered 2xx.
        Delivered = "delivered",
        /// Given up after 72 hours of attempts.
        Dead = "dead",
        /// Another event of the generation replaced it. A quarantined entry was released as another entry.
        Superseded = "superseded",
        /// Stored for a person to decide on.
        Quarantined = "quarantined",
        /// Given up by an operator.
        Dropped = "dropped",
    }
}

words! {
    /// The destination of an entry.
    pub Lane {
        /// The service.
        Deliver = "deliver",
        /// A person, who decides.
        Quarantine = "quarantine",
        /// The service, from a hook that only observes: every delivery, without a binding.
        Observed = "observed",
    }
}

words! {
    /// The state of an expectation.
    pub ExpectationState {
        /// No event has come yet.
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
    /// The origin of an event.
    pub(crate) Origin {
        /// The provider's webhook.
        Webhook = "webhook",
        /// A call of the status API by the reconciler.
        Reconcile = "reconcile",
    }
}

words! {
    /// The superseded event, as in `blobgate-supersedes`.
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
    /// The token came with another generation before.
    TokenReused,
    /// The generation came with another token before.
    TokenConflict,
    /// The generation has another event already.
    EventConflict,
    /// A reason that this version does not know.
    Other(String),
}

/// The reason of a quarantine, with its detail: the violated field and the expectation, without a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QuarantineCause {
    pub(crate) reason: QuarantineReason,
    pub(crate) detail: Option<Cow<'static, str>>,
}

impl QuarantineCause {
    /// A reason of the inbox itself.
    pub(crate) const fn own(reason: QuarantineReason, detail: &'static str) -> Self {
        Self { reason, detail: Some(Cow::Borrowed(detail)) }
    }
}

impl QuarantineReason {
    /// The reasons of the inbox itself.
    pub(crate) const OWN: [Self; 3] = [Self::TokenReused, Self::TokenConflict, Self::EventConflict];
    /// The reasons that a later expectation can explain.
    pub(crate) const EXPLAINED: [Self; 2] = [Self::TokenReused, Self::TokenConflict];

    /// All reasons that this version knows.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Reason::ALL.iter().copied().map(Self::Gate).chain(Self::OWN)
    }

    pub(crate) fn as_str(&self) -> &str {
        self.known().unwrap_or(match self {
            Self::Other(text) => text,
            _ => "",
        })
    }

    /// The text of a known reason.
    pub(crate) fn known(&self) -> Option<&'static str> {
        match self {
            Self::Gate(reason) => Some(reason.code()),
            Self::TokenReused => Some("token-reused"),
            Self::TokenConflict => Some("token-conflict"),
            Self::EventConflict => Some("event-conflict"),
            Self::Other(_) => None,
        }
    }

    /// The violation, for an operator. Empty for an unknown reason.
    pub(crate) fn meaning(&self) -> String {
        match self {
            Self::Gate(reason) => reason.meaning(),
            own => own.words().0.to_owned(),
        }
    }

    /// What an operator does about it. Empty for an unknown reason.
    pub(crate) fn remedy(&self) -> String {
        match self {
            Self::Gate(reason) => reason.remedy(),
            own => own.words().1.to_owned(),
        }
    }

    /// The meaning and the remedy of a reason of the inbox itself.
    pub(crate) const fn words(&self) -> (&'static str, &'static str) {
        match self {
            Self::TokenReused => (
                "The token came with another generation before.",
                "Announce the generation with its job (`blobgate inbox expect`): the inbox then releases the entries of that job. Give each generation its own token.",
            ),
            Self::TokenConflict => (
                "The generation came with another token before, or is announced with another job.",
                "Announce the generation with its job (`blobgate inbox expect`): the inbox then releases the entries of that job. Drop forged entries.",
            ),
            Self::EventConflict => (
                "The generation has another event already.",
                "Compare both events with the status API (`blobgate why GENERATION --ask`). Release the entry if its event is the right one. Otherwise drop it.",
            ),
            Self::Gate(_) | Self::Other(_) => ("", ""),
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

/// The value that is equal in two deliveries of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fingerprint {
    /// The hexadecimal digest of the video's URL.
    Completed(String),
    /// The error code. Empty without one.
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
    fn json_and_store_have_the_same_texts() {
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
    fn parses_reasons_of_gate_inbox_and_newer_versions() {
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
    fn fingerprints_parse_their_own_text() {
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
