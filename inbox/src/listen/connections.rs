//! The connections of a listener: their number, and which of them are idle or stalled.

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

/// A connection ends after this time without a request, like nginx's `keepalive_timeout`. A whole head has as long.
/// Envoy closes its own connections after 4 s (`idle_timeout`).
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// A connection ends when a request and its answer take longer: its peer sends no body, or does not read. An operator's
/// request may wait 30 s for others and 30 s for itself.
const STALLED_TIMEOUT: Duration = Duration::from_secs(120);
/// The idle timeout of a connection with a descriptor of the reserve.
const RESERVE_TIMEOUT: Duration = Duration::from_secs(5);
/// The time between two checks of a connection's times.
const CHECK_EVERY: Duration = Duration::from_secs(5);

/// Half of the limit makes room at once: each connection takes some time to end.
const ROOM_SHARE: usize = 2;

/// All connections of a listener.
pub(super) struct ConnectionTable {
    max: usize,
    connections: Arc<Connections>,
}

#[derive(Default)]
struct Connections {
    by_number: Mutex<(u64, BTreeMap<u64, Arc<ConnectionState>>)>,
    left: Notify,
}

struct ConnectionState {
    now: Mutex<Activity>,
    /// Another connection needs its slot.
    wanted: Notify,
}

struct Activity {
    /// The requests that are read or answered.
    requests: usize,
    /// The newest start or end of a request; before the first request, the start of the connection.
    since: Instant,
    /// Whether its next answer is its last.
    is_last: bool,
    idle_timeout: Duration,
}

/// The slot of one connection. Dropped, it is free.
pub(super) struct ConnectionSlot {
    number: u64,
    state: Arc<ConnectionState>,
    connections: Arc<Connections>,
    _reserve: Option<Reserve>,
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CloseReason {
    /// The listener closes.
    Closing,
    /// Another connection needs its slot.
    Wanted,
    Idle,
    /// A request or an answer takes too long.
    Stalled,
}

impl CloseReason {
    /// The value of the counter's label. [`ConnectionTable::end_idlest`] counts those that make room.
    pub(super) const fn counted(self) -> Option<&'static str> {
        match self {
            CloseReason::Closing | CloseReason::Wanted => None,
            CloseReason::Idle => Some("idle"),
            CloseReason::Stalled => Some("stalled"),
        }
    }
}

impl ConnectionTable {
    pub(super) fn new(max: usize) -> Self {
        Self { max, connections: Arc::default() }
    }

    pub(super) fn max(&self) -> usize {
        self.max
    }

    /// A free slot.
    pub(super) fn enter(&self) -> Option<ConnectionSlot> {
        let mut all = self.connections.lock();
        if all.1.len() >= self.max {
            return None;
        }
        all.0 = all.0.wrapping_add(1);
        let activity =
            Activity { requests: 0, since: Instant::now(), is_last: false, idle_timeout: IDLE_TIMEOUT };
        let state = Arc::new(ConnectionState { now: Mutex::new(activity), wanted: Notify::new() });
        let number = all.0;
        all.1.insert(number, Arc::clone(&state));
        Some(ConnectionSlot { number, state, connections: Arc::clone(&self.connections), _reserve: None })
    }

    /// Ends up to half of the connections: the longest idle of those that were idle for `min`. Returns their number.
    pub(super) fn end_idlest(&self, min: Duration) -> usize {
        let all = self.connections.lock();
        let mut idle: Vec<_> =
            all.1.values().filter_map(|state| Some((state.idle_since(min)?, state))).collect();
        idle.sort_unstable_by_key(|(since, _)| *since);
        idle.truncate(self.max.div_ceil(ROOM_SHARE));
        for (_, state) in &idle {
            state.now().is_last = true;
            state.wanted.notify_one();
        }
        idle.len()
    }

    /// Returns once a connection has ended.
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
    fn idle_since(&self, min: Duration) -> Option<Instant> {
        let now = self.now();
        (now.requests == 0 && !now.is_last && now.since.elapsed() >= min).then_some(now.since)
    }

