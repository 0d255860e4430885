//! The space of the store: a limit of bytes, and a reserve of free disk for outcomes and retention. Quarantined, dead and
//! observed entries each have a share of the limit.

use crate::arrival::Arrival;
use crate::decide::{ArrivalOutcome, QuarantineRoom};
use crate::health::{Fault, FaultScope, Faults};
use crate::store::Usage;
use blobgate::policy::Verdict;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// The used space, measured regularly and estimated in between.
#[derive(Debug)]
pub(crate) struct Space {
    limit: i64,
    /// The limit each for quarantined, dead and observed entries.
    share: i64,
    total: AtomicI64,
    quarantine: AtomicI64,
    dead: AtomicI64,
    observed: AtomicI64,
    disk_is_full: AtomicBool,
    /// SQLite's file. The disk of a PostgreSQL server is not visible here.
    file: Option<PathBuf>,
}

/// Why the store takes no more events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Full {
    #[error("the store has reached its limit: raise --limit")]
    Limit,
    #[error("the disk has too little free space: free some, or use a larger disk")]
    Disk,
    #[error("observed entries have reached their share of the store: raise --limit")]
    Observed,
    #[error("quarantined entries have reached their share of the store: release or drop some")]
    Quarantine,
}

/// A share is a tenth of the limit.
const SHARE: i64 = 10;
/// The fewest tokens that can fill the quarantine. One has at most 107 MB of the default 10 GiB, some 40,000 events.
const TOKENS: i64 = 10;
/// The reserve of free disk in percent.
const RESERVE_PERCENT: u64 = 5;
/// The smallest reserve in bytes.
const MIN_RESERVE: u64 = 64 << 20;
/// Bytes that retention frees inside the file beyond the need, so that it does not run for each event.
const HEADROOM: u64 = 16 << 20;

impl Space {
    pub(crate) fn new(limit: i64, file: Option<PathBuf>) -> Self {
        Self {
            limit,
            share: limit.checked_div(SHARE).unwrap_or_default(),
            total: AtomicI64::default(),
            quarantine: AtomicI64::default(),
            dead: AtomicI64::default(),
            observed: AtomicI64::default(),
            disk_is_full: AtomicBool::default(),
            file,
        }
    }

    /// Checks whether there is room for another event.
    pub(crate) fn check(&self, verdict: Verdict) -> Result<(), Full> {
        let is_over = |bytes: &AtomicI64, limit| bytes.load(Ordering::Relaxed) >= limit;
        if self.disk_is_full.load(Ordering::Relaxed) {
            return Err(Full::Disk);
        }
        if is_over(&self.total, self.limit) {
            return Err(Full::Limit);
        }
        match verdict {
            Verdict::Observed if is_over(&self.observed, self.share) => Err(Full::Observed),
            Verdict::Quarantined if is_over(&self.quarantine, self.share) => Err(Full::Quarantine),
            _ => Ok(()),
        }
    }

    /// Raises the fault of a full store or share, or clears it.
    pub(crate) fn note(&self, faults: &Faults) {
        let by_verdict = [
            (Verdict::Accepted, FaultScope::All),
            (Verdict::Quarantined, FaultScope::Part),
            (Verdict::Observed, FaultScope::Part),
        ];
        let full =
            by_verdict.into_iter().find_map(|(verdict, scope)| Some((scope, self.check(verdict).err()?)));
        match full {
            Some((scope, full)) => faults.raise_for(scope, Fault::Full, full),
            None => faults.clear(Fault::Full),
        }
    }

    pub(crate) fn room_in_quarantine(&self) -> QuarantineRoom {
        QuarantineRoom {
            is_full: self.quarantine.load(Ordering::Relaxed) >= self.share,
            max_bytes_of_token: self.share.checked_div(TOKENS).unwrap_or_default(),
        }
    }

    /// Whether another entry may die. If not, its attempts continue: dead entries must not take the space of new events.
    pub(crate) fn dead_has_room(&self) -> bool {
        self.dead.load(Ordering::Relaxed) < self.share
    }

    /// Adds an arrival to the estimate.
    pub(crate) fn add(&self, arrival: &Arrival, outcome: &ArrivalOutcome) {
        let size = arrival.size();
        match outcome {
            ArrivalOutcome::Waits(_) if arrival.verdict == Verdict::Observed => {
                self.observed.fetch_add(size, Ordering::Relaxed);
            }
            ArrivalOutcome::Waits(_) => {}
            ArrivalOutcome::Quarantined(_) => {
                self.quarantine.fetch_add(size, Ordering::Relaxed);
            }
            ArrivalOutcome::Repeated | ArrivalOutcome::TokenFull | ArrivalOutcome::QuarantineFull => return,
        }
        self.total.fetch_add(size, Ordering::Relaxed);
    }

