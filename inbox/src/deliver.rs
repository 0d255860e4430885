//! Brings events to their services, through Envoy's service routes.
//!
//! One task owns the leases: it claims what is due, renews what is under way and writes how attempts ended, one after the
//! other on a connection of its own. The attempts themselves are tasks beside it, which only report.

mod attempt;
mod route;

use crate::metrics::Metrics;
use crate::space::Space;
use crate::store::{Claimed, Finished, Session, is_replaced};
use attempt::{Ended, Sender};
pub(crate) use attempt::{Outcome, Target};
use backon::{BackoffBuilder, ExponentialBuilder};
pub(crate) use route::{Pause, Route};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Renewed three times in a lease, so that one renewal may fail.
const RENEWALS: u32 = 3;
/// A delivery ends before its lease does, by one part in so many.
const MARGIN: u32 = 10;
/// How often the store is asked what waits: others may have put it there.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Delays double from a second to half an hour, and up to as much again is added by chance.
const FIRST_DELAY: Duration = Duration::from_secs(1);
const LAST_DELAY: Duration = Duration::from_secs(30 * 60);
/// In microseconds.
pub(crate) const LONGEST_DELAY: i64 = 2 * 30 * 60 * 1_000_000;
/// Deliveries that are under way have so long when the inbox is to end.
const LAST_ANSWERS: Duration = Duration::from_secs(22);

/// How deliveries are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// So many at a time on a route.
    pub(crate) concurrency: usize,
    /// So many a second, at most, while a route that was down catches up.
    pub(crate) drain: std::num::NonZeroU32,
    /// A delivery is held for so long. The holder renews it well before, or lets go of the delivery.
    pub(crate) lease: Duration,
}

impl Pace {
    fn renew_every(self) -> Duration {
        self.lease.checked_div(RENEWALS).unwrap_or_default()
    }

    /// What a holder counts on: the lease, but for a margin.
    fn counted_on(self) -> Duration {
        self.lease.saturating_sub(self.lease.checked_div(MARGIN).unwrap_or_default())
    }
}

/// Something new waits, on these routes.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    routes: Mutex<BTreeSet<String>>,
    notify: Notify,
}

