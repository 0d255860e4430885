//! The inbox's listeners. They have their own accept loop below axum: it bounds the connections, ends silent ones, and counts
//! and logs requests that are not HTTP.

mod connections;
mod conversation;
mod descriptors;
mod host;
mod tap;

use crate::line_limit::permits_condition;
use crate::metrics::ListenerMetrics;
use axum::Router;
use axum::http::HeaderName;
use blobgate::contract::header;
use connections::{ConnectionSlot, ConnectionTable};
pub(crate) use conversation::NOT_HTTP;
pub use conversation::{MAX_HEAD, MAX_HEADERS};
pub(crate) use descriptors::{Descriptors, raise_limit};
pub(crate) use host::{is_local, split_port};
use hyper_util::rt::TokioExecutor;
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Without a free descriptor, connections make room that were idle for this time.
const IDLE: Duration = Duration::from_secs(1);
/// The time for busy connections after the listener has closed.
const CONNECTIONS_TIMEOUT: Duration = Duration::from_millis(1_500);
/// The time from a failed `accept` to the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The time from a request for room to the next, while no connection has ended.
const ROOM_PAUSE: Duration = Duration::from_millis(20);

/// The header with the reason code of an answer that is not 200.
pub(crate) const REASON: HeaderName = HeaderName::from_static(header::INBOX_REASON);

/// The name of a listener, in metrics and log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListenerName {
    Receive,
    Admin,
    /// Only the metrics, for a scraper.
    Metrics,
    /// Only Envoy's access log, by gRPC.
    AccessLog,
}

impl ListenerName {
    pub(crate) const fn text(self) -> &'static str {
        match self {
            ListenerName::Receive => "receive",
            ListenerName::Admin => "admin",
            ListenerName::Metrics => "metrics",
            ListenerName::AccessLog => "access-log",
        }
    }
}

/// One listener and its routes.
pub(crate) struct HttpListener {
    pub(crate) name: ListenerName,
    pub(crate) listener: TcpListener,
    pub(crate) routes: Router,
    pub(crate) descriptors: Arc<Descriptors>,
    pub(crate) counters: ListenerMetrics,
    /// The inbox ends: each answer over HTTP/1.1 closes its connection.
    pub(crate) ending: CancellationToken,
    /// The listener closes.
    pub(crate) closing: CancellationToken,
}

/// The state that the connections of a listener share.
struct ListenerState {
    name: ListenerName,
    http: Builder<TokioExecutor>,
    service: TowerToHyperService<Router>,
    descriptors: Arc<Descriptors>,
    counters: ListenerMetrics,
    ending: CancellationToken,
    closing: CancellationToken,
    connections: ConnectionTable,
}

impl HttpListener {
    /// Serves until the listener closes, and then the requests that have arrived by then.
    pub(crate) async fn serve(self) {
        self.counters.create(self.name.text());
        let state = Arc::new(ListenerState {
            name: self.name,
            http: conversation::http(),
            service: TowerToHyperService::new(self.routes),
            connections: ConnectionTable::new(self.descriptors.max_connections(self.name)),
            descriptors: self.descriptors,
            counters: self.counters,
            ending: self.ending,
            closing: self.closing,
        });
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = state.closing.cancelled() => break,
                Some(_ended) = connections.join_next() => continue,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let Some(slot) = state.room().await else { break };
                    connections.spawn(Arc::clone(&state).converse(stream, slot));
                }
                Err(error) => {
                    if let Some((stream, slot)) = state.not_accepted(&error, &self.listener).await {
                        connections.spawn(Arc::clone(&state).converse(stream, slot));
                    }
                }
            }
        }
        // The kernel has accepted these already, and would reset them.
        while let Some(Ok((stream, _))) = ready(self.listener.accept()).await {
            let Some(slot) = state.connections.enter() else { break };
            connections.spawn(Arc::clone(&state).converse(stream, slot));
        }
        drop(self.listener);
        let last = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(CONNECTIONS_TIMEOUT, last).await.is_err() {
            tracing::warn!(
                listener = state.name.text(),
                "listener={} cuts the connections that are still busy",
                state.name.text()
            );
        }
    }
}

/// The result of a future that is ready at once.
async fn ready<T>(future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = future => Some(done),
        () = std::future::ready(()) => None,
    }
}

impl ListenerState {
    /// A slot for another connection. The longest idle connections make room. Nothing once the listener closes.
    async fn room(&self) -> Option<ConnectionSlot> {
        loop {
            if let Some(slot) = self.connections.enter() {
                return Some(slot);
            }
            let ended = self.connections.end_idlest(Duration::ZERO);
            self.counters.ended(self.name.text(), "room", ended);
            let action = match ended {
                0 => "all are busy, and new ones wait",
                _ => "it closes the longest idle ones",
            };
            if permits_condition(("room", self.name.text())) {
                tracing::warn!(
                    listener = self.name.text(),
                    "listener={} has {} connections, the most that the limit of file descriptors allows: {action}; raise the limit for more",
                    self.name.text(),
                    self.connections.max()
                );
            }
            tokio::select! {
                () = self.closing.cancelled() => return None,
                () = self.connections.left() => (),
                () = tokio::time::sleep(ROOM_PAUSE) => (),
            }
        }
    }

    /// Logs a failed `accept`, and waits. Without a free descriptor, the admin listener uses one of its reserve.
    async fn not_accepted(
        self: &Arc<Self>,
        error: &io::Error,
        listener: &TcpListener,
    ) -> Option<(TcpStream, ConnectionSlot)> {
        use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
        if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
            return None;
        }
        let exhausted = Descriptors::are_exhausted(error);
        self.counters.not_accepted(self.name.text(), if exhausted { "descriptors" } else { "other" });
        if permits_condition(("accept", self.name.text())) {
            tracing::error!(
                listener = self.name.text(),
                "listener={} cannot accept a connection: {error}",
                self.name.text()
            );
        }
        if exhausted {
            self.descriptors.exhausted();
            if self.name == ListenerName::Admin
                && let Some(reserve) = self.descriptors.reserve()
            {
                reserve.free();
                if let Some(Ok((stream, _))) = ready(listener.accept()).await {
                    return self.connections.enter().map(|slot| (stream, slot.with(reserve)));
                }
            }
            self.counters.ended(self.name.text(), "room", self.connections.end_idlest(IDLE));
        }
        tokio::time::sleep(ACCEPT_PAUSE).await;
        None
    }
}
