//! Watches whether the store takes events. It has three signals: a small commit, a rehearsal of an event's statements, and
//! the outcomes of real commits.

use crate::deadline;
use crate::health::{Fault, Faults};
use crate::signatures::Signatures;
use crate::store::{StoreError, StoreHandle};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use thiserror::Error;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The time for which the result of a probe counts.
const RESULT_VALID_FOR: Duration = Duration::from_secs(1);
/// A store that takes longer to answer a probe counts as failing.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// The time between probes if nothing requests the health, so that faults begin and end without requests.
const PROBE_EVERY: Duration = Duration::from_secs(5);
/// The time between rehearsals: a rehearsal leaves some ten dead rows in PostgreSQL.
const REHEARSE_EVERY: Duration = Duration::from_secs(10);
/// For this time a failed commit outweighs a rehearsal, which can miss the cause of the failure.
const COMMIT_OUTWEIGHS: Duration = Duration::from_secs(5);
/// The body of a rehearsal in bytes: the size of a usual event.
const BODY: usize = 1_000;
/// The body of a rehearsal after a failed commit: the gate's largest by default, so that tables grow as for a real event.
const LARGE_BODY: usize = 64 << 10;

pub(crate) struct Watch {
    store: StoreHandle,
    probing: tokio::sync::Mutex<ProbeState>,
    faults: Arc<Faults>,
    evidence: Mutex<FaultEvidence>,
    /// Whether the newest commit failed. Each commit reads it.
    commit_failed: AtomicBool,
    /// The number of failed commits.
    failures: AtomicU64,
    /// Whether the next probe rehearses.
    rehearsal_due: AtomicBool,
    suspicion: Notify,
}

/// Why the store takes no events.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum ProbeError {
    #[error("the store does not answer within {} s", PROBE_TIMEOUT.as_secs())]
    NoAnswer,
    /// Deliveries lack a right.
    #[error("the inbox stores events, but cannot deliver them: {0}")]
    MissingRight(String),
    #[error("{0}")]
    Store(String),
}

/// The state from one probe to the next.
struct ProbeState {
    newest: Option<ProbeResult>,
    rehearsed: Option<Instant>,
    rights: Rights,
}

/// The store's rights, as last read.
#[derive(Default)]
struct Rights {
    are_known: bool,
    /// Whether deliveries need the missing right, and its name. Storing does not need it.
    missing: Option<(bool, String)>,
}

struct ProbeResult {
    at: Instant,
    /// The number of failed commits before it.
    failures: u64,
    outcome: Result<(), ProbeError>,
}

/// The signals by which the store takes no events.
#[derive(Default)]
struct FaultEvidence {
    by_commit: Option<Instant>,
    by_probe: bool,
}

impl Watch {
    pub(crate) fn new(store: &StoreHandle, faults: Arc<Faults>) -> Arc<Self> {
        let probing = ProbeState { newest: None, rehearsed: None, rights: Rights::default() };
        Arc::new(Self {
            store: Arc::clone(store),
            probing: tokio::sync::Mutex::new(probing),
            faults,
            evidence: Mutex::default(),
            commit_failed: AtomicBool::default(),
            failures: AtomicU64::default(),
            rehearsal_due: AtomicBool::default(),
            suspicion: Notify::new(),
        })
    }

    /// Probes the store until the inbox ends, and watches the time since the newest signatures.
    pub(crate) async fn run(self: Arc<Self>, signatures: Arc<Signatures>, ending: CancellationToken) {
        loop {
            signatures.tick(Instant::now());
            let _raised = self.probe().await;
            tokio::select! {
                () = ending.cancelled() => return,
                () = tokio::time::sleep(PROBE_EVERY) => (),
                () = self.suspicion.notified() => (),
            }
        }
    }

    /// A commit of events succeeded.
    pub(crate) fn committed(&self) {
        if self.commit_failed.swap(false, Ordering::Relaxed) {
            let mut evidence = self.evidence();
            evidence.by_commit = None;
            if !evidence.by_probe {
                self.faults.clear(Fault::StoreFailing);
            }
        }
    }

    /// A commit of events failed.
    pub(crate) async fn failed(&self, error: &StoreError) {
        let (fault, detail) = self.store.explain(error).await;
        let mut evidence = self.evidence();
        evidence.by_commit = Some(Instant::now());
        self.commit_failed.store(true, Ordering::Relaxed);
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.faults.raise(fault, detail);
        drop(evidence);
        self.suspicion.notify_one();
    }

    /// The store refused an event for its content. Changed tables would do the same, so a rehearsal follows at once.
    pub(crate) fn doubt(&self) {
        self.rehearsal_due.store(true, Ordering::Relaxed);
        self.suspicion.notify_one();
    }