impl Wake {
    pub(crate) fn up(&self, routes: impl IntoIterator<Item = String>) {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner).extend(routes);
        self.notify.notify_one();
    }

    fn take(&self) -> BTreeSet<String> {
        std::mem::take(&mut *self.routes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

pub(crate) struct Deliverer {
    session: Session,
    wake: Arc<Wake>,
    metrics: Arc<Metrics>,
    space: Arc<Space>,
    pace: Pace,
    sender: Arc<Sender>,
    routes: BTreeMap<String, Route>,
    /// As last looked at: a route that is new may be paused from the start.
    pauses: Vec<Pause>,
    /// What is under way, or has ended and is not yet written.
    held: BTreeMap<i64, Held>,
    ended: mpsc::UnboundedReceiver<Ended>,
    end: mpsc::UnboundedSender<Ended>,
    unwritten: Vec<Finished>,
    look_at: Instant,
    renew_at: Instant,
}

struct Held {
    lease: i64,
    route: String,
    /// Until when the delivery may go on.
    until: watch::Sender<Instant>,
}

impl Deliverer {
    pub(crate) fn new(
        session: Session,
        wake: Arc<Wake>,
        metrics: Arc<Metrics>,
        space: Arc<Space>,
        pace: Pace,
        target: Target,
    ) -> Self {
        let (end, ended) = mpsc::unbounded_channel();
        let now = Instant::now();
        Self {
            session,
            wake,
            metrics,
            space,
            pace,
            sender: Arc::new(Sender::new(target)),
            routes: BTreeMap::new(),
            pauses: Vec::new(),
            held: BTreeMap::new(),
            ended,
            end,
            unwritten: Vec::new(),
            look_at: now,
            renew_at: later(now, pace.renew_every()),
        }
    }

    /// Delivers until it is to end, and then what is under way.
    pub(crate) async fn run(mut self, ending: CancellationToken) {
        while !ending.is_cancelled() {
            let next = self.look_at.min(self.renew_at);
            let wake = Arc::clone(&self.wake);
            tokio::select! {
                () = ending.cancelled() => break,
                () = wake.notify.notified() => (),
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
            log::warn!("{} deliveries did not end in time: they are made again", self.held.len());
        }
    }

    /// Notes how an attempt ended, and what its route is worth after it.
    fn note(&mut self, ended: Ended) {
        // A 2xx ends the event whoever holds it by now.
        let counts = |held: &&Held| held.lease == ended.lease || ended.outcome.is_done();
        let Some(held) = self.held.get(&ended.id).filter(counts) else { return };
        let Some(route) = self.routes.get_mut(&held.route) else { return };
        let was_down = route.is_down();
        let change = route.note(ended.id, &ended.outcome, Instant::now());
        if let Some(change) = change {
            log::warn!("route={} is {change}: {}", held.route, ended.outcome);
        }
        self.metrics.attempted(&held.route, &ended.outcome, ended.took);
        let Some(delay) = delay(ended.attempt) else { return };
        // What a service that is known to be down costs is not this event's own trying.
        let tried = if was_down && route.is_down() { 0 } else { micros(ended.took.saturating_add(delay)) };
        self.unwritten.push(Finished {
            id: ended.id,
            lease: ended.lease,
            done: ended.outcome.is_done(),
            status: ended.outcome.status(),
            answer: ended.outcome.to_string(),
            delay: micros(delay),
            tried,
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
        match self.session.finish(&self.unwritten, self.space.dead_has_room()).await {
            Ok(dead) => {
                for id in dead {
                    self.metrics.dead.inc();
                    log::error!("entry={id} is dead: 72 h of trying; see `blobgate inbox show {id}`");
                }
                for finished in std::mem::take(&mut self.unwritten) {
                    self.let_go(finished.id, finished.lease);
                }
            }
            Err(error) if is_replaced(&error) => self.give_up_writing(),
            Err(error) => self.store_is_away("how attempts ended is not written yet", &error).await,
        }
    }

    /// The store's files are gone, and its copy has these entries as under way: they are delivered again.
    fn give_up_writing(&mut self) {
        let ended = std::mem::take(&mut self.unwritten);
        let ids: Vec<_> = ended.iter().filter(|it| it.done).map(|it| it.id.to_string()).collect();
        if !ids.is_empty() {
            log::warn!(
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
            route.let_go(id);
            // Its place is free, and another may be due.
            self.wake.up([held.route]);
        }
    }

    async fn renew(&mut self) {
        let now = Instant::now();
        if now < self.renew_at {
            return;
        }
        self.renew_at = later(now, self.pace.renew_every());
        let held: Vec<_> = self.held.keys().copied().collect();
        if let Err(error) = self.session.release_expired(&held, micros(self.pace.lease)).await {
            self.store_is_away("expired leases are not released", &error).await;
        }
        if self.held.is_empty() {
            return;
        }
        let leases: Vec<_> = self.held.iter().map(|(id, held)| (*id, held.lease)).collect();
        match self.session.renew(&leases, micros(self.pace.lease)).await {
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

    async fn claim(&mut self) {
        let now = Instant::now();
        let mut routes = self.wake.take();
        if now >= self.look_at {
            self.look_at = later(now, LOOK_EVERY);
            match self.look().await {
                Ok(due) => routes.extend(due),
                Err(error) => return self.store_is_away("what waits is not known", &error).await,
            }
        }
        for name in routes {
            let room = self.route(&name).room(now);
            if room == 0 {
                continue;
            }
            let granted = Instant::now();
            let limit = i64::try_from(room).unwrap_or(i64::MAX);
            match self.session.claim(&name, limit, micros(self.pace.lease)).await {
                Ok(claimed) => {
                    if let Some(route) = self.routes.get_mut(&name) {
                        let ids: Vec<_> = claimed.iter().map(|entry| entry.id).collect();
                        route.claimed(&ids, room);
                    }
                    claimed.into_iter().for_each(|entry| self.start(entry, &name, granted));
                }
                Err(error) => return self.store_is_away("nothing is claimed", &error).await,
            }
        }
    }

    /// The routes on which something is due; the next look is when the next is.
    async fn look(&mut self) -> Result<Vec<String>, crate::store::Error> {
        self.pauses = self.session.pauses().await?;
        for (name, route) in &mut self.routes {
            route.paused = self.pauses.iter().any(|pause| pause.holds(name));
        }
        let waiting = self.session.waiting().await?;
        let mut due = Vec::new();
        for (name, due_in) in waiting {
            self.route(&name);
            match u64::try_from(due_in) {
                Ok(due_in) if due_in > 0 => {
                    let at = later(Instant::now(), Duration::from_micros(due_in.saturating_add(1_000)));
                    self.look_at = self.look_at.min(at);
                }
                _ => due.push(name),
            }
        }
        self.metrics.routes(&self.routes);
        Ok(due)
    }

    fn route(&mut self, name: &str) -> &mut Route {
        let (pace, pauses) = (self.pace, &self.pauses);
        self.routes.entry(name.to_owned()).or_insert_with(|| {
            let mut route = Route::new(pace);
            route.paused = pauses.iter().any(|pause| pause.holds(name));
            route
        })
    }

    fn start(&mut self, entry: Claimed, route: &str, granted: Instant) {
        let (until, lease_until) = watch::channel(later(granted, self.pace.counted_on()));
        let id = entry.id;
        let held = Held { lease: entry.lease, route: route.to_owned(), until };
        if self.held.insert(id, held).is_some() {
            // Our own, whose lease had ended unnoticed: what is left of it ends unheard, and its place is free.
            if let Some(route) = self.routes.get_mut(route) {
                route.let_go(id);
            }
        }
        let (sender, end) = (Arc::clone(&self.sender), self.end.clone());
        tokio::spawn(async move {
            let _gone = end.send(sender.attempt(entry, lease_until).await);
        });
    }

    async fn store_is_away(&mut self, what: &str, error: &crate::store::Error) {
        const PAUSE: Duration = Duration::from_millis(500);
        self.metrics.store_errors.inc();
        // That is said once, by its fault.
        if !is_replaced(error) {
            log::error!("{what}: {error}");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// How long to wait after the attempt with this number.
fn delay(attempt: i64) -> Option<Duration> {
    let before = usize::try_from(attempt.saturating_sub(1)).unwrap_or_default();
    ExponentialBuilder::default()
        .with_min_delay(FIRST_DELAY)
        .with_max_delay(LAST_DELAY)
        .with_jitter()
        .without_max_times()
        .build()
        .nth(before)
}

fn later(now: Instant, by: Duration) -> Instant {
    now.checked_add(by).unwrap_or(now)
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}
