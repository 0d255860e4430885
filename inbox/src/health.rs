//! Faults of the inbox, each with a reason code. The answer to a delivery, the log, `/readyz` and `inbox stats` contain the
//! same code.

use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Mutex, PoisonError};
use time::OffsetDateTime;

/// A lasting fault. While one stands, the inbox is not ready, unless it refuses only a part of the deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// The store's files were removed or replaced.
    StoreReplaced,
    /// The store is damaged. It could lose events that it acknowledges.
    StoreDamaged,
    /// The store denies a right that the inbox needs.
    StoreDenied,
    /// The newest commit or probe failed.
    StoreFailing,
    /// The store has reached its limit, or the disk is almost full. Or the quarantine or the observed entries have reached their
    /// share: then the inbox refuses only such deliveries, and is ready.
    Full,
    /// The newest deliveries have a signature by another key: gate and inbox have different signing keys. The inbox is ready, since
    /// any client of its port can send such a signature.
    Signature,
    /// The clocks of gate and inbox differ by more than a signature tolerates.
    ClockOffset,
    /// The process has no free file descriptor.
    DescriptorsExhausted,
}

impl Fault {
    /// All faults, the gravest first.
    pub(crate) const ALL: [Self; 8] = [
        Fault::StoreReplaced,
        Fault::StoreDamaged,
        Fault::StoreDenied,
        Fault::StoreFailing,
        Fault::Full,
        Fault::Signature,
        Fault::ClockOffset,
        Fault::DescriptorsExhausted,
    ];

    /// Its reason code.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Fault::StoreReplaced => "store-replaced",
            Fault::StoreDamaged => "store-damaged",
            Fault::StoreDenied => "store-denied",
            Fault::StoreFailing => "store-failing",
            Fault::Full => "full",
            Fault::Signature => "signature",
            Fault::ClockOffset => "clock-offset",
            Fault::DescriptorsExhausted => "descriptors-exhausted",
        }
    }

    /// Whether it is a fault of the store: then the inbox stores no event.
    pub(crate) const fn is_of_store(self) -> bool {
        matches!(self, Fault::StoreReplaced | Fault::StoreDamaged | Fault::StoreDenied | Fault::StoreFailing)
    }

    /// Whether it stands until the process ends, and causes the store's other faults.
    const fn is_final(self) -> bool {
        matches!(self, Fault::StoreReplaced | Fault::StoreDamaged)
    }
}

/// A present fault.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct StandingFault {
    /// Its reason code.
    pub(crate) reason: &'static str,
    /// Its start, in microseconds since 1970.
    pub(crate) since: i64,
    /// The problem and the remedy.
    pub(crate) detail: String,
    /// The deliveries that the inbox refuses.
    pub(crate) scope: FaultScope,
}

/// The deliveries that a fault affects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FaultScope {
    /// All: the inbox is not ready.
    All,
    /// Some: the quarantined or observed ones, or those with a signature by another key. The inbox is ready.
    Part,
}

/// The present faults. All parts of the inbox share them.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<BTreeMap<Fault, StandingFault>>);

impl Faults {
    /// Raises a fault, and logs it when it begins. A final fault of the store hides the store's other faults.
    pub(crate) fn raise(&self, fault: Fault, detail: impl Display) {
        self.raise_for(FaultScope::All, fault, detail);
    }

    /// Raises a fault that affects these deliveries.
    pub(crate) fn raise_for(&self, scope: FaultScope, fault: Fault, detail: impl Display) {
        let mut standing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if fault.is_of_store()
            && !fault.is_final()
            && let Some((known, _)) = standing.first_key_value()
            && known.is_final()
        {
            return;
        }
        let detail = detail.to_string();
        if let Some(known) = standing.get_mut(&fault).filter(|known| known.scope == scope) {
            known.detail = detail;
            return;
        }
        match scope {
            FaultScope::All => {
                tracing::error!(reason = fault.code(), "not ready reason={}: {detail}", fault.code());
            }
            FaultScope::Part => {
                tracing::error!(
                    reason = fault.code(),
                    "refuses deliveries reason={}: {detail}",
                    fault.code()
                );
            }
        }
        standing.insert(fault, StandingFault { reason: fault.code(), since: now(), detail, scope });
    }

