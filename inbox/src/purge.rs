//! What has had its time goes: bodies after 14 days, tombstones after 400, and delivered bodies earlier where space is short.

use crate::metrics::Metrics;
use crate::space::Space;
use crate::store::{Error, Session};
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
/// Bodies and headers of what was delivered, superseded or dropped: 14 days.
pub(crate) const BODIES: i64 = 14 * 24 * 3_600 * 1_000_000;
/// What a repeat is known by: 400 days.
pub(crate) const TOMBSTONES: i64 = 400 * 24 * 3_600 * 1_000_000;

pub(crate) struct Purger {
    pub(crate) session: Session,
    pub(crate) space: Arc<Space>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Purger {
    /// Measures once before anything is received.
    pub(crate) async fn measure(&mut self) -> Result<(), Error> {
        self.look_at_disk();
        let usage = self.session.usage().await?;
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
            let is_short = self.look_at_disk() || self.space.excess() > 0;
            let is_time = measured.elapsed() >= MEASURE;
            if !is_time && !is_short {
                continue;
            }
            let purged = self.purge(&ending).await;
            let mut done = vec![purged];
            if is_time {
                measured = Instant::now();
                done.push(self.measure().await);
            }
            for error in done.into_iter().filter_map(Result::err) {
                self.metrics.store_errors.inc();
                log::error!("the store is not purged, or not measured: {error}");
            }
        }
    }

    fn look_at_disk(&self) -> bool {
        let Some((free, is_full)) = self.space.check_disk() else { return false };
        self.metrics.disk_free.set(i64::try_from(free).unwrap_or(i64::MAX));
        is_full
    }

    async fn purge(&mut self, ending: &CancellationToken) -> Result<(), Error> {
        let mut excess = self.space.excess();
        while !ending.is_cancelled() {
            let age = if excess > 0 { 0 } else { BODIES };
            let (count, bytes) = self.session.purge_bodies(age, AT_A_TIME).await?;
            self.metrics.purged.inc_by(u64::try_from(count).unwrap_or_default());
            excess = excess.saturating_sub(bytes);
            self.space.freed(bytes);
            if count == 0 {
                break;
            }
        }
        while !ending.is_cancelled() && self.session.purge_tombstones(TOMBSTONES, AT_A_TIME).await? > 0 {}
        while !ending.is_cancelled() && self.session.purge_expectations(TOMBSTONES, AT_A_TIME).await? > 0 {}
        Ok(())
    }
}
