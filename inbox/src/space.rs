//! What the store may take: live bytes up to a limit, of which quarantine, dead and observed have a share each, and a
//! reserve of free disk in which marking and purging still work.

use crate::arrival::Arrival;
use crate::store::{Outcome, Usage};
use blobgate::policy::Verdict;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// How full the store is: measured now and then, and estimated in between.
#[derive(Debug)]
pub(crate) struct Space {
    limit: i64,
    /// What is kept, dead and observed may each take so much.
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
/// So much of the disk stays free, in percent, and at least so many bytes.
const RESERVE_PERCENT: u64 = 5;
const RESERVE_LEAST: u64 = 64 << 20;

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

    pub(crate) fn quarantine_has_room(&self) -> bool {
        self.quarantine.load(Ordering::Relaxed) < self.share
    }

    /// Whether more may be given up. Where not, it goes on being tried: what is dead must not take the place of what comes.
    pub(crate) fn dead_has_room(&self) -> bool {
        self.dead.load(Ordering::Relaxed) < self.share
    }

    /// Counts what has come since the last measurement.
    pub(crate) fn add(&self, arrival: &Arrival, outcome: &Outcome) {
        let size = arrival.size();
        match outcome {
            Outcome::Waits(_) if arrival.verdict == Verdict::Observed => {
                self.observed.fetch_add(size, Ordering::Relaxed);
            }
            Outcome::Waits(_) => {}
            Outcome::Kept(_) => {
                self.quarantine.fetch_add(size, Ordering::Relaxed);
            }
            Outcome::Repeated | Outcome::TokenFull | Outcome::QuarantineFull => return,
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

    /// Looks at the disk. Returns its free bytes and whether that is too little.
    pub(crate) fn check_disk(&self) -> Option<(u64, bool)> {
        let folder = self.file.as_ref()?.parent()?;
        let folder = if folder.as_os_str().is_empty() { std::path::Path::new(".") } else { folder };
        let disk = rustix::fs::statvfs(folder).ok()?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let percent =
            disk.f_blocks.saturating_mul(disk.f_frsize).saturating_mul(RESERVE_PERCENT).checked_div(100)?;
        let is_full = free < percent.max(RESERVE_LEAST);
        self.disk_is_full.store(is_full, Ordering::Relaxed);
        Some((free, is_full))
    }
}
