//! What has had its time goes: bodies after 14 days, tombstones after 400, and delivered bodies earlier where space is short.

use crate::handles::InboxHandles;
use crate::metrics::Metrics;
use crate::space::Space;
use crate::store::{StoreError, StoreHandle};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Whether space is short is looked at so often: at full speed some 20 MB come in that time.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The store is measured, and purged, so often.
const MEASURE: Duration = Duration::from_secs(30);
/// Entries in one transaction, so that no arrival waits for long.
const AT_A_TIME: i64 = 500;
/// Differences of sums in one transaction: some 50 ms of PostgreSQL's time.
const DIFFERENCES: i64 = 10_000;
/// How long it is known when an entry was delivered: the day that `stats` shows, and an hour.
pub(crate) const DELIVERED: i64 = 25 * 3_600 * 1_000_000;
/// Bodies and headers of what was delivered, superseded or dropped: 14 days.
pub(crate) const BODIES: i64 = 14 * 24 * 3_600 * 1_000_000;
/// What a repeat is known by: 400 days.
pub(crate) const TOMBSTONES: i64 = 400 * 24 * 3_600 * 1_000_000;

pub(crate) struct Purger {
    store: StoreHandle,
    space: Arc<Space>,
    metrics: Arc<Metrics>,
}

impl Purger {
    pub(crate) fn new(shared: InboxHandles) -> Self {
        let InboxHandles { store, space, metrics, .. } = shared;
        Self { store, space, metrics }
    }

    /// Measures once before anything is received.
    pub(crate) async fn measure(&mut self) -> Result<(), StoreError> {
        self.look_at_disk().await?;
        let usage = self.store.usage().await?;
        self.space.set(&usage);
        self.metrics.measured(&usage);
        Ok(())
    }

    pub(crate) async fn run(mut self, ending: CancellationToken) {
        let mut measured = Instant::now();
        loop {
            tokio::select! {
                () = ending.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => (),
            }
            let is_time = measured.elapsed() >= MEASURE;
            if is_time {
                measured = Instant::now();
            }
            if let Err(error) = self.look(is_time, &ending).await
                && !error.is_replaced()
            {
                self.metrics.store_errors.inc();
                tracing::error!("the store is not purged, or not measured: {error}");
            }
        }
    }

    async fn look(&mut self, is_time: bool, ending: &CancellationToken) -> Result<(), StoreError> {
        let excess = self.look_at_disk().await?.max(self.space.excess());
        if excess > 0 {
            self.purge_bodies(0, excess, ending).await?;
        }
        if !is_time {
            return Ok(());
        }
        // It is measured whatever becomes of the rest.
        let bodies = self.purge_bodies(BODIES, i64::MAX, ending).await;
        let tombstones = self.purge_tombstones(ending).await;
        let sums = self.fold_sums(ending).await;
        self.measure().await.and(bodies).and(tombstones).and(sums)
    }

    /// Returns how much is to be purged for want of disk, in bytes.
    async fn look_at_disk(&mut self) -> Result<i64, StoreError> {
        let Some(mut disk) = self.space.disk() else { return Ok(0) };
        let mut reusable = 0;
        if disk.is_short() {
            reusable = self.store.reusable().await?;
            // That has given the log's place back.
            disk = self.space.disk().unwrap_or(disk);
        }
        self.metrics.disk_free.set(i64::try_from(disk.free).unwrap_or(i64::MAX));
        self.space.set_disk(disk, reusable);
        Ok(disk.excess(reusable))
    }

    /// Takes bodies of that age, the oldest first, until it was so many bytes.
    async fn purge_bodies(
        &mut self,
        age: i64,
        mut excess: i64,
        ending: &CancellationToken,
    ) -> Result<(), StoreError> {
        while excess > 0 && !ending.is_cancelled() {
            let (count, bytes) = self.store.purge_bodies(age, AT_A_TIME).await?;
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
        let full = u64::try_from(DIFFERENCES).unwrap_or(u64::MAX);
        while !ending.is_cancelled() && self.store.fold_sums(DELIVERED, DIFFERENCES).await? >= full {}
        Ok(())
    }

    async fn purge_tombstones(&mut self, ending: &CancellationToken) -> Result<(), StoreError> {
        while !ending.is_cancelled() && self.store.purge_tombstones(TOMBSTONES, AT_A_TIME).await? > 0 {}
        while !ending.is_cancelled() && self.store.purge_expectations(TOMBSTONES, AT_A_TIME).await? > 0 {}
        Ok(())
    }
}
