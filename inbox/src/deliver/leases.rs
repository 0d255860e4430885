//! The leases of what is under way: renewed well before they end, and those of others released once they have ended.

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
        let held: Vec<_> = self.held.keys().copied().collect();
        if let Err(error) = self.store.release_expired(&held, micros(self.pace.lease)).await {
            self.store_is_away("expired leases are not released", &error).await;
        }
        if self.held.is_empty() {
            return;
        }
        let leases: Vec<_> = self.held.iter().map(|(id, held)| (*id, held.lease)).collect();
        match self.store.renew(&leases, micros(self.pace.lease)).await {
            Ok(renewed) => {
                let renewed: BTreeSet<_> = renewed.into_iter().collect();
                for (id, held) in &self.held {
                    // One that was lost ends here: somebody else may deliver it by now.
                    let until = if renewed.contains(id) { later(now, self.pace.counted_on()) } else { now };
                    held.until.send_replace(until);
                }
            }
            // The deliveries end before their leases do.
            Err(error) => {
                self.renew_at = later(now, LOOK_EVERY);
                self.store_is_away("leases are not renewed", &error).await;
            }
        }
    }
}
