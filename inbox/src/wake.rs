//! Wakes the deliverer.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use tokio::sync::Notify;

/// The routes on which new entries wait.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    routes: Mutex<BTreeSet<String>>,
    notify: Notify,
}

impl Wake {
    /// Wakes the deliverer for these routes.
    pub(crate) fn up(&self, routes: impl IntoIterator<Item = String>) {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner).extend(routes);
        self.notify.notify_one();
    }

    pub(crate) fn take(&self) -> BTreeSet<String> {
        std::mem::take(&mut *self.routes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns once [`Wake::up`] was called.
    pub(crate) async fn woken(&self) {
        self.notify.notified().await;
    }
}
