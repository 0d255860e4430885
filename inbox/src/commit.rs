//! Group commit: one transaction stores all arrivals that came during the previous one.
//!
//! A request handler queues its arrival and waits. A disconnecting client cancels nothing here.

use crate::arrival::Arrival;
use crate::entry::QuarantineCause;
use crate::failpoint::die_at;
use crate::handles::InboxHandles;
use crate::incidents::Incidents;
use crate::line_limit::permits;
use crate::metrics::Metrics;
use crate::space::Space;
use crate::store::{ArrivalOutcome, CommittedBatch, StoreError, StoreHandle};
use crate::wake::Wake;
use crate::watch::Watch;
use backon::{BackoffBuilder, ExponentialBuilder};
use blobgate::event::Kind;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// A sender gets 503 after this time. The gate's route to the inbox has a timeout of 20 s.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// The most arrivals in a transaction. SQLite accepts 32,766 values in a statement, and an arrival has twenty-two.
pub(crate) const MAX_BATCH: usize = 512;
/// The most waiting arrivals, and the most bytes of them. The inbox refuses further ones at once.
const MAX_WAITING: usize = 8_192;
const MAX_WAITING_BYTES: usize = 64 << 20;
/// On a fast disk two committers alternate. On a slow disk more can work while one of them waits.
const MIN_COMMITTERS: u32 = 2;

/// Why the inbox answers 503 to an arrival. The store may have it nevertheless. The inbox then recognises its repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CommitError {
    #[error("cannot write to the store")]
    Store,
    #[error("more events arrive than the store can take")]
    Overload,
}

/// The queue of arrivals.
#[derive(Clone, Debug)]
pub(crate) struct Committer {
    queue: mpsc::Sender<Pending>,
    bytes: Arc<Semaphore>,
}

#[derive(Debug)]
struct Pending {
    arrival: Arrival,
    until: Instant,
    sender: oneshot::Sender<Result<ArrivalOutcome, CommitError>>,
    /// Its part of [`MAX_WAITING_BYTES`].
    _bytes: OwnedSemaphorePermit,
}

/// The state that all committers share.
struct CommitState {
    store: StoreHandle,
    queue: Mutex<mpsc::Receiver<Pending>>,
    wake: Arc<Wake>,
    metrics: Arc<Metrics>,
    space: Arc<Space>,
    watch: Arc<Watch>,
    incidents: Arc<Incidents>,
    working: ActiveCommitters,
}

impl Committer {
    /// Starts the committers. They end after every [`Committer`] is dropped and the queue is empty.
    pub(crate) fn start(shared: InboxHandles, batch: usize, tasks: &TaskTracker) -> Self {
        let InboxHandles { store, space, metrics, watch, wake, incidents, .. } = shared;
        let (queue, waiting) = mpsc::channel(MAX_WAITING);
        let max = store.writers();
        let commits = Arc::new(CommitState {
            store,
            queue: Mutex::new(waiting),
            wake,
            metrics,
            space,
            watch,
            incidents,
            working: ActiveCommitters::new(MIN_COMMITTERS.min(max), max),
        });
        for _ in 0..max {
            tasks.spawn(run(Arc::clone(&commits), batch.clamp(1, MAX_BATCH)));
        }
        Self { queue, bytes: Arc::new(Semaphore::new(MAX_WAITING_BYTES)) }
    }

    /// Returns after the commit, or after [`ANSWER_TIMEOUT`].
    pub(crate) async fn store(&self, arrival: Arrival) -> Result<ArrivalOutcome, CommitError> {
        let until = Instant::now().checked_add(ANSWER_TIMEOUT).ok_or(CommitError::Overload)?;
        let size = u32::try_from(arrival.size()).map_err(|_| CommitError::Overload)?;
        let bytes =
            Arc::clone(&self.bytes).try_acquire_many_owned(size).map_err(|_| CommitError::Overload)?;
        let (sender, answer) = oneshot::channel();
        let pending = Pending { arrival, until, sender, _bytes: bytes };
        self.queue.try_send(pending).map_err(|_| CommitError::Overload)?;
        match tokio::time::timeout_at(until, answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) | Err(_) => Err(CommitError::Store),
        }
    }
}

