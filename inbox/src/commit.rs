//! Group commit: one transaction for all that has come while the one before was under way.
//!
//! Handlers hand an arrival over and wait; a client that leaves cancels nothing here.

use crate::arrival::Arrival;
use crate::deliver::Wake;
use crate::failpoint::{broken_by, die_at};
use crate::metrics::Metrics;
use crate::space::Space;
use crate::store::{Error, Outcome, Session, Store};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// A sender hears after so long that its event is not known to be stored: the gate's route gives up at 20 s.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// So many arrivals in a transaction at most. SQLite takes 32,766 values in a statement, of which each has eighteen.
const BATCH: usize = 512;
/// So many arrivals wait at most; more are turned away at once.
const WAITING: usize = 8_192;
/// On a fast disk two committers take turns, while a slow one is better used by more.
const FEWEST: u32 = 2;
const MOST: u32 = 8;
/// A committer more for each so much time that a transaction takes.
const PER_COMMITTER: Duration = Duration::from_micros(2_500);

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
}

#[derive(Debug)]
struct Pending {
    arrival: Arrival,
    until: Instant,
    answer: oneshot::Sender<Result<Outcome, NotStored>>,
}

/// What all committers share.
struct Shared {
    queue: Mutex<mpsc::Receiver<Pending>>,
    wake: Arc<Wake>,
    metrics: Arc<Metrics>,
    space: Arc<Space>,
    working: Working,
}

impl Committer {
    /// Starts the committers. They end once every [`Committer`] is gone and what was handed over is stored.
    pub(crate) fn start(
        store: &Store,
        wake: Arc<Wake>,
        metrics: Arc<Metrics>,
        space: Arc<Space>,
        tasks: &TaskTracker,
    ) -> Self {
        let (queue, waiting) = mpsc::channel(WAITING);
        let most = if matches!(store, Store::Sqlite(_)) { 1 } else { MOST };
        let shared = Arc::new(Shared {
            queue: Mutex::new(waiting),
            wake,
            metrics,
            space,
            working: Working::new(FEWEST.min(most), most),
        });
        for _ in 0..most {
            tasks.spawn(run(store.session(), Arc::clone(&shared)));
        }
        Self { queue }
    }

    /// Returns once the arrival is committed, or is not known to be.
    pub(crate) async fn store(&self, arrival: Arrival) -> Result<Outcome, NotStored> {
        let until = Instant::now().checked_add(ANSWER_WITHIN).ok_or(NotStored::Overload)?;
        let (answer, answered) = oneshot::channel();
        self.queue.try_send(Pending { arrival, until, answer }).map_err(|_| NotStored::Overload)?;
        match tokio::time::timeout_at(until, answered).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) | Err(_) => Err(NotStored::Store),
        }
    }
}

/// One committer: collects while others commit, then commits.
async fn run(mut session: Session, shared: Arc<Shared>) {
    loop {
        let mut batch = Vec::new();
        let _working = shared.working.begin().await;
        if shared.queue.lock().await.recv_many(&mut batch, BATCH).await == 0 {
            return;
        }
        die_at!("before-insert");
        let early = broken_by!("break-answer-before-commit");
        if early {
            for pending in batch.drain(..) {
                let Pending { arrival, until, answer } = pending;
                let _gone = answer.send(Ok(Outcome::Repeated));
                let (unheard, _) = oneshot::channel();
                store(&mut session, vec![Pending { arrival, until, answer: unheard }], &shared).await;
            }
            continue;
        }
        store(&mut session, batch, &shared).await;
    }
}

