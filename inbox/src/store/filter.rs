//! Which entries are meant.

use super::Change;
use crate::entry::{EntryState, Lane, QuarantineReason};
use blobgate::event::Kind;

/// Those that are all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) state: Option<EntryState>,
    pub(crate) lane: Option<Lane>,
    pub(crate) event: Option<Kind>,
    pub(crate) reason: Option<QuarantineReason>,
    pub(crate) hook: Option<String>,
    /// In its canonical form.
    pub(crate) generation: Option<String>,
    pub(crate) job: Option<String>,
    /// Received at this time or later, in microseconds since 1970.
    pub(crate) since: Option<i64>,
}

/// Of entries that a filter means, those with which something can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Restriction {
    /// That a change applies to.
    Applicable(Change),
    /// That can be reevaluated.
    Reevaluable,
    #[cfg(test)]
    All,
}

impl Restriction {
    /// As a condition on entries.
    pub(super) fn condition(self) -> &'static str {
        match self {
            Self::Applicable(change) => change.applies_to(),
            Self::Reevaluable => "state = 'quarantined' AND size > 0",
            #[cfg(test)]
            Self::All => "true",
        }
    }
}
