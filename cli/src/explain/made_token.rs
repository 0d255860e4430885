//! Tokens that the command makes, for the case that the key is not at hand.

use time::{Duration, OffsetDateTime};

/// The kind of a token that the command makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum MadeToken {
    /// Valid for an hour
    Valid,
    /// Expired an hour ago
    Expired,
    /// For another hook
    OtherHook,
    /// With an invalid signature
    Invalid,
}

impl MadeToken {
    /// The hook that the token is for, in a request to `hook`.
    pub(super) fn hook(self, hook: &str) -> &str {
        match self {
            MadeToken::Valid | MadeToken::Expired | MadeToken::Invalid => hook,
            MadeToken::OtherHook if hook == "other" => "another",
            MadeToken::OtherHook => "other",
        }
    }

    pub(super) fn expires(self, now: OffsetDateTime) -> OffsetDateTime {
        match self {
            MadeToken::Expired => now.saturating_sub(Duration::HOUR),
            MadeToken::Valid | MadeToken::OtherHook | MadeToken::Invalid => {
                now.saturating_add(Duration::HOUR)
            }
        }
    }
}
