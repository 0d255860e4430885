//! Group commit: one transaction for all that has come while the one before was under way.
//!
//! Handlers hand an arrival over and wait; a client that leaves cancels nothing here.

use crate::arrival::Arrival;
use crate::failpoint::die_at;
use crate::handles::InboxHandles;
use crate::metrics::Metrics;
use crate::space::Space;
use crate::store::{Outcome, StoreError, StoreHandle, Stored};
use crate::wake::Wake;
use crate::watch::Watch;
use backon::{BackoffBuilder, ExponentialBuilder};
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// A sender hears after so long that its event is not known to be stored: the gate's route gives up at 20 s.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// So many arrivals in a transaction at most. SQLite takes 32,766 values in a statement, of which each has eighteen.
pub(crate) const BATCH: usize = 512;
/// So many arrivals wait at most, and so many of their bytes; more are turned away at once.
const WAITING: usize = 8_192;
const WAITING_BYTES: usize = 64 << 20;
/// On a fast disk two committers take turns; while a slow one writes, more can work.
const MIN_WORKING: u32 = 2;

/// Why an arrival is not known to be stored. It may be: then its repeat is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotStored {
    #[error("the store cannot be written to")]
    Store,
    #[error("more comes than can be stored")]
    Overload,
}

/// Where arrivals are handed over.
#[derive(Clone, Debug)]
pub(crate) struct Committer {
    queue: mpsc::Sender<Pending>,
    bytes: Arc<Semaphore>,
}

#[derive(Debug)]
struct Pending {
    arrival: Arrival,
    until: Instant,
    answer: oneshot::Sender<Result<Outcome, NotStored>>,
    /// What it takes of [`WAITING_BYTES`].
    _bytes: OwnedSemaphorePermit,
}

/// What all committers share.
struct Commits {
    store: StoreHandle,
    queue: Mutex<mpsc::Receiver<Pending>>,
    wake: Arc<Wake>,
    metrics: Arc<Metrics>,
    space: Arc<Space>,
    watch: Arc<Watch>,
    working: Working,
}

impl Committer {
    /// Starts the committers. They end once every [`Committer`] is gone and what was handed over is stored.
    pub(crate) fn start(shared: InboxHandles, batch: usize, tasks: &TaskTracker) -> Self {
        let InboxHandles { store, space, metrics, watch, wake, .. } = shared;
        let (queue, waiting) = mpsc::channel(WAITING);
        let most = store.writers();
        let commits = Arc::new(Commits {
            store,
            queue: Mutex::new(waiting),
            wake,
            metrics,
            space,
            watch,
            working: Working::new(MIN_WORKING.min(most), most),
        });
        for _ in 0..most {
            tasks.spawn(run(Arc::clone(&commits), batch.clamp(1, BATCH)));
        }
        Self { queue, bytes: Arc::new(Semaphore::new(WAITING_BYTES)) }
    }

    /// Returns once the arrival is committed, or is not known to be.
    pub(crate) async fn store(&self, arrival: Arrival) -> Result<Outcome, NotStored> {
        let until = Instant::now().checked_add(ANSWER_WITHIN).ok_or(NotStored::Overload)?;
        let size = u32::try_from(arrival.size()).map_err(|_| NotStored::Overload)?;
        let bytes = Arc::clone(&self.bytes).try_acquire_many_owned(size).map_err(|_| NotStored::Overload)?;
        let (answer, answered) = oneshot::channel();
        let pending = Pending { arrival, until, answer, _bytes: bytes };
        self.queue.try_send(pending).map_err(|_| NotStored::Overload)?;
        match tokio::time::timeout_at(until, answered).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) | Err(_) => Err(NotStored::Store),
        }
    }
}

/// One committer: collects while others commit, then commits.
async fn run(commits: Arc<Commits>, most: usize) {
    loop {
        let mut batch = Vec::new();
        let _working = commits.working.begin().await;
        if commits.queue.lock().await.recv_many(&mut batch, most).await == 0 {
            return;
        }
        die_at!("before-insert");
        store(batch, &commits).await;
    }
}