/// Runs one committer: it collects arrivals while others commit, and then commits.
async fn run(commits: Arc<CommitState>, max: usize) {
    loop {
        let mut batch = Vec::new();
        let _working = commits.working.begin().await;
        if commits.queue.lock().await.recv_many(&mut batch, max).await == 0 {
            return;
        }
        die_at!("before-insert");
        store(batch, &commits).await;
    }
}

/// Stores a batch, and answers its handlers. Retries while the store is unavailable and handlers wait.
async fn store(mut batch: Vec<Pending>, commits: &CommitState) {
    let mut delays = RETRY_DELAYS.build();
    loop {
        // The sender of a late arrival has got 503, and repeats it.
        let now = Instant::now();
        let (waiting, late): (Vec<_>, Vec<_>) = batch.into_iter().partition(|pending| pending.until > now);
        late.into_iter().for_each(|pending| pending.answer(Err(CommitError::Store)));
        batch = waiting;
        if batch.is_empty() {
            return;
        }
        match try_store(&batch, commits).await {
            Ok(outcomes) => {
                die_at!("before-answer");
                return answer(batch, outcomes, commits);
            }
            // Halves until the bad or too large part is alone, so that the other arrivals are stored.
            Err(error) if batch.len() > 1 && (error.is_row_refused() || error.is_too_large()) => {
                if permits(("halve", "")) {
                    tracing::error!(
                        "cannot store {} events at once, so the inbox halves the batch: {error}",
                        batch.len()
                    );
                }
                let rest = batch.split_off(batch.len().div_ceil(2));
                Box::pin(store(batch, commits)).await;
                batch = rest;
            }
            // The fault has the reason. This store cannot recover, so no handler waits.
            Err(error) if error.is_replaced() => {
                commits.metrics.store_errors.inc();
                batch.into_iter().for_each(|pending| pending.answer(Err(CommitError::Store)));
                return;
            }
            Err(error) if error.is_row_refused() => {
                commits.metrics.store_errors.inc();
                if permits(("row", "")) {
                    log_refused_row(&batch, &error);
                }
                commits.watch.doubt();
                batch.into_iter().for_each(|pending| pending.answer(Err(CommitError::Store)));
                return;
            }
            Err(error) => {
                commits.metrics.store_errors.inc();
                if permits(("batch", "")) {
                    tracing::error!("cannot store a batch of {}: {error}", batch.len());
                }
                commits.watch.failed(&error).await;
                // Nobody grants a right within seconds, so the sender gets 503.
                let Some(delay) = delays.next().filter(|_| !error.is_lasting()) else {
                    batch.into_iter().for_each(|pending| pending.answer(Err(CommitError::Store)));
                    return;
                };
                tokio::time::sleep(delay).await;
            }
        }
    }
}

/// The batch has one event: larger ones are halved first.
fn log_refused_row(batch: &[Pending], error: &StoreError) {
    for Pending { arrival, .. } in batch {
        tracing::error!(
            hook = arrival.hook,
            generation = arrival.generation.as_deref(),
            event = arrival.event().map(Kind::name),
            request_id = arrival.ids.request_id.as_deref(),
            "cannot store an event hook={} generation={} request_id={}: the store refuses its values: {error}",
            arrival.hook,
            arrival.generation.as_deref().unwrap_or("-"),
            arrival.ids.request_id.as_deref().unwrap_or("-")
        );
    }
}

/// A restarting store is back within two seconds. The delays add up to 8 s, and leave half of [`ANSWER_TIMEOUT`] for the tries.
const RETRY_DELAYS: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(50))
    .with_factor(3.0)
    .with_max_delay(Duration::from_secs(3))
    .with_max_times(6);

async fn try_store(batch: &[Pending], commits: &CommitState) -> Result<Vec<ArrivalOutcome>, StoreError> {
    let arrivals: Vec<_> = batch.iter().map(|pending| &pending.arrival).collect();
    let started = Instant::now();
    let stored = commits.store.store(&arrivals, commits.space.room_in_quarantine()).await?;
    commits.watch.committed();
    commits.metrics.commit(arrivals.len(), started.elapsed());
    commits.working.adapt(&stored);
    Ok(stored.outcomes)
}