    /// Reports the failure of a statement that stores no event. A rehearsal follows at once. A damaged store is a fault immediately.
    pub(crate) async fn suspect(&self, error: &StoreError) {
        if error.is_damaged() {
            let (fault, detail) = self.store.explain(error).await;
            self.faults.raise(fault, detail);
        } else {
            self.doubt();
        }
    }

    /// Whether the store takes events. All callers share one probe a second, on one connection.
    pub(crate) async fn probe(self: &Arc<Self>) -> Result<(), ProbeError> {
        let this = Arc::clone(self);
        // In its own task: a client that leaves must not cancel it.
        let probed = tokio::spawn(async move {
            let failures = this.failures.load(Ordering::Relaxed);
            let mut probing = this.probing.lock().await;
            let is_doubted = this.rehearsal_due.load(Ordering::Relaxed);
            let is_valid = |result: &&ProbeResult| {
                result.at.elapsed() < RESULT_VALID_FOR && result.failures == failures && !is_doubted
            };
            if let Some(result) = probing.newest.as_ref().filter(is_valid) {
                return result.outcome.clone();
            }
            let outcome = this.probe_now(&mut probing).await;
            probing.newest = Some(ProbeResult { at: Instant::now(), failures, outcome: outcome.clone() });
            outcome
        });
        match deadline::within(PROBE_TIMEOUT, probed).await {
            Some(Ok(outcome)) => outcome,
            Some(Err(_)) | None => {
                self.probe_failed(Fault::StoreFailing, &ProbeError::NoAnswer);
                Err(ProbeError::NoAnswer)
            }
        }
    }

    async fn probe_now(&self, probing: &mut ProbeState) -> Result<(), ProbeError> {
        let failures = self.failures.load(Ordering::Relaxed);
        let (fault, error) = match self.try_store(probing).await {
            Ok(()) => match &probing.rights.missing {
                Some((true, why)) => (Fault::StoreDenied, ProbeError::MissingRight(why.clone())),
                _ => {
                    self.probe_succeeded(failures);
                    return Ok(());
                }
            },
            Err(error) => {
                // Once the store is back, each statement is rehearsed, and the rights are read again.
                probing.rehearsed = None;
                probing.rights.are_known = false;
                let (fault, detail) = self.store.explain(&error).await;
                (fault, ProbeError::Store(detail))
            }
        };
        self.probe_failed(fault, &error);
        Err(error)
    }

    async fn try_store(&self, probing: &mut ProbeState) -> Result<(), StoreError> {
        // A commit: a write that is rolled back never reaches a full disk.
        self.store.heartbeat().await?;
        let has_failed = self.evidence().by_commit.is_some();
        let is_doubted = self.rehearsal_due.swap(false, Ordering::Relaxed);
        let is_due = is_doubted || probing.rehearsed.is_none_or(|at| at.elapsed() >= REHEARSE_EVERY);
        if has_failed || is_due {
            self.store.rehearse(if has_failed { LARGE_BODY } else { BODY }).await?;
            probing.rehearsed = Some(Instant::now());
        }
        // At the start, after a failure, and while a right is missing: without a right, its statement fails.
        if is_doubted || has_failed || !probing.rights.are_known || probing.rights.missing.is_some() {
            let missing = self.store.missing_rights().await;
            if let Some((false, why)) = missing.as_ref().filter(|_| missing != probing.rights.missing) {
                tracing::error!("the inbox stores and delivers events, but some commands will fail: {why}");
            }
            probing.rights = Rights { are_known: true, missing };
        }
        Ok(())
    }

    /// `failures` is the number of failed commits before the probe.
    fn probe_succeeded(&self, failures: u64) {
        let mut evidence = self.evidence();
        evidence.by_probe = false;
        let commit_outweighs = evidence.by_commit.is_some_and(|at| at.elapsed() < COMMIT_OUTWEIGHS);
        if !commit_outweighs && self.failures.load(Ordering::Relaxed) == failures {
            evidence.by_commit = None;
            self.commit_failed.store(false, Ordering::Relaxed);
            self.faults.clear(Fault::StoreDenied);
            self.faults.clear(Fault::StoreFailing);
        }
    }

    fn probe_failed(&self, fault: Fault, error: &ProbeError) {
        let mut evidence = self.evidence();
        evidence.by_probe = true;
        self.faults.raise(fault, error);
        if fault == Fault::StoreDenied && evidence.by_commit.is_none() {
            self.faults.clear(Fault::StoreFailing);
        }
    }

    fn evidence(&self) -> std::sync::MutexGuard<'_, FaultEvidence> {
        self.evidence.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
