//! Handles that the parts of the inbox share.

use crate::health::Faults;
use crate::incidents::Incidents;
use crate::metrics::Metrics;
use crate::refusal_rings::RefusalRings;
use crate::refusals::RefusalLog;
use crate::space::Space;
use crate::store::StoreHandle;
use crate::wake::Wake;
use crate::watch::Watch;
use std::sync::Arc;

/// One clone for each part. It contains no committer: the inbox ends once the last committer is dropped.
#[derive(Clone)]
pub(crate) struct InboxHandles {
    pub(crate) store: StoreHandle,
    pub(crate) space: Arc<Space>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) faults: Arc<Faults>,
    pub(crate) watch: Arc<Watch>,
    pub(crate) wake: Arc<Wake>,
    pub(crate) incidents: Arc<Incidents>,
    pub(crate) refusals: Arc<RefusalLog>,
    pub(crate) gate_refusals: Arc<RefusalRings>,
}

impl InboxHandles {
    pub(crate) fn new(store: StoreHandle, space: Space, metrics: Arc<Metrics>, faults: Arc<Faults>) -> Self {
        let watch = Watch::new(&store, Arc::clone(&faults));
        Self {
            store,
            space: Arc::new(space),
            metrics,
            faults,
            watch,
            wake: Arc::default(),
            incidents: Arc::default(),
            refusals: Arc::default(),
            gate_refusals: Arc::default(),
        }
    }
}