    /// Subtracts purged bytes from the estimate.
    pub(crate) fn freed(&self, bytes: i64) {
        self.total.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// The bytes that count against the limit.
    pub(crate) fn used(&self) -> i64 {
        self.total.load(Ordering::Relaxed).max(0)
    }

    /// The limit in bytes.
    pub(crate) const fn limit(&self) -> i64 {
        self.limit
    }

    /// Records a measurement of the store.
    pub(crate) fn set(&self, usage: &Usage) {
        self.total.store(usage.total, Ordering::Relaxed);
        self.quarantine.store(usage.quarantine, Ordering::Relaxed);
        self.dead.store(usage.dead, Ordering::Relaxed);
        self.observed.store(usage.observed, Ordering::Relaxed);
    }

    /// The bytes that retention must free: near the limit, down to nine tenths of it.
    pub(crate) fn excess(&self) -> i64 {
        let (near, aim) = (
            self.limit.saturating_sub(self.share.checked_div(2).unwrap_or_default()),
            self.limit.saturating_sub(self.share),
        );
        let total = self.total.load(Ordering::Relaxed);
        if total > near { total.saturating_sub(aim) } else { 0 }
    }

    /// Measures the disk of SQLite's file.
    pub(crate) fn disk(&self) -> Option<Disk> {
        let folder = self.file.as_ref()?.parent()?;
        let folder = if folder.as_os_str().is_empty() { std::path::Path::new(".") } else { folder };
        let disk = rustix::fs::statvfs(folder).ok()?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let size = disk.f_blocks.saturating_mul(disk.f_frsize);
        let percent = size.saturating_mul(RESERVE_PERCENT).checked_div(100)?;
        Some(Disk { free, size, reserve: percent.max(MIN_RESERVE) })
    }

    /// Records a measurement: on a full disk the store takes no more events.
    pub(crate) fn set_disk(&self, disk: Disk, reusable: u64) {
        self.disk_is_full.store(disk.is_full(reusable), Ordering::Relaxed);
    }
}

/// A disk, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Disk {
    pub(crate) free: u64,
    pub(crate) size: u64,
    /// The bytes that must stay free.
    pub(crate) reserve: u64,
}

impl Disk {
    /// Whether the file must not grow any more.
    pub(crate) fn is_short(self) -> bool {
        self.free < self.reserve
    }

    /// Whether an event would use the reserve. It does not while the file itself has `reusable` bytes, and half of the reserve is
    /// free for the write-ahead log.
    fn is_full(self, reusable: u64) -> bool {
        self.is_short() && (self.is_out() || self.free.saturating_add(reusable) < self.reserve)
    }

    /// The bytes that retention must free inside the file. 0 when another program has filled the disk: purging would not
    /// help.
    pub(crate) fn excess(self, reusable: u64) -> i64 {
        if !self.is_short() || self.is_out() {
            return 0;
        }
        let lack = self.reserve.saturating_add(HEADROOM).saturating_sub(self.free.saturating_add(reusable));
        i64::try_from(lack).unwrap_or(i64::MAX)
    }

    fn is_out(self) -> bool {
        self.free < self.reserve.checked_div(2).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn row(free: u64, reusable: u64, is_full: bool, excess: i64) {
        let disk = Disk { free, size: 1 << 30, reserve: 100 << 20 };
        assert_eq!((disk.is_full(reusable), disk.excess(reusable)), (is_full, excess));
    }

    #[test]
    fn a_full_share_refuses_a_part() {
        let (space, faults) = (Space::new(100, None), Faults::default());
        let note = |usage: &Usage| {
            space.set(usage);
            space.note(&faults);
            faults.get(Fault::Full).map(|full| (full.scope, full.detail))
        };
        let usage = Usage::default();
        assert_eq!(note(&usage), None);
        let part = |full: Full| Some((FaultScope::Part, full.to_string()));
        assert_eq!(note(&Usage { observed: 10, ..usage.clone() }), part(Full::Observed));
        assert_eq!(note(&Usage { observed: 10, quarantine: 10, ..usage.clone() }), part(Full::Quarantine));
        let whole = Some((FaultScope::All, Full::Limit.to_string()));
        assert_eq!(note(&Usage { total: 100, quarantine: 10, ..usage.clone() }), whole);
        assert_eq!(note(&usage), None);
    }

    #[test]
    fn keeps_the_reserve_free() {
        const MIB: u64 = 1 << 20;
        row(100 * MIB, 0, false, 0);
        // Retention frees the need and the headroom.
        row(99 * MIB, 0, true, 17 << 20);
        row(99 * MIB, MIB - 1, true, (16 << 20) + 1);
        // The file has reusable bytes.
        row(99 * MIB, MIB, false, 16 << 20);
        row(99 * MIB, 17 * MIB, false, 0);
        row(50 * MIB, 50 * MIB, false, 16 << 20);
        // Another program has filled the disk.
        row(50 * MIB - 1, 500 * MIB, true, 0);
        row(0, 0, true, 0);
    }
}
