//! Conditions on entries.

use super::Change;
use crate::entry::{EntryState, Lane, QuarantineReason};
use blobgate::event::Kind;

/// The entries that fulfil all of these conditions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) state: Option<EntryState>,
    pub(crate) lane: Option<Lane>,
    pub(crate) event: Option<Kind>,
    pub(crate) reason: Option<QuarantineReason>,
    pub(crate) hook: Option<String>,
    /// A UUID in canonical form.
    pub(crate) generation: Option<String>,
    pub(crate) job: Option<String>,
    pub(crate) request_id: Option<String>,
    /// The earliest time of receipt, in microseconds since 1970.
    pub(crate) since: Option<i64>,
}

/// A restriction of a filter to entries that an operation applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Restriction {
    /// A change applies to them.
    Applicable(Change),
    /// They can be reevaluated.
    Reevaluable,
    /// No restriction.
    All,
}

impl Restriction {
    /// The state of every entry that it permits, if there is one.
    pub(super) fn state(self) -> Option<EntryState> {
        match self {
            Self::Applicable(Change::Retry(_)) => Some(EntryState::Waiting),
            Self::Applicable(Change::Release) | Self::Reevaluable => Some(EntryState::Quarantined),
            Self::Applicable(Change::Replay | Change::Drop | Change::Purge) | Self::All => None,
        }
    }

    /// The condition in SQL.
    pub(super) fn condition(self) -> &'static str {
        match self {
            Self::Applicable(change) => change.applies_to(),
            Self::Reevaluable => "state = 'quarantined' AND size > 0",
            Self::All => "true",
        }
    }
}

/// The value that a search looks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SearchKey {
    /// A UUID in canonical form.
    Generation(String),
    /// Among the newest [`super::read::MAX_SEARCHED`] entries.
    Job(String),
    /// Among the newest [`super::read::MAX_SEARCHED`] entries.
    RequestId(String),
}

impl SearchKey {
    pub(super) fn value(&self) -> &str {
        match self {
            Self::Generation(value) | Self::Job(value) | Self::RequestId(value) => value,
        }
    }
}
