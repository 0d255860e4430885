//! The connections of a listener: how many, and which of them does nothing.

use super::descriptors::Reserve;
use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A connection without a request ends after so long, as nginx's `keepalive_timeout`. It is also the time for a whole head.
/// Envoy closes its own after 4 s (`idle_timeout`).
const IDLE: Duration = Duration::from_secs(75);
/// A request and its answer take no longer: an operator's may wait 30 s for others and then for itself. A peer that does
/// not read, or a body that does not come, ends here.
const STALLED: Duration = Duration::from_secs(120);
/// The same for a connection that has a descriptor of the reserve.
const SOON: Duration = Duration::from_secs(5);
/// How often a connection is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// One part in so many of the connections makes room at a time: each takes a moment to end.
const SHARE: usize = 2;

/// All connections of a listener.
pub(super) struct ConnectionTable {
    bound: usize,
    connections: Arc<Connections>,
}

#[derive(Default)]
struct Connections {
    by_number: Mutex<(u64, BTreeMap<u64, Arc<ConnectionState>>)>,
    left: Notify,
}

struct ConnectionState {
    now: Mutex<Activity>,
    /// Another needs its place.
    wanted: Notify,
}

struct Activity {
    /// So many requests are read or answered.
    busy: usize,
    /// When the last of them began or ended, or the connection.
    since: Instant,
    /// It is told to end: its next answer is its last.
    told: bool,
    /// It ends after so long without a request.
    patience: Duration,
}

/// A connection's place. Dropped, it is free.
pub(super) struct ConnectionSlot {
    number: u64,
    one: Arc<ConnectionState>,
    connections: Arc<Connections>,
    _reserve: Option<Reserve>,
}

/// Why a connection is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CloseReason {
    /// The listener closes.
    Closing,
    /// Another needs its place.
    Wanted,
    Idle,
    /// A request or an answer does not come to its end.
    Stalled,
}

impl CloseReason {
    /// As the counter has it; that another needs its place is counted where that is found.
    pub(super) const fn counted(self) -> Option<&'static str> {
        match self {
            CloseReason::Closing | CloseReason::Wanted => None,
            CloseReason::Idle => Some("idle"),
            CloseReason::Stalled => Some("stalled"),
        }
    }
}

impl ConnectionTable {
    pub(super) fn new(bound: usize) -> Self {
        Self { bound, connections: Arc::default() }
    }

    pub(super) fn bound(&self) -> usize {
        self.bound
    }

    /// A place, if one is free.
    pub(super) fn enter(&self) -> Option<ConnectionSlot> {
        let mut all = self.connections.lock();
        if all.1.len() >= self.bound {
            return None;
        }
        all.0 = all.0.wrapping_add(1);
        let now = Mutex::new(Activity { busy: 0, since: Instant::now(), told: false, patience: IDLE });
        let one = Arc::new(ConnectionState { now, wanted: Notify::new() });
        let number = all.0;
        all.1.insert(number, Arc::clone(&one));
        Some(ConnectionSlot { number, one, connections: Arc::clone(&self.connections), _reserve: None })
    }

    /// Has half of the connections end, those that were idle for the longest time, of those that were for `least`.
    /// Returns how many.
    pub(super) fn end_idlest(&self, least: Duration) -> usize {
        let all = self.connections.lock();
        let mut idle: Vec<_> = all.1.values().filter_map(|one| Some((one.idle_since(least)?, one))).collect();
        idle.sort_unstable_by_key(|(since, _)| *since);
        idle.truncate(self.bound.div_ceil(SHARE));
        for (_, one) in &idle {
            one.now().told = true;
            one.wanted.notify_one();
        }
        idle.len()
    }

    /// Returns once one has left.
    pub(super) async fn left(&self) {
        self.connections.left.notified().await;
    }
}

impl Connections {
    fn lock(&self) -> MutexGuard<'_, (u64, BTreeMap<u64, Arc<ConnectionState>>)> {
        self.by_number.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionState {
    fn idle_since(&self, least: Duration) -> Option<Instant> {
        let now = self.now();
        (now.busy == 0 && !now.told && now.since.elapsed() >= least).then_some(now.since)
    }

    fn now(&self) -> MutexGuard<'_, Activity> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> Option<CloseReason> {
        let now = self.now();
        match (now.busy, now.since.elapsed()) {
            (0, idle) if idle >= now.patience => Some(CloseReason::Idle),
            (1.., busy) if busy >= STALLED => Some(CloseReason::Stalled),
            _ => None,
        }
    }
}