fn answer(batch: Vec<Pending>, outcomes: Vec<ArrivalOutcome>, commits: &CommitState) {
    let mut routes = BTreeSet::new();
    for (pending, outcome) in batch.into_iter().zip(outcomes) {
        if let ArrivalOutcome::Waits(route) = &outcome
            && !routes.contains(route)
        {
            routes.insert(route.clone());
        }
        commits.space.add(&pending.arrival, &outcome);
        if let ArrivalOutcome::Quarantined(cause) = &outcome {
            commits.incidents.quarantined(&cause.reason);
            if permits(("quarantined", cause.reason.known().unwrap_or_default())) {
                log_quarantined(&pending.arrival, cause);
            }
        }
        pending.answer(Ok(outcome));
    }
    if !routes.is_empty() {
        commits.wake.up(routes);
    }
}

/// Logs the facts by which a person finds the cause. The client's address is the gate's, and absent for a reason of the inbox.
fn log_quarantined(arrival: &Arrival, cause: &QuarantineCause) {
    // An unknown reason is the text of a header.
    let (reason, hook) = (cause.reason.known().unwrap_or("other"), arrival.hook.as_str());
    let (detail, request_id) = (cause.detail.as_deref(), arrival.ids.request_id.as_deref());
    let event = arrival.event().map_or("-", |event| event.name());
    let generation = arrival.generation.as_deref().unwrap_or("-");
    let client = arrival.client.map_or_else(|| "-".to_owned(), |client| client.to_string());
    tracing::warn!(
        reason,
        hook,
        event,
        generation,
        client,
        request_id,
        detail,
        "quarantined reason={reason} hook={hook} event={event} generation={generation} client={client} request_id={}{}",
        request_id.unwrap_or("-"),
        DetailField(detail)
    );
}

/// The field `detail` of a log line, as the gate writes it.
struct DetailField<'a>(Option<&'a str>);

impl fmt::Display for DetailField<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |detail| write!(f, " detail=\"{detail}\""))
    }
}

impl Pending {
    fn answer(self, outcome: Result<ArrivalOutcome, CommitError>) {
        let _gone = self.sender.send(outcome);
    }
}

/// The number of active committers: enough to fill the time in which one of them waits for the disk.
struct ActiveCommitters {
    permits: Semaphore,
    pace: std::sync::Mutex<CommitPace>,
    max: u32,
}

struct CommitPace {
    committers: u32,
    /// Averages of the times of [`CommittedBatch`], in seconds.
    worked: f64,
    synced: f64,
}

impl ActiveCommitters {
    fn new(first: u32, max: u32) -> Self {
        let permits = Semaphore::new(usize::try_from(first).unwrap_or(1));
        let pace = std::sync::Mutex::new(CommitPace { committers: first, worked: 0.0, synced: 0.0 });
        Self { permits, pace, max }
    }

    async fn begin(&self) -> Option<tokio::sync::SemaphorePermit<'_>> {
        self.permits.acquire().await.ok()
    }

    fn adapt(&self, stored: &CommittedBatch) {
        let mut pace = self.pace.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        pace.learn(stored);
        match pace.wanted(self.max).cmp(&pace.committers) {
            Ordering::Greater => {
                self.permits.add_permits(1);
                pace.committers = pace.committers.saturating_add(1);
            }
            Ordering::Less if self.permits.forget_permits(1) == 1 => {
                pace.committers = pace.committers.saturating_sub(1);
            }
            Ordering::Less | Ordering::Equal => {}
        }
    }
}

impl CommitPace {
    fn learn(&mut self, stored: &CommittedBatch) {
        /// The last twenty commits count most.
        const WEIGHT: f64 = 0.05;
        let toward = |average: f64, latest: Duration| average + WEIGHT * (latest.as_secs_f64() - average);
        self.worked = toward(self.worked, stored.worked);
        self.synced = toward(self.synced, stored.synced);
    }

    /// The number of committers whose work fills the time of one commit.
    fn wanted(&self, max: u32) -> u32 {
        let fill = |count: &u32| f64::from(*count) * self.worked >= self.worked + self.synced;
        (MIN_COMMITTERS.min(max)..max).find(fill).unwrap_or(max)
    }
}
