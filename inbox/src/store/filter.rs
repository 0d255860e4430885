//! Which entries are meant.

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

impl Filter {
    /// Whether it means every entry.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