    /// Clears a fault, and logs that if it stood.
    pub(crate) fn clear(&self, fault: Fault) {
        if self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&fault).is_some() {
            tracing::warn!(reason = fault.code(), "over reason={}", fault.code());
        }
    }

    /// All faults, the gravest first.
    pub(crate) fn standing(&self) -> Vec<StandingFault> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The gravest fault for which the inbox is not ready.
    pub(crate) fn not_ready(&self) -> Option<StandingFault> {
        let standing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        standing.values().find(|standing| standing.scope == FaultScope::All).cloned()
    }

    /// This fault, if it stands.
    pub(crate) fn get(&self, fault: Fault) -> Option<StandingFault> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&fault).cloned()
    }

    /// The gravest fault of the store.
    pub(crate) fn of_store(&self) -> Option<StandingFault> {
        let standing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        standing.iter().find(|(fault, _)| fault.is_of_store()).map(|(_, standing)| standing.clone())
    }
}

/// Microseconds since 1970.
pub(crate) fn now() -> i64 {
    let now = OffsetDateTime::now_utc().unix_timestamp_nanos().checked_div(1_000).unwrap_or_default();
    i64::try_from(now).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_ready_while_full_in_part() {
        let faults = Faults::default();
        faults.raise_for(FaultScope::Part, Fault::Full, "the quarantine");
        assert!(faults.not_ready().is_none());
        assert_eq!(faults.standing()[0].scope, FaultScope::Part);
        faults.raise(Fault::Full, "the disk");
        assert_eq!(faults.not_ready().unwrap().detail, "the disk");
        faults.raise_for(FaultScope::Part, Fault::Full, "the quarantine");
        assert!(faults.not_ready().is_none());
        faults.clear(Fault::Full);
        assert!(faults.standing().is_empty());
    }

    #[test]
    fn lists_every_fault_by_gravity() {
        let faults = Faults::default();
        for fault in Fault::ALL.into_iter().rev() {
            faults.raise(fault, "");
        }
        // A final fault of the store hides the others only if it stands first.
        assert_eq!(
            faults.standing().iter().map(|standing| standing.reason).collect::<Vec<_>>(),
            Fault::ALL.map(Fault::code)
        );
    }

    #[test]
    fn lists_the_gravest_fault_first_and_hides_consequences() {
        let faults = Faults::default();
        assert!(faults.standing().is_empty() && faults.of_store().is_none());
        faults.raise(Fault::ClockOffset, "600 s");
        assert!(faults.of_store().is_none());
        faults.raise(Fault::StoreDenied, "no INSERT on entry");
        let since = faults.standing()[0].since;
        faults.raise(Fault::StoreDenied, "no USAGE on entry_id_seq");
        let reasons: Vec<_> = faults.standing().iter().map(|standing| standing.reason).collect();
        assert_eq!(reasons, ["store-denied", "clock-offset"]);
        let of_store = faults.of_store().unwrap();
        assert_eq!((of_store.since, &*of_store.detail), (since, "no USAGE on entry_id_seq"));
        faults.clear(Fault::StoreDenied);
        assert_eq!(faults.standing().len(), 1);
        assert!(faults.get(Fault::StoreReplaced).is_none());
        faults.raise(Fault::StoreReplaced, "inbox.db was removed");
        // As the newest line of the log it would mislead.
        faults.raise(Fault::StoreFailing, "disk I/O error");
        let reasons: Vec<_> = faults.standing().iter().map(|standing| standing.reason).collect();
        assert_eq!(reasons, ["store-replaced", "clock-offset"]);
        assert_eq!(faults.get(Fault::StoreReplaced).unwrap().reason, "store-replaced");
    }
}
