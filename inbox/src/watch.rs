//! Watches whether the store takes events: by a commit now and then, by a rehearsal of an event's own statements, and by
//! what became of the commits of events.

use crate::clocks::Clocks;
use crate::health::{Fault, Faults};
use crate::store::{StoreError, StoreHandle};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What is known of the store is good for so long.
const KNOWN_FOR: Duration = Duration::from_secs(1);
/// A store that does not answer in this time is away.
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);
/// The watch looks by itself so often: a fault begins and ends without a probe.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A rehearsal leaves some ten dead rows in PostgreSQL.
const REHEARSE_EVERY: Duration = Duration::from_secs(10);
/// After a failed commit a rehearsal counts only so much later: it can miss what the commit met.
const HOLD: Duration = Duration::from_secs(5);
/// In bytes: what an event is like.
const BODY: usize = 1_000;
/// After a failed commit: the gate's largest body by default, so that tables have to grow as for a real one.
const LARGE_BODY: usize = 64 << 10;

pub(crate) struct Watch {
    store: StoreHandle,
    looking: tokio::sync::Mutex<Looking>,
    faults: Arc<Faults>,
    ill: Mutex<Ill>,
    /// Whether the newest commit failed: read on each commit.
    is_ill: AtomicBool,
    /// Failed commits.
    failures: AtomicU64,
    /// Whether the next look rehearses.
    is_due: AtomicBool,
    suspect: Notify,
}

/// What the look at the store needs.
struct Looking {
    known: Option<Known>,
    rehearsed: Option<Instant>,
    rights: Rights,
}

/// What the store's rights were, when they were asked for.
#[derive(Default)]
struct Rights {
    are_known: bool,
    /// What is missing beside what storing needs, and whether deliveries need it.
    lacks: Option<(bool, String)>,
}

struct Known {
    at: Instant,
    failures: u64,
    outcome: Result<(), String>,
}

/// By whose evidence the store takes no events.
#[derive(Default)]
struct Ill {
    by_commit: Option<Instant>,
    by_look: bool,
}

impl Watch {
    pub(crate) fn new(store: &StoreHandle, faults: Arc<Faults>) -> Arc<Self> {
        let looking = Looking { known: None, rehearsed: None, rights: Rights::default() };
        Arc::new(Self {
            store: Arc::clone(store),
            looking: tokio::sync::Mutex::new(looking),
            faults,
            ill: Mutex::default(),
            is_ill: AtomicBool::default(),
            failures: AtomicU64::default(),
            is_due: AtomicBool::default(),
            suspect: Notify::new(),
        })
    }

    /// Looks at the store until the inbox ends, and forgets what is past of clocks.
    pub(crate) async fn run(self: Arc<Self>, clocks: Arc<Clocks>, ending: CancellationToken) {
        loop {
            clocks.forget(Instant::now());
            let _known = self.look().await;
            tokio::select! {
                () = ending.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => (),
                () = self.suspect.notified() => (),
            }
        }
    }

    /// Events were committed.
    pub(crate) fn committed(&self) {
        if self.is_ill.swap(false, Ordering::Relaxed) {
            let mut ill = self.ill();
            ill.by_commit = None;
            if !ill.by_look {
                self.faults.clear(Fault::StoreFailing);
            }
        }
    }

    /// Events were not committed.
    pub(crate) async fn failed(&self, error: &StoreError) {
        let (fault, detail) = self.store.explain(error).await;
        let mut ill = self.ill();
        ill.by_commit = Some(Instant::now());
        self.is_ill.store(true, Ordering::Relaxed);
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.faults.raise(fault, detail);
        drop(ill);
        self.suspect.notify_one();
    }

    /// The store refused an event for what is in it. So it would where a person has changed the tables.
    pub(crate) fn doubt(&self) {
        self.is_due.store(true, Ordering::Relaxed);
        self.suspect.notify_one();
    }

    /// Something else than storing failed: each statement is tried at once. A store that is not whole takes no more events.
    pub(crate) async fn suspect(&self, error: &StoreError) {
        if error.is_damaged() {
            let (fault, detail) = self.store.explain(error).await;
            self.faults.raise(fault, detail);
        } else {
            self.doubt();
        }
    }

