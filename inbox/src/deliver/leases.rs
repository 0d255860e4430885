//! Renews the leases of entries in flight, and releases the expired leases of other inboxes.

use super::{Deliverer, LOOK_EVERY, later, micros};
use std::collections::BTreeSet;
use tokio::time::Instant;

impl Deliverer {
    pub(super) async fn renew(&mut self) {
        let now = Instant::now();
        if now < self.renew_at {
            return;
        }
        self.renew_at = later(now, self.pace.renew_every());
        let own: Vec<_> = self.leased.keys().copied().collect();
        if let Err(error) = self.store.release_expired(&own, micros(self.pace.lease)).await {
            self.store_failed("cannot release expired leases", &error).await;
        }
        if self.leased.is_empty() {
            return;
        }
        let leases: Vec<_> = self.leased.iter().map(|(id, entry)| (*id, entry.lease)).collect();
        match self.store.renew(&leases, micros(self.pace.lease)).await {
            Ok(renewed) => {
                let renewed: BTreeSet<_> = renewed.into_iter().collect();
                for (id, entry) in &self.leased {
                    // Without its lease an attempt ends now: another inbox may deliver the entry.
                    let until = if renewed.contains(id) { later(now, self.pace.usable_lease()) } else { now };
                    entry.until.send_replace(until);
                }
            }
            // The attempts end before their leases do.
            Err(error) => {
                self.renew_at = later(now, LOOK_EVERY);
                self.store_failed("cannot renew leases", &error).await;
            }
        }
    }
}