/// Stores a batch, and tells those who wait. While the store is away it is tried again, as long as they wait.
async fn store(mut batch: Vec<Pending>, commits: &Commits) {
    let mut pause = PAUSES.build();
    loop {
        // Whoever has heard 503 by now comes back.
        let now = Instant::now();
        let (waiting, late): (Vec<_>, Vec<_>) = batch.into_iter().partition(|pending| pending.until > now);
        late.into_iter().for_each(|pending| pending.tell(Err(NotStored::Store)));
        batch = waiting;
        if batch.is_empty() {
            return;
        }
        match try_store(&batch, commits).await {
            Ok(outcomes) => {
                die_at!("before-answer");
                return tell(batch, outcomes, commits);
            }
            // Halved until what is bad, or what is too much, is alone: it costs nobody else.
            Err(error) if batch.len() > 1 && (error.is_of_data() || error.is_too_much()) => {
                tracing::error!("a batch of {} is halved: {error}", batch.len());
                let rest = batch.split_off(batch.len().div_ceil(2));
                Box::pin(store(batch, commits)).await;
                batch = rest;
            }
            // The fault says why. Nothing brings this store back: nobody waits for it.
            Err(error) if error.is_replaced() => {
                commits.metrics.store_errors.inc();
                batch.into_iter().for_each(|pending| pending.tell(Err(NotStored::Store)));
                return;
            }
            Err(error) if error.is_of_data() => {
                commits.metrics.store_errors.inc();
                tracing::error!("an event is not stored, for the store does not take it: {error}");
                commits.watch.doubt();
                batch.into_iter().for_each(|pending| pending.tell(Err(NotStored::Store)));
                return;
            }
            Err(error) => {
                commits.metrics.store_errors.inc();
                tracing::error!("a batch of {} is not stored: {error}", batch.len());
                commits.watch.failed(&error).await;
                // A right is not granted in seconds: the sender comes back.
                let Some(pause) = pause.next().filter(|_| !error.is_lasting()) else {
                    batch.into_iter().for_each(|pending| pending.tell(Err(NotStored::Store)));
                    return;
                };
                tokio::time::sleep(pause).await;
            }
        }
    }
}

/// A store that restarts is back in a second or two. All of them are 8 s: half of [`ANSWER_WITHIN`] is left for the tries.
const PAUSES: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(50))
    .with_factor(3.0)
    .with_max_delay(Duration::from_secs(3))
    .with_max_times(6);

async fn try_store(batch: &[Pending], commits: &Commits) -> Result<Vec<Outcome>, StoreError> {
    let arrivals: Vec<_> = batch.iter().map(|pending| &pending.arrival).collect();
    let started = Instant::now();
    let stored = commits.store.store(&arrivals, commits.space.room_in_quarantine()).await?;
    commits.watch.committed();
    commits.metrics.commit(arrivals.len(), started.elapsed());
    commits.working.adapt(&stored);
    Ok(stored.outcomes)
}

fn tell(batch: Vec<Pending>, outcomes: Vec<Outcome>, commits: &Commits) {
    let mut routes = BTreeSet::new();
    for (pending, outcome) in batch.into_iter().zip(outcomes) {
        if let Outcome::Waits(route) = &outcome
            && !routes.contains(route)
        {
            routes.insert(route.clone());
        }
        commits.space.add(&pending.arrival, &outcome);
        pending.tell(Ok(outcome));
    }
    if !routes.is_empty() {
        commits.wake.up(routes);
    }
}

impl Pending {
    fn tell(self, outcome: Result<Outcome, NotStored>) {
        let _gone = self.answer.send(outcome);
    }
}

/// How many committers work: as many as find something to do while one of them waits for the disk.
struct Working {
    permits: Semaphore,
    now: std::sync::Mutex<Pace>,
    most: u32,
}

struct Pace {
    committers: u32,
    /// On average, in seconds, as [`Stored`] has them.
    worked: f64,
    synced: f64,
}

impl Working {
    fn new(first: u32, most: u32) -> Self {
        let permits = Semaphore::new(usize::try_from(first).unwrap_or(1));
        let now = std::sync::Mutex::new(Pace { committers: first, worked: 0.0, synced: 0.0 });
        Self { permits, now, most }
    }

    async fn begin(&self) -> Option<tokio::sync::SemaphorePermit<'_>> {
        self.permits.acquire().await.ok()
    }

    fn adapt(&self, stored: &Stored) {
        let mut now = self.now.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        now.learn(stored);
        match now.wanted(self.most).cmp(&now.committers) {
            Ordering::Greater => {
                self.permits.add_permits(1);
                now.committers = now.committers.saturating_add(1);
            }
            Ordering::Less if self.permits.forget_permits(1) == 1 => {
                now.committers = now.committers.saturating_sub(1);
            }
            Ordering::Less | Ordering::Equal => {}
        }
    }
}

impl Pace {
    fn learn(&mut self, stored: &Stored) {
        /// The last twenty count most.
        const WEIGHT: f64 = 0.05;
        let toward = |average: f64, latest: Duration| average + WEIGHT * (latest.as_secs_f64() - average);
        self.worked = toward(self.worked, stored.worked);
        self.synced = toward(self.synced, stored.synced);
    }

    /// So many that their work fills the time which one of them takes.
    fn wanted(&self, most: u32) -> u32 {
        let fill = |count: &u32| f64::from(*count) * self.worked >= self.worked + self.synced;
        (MIN_WORKING.min(most)..most).find(fill).unwrap_or(most)
    }
}