/// Stores a batch, and tells those who wait. While the store is away it is tried again, as long as they wait.
async fn store(session: &mut Session, mut batch: Vec<Pending>, shared: &Shared) {
    let mut pause = PAUSES.into_iter();
    loop {
        // Whoever has heard 503 by now comes back.
        let now = Instant::now();
        let (waiting, late): (Vec<_>, Vec<_>) = batch.into_iter().partition(|pending| pending.until > now);
        late.into_iter().for_each(|pending| pending.tell(Err(NotStored::Store)));
        batch = waiting;
        if batch.is_empty() {
            return;
        }
        match try_store(session, &batch, shared).await {
            Ok(outcomes) => {
                die_at!("before-answer");
                return tell(batch, outcomes, shared);
            }
            Err(error) if is_of_data(&error) && batch.len() > 1 => {
                log::error!("blobgate inbox: a batch of {} is stored one by one: {error}", batch.len());
                for pending in batch {
                    Box::pin(store(session, vec![pending], shared)).await;
                }
                return;
            }
            Err(error) => {
                shared.metrics.store_errors.inc();
                log::error!("blobgate inbox: a batch of {} is not stored: {error}", batch.len());
                let Some(pause) = pause.next() else {
                    batch.into_iter().for_each(|pending| pending.tell(Err(NotStored::Store)));
                    return;
                };
                tokio::time::sleep(pause).await;
            }
        }
    }
}

/// A store that restarts is back in a second or two.
const PAUSES: [Duration; 6] = [
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

async fn try_store(session: &mut Session, batch: &[Pending], shared: &Shared) -> Result<Vec<Outcome>, Error> {
    let arrivals: Vec<_> = batch.iter().map(|pending| &pending.arrival).collect();
    let started = Instant::now();
    let outcomes = session.store(&arrivals, shared.space.quarantine_has_room()).await?;
    shared.metrics.commit(arrivals.len(), started.elapsed());
    shared.working.adapt(started.elapsed());
    Ok(outcomes)
}

fn tell(batch: Vec<Pending>, outcomes: Vec<Outcome>, shared: &Shared) {
    let mut routes = BTreeSet::new();
    for (pending, outcome) in batch.into_iter().zip(outcomes) {
        if let Outcome::Waits(route) = &outcome
            && !routes.contains(route)
        {
            routes.insert(route.clone());
        }
        shared.space.add(&pending.arrival, &outcome);
        pending.tell(Ok(outcome));
    }
    if !routes.is_empty() {
        shared.wake.up(routes);
    }
}

/// Whether a row is to blame, and not the store.
fn is_of_data(error: &Error) -> bool {
    use sqlx::error::ErrorKind::{CheckViolation, ForeignKeyViolation, NotNullViolation, UniqueViolation};
    match error {
        Error::Encode(_) => true,
        Error::Database(error) => {
            let is_violation = matches!(
                error.kind(),
                UniqueViolation | ForeignKeyViolation | NotNullViolation | CheckViolation
            );
            // Class 22: data that the database does not take.
            is_violation || error.code().is_some_and(|code| code.len() == 5 && code.starts_with("22"))
        }
        _ => false,
    }
}

impl Pending {
    fn tell(self, outcome: Result<Outcome, NotStored>) {
        let _gone = self.answer.send(outcome);
    }
}

/// How many committers work: more where commits are slow.
struct Working {
    permits: Semaphore,
    /// How many there are, and how long a commit takes, on average, in microseconds.
    now: std::sync::Mutex<(u32, f64)>,
    most: u32,
}

impl Working {
    fn new(first: u32, most: u32) -> Self {
        let permits = usize::try_from(first).unwrap_or(1);
        Self { permits: Semaphore::new(permits), now: std::sync::Mutex::new((first, 0.0)), most }
    }

    async fn begin(&self) -> Option<tokio::sync::SemaphorePermit<'_>> {
        self.permits.acquire().await.ok()
    }

    fn adapt(&self, took: Duration) {
        /// The last twenty count most.
        const WEIGHT: f64 = 0.05;
        let mut now = self.now.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (count, average) = *now;
        let average = average + WEIGHT * (took.as_secs_f64() - average);
        let wanted = Duration::from_secs_f64(average)
            .as_micros()
            .checked_div(PER_COMMITTER.as_micros())
            .unwrap_or_default();
        let wanted = u32::try_from(wanted).unwrap_or(self.most).saturating_add(FEWEST).min(self.most);
        let count = match wanted.cmp(&count) {
            std::cmp::Ordering::Greater => {
                self.permits.add_permits(1);
                count.saturating_add(1)
            }
            std::cmp::Ordering::Less if self.permits.forget_permits(1) == 1 => count.saturating_sub(1),
            _ => count,
        };
        *now = (count, average);
    }
}
