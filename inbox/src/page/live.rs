//! The live part of the page: server-sent events that report a change. The script of the page then reads the view again.
//!
//! One poller reads the counts, once a second, and only while somebody watches.

use super::{PageState, Visitor};
use crate::admin::{Admin, Problem};
use crate::service::{EntryState, InboxStats};
use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use serde::Serialize;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

/// The time between two reads of the counts, and so between two events.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// The streams at once. Each is a connection, of which the admin listener has 256.
const MAX_STREAMS: usize = 64;
/// The listener ends a connection whose answer takes 120 s. A browser connects again, and its rights are checked again.
const MAX_TIME: Duration = Duration::from_secs(100);
/// A proxy may end a silent connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The counts, for all streams.
pub(super) struct LiveFeed {
    /// Nothing before the first read.
    counts: watch::Sender<Option<LiveCounts>>,
    /// Whether the poller runs.
    polling: Mutex<bool>,
    streams: Arc<Semaphore>,
}

/// The counts of an event. They are equal while nothing changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct LiveCounts {
    states: BTreeMap<EntryState, i64>,
    overdue: i64,
    faults: usize,
    pauses: usize,
    /// The routes that are down or fail.
    failing: usize,
    /// Deliveries and attempts since the start, and refusals of the gates.
    stored: u64,
    delivered: u64,
    refused: u64,
}

impl Default for LiveFeed {
    fn default() -> Self {
        Self {
            counts: watch::Sender::default(),
            polling: Mutex::default(),
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
        }
    }
}

pub(super) async fn stream(
    State(admin): PageState,
    visitor: Visitor,
    Extension(feed): Extension<Arc<LiveFeed>>,
) -> Result<Response, Problem> {
    // A browser that gets no stream asks again later, and shows the page without it.
    let Ok(permit) = Arc::clone(&feed.streams).try_acquire_owned() else {
        return Ok(StatusCode::SERVICE_UNAVAILABLE.into_response());
    };
    let counts = feed.counts.subscribe();
    feed.start(&admin);
    let ending = admin.ending.clone();
    let over = over(ending, async move { visitor.until_over(&admin.access).await });
    let watcher = Watcher { counts, over: Box::pin(over), is_new: true, _permit: permit };
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    Ok(Sse::new(watcher.events()).keep_alive(keep_alive).into_response())
}

impl LiveFeed {
    /// Starts the poller, unless it runs. The caller has subscribed.
    fn start(self: &Arc<Self>, admin: &Arc<Admin>) {
        let mut polling = self.polling.lock().unwrap_or_else(PoisonError::into_inner);
        if !*polling {
            *polling = true;
            tokio::spawn(Arc::clone(self).poll(Arc::clone(admin)));
        }
    }

    async fn poll(self: Arc<Self>, admin: Arc<Admin>) {
        let mut ticks = interval(POLL_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => (),
                () = admin.ending.cancelled() => return,
            }
            {
                let mut polling = self.polling.lock().unwrap_or_else(PoisonError::into_inner);
                if self.counts.receiver_count() == 0 {
                    *polling = false;
                    self.counts.send_replace(None);
                    return;
                }
            }
            // A store that fails is a fault, which the counts have.
            if let Ok(stats) = admin.operations.stats().await {
                let read = Some(LiveCounts::new(stats, &admin));
                self.counts.send_if_modified(|counts| {
                    let is_new = *counts != read;
                    *counts = read;
                    is_new
                });
            }
        }
    }
}

impl LiveCounts {
    fn new(stats: InboxStats, admin: &Admin) -> Self {
        let minutes = admin.operations.traffic().minutes;
        let newest = minutes.iter().rev().take(2);
        let sum = |of: fn(&crate::service::TrafficMinute) -> u64| {
            newest.clone().map(of).fold(0_u64, u64::saturating_add)
        };
        Self {
            overdue: stats.overdue,
            faults: stats.faults.len().saturating_add(usize::from(stats.refused.is_some())),
            pauses: stats.pauses.len(),
            failing: stats.routes.iter().filter(|route| route.down || route.failing.is_some()).count(),
            stored: sum(|minute| minute.stored),
            delivered: sum(|minute| minute.delivered),
            refused: sum(|minute| minute.refused.saturating_add(minute.gate_refused)),
            states: stats.states,
        }
    }
}

/// Returns once the inbox ends, the visitor may see no more, or the time of a stream is over.
async fn over(ending: CancellationToken, leaving: impl Future<Output = ()>) {
    tokio::select! {
        () = ending.cancelled() => (),
        () = leaving => (),
        () = sleep(MAX_TIME) => (),
    }
}

/// One stream.
struct Watcher {
    counts: watch::Receiver<Option<LiveCounts>>,
    over: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Whether it has sent no event yet.
    is_new: bool,
    _permit: OwnedSemaphorePermit,
}

impl Watcher {
    fn events(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, |mut watcher| async move {
            let event = watcher.next().await?;
            Some((Ok(event), watcher))
        })
    }

    /// The next event; nothing once the stream is over.
    async fn next(&mut self) -> Option<Event> {
        // The first one tells the browser that the stream works.
        if std::mem::replace(&mut self.is_new, false) {
            self.counts.mark_changed();
        }
        loop {
            tokio::select! {
                biased;
                () = &mut self.over => return None,
                changed = self.counts.changed() => changed.ok()?,
            }
            if let Some(counts) = self.counts.borrow_and_update().clone() {
                return Event::default().event("counts").retry(POLL_EVERY).json_data(counts).ok();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use tokio::time::Instant;

    fn watcher(feed: &LiveFeed, over: impl Future<Output = ()> + Send + 'static) -> Watcher {
        Watcher {
            counts: feed.counts.subscribe(),
            over: Box::pin(over),
            is_new: true,
            _permit: Arc::clone(&feed.streams).try_acquire_owned().unwrap(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn sends_an_event_at_once_and_for_each_change_until_its_time_is_over() {
        let feed = LiveFeed::default();
        feed.counts.send_replace(Some(LiveCounts::default()));
        let mut watcher = watcher(&feed, over(CancellationToken::new(), pending()));
        let begun = Instant::now();
        assert!(watcher.next().await.is_some());
        feed.counts.send_replace(Some(LiveCounts { overdue: 1, ..LiveCounts::default() }));
        assert!(watcher.next().await.is_some());
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert!(watcher.next().await.is_none());
        assert_eq!(begun.elapsed(), MAX_TIME);
    }

    #[tokio::test(start_paused = true)]
    async fn ends_at_once_with_the_inbox_and_with_the_session() {
        let (feed, ending) = (LiveFeed::default(), CancellationToken::new());
        ending.cancel();
        let begun = Instant::now();
        assert!(watcher(&feed, over(ending, pending())).next().await.is_none());
        assert!(watcher(&feed, over(CancellationToken::new(), async {})).next().await.is_none());
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test]
    async fn the_number_of_streams_is_limited() {
        let feed = LiveFeed::default();
        let watchers: Vec<_> = (0..MAX_STREAMS).map(|_| watcher(&feed, pending())).collect();
        assert!(Arc::clone(&feed.streams).try_acquire_owned().is_err());
        drop(watchers);
        assert_eq!(feed.counts.receiver_count(), 0);
        assert_eq!(feed.streams.available_permits(), MAX_STREAMS);
    }
}