impl ConnectionSlot {
    /// Has the place of a descriptor of the reserve: for one request, soon.
    pub(super) fn with(mut self, reserve: Reserve) -> Self {
        self._reserve = Some(reserve);
        let mut now = self.one.now();
        (now.told, now.patience) = (true, SOON);
        drop(now);
        self
    }

    pub(super) fn clone_handle(&self) -> ConnectionHandle {
        ConnectionHandle(Arc::clone(&self.one))
    }

    pub(super) fn is_busy(&self) -> bool {
        self.one.now().busy > 0
    }

    /// Returns once it is to end.
    pub(super) async fn is_over(&self, closing: &CancellationToken) -> CloseReason {
        loop {
            tokio::select! {
                () = closing.cancelled() => return CloseReason::Closing,
                () = self.one.wanted.notified() => return CloseReason::Wanted,
                () = tokio::time::sleep(LOOK_EVERY) => (),
            }
            if let Some(ending) = self.one.is_over() {
                return ending;
            }
        }
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.connections.lock().1.remove(&self.number);
        self.connections.left.notify_one();
    }
}

/// Where a connection's requests are noted.
#[derive(Clone)]
pub(super) struct ConnectionHandle(Arc<ConnectionState>);

impl ConnectionHandle {
    pub(super) fn begin(&self) -> RequestGuard {
        let mut now = self.0.now();
        now.busy = now.busy.saturating_add(1);
        now.since = Instant::now();
        RequestGuard(Arc::clone(&self.0))
    }
}

impl RequestGuard {
    /// Whether its answer is the last on its connection.
    pub(super) fn is_last(&self) -> bool {
        self.0.now().told
    }
}

/// A request that is read or answered.
pub(super) struct RequestGuard(Arc<ConnectionState>);

impl Drop for RequestGuard {
    fn drop(&mut self) {
        let mut now = self.0.now();
        now.busy = now.busy.saturating_sub(1);
        now.since = Instant::now();
    }
}

/// A response's body: its connection is busy until it is written.
pub(super) struct GuardedBody {
    body: Body,
    _busy: RequestGuard,
}

impl GuardedBody {
    pub(super) fn new(body: Body, busy: RequestGuard) -> Self {
        Self { body, _busy: busy }
    }
}

impl HttpBody for GuardedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ends_what_is_idle_or_stalled() {
        let (open, closing) = (ConnectionTable::new(1), CancellationToken::new());
        let silent = open.enter().unwrap();
        let begun = Instant::now();
        assert_eq!(silent.is_over(&closing).await, CloseReason::Idle);
        assert!((IDLE..IDLE + LOOK_EVERY).contains(&begun.elapsed()), "{:?}", begun.elapsed());
        // A request that ends makes it a used one.
        let handle = silent.clone_handle();
        drop(handle.begin());
        let begun = Instant::now();
        assert_eq!(silent.is_over(&closing).await, CloseReason::Idle);
        assert!(begun.elapsed() >= IDLE);
        let _request = handle.begin();
        let begun = Instant::now();
        assert_eq!(silent.is_over(&closing).await, CloseReason::Stalled);
        assert!((STALLED..STALLED + LOOK_EVERY).contains(&begun.elapsed()), "{:?}", begun.elapsed());
        closing.cancel();
        assert_eq!(silent.is_over(&closing).await, CloseReason::Closing);
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_idle_ones_make_room() {
        let (open, closing) = (ConnectionTable::new(4), CancellationToken::new());
        let mut all = Vec::new();
        for _ in 0..4 {
            all.push(open.enter().unwrap());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert!(open.enter().is_none());
        let _busy = all[0].clone_handle().begin();
        assert_eq!(open.end_idlest(Duration::from_secs(10)), 0);
        assert_eq!(open.end_idlest(Duration::ZERO), 2);
        assert_eq!(all[1].is_over(&closing).await, CloseReason::Wanted);
        assert_eq!(all[2].is_over(&closing).await, CloseReason::Wanted);
        assert!(all[1].clone_handle().begin().is_last() && !all[3].clone_handle().begin().is_last());
        all.remove(1);
        assert!(open.enter().is_some());
    }
}