    fn now(&self) -> MutexGuard<'_, Activity> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> Option<CloseReason> {
        let now = self.now();
        match (now.requests, now.since.elapsed()) {
            (0, idle) if idle >= now.idle_timeout => Some(CloseReason::Idle),
            (1.., busy) if busy >= STALLED_TIMEOUT => Some(CloseReason::Stalled),
            _ => None,
        }
    }
}

impl ConnectionSlot {
    /// The slot of a connection that uses a descriptor of the reserve: it has one request, and a short idle timeout.
    pub(super) fn with(mut self, reserve: Reserve) -> Self {
        self._reserve = Some(reserve);
        let mut now = self.state.now();
        (now.is_last, now.idle_timeout) = (true, RESERVE_TIMEOUT);
        drop(now);
        self
    }

    pub(super) fn handle(&self) -> ConnectionHandle {
        ConnectionHandle(Arc::clone(&self.state))
    }

    pub(super) fn is_busy(&self) -> bool {
        self.state.now().requests > 0
    }

    /// Returns once the connection must end.
    pub(super) async fn is_over(&self, closing: &CancellationToken) -> CloseReason {
        loop {
            tokio::select! {
                () = closing.cancelled() => return CloseReason::Closing,
                () = self.state.wanted.notified() => return CloseReason::Wanted,
                () = tokio::time::sleep(CHECK_EVERY) => (),
            }
            if let Some(ending) = self.state.is_over() {
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

/// Counts the requests of a connection.
#[derive(Clone)]
pub(super) struct ConnectionHandle(Arc<ConnectionState>);

impl ConnectionHandle {
    pub(super) fn begin(&self) -> RequestGuard {
        let mut now = self.0.now();
        now.requests = now.requests.saturating_add(1);
        now.since = Instant::now();
        RequestGuard(Arc::clone(&self.0))
    }
}

impl RequestGuard {
    /// Whether its answer is the last on its connection.
    pub(super) fn is_last(&self) -> bool {
        self.0.now().is_last
    }
}

/// A request, from its first byte to the last of its answer.
pub(super) struct RequestGuard(Arc<ConnectionState>);

impl Drop for RequestGuard {
    fn drop(&mut self) {
        let mut now = self.0.now();
        now.requests = now.requests.saturating_sub(1);
        now.since = Instant::now();
    }
}

/// The body of an answer. Its request ends once it is written.
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
    async fn ends_idle_and_stalled_connections() {
        let (open, closing) = (ConnectionTable::new(1), CancellationToken::new());
        let silent = open.enter().unwrap();
        let begun = Instant::now();
        assert_eq!(silent.is_over(&closing).await, CloseReason::Idle);
        assert!(
            (IDLE_TIMEOUT..IDLE_TIMEOUT + CHECK_EVERY).contains(&begun.elapsed()),
            "{:?}",
            begun.elapsed()
        );
        // The end of a request restarts the idle time.
        let handle = silent.handle();
        drop(handle.begin());
        let begun = Instant::now();
        assert_eq!(silent.is_over(&closing).await, CloseReason::Idle);
        assert!(begun.elapsed() >= IDLE_TIMEOUT);
        let _request = handle.begin();
        let begun = Instant::now();
        assert_eq!(silent.is_over(&closing).await, CloseReason::Stalled);
        assert!(
            (STALLED_TIMEOUT..STALLED_TIMEOUT + CHECK_EVERY).contains(&begun.elapsed()),
            "{:?}",
            begun.elapsed()
        );
        closing.cancel();
        assert_eq!(silent.is_over(&closing).await, CloseReason::Closing);
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_idle_connections_make_room() {
        let (open, closing) = (ConnectionTable::new(4), CancellationToken::new());
        let mut all = Vec::new();
        for _ in 0..4 {
            all.push(open.enter().unwrap());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert!(open.enter().is_none());
        let _busy = all[0].handle().begin();
        assert_eq!(open.end_idlest(Duration::from_secs(10)), 0);
        assert_eq!(open.end_idlest(Duration::ZERO), 2);
        assert_eq!(all[1].is_over(&closing).await, CloseReason::Wanted);
        assert_eq!(all[2].is_over(&closing).await, CloseReason::Wanted);
        assert!(all[1].handle().begin().is_last() && !all[3].handle().begin().is_last());
        all.remove(1);
        assert!(open.enter().is_some());
    }
}
