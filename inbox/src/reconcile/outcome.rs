//! The outcome of a call to the status API.

use crate::line_limit::permits;
use crate::store::StatusCall;
use blobgate::confirm;
use std::fmt::Display;

/// The outcome of a call, as `reconciliations_total` counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallOutcome {
    /// The call was not needed: its quarantined entries are gone.
    NothingQuarantined,
    /// The call was not made: no dialect is known for the hook.
    UnknownDialect,
    /// The status API has no result, or none that can be read.
    StatusApi(confirm::Outcome),
    /// The answer confirms a quarantined entry.
    Released,
    /// The answer contradicts the quarantined entries.
    Contradicted,
    /// The event was stored before.
    Repeated,
    /// The event is stored.
    Reconciled,
    /// The event is in quarantine: an earlier one contradicts it.
    Quarantined,
    /// The event could not be stored.
    NotStored,
}

impl CallOutcome {
    /// All outcomes: a rule reads a series before its first event.
    pub(super) const ALL: [Self; 16] = [
        Self::NothingQuarantined,
        Self::UnknownDialect,
        Self::StatusApi(confirm::Outcome::Unknown),
        Self::StatusApi(confirm::Outcome::StillWorking),
        Self::StatusApi(confirm::Outcome::Unauthorized),
        Self::StatusApi(confirm::Outcome::Limited),
        Self::StatusApi(confirm::Outcome::Status),
        Self::StatusApi(confirm::Outcome::Unreadable),
        Self::StatusApi(confirm::Outcome::NoAnswer),
        Self::StatusApi(confirm::Outcome::NotStarted),
        Self::Released,
        Self::Contradicted,
        Self::Repeated,
        Self::Reconciled,
        Self::Quarantined,
        Self::NotStored,
    ];

    /// The value of the counter's label.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::NothingQuarantined => "nothing-quarantined",
            Self::UnknownDialect => "unknown-dialect",
            Self::StatusApi(outcome) => outcome.name(),
            Self::Released => "released",
            Self::Contradicted => "contradicted",
            Self::Repeated => "repeated",
            Self::Reconciled => "reconciled",
            Self::Quarantined => "quarantined",
            Self::NotStored => "not-stored",
        }
    }
}

/// Logs the cause of a failed call. The counter has only its outcome.
pub(super) fn log_failed(question: &StatusCall, outcome: confirm::Outcome, cause: &str) {
    let (reason, StatusCall { hook, generation, .. }) = (outcome.name(), question);
    if permits(("status-call", reason)) {
        tracing::warn!(
            reason,
            hook,
            generation,
            "status call failed reason={reason} hook={hook} generation={generation}: {cause}. The inbox calls again later"
        );
    }
}

/// The reconciler calls again later.
pub(super) fn not_stored(question: &StatusCall, why: &dyn Display) -> CallOutcome {
    let StatusCall { hook, generation, .. } = question;
    if permits(("reconciled", "not-stored")) {
        tracing::error!(
            hook,
            generation,
            "cannot store the status API's answer hook={hook} generation={generation}: {why}. The inbox calls again later"
        );
    }
    CallOutcome::NotStored
}
