//! Delivers entries to their services, through Envoy's service routes.
//!
//! One task owns the leases: it claims due entries, renews leases and writes the outcomes of attempts, one after the other
//! on its own connection. Each attempt is a task, which reports its outcome.

mod answer;
mod attempt;
mod claiming;
mod leases;
mod log;
mod pace;
mod reuse;
mod route;

use crate::handles::InboxHandles;
use crate::incidents::{FailedAttempt, Incidents};
use crate::line_limit::permits;
use crate::metrics::Metrics;
use crate::space::Space;
use crate::store::Pause;
use crate::store::{FinishedAttempt, GIVE_UP_AFTER, StoreError, StoreHandle};
use crate::wake::Wake;
use crate::watch::Watch;
pub(crate) use attempt::{AttemptOutcome, Target};
use attempt::{AttemptReport, ServiceClient};
pub(crate) use pace::DeliveryPace;
pub(crate) use pace::LEASE;
use pace::delay;
use route::Flight;
use route::Route;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The time between looks for due entries: other inboxes store entries too.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The time for attempts in flight once the inbox ends.
const ENDING_TIMEOUT: Duration = Duration::from_secs(22);

pub(crate) struct Deliverer {
    store: StoreHandle,
    wake: Arc<Wake>,
    metrics: Arc<Metrics>,
    space: Arc<Space>,
    watch: Arc<Watch>,
    incidents: Arc<Incidents>,
    pace: DeliveryPace,
    client: Arc<ServiceClient>,
    routes: BTreeMap<String, Route>,
    /// As last read: a new route can be paused from the start.
    pauses: Vec<Pause>,
    /// The entries in flight, and those whose outcome is not written yet.
    leased: BTreeMap<i64, LeasedEntry>,
    reports: mpsc::UnboundedReceiver<AttemptReport>,
    reporter: mpsc::UnboundedSender<AttemptReport>,
    unwritten: Vec<FinishedAttempt>,
    look_at: Instant,
    has_looked: bool,
    renew_at: Instant,
}

struct LeasedEntry {
    lease: i64,
    /// See [`FinishedAttempt::is_first`].
    is_first: bool,
    route: String,
    /// For the log.
    generation: Option<String>,
    /// For the log.
    request_id: Option<String>,
    flight: Flight,
    /// The latest end of the attempt.
    until: watch::Sender<Instant>,
}

impl Deliverer {
    pub(crate) fn new(shared: InboxHandles, pace: DeliveryPace, target: Target) -> Self {
        let InboxHandles { store, space, metrics, watch, wake, incidents, .. } = shared;
        let (reporter, reports) = mpsc::unbounded_channel();
        let now = Instant::now();
        Self {
            store,
            wake,
            metrics,
            space,
            watch,
            incidents,
            pace,
            client: Arc::new(ServiceClient::new(target)),
            routes: BTreeMap::new(),
            pauses: Vec::new(),
            leased: BTreeMap::new(),
            reports,
            reporter,
            unwritten: Vec::new(),
            look_at: now,
            has_looked: false,
            renew_at: later(now, pace.renew_every()),
        }
    }

    /// Delivers until `ending`, and then finishes the attempts in flight.
    pub(crate) async fn run(mut self, ending: CancellationToken) {
        while !ending.is_cancelled() {
            let next = self.look_at.min(self.renew_at);
            let next = self.claims_again_at().map_or(next, |at| at.min(next));
            let wake = Arc::clone(&self.wake);
            tokio::select! {
                () = ending.cancelled() => break,
                () = wake.woken() => (),
                Some(report) = self.reports.recv() => self.note(report),
                () = tokio::time::sleep_until(next) => (),
            }
            self.write().await;
            self.renew().await;
            self.claim().await;
        }
        self.finish().await;
    }

    async fn finish(&mut self) {
        let until = later(Instant::now(), ENDING_TIMEOUT);
        while !self.leased.is_empty() && Instant::now() < until {
            let next = self.renew_at.min(until).min(later(Instant::now(), LOOK_EVERY));
            tokio::select! {
                Some(report) = self.reports.recv() => self.note(report),
                () = tokio::time::sleep_until(next) => (),
            }
            self.write().await;
            self.renew().await;
        }
        if !self.leased.is_empty() {
            tracing::warn!("{} attempts did not end in time: the next start repeats them", self.leased.len());
        }
    }

