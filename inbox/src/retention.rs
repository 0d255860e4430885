//! Retention: deletes bodies after 14 days, tombstones after 400, and delivered bodies earlier when space is short.

use crate::handles::InboxHandles;
use crate::health::Faults;
use crate::line_limit::permits_condition;
use crate::metrics::Metrics;
use crate::space::Space;
use crate::store::{StoreError, StoreHandle};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The time between comparisons of the space with its limits: at full speed some 20 MB arrive in that time.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// The time between measurements of the store, and deletions by age.
const MEASURE_EVERY: Duration = Duration::from_secs(30);
/// Entries in one transaction, so that no arrival waits for long.
const MAX_ENTRIES: i64 = 500;
/// Changes of sums in one transaction: some 50 ms in PostgreSQL.
const MAX_SUM_CHANGES: i64 = 10_000;
/// The age of delivery times: the day that `stats` shows, and an hour.
pub(crate) const DELIVERED_AGE: i64 = 25 * 3_600 * 1_000_000;
/// The age of bodies and headers of delivered, superseded or dropped entries: 14 days.
pub(crate) const BODY_AGE: i64 = 14 * 24 * 3_600 * 1_000_000;
/// The age of tombstones, which recognise repeats: 400 days.
pub(crate) const TOMBSTONE_AGE: i64 = 400 * 24 * 3_600 * 1_000_000;

/// The age of the audit's actions: as long as the entries that they changed.
pub(crate) const ACTION_AGE: i64 = TOMBSTONE_AGE;

pub(crate) struct Retention {
    store: StoreHandle,
    space: Arc<Space>,
    metrics: Arc<Metrics>,
    faults: Arc<Faults>,
}

impl Retention {
    pub(crate) fn new(shared: InboxHandles) -> Self {
        let InboxHandles { store, space, metrics, faults, .. } = shared;
        Self { store, space, metrics, faults }
    }

    /// Measures the store.
    pub(crate) async fn measure(&mut self) -> Result<(), StoreError> {
        self.measure_disk().await?;
        let usage = self.store.usage().await?;
        self.space.set(&usage);
        self.space.note(&self.faults);
        self.metrics.measured(&usage);
        Ok(())
    }

    pub(crate) async fn run(mut self, ending: CancellationToken) {
        let mut measured = Instant::now();
        loop {
            tokio::select! {
                () = ending.cancelled() => return,
                () = tokio::time::sleep(CHECK_EVERY) => (),
            }
            let measure_due = measured.elapsed() >= MEASURE_EVERY;
            if measure_due {
                measured = Instant::now();
            }
            if let Err(error) = self.check(measure_due, &ending).await
                && !error.is_replaced()
            {
                self.metrics.store_errors.inc();
                if permits_condition(("retention", "")) {
                    tracing::error!("retention failed, and runs again later: {error}");
                }
            }
        }
    }

    async fn check(&mut self, measure_due: bool, ending: &CancellationToken) -> Result<(), StoreError> {
        let excess = self.measure_disk().await?.max(self.space.excess());
        if excess > 0 {
            self.purge_bodies(0, excess, ending).await?;
        }
        self.space.note(&self.faults);
        let trimmed = self.store.trim_log().await;
        if !measure_due {
            return trimmed;
        }
        // A failure of one must not prevent the measurement.
        let bodies = self.purge_bodies(BODY_AGE, i64::MAX, ending).await;
        let tombstones = self.purge_tombstones(ending).await;
        let sums = self.fold_sums(ending).await;
        self.measure().await.and(bodies).and(tombstones).and(sums).and(trimmed)
    }

    /// Returns the bytes that retention must free for lack of disk space.
    async fn measure_disk(&mut self) -> Result<i64, StoreError> {
        let Some(mut disk) = self.space.disk() else { return Ok(0) };
        let mut reusable = 0;
        if disk.is_short() {
            reusable = self.store.reusable().await?;
            // That has truncated the write-ahead log.
            disk = self.space.disk().unwrap_or(disk);
        }
        self.metrics.set_disk(disk);
        self.space.set_disk(disk, reusable);
        Ok(disk.excess(reusable))
    }

    /// Deletes bodies of this age, the oldest first, until `excess` bytes are free.
    async fn purge_bodies(
        &mut self,
        age: i64,
        mut excess: i64,
        ending: &CancellationToken,
    ) -> Result<(), StoreError> {
        while excess > 0 && !ending.is_cancelled() {
            let (count, bytes) = self.store.purge_bodies(age, MAX_ENTRIES).await?;
            self.metrics.purged.inc_by(u64::try_from(count).unwrap_or_default());
            excess = excess.saturating_sub(bytes);
            self.space.freed(bytes);
            if count == 0 {
                break;
            }
        }
        Ok(())
    }

    async fn fold_sums(&mut self, ending: &CancellationToken) -> Result<(), StoreError> {
        let full = u64::try_from(MAX_SUM_CHANGES).unwrap_or(u64::MAX);
        while !ending.is_cancelled() && self.store.fold_sums(DELIVERED_AGE, MAX_SUM_CHANGES).await? >= full {}
        Ok(())
    }

    async fn purge_tombstones(&mut self, ending: &CancellationToken) -> Result<(), StoreError> {
        while !ending.is_cancelled() && self.store.purge_tombstones(TOMBSTONE_AGE, MAX_ENTRIES).await? > 0 {}
        while !ending.is_cancelled() && self.store.purge_expectations(TOMBSTONE_AGE, MAX_ENTRIES).await? > 0 {
        }
        while !ending.is_cancelled() && self.store.purge_actions(ACTION_AGE, MAX_ENTRIES).await? > 0 {}
        Ok(())
    }
}
