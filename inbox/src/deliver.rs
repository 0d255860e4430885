//! Brings events to their services, through Envoy's service routes.
//!
//! One task owns the leases: it claims what is due, renews what is under way and writes how attempts ended, one after the
//! other on a connection of its own. The attempts themselves are tasks beside it, which only report.

mod attempt;
mod claiming;
mod leases;
mod pace;
mod route;

use crate::handles::InboxHandles;
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

/// How often the store is asked what waits: others may have put it there.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Deliveries that are under way have so long when the inbox is to end.
const LAST_ANSWERS: Duration = Duration::from_secs(22);

pub(crate) struct Deliverer {
    store: StoreHandle,
    wake: Arc<Wake>,
    metrics: Arc<Metrics>,
    space: Arc<Space>,
    watch: Arc<Watch>,
    pace: DeliveryPace,
    sender: Arc<ServiceClient>,
    routes: BTreeMap<String, Route>,
    /// As last looked at: a route that is new may be paused from the start.
    pauses: Vec<Pause>,
    /// What is under way, or has ended and is not yet written.
    held: BTreeMap<i64, LeasedEntry>,
    ended: mpsc::UnboundedReceiver<AttemptReport>,
    end: mpsc::UnboundedSender<AttemptReport>,
    unwritten: Vec<FinishedAttempt>,
    look_at: Instant,
    has_looked: bool,
    renew_at: Instant,
}

struct LeasedEntry {
    lease: i64,
    route: String,
    flight: Flight,
    /// Until when the delivery may go on.
    until: watch::Sender<Instant>,
}

impl Deliverer {
    pub(crate) fn new(shared: InboxHandles, pace: DeliveryPace, target: Target) -> Self {
        let InboxHandles { store, space, metrics, watch, wake, .. } = shared;
        let (end, ended) = mpsc::unbounded_channel();
        let now = Instant::now();
        Self {
            store,
            wake,
            metrics,
            space,
            watch,
            pace,
            sender: Arc::new(ServiceClient::new(target)),
            routes: BTreeMap::new(),
            pauses: Vec::new(),
            held: BTreeMap::new(),
            ended,
            end,
            unwritten: Vec::new(),
            look_at: now,
            has_looked: false,
            renew_at: later(now, pace.renew_every()),
        }
    }

    /// Delivers until it is to end, and then what is under way.
    pub(crate) async fn run(mut self, ending: CancellationToken) {
        while !ending.is_cancelled() {
            let next = self.look_at.min(self.renew_at);
            let next = self.claims_again_at().map_or(next, |at| at.min(next));
            let wake = Arc::clone(&self.wake);
            tokio::select! {
                () = ending.cancelled() => break,
                () = wake.woken() => (),
                Some(ended) = self.ended.recv() => self.note(ended),
                () = tokio::time::sleep_until(next) => (),
            }
            self.write().await;
            self.renew().await;
            self.claim().await;
        }
        self.finish().await;
    }

    async fn finish(&mut self) {
        let until = later(Instant::now(), LAST_ANSWERS);
        while !self.held.is_empty() && Instant::now() < until {
            let next = self.renew_at.min(until).min(later(Instant::now(), LOOK_EVERY));
            tokio::select! {
                Some(ended) = self.ended.recv() => self.note(ended),
                () = tokio::time::sleep_until(next) => (),
            }
            self.write().await;
            self.renew().await;
        }
        if !self.held.is_empty() {
            tracing::warn!("{} deliveries did not end in time: they are made again", self.held.len());
        }
    }

    /// Notes how an attempt ended, and what its route is worth after it.
    fn note(&mut self, ended: AttemptReport) {
        // A 2xx ends the event whoever holds it by now.
        let counts = |held: &&LeasedEntry| held.lease == ended.lease || ended.outcome.is_done();
        let Some(held) = self.held.get(&ended.id).filter(counts) else { return };
        let Some(route) = self.routes.get_mut(&held.route) else { return };
        let now = Instant::now();
        let its_own = route.is_its_own(held.flight);
        if let Some(change) = route.note(ended.id, held.flight, &ended.outcome, now) {
            tracing::warn!(route = held.route, "route={} is {change}: {}", held.route, ended.outcome);
        }
        let done = ended.outcome.is_done();
        let succeeded_on = (done && route.notes_success(now)).then(|| held.route.clone());
        self.metrics.attempted(&held.route, ended.outcome.word(), ended.took);
        let Some(delay) = delay(ended.attempt) else { return };
        if !done && ended.took > LOOK_EVERY {
            // Another entry of its generation may have waited for as long, on any route.
            self.look_at = now;
        }
        // Without a success beside it, a failure may be the service's.
        let tried = if its_own && !matches!(ended.outcome, AttemptOutcome::LeaseLost) {
            micros(ended.took.saturating_add(delay))
        } else {
            0
        };
        self.unwritten.push(FinishedAttempt {
            id: ended.id,
            lease: ended.lease,
            done,
            status: ended.outcome.status(),
            answer: ended.outcome.to_string(),
            delay: micros(delay),
            tried,
            succeeded_on,
        });
    }

    /// Writes how attempts ended. What cannot be written is written again, and not delivered again.
    async fn write(&mut self) {
        while let Ok(ended) = self.ended.try_recv() {
            self.note(ended);
        }
        if self.unwritten.is_empty() {
            return;
        }
        crate::failpoint::die_at!("before-finish");
        let give_up_after = if self.space.dead_has_room() { GIVE_UP_AFTER } else { i64::MAX };
        match self.store.finish(&self.unwritten, give_up_after).await {
            Ok(dead) => {
                for id in dead {
                    self.metrics.dead.inc();
                    tracing::error!(
                        entry = id,
                        "entry={id} is dead: 72 h of trying; see `blobgate inbox show {id}`"
                    );
                }
                for finished in std::mem::take(&mut self.unwritten) {
                    self.let_go(finished.id, finished.lease);
                }
            }
            Err(error) if error.is_replaced() => self.give_up_writing(),
            Err(error) => self.store_is_away("how attempts ended is not written yet", &error).await,
        }
    }

    /// The store's files are gone, and its copy has these entries as under way: they are delivered again.
    fn give_up_writing(&mut self) {
        let ended = std::mem::take(&mut self.unwritten);
        let ids: Vec<_> = ended.iter().filter(|it| it.done).map(|it| it.id.to_string()).collect();
        if !ids.is_empty() {
            tracing::warn!(
                "delivered, and not written down, for the store's files were replaced: entries {}: they are delivered again after the next start, unless you `drop` them",
                ids.join(", ")
            );
        }
        ended.iter().for_each(|it| self.let_go(it.id, it.lease));
    }

    fn let_go(&mut self, id: i64, lease: i64) {
        if self.held.get(&id).is_none_or(|held| held.lease != lease) {
            return;
        }
        let Some(held) = self.held.remove(&id) else { return };
        if let Some(route) = self.routes.get_mut(&held.route) {
            route.let_go(id, held.flight);
            // Its place is free, and another may be due.
            self.wake.up([held.route]);
        }
    }

    async fn store_is_away(&mut self, what: &str, error: &StoreError) {
        const PAUSE: Duration = Duration::from_millis(500);
        self.metrics.store_errors.inc();
        // That is said once, by its fault.
        if !error.is_replaced() {
            tracing::error!("{what}: {error}");
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