    /// Notes the outcome of an attempt, for its entry and its route.
    fn note(&mut self, report: AttemptReport) {
        let AttemptReport { id, lease, attempt, outcome, took } = report;
        let done = outcome.is_done();
        // A 2xx ends the event, even if another inbox has its lease by now.
        let Some(entry) = self.leased.get(&id).filter(|entry| entry.lease == lease || done) else { return };
        let Some(route) = self.routes.get_mut(&entry.route) else { return };
        let now = Instant::now();
        let is_own_failure = route.is_own_failure(entry.flight);
        if let Some(change) = route.note(id, entry.flight, &outcome, now) {
            log::health_changed(change, &outcome, id, entry);
        }
        let succeeded_on = (done && route.writes_success(now)).then(|| entry.route.clone());
        self.metrics.attempted(&entry.route, outcome.label(), took);
        match &outcome {
            AttemptOutcome::LeaseLost => (),
            _ if done => self.incidents.delivered(&entry.route),
            _ if outcome.is_down() => self.incidents.failed(&entry.route, FailedAttempt::Down),
            _ => self.incidents.failed(&entry.route, FailedAttempt::Answered),
        }
        let Some(delay) = delay(attempt) else { return };
        if !done && took > LOOK_EVERY {
            // Another entry of its generation may have waited for as long, on any route.
            self.look_at = now;
        }
        // Without a success beside it, the failure may be the service's.
        let tried = if is_own_failure && !matches!(outcome, AttemptOutcome::LeaseLost) {
            micros(took.saturating_add(delay))
        } else {
            0
        };
        self.unwritten.push(FinishedAttempt {
            id,
            lease,
            done,
            // Past the lease, another inbox may have recorded it as without a result.
            is_first: entry.is_first && took < self.pace.lease,
            status: outcome.status(),
            answer: outcome.to_string(),
            duration: micros(took),
            delay: micros(delay),
            tried,
            succeeded_on,
        });
    }

    /// Writes the outcomes of attempts. After a failure it writes them again, and delivers nothing again.
    async fn write(&mut self) {
        while let Ok(report) = self.reports.try_recv() {
            self.note(report);
        }
        if self.unwritten.is_empty() {
            return;
        }
        crate::failpoint::die_at!("before-finish");
        let give_up_after = if self.space.dead_has_room() { GIVE_UP_AFTER } else { i64::MAX };
        match self.store.finish(&self.unwritten, give_up_after).await {
            Ok(dead) => {
                for id in dead {
                    let route = self.leased.get(&id).map_or("other", |entry| &entry.route);
                    self.metrics.died(route);
                    self.incidents.dead(route);
                    log::died(id, self.leased.get(&id));
                }
                for finished in std::mem::take(&mut self.unwritten) {
                    self.forget(finished.id, finished.lease);
                }
            }
            Err(error) if error.is_replaced() => self.give_up_writing(),
            Err(error) => self.store_failed("the outcomes of attempts are not written yet", &error).await,
        }
    }

    /// The store's files are gone. In the rescued copy these entries are in flight, so the next start delivers them again.
    fn give_up_writing(&mut self) {
        let finished = std::mem::take(&mut self.unwritten);
        let ids: Vec<_> = finished.iter().filter(|it| it.done).map(|it| it.id.to_string()).collect();
        if !ids.is_empty() {
            tracing::warn!(
                "entries {} are delivered, but the store's files were replaced before the inbox wrote that: the next start delivers them again, unless you drop them first",
                ids.join(", ")
            );
        }
        finished.iter().for_each(|it| self.forget(it.id, it.lease));
    }

    fn forget(&mut self, id: i64, lease: i64) {
        if self.leased.get(&id).is_none_or(|entry| entry.lease != lease) {
            return;
        }
        let Some(entry) = self.leased.remove(&id) else { return };
        if let Some(route) = self.routes.get_mut(&entry.route) {
            route.finish(id, entry.flight);
            // Its slot is free, and another entry may be due.
            self.wake.up([entry.route]);
        }
    }

    async fn store_failed(&mut self, effect: &'static str, error: &StoreError) {
        const PAUSE: Duration = Duration::from_millis(500);
        self.metrics.store_errors.inc();
        // A replaced store has logged its fault once.
        if !error.is_replaced() {
            if permits(("store-failed", effect)) {
                tracing::error!("{effect}: {error}");
            }
            self.watch.suspect(error).await;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn later(now: Instant, by: Duration) -> Instant {
    now.checked_add(by).unwrap_or(now)
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}
