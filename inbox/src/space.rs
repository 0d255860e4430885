//! What the store may take: live bytes up to a limit, of which quarantine, dead and observed have a share each, and a
//! reserve of free disk in which marking and purging still work.

use crate::arrival::Arrival;
use crate::decide::{ArrivalOutcome, QuarantineRoom};
use crate::store::Usage;
use blobgate::policy::Verdict;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// How full the store is: measured now and then, and estimated in between.
#[derive(Debug)]
pub(crate) struct Space {
    limit: i64,
    /// Quarantined, dead and observed entries may each take so much.
    share: i64,
    total: AtomicI64,
    quarantine: AtomicI64,
    dead: AtomicI64,
    observed: AtomicI64,
    disk_is_full: AtomicBool,
    /// Whose disk is looked at: a file's only, for a database's is elsewhere.
    file: Option<PathBuf>,
}

/// Why nothing more is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Full {
    #[error("the store has reached its limit")]
    Limit,
    #[error("the disk has too little free space")]
    Disk,
    #[error("what is only observed has reached its share of the store")]
    Observed,
    #[error("the quarantine has reached its share of the store")]
    Quarantine,
}

/// One part in ten.
const SHARE: i64 = 10;
/// So many tokens at least fill the quarantine: one part in ten is 107 MB of the usual 10 GiB, some 40,000 events.
const TOKENS: i64 = 10;
/// So much of the disk stays free, in percent, and at least so many bytes.
const RESERVE_PERCENT: u64 = 5;
const RESERVE_LEAST: u64 = 64 << 20;
/// What a file has to have room for in itself, so that it is not purged for each event.
const AHEAD: u64 = 16 << 20;

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

    /// Decides on one more arrival.
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

    pub(crate) fn room_in_quarantine(&self) -> QuarantineRoom {
        QuarantineRoom {
            is_full: self.quarantine.load(Ordering::Relaxed) >= self.share,
            max_bytes_of_token: self.share.checked_div(TOKENS).unwrap_or_default(),
        }
    }

    /// Whether more may be given up. Where not, it goes on being tried: what is dead must not take the place of what comes.
    pub(crate) fn dead_has_room(&self) -> bool {
        self.dead.load(Ordering::Relaxed) < self.share
    }

    /// Counts what has come since the last measurement.
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

    /// Counts what was purged since the last measurement.
    pub(crate) fn freed(&self, bytes: i64) {
        self.total.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Takes over what was measured.
    pub(crate) fn set(&self, usage: &Usage) {
        self.total.store(usage.total, Ordering::Relaxed);
        self.quarantine.store(usage.quarantine, Ordering::Relaxed);
        self.dead.store(usage.dead, Ordering::Relaxed);
        self.observed.store(usage.observed, Ordering::Relaxed);
    }

    /// How much is to be purged for the store to have room again, in bytes: near the limit, down to nine tenths of it.
    pub(crate) fn excess(&self) -> i64 {
        let (near, aim) = (
            self.limit.saturating_sub(self.share.checked_div(2).unwrap_or_default()),
            self.limit.saturating_sub(self.share),
        );
        let total = self.total.load(Ordering::Relaxed);
        if total > near { total.saturating_sub(aim) } else { 0 }
    }

    /// Looks at the disk, where there is one to look at.
    pub(crate) fn disk(&self) -> Option<Disk> {
        let folder = self.file.as_ref()?.parent()?;
        let folder = if folder.as_os_str().is_empty() { std::path::Path::new(".") } else { folder };
        let disk = rustix::fs::statvfs(folder).ok()?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let percent =
            disk.f_blocks.saturating_mul(disk.f_frsize).saturating_mul(RESERVE_PERCENT).checked_div(100)?;
        Some(Disk { free, reserve: percent.max(RESERVE_LEAST) })
    }

    /// Takes over what was seen of the disk: nothing more is taken where it is full.
    pub(crate) fn set_disk(&self, disk: Disk, reusable: u64) {
        self.disk_is_full.store(disk.is_full(reusable), Ordering::Relaxed);
    }
}

/// A disk, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Disk {
    pub(crate) free: u64,
    /// So much stays free.
    reserve: u64,
}

impl Disk {
    /// Whether the store may still grow.
    pub(crate) fn is_short(self) -> bool {
        self.free < self.reserve
    }

    /// Whether what comes would take from the reserve. It does not while the file has room in itself, `reusable` bytes of
    /// it: as long as half of the reserve is there, for the log of what is written is beside the file.
    fn is_full(self, reusable: u64) -> bool {
        self.is_short() && (self.is_out() || self.free.saturating_add(reusable) < self.reserve)
    }

    /// How much is to be purged for the file to have room in itself. More where another program has taken the disk would not
    /// help.
    pub(crate) fn excess(self, reusable: u64) -> i64 {
        if !self.is_short() || self.is_out() {
            return 0;
        }
        let lack = self.reserve.saturating_add(AHEAD).saturating_sub(self.free.saturating_add(reusable));
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
        let disk = Disk { free, reserve: 100 << 20 };
        assert_eq!((disk.is_full(reusable), disk.excess(reusable)), (is_full, excess));
    }

    #[test]
    fn the_reserve_stays_free() {
        const MIB: u64 = 1 << 20;
        row(100 * MIB, 0, false, 0);
        // Of what is delivered so much goes.
        row(99 * MIB, 0, true, 17 << 20);
        row(99 * MIB, MIB - 1, true, (16 << 20) + 1);
        // The file has room in itself.
        row(99 * MIB, MIB, false, 16 << 20);
        row(99 * MIB, 17 * MIB, false, 0);
        row(50 * MIB, 50 * MIB, false, 16 << 20);
        // Another program has taken it.
        row(50 * MIB - 1, 500 * MIB, true, 0);
        row(0, 0, true, 0);
    }
}