    /// Whether the store takes events. Looked at once a second at most, on one connection, however many ask.
    pub(crate) async fn look(self: &Arc<Self>) -> Result<(), String> {
        let this = Arc::clone(self);
        // In a task of its own: whoever asks may leave.
        let looked = tokio::spawn(async move {
            let failures = this.failures.load(Ordering::Relaxed);
            let mut looking = this.looking.lock().await;
            let is_doubted = this.is_due.load(Ordering::Relaxed);
            let fresh =
                |known: &&Known| known.at.elapsed() < KNOWN_FOR && known.failures == failures && !is_doubted;
            if let Some(known) = looking.known.as_ref().filter(fresh) {
                return known.outcome.clone();
            }
            let outcome = this.look_now(&mut looking).await;
            looking.known = Some(Known { at: Instant::now(), failures, outcome: outcome.clone() });
            outcome
        });
        match tokio::time::timeout(ANSWERS_WITHIN, looked).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) | Err(_) => {
                let why = format!("the store does not answer within {} s", ANSWERS_WITHIN.as_secs());
                self.is_out(Fault::StoreFailing, &why);
                Err(why)
            }
        }
    }

    async fn look_now(&self, looking: &mut Looking) -> Result<(), String> {
        let failures = self.failures.load(Ordering::Relaxed);
        match self.try_store(looking).await {
            Ok(()) => {
                if let Some((true, why)) = &looking.rights.lacks {
                    let detail = format!("events are stored, and something else fails: {why}");
                    self.is_out(Fault::StoreDenied, &detail);
                    return Err(detail);
                }
                self.is_well(failures);
                Ok(())
            }
            Err(error) => {
                // Once it is back, each statement is tried.
                looking.rehearsed = None;
                looking.rights.are_known = false;
                let (fault, detail) = self.store.explain(&error).await;
                self.is_out(fault, &detail);
                Err(detail)
            }
        }
    }

    async fn try_store(&self, looking: &mut Looking) -> Result<(), StoreError> {
        // A write that is taken back never reaches a full disk.
        self.store.heartbeat().await?;
        let has_failed = self.ill().by_commit.is_some();
        let is_doubted = self.is_due.swap(false, Ordering::Relaxed);
        let is_due = is_doubted || looking.rehearsed.is_none_or(|at| at.elapsed() >= REHEARSE_EVERY);
        if !(has_failed || is_due) {
            return Ok(());
        }
        self.store.rehearse(if has_failed { LARGE_BODY } else { BODY }).await?;
        looking.rehearsed = Some(Instant::now());
        // At the start, after an error, and while a right is missing: a revoked right makes its statement fail.
        if is_doubted || has_failed || !looking.rights.are_known || looking.rights.lacks.is_some() {
            let lacks = self.store.missing_rights().await;
            if let Some((false, why)) = lacks.as_ref().filter(|_| lacks != looking.rights.lacks) {
                tracing::error!("events are stored and delivered, and something else will fail: {why}");
            }
            looking.rights = Rights { are_known: true, lacks };
        }
        Ok(())
    }

    /// The store took what an event needs. `failures` are those before.
    fn is_well(&self, failures: u64) {
        let mut ill = self.ill();
        ill.by_look = false;
        let is_held = ill.by_commit.is_some_and(|at| at.elapsed() < HOLD);
        if !is_held && self.failures.load(Ordering::Relaxed) == failures {
            ill.by_commit = None;
            self.is_ill.store(false, Ordering::Relaxed);
            self.faults.clear(Fault::StoreDenied);
            self.faults.clear(Fault::StoreFailing);
        }
    }

    fn is_out(&self, fault: Fault, detail: &str) {
        let mut ill = self.ill();
        ill.by_look = true;
        self.faults.raise(fault, detail);
        if fault == Fault::StoreDenied && ill.by_commit.is_none() {
            self.faults.clear(Fault::StoreFailing);
        }
    }

    fn ill(&self) -> std::sync::MutexGuard<'_, Ill> {
        self.ill.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
