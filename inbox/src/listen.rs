//! The inbox's listeners: an accept loop of its own below axum, so that connections have a bound, silent ones end, and a
//! request that is no HTTP is counted and logged.

mod connections;
mod descriptors;
mod host;

mod tap;

use crate::line_limit::LineLimit;
use crate::metrics::ListenerMetrics;
use axum::Router;
use axum::body::Body;
use axum::http::header::{CONNECTION, HeaderValue};
use axum::http::{HeaderName, Request, Response, StatusCode, Version};
use axum::response::IntoResponse;
use blobgate::contract::header;
use connections::{CloseReason, ConnectionSlot, ConnectionTable, GuardedBody, RequestGuard};
pub(crate) use descriptors::{Descriptors, raise_limit};
pub(crate) use host::{is_local, split_port};
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tap::ResetTap;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Twice the headers that can come: the edge's `max_headers_count` of 100, the gate's own 21 (`blobgate-*`, Standard Webhooks'
/// three and `idempotency-key`), and about 10 of Envoy's.
const MAX_HEADERS: usize = 2 * (100 + 21 + 10);
/// The edge takes 32 KiB of headers (`max_request_headers_kb`), Envoy's default is 60; the gate's own take up to 8.
const MAX_HEAD: usize = 128 << 10;
/// What HTTP/2's reader takes before the answer is its own, a 431. The limit that counts is [`MAX_HEAD`], and its answer 503.
const MAX_HEAD_READ: u32 = 1 << 20;
/// HTTP/2 counts each header with so many bytes on top: RFC 9113, section 6.5.2.
const HEADER_OVERHEAD: usize = 32;
/// Once the listener is closed, a request that is on its way on an open connection has so long.
const LAST_REQUESTS: Duration = Duration::from_millis(100);
/// And on one that has to make room, so long.
const MOMENT: Duration = Duration::from_millis(20);
/// Where no descriptor is left, connections make room that were idle for so long.
const IDLE: Duration = Duration::from_secs(1);
/// A connection that is still busy after the listener has closed has so long.
const LAST_CONNECTIONS: Duration = Duration::from_millis(1_500);
/// Before the next `accept` after one that failed.
const PAUSE: Duration = Duration::from_millis(100);

/// The reason code of an answer that is not 200.
pub(crate) const REASON: HeaderName = HeaderName::from_static(header::INBOX_REASON);
/// The reason code of a request that cannot be read.
const NOT_HTTP: &str = "not-http";

/// Which listener it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListenerName {
    Receive,
    Admin,
}

impl ListenerName {
    pub(crate) const fn text(self) -> &'static str {
        match self {
            ListenerName::Receive => "receive",
            ListenerName::Admin => "admin",
        }
    }
}

/// One listener, and what it serves.
pub(crate) struct HttpListener {
    pub(crate) name: ListenerName,
    pub(crate) listener: TcpListener,
    pub(crate) routes: Router,
    pub(crate) descriptors: Arc<Descriptors>,
    pub(crate) counters: ListenerMetrics,
    /// The inbox is asked to end: an answer over HTTP/1.1 is the last on its connection.
    pub(crate) ending: CancellationToken,
    /// The listener is to close.
    pub(crate) closing: CancellationToken,
}

/// What its connections share.
struct ListenerState {
    name: ListenerName,
    http: Builder<TokioExecutor>,
    service: TowerToHyperService<Router>,
    descriptors: Arc<Descriptors>,
    counters: ListenerMetrics,
    refused_log: LineLimit,
    room_log: LineLimit,
    accept_log: LineLimit,
    ending: CancellationToken,
    closing: CancellationToken,
    open: ConnectionTable,
}

impl HttpListener {
    /// Serves until it is to close, then what has come by then.
    pub(crate) async fn serve(self) {
        let shared = Arc::new(ListenerState {
            name: self.name,
            http: http(),
            service: TowerToHyperService::new(self.routes),
            open: ConnectionTable::new(self.descriptors.connections(self.name)),
            descriptors: self.descriptors,
            counters: self.counters,
            refused_log: LineLimit::default(),
            room_log: LineLimit::of_one(),
            accept_log: LineLimit::of_one(),
            ending: self.ending,
            closing: self.closing,
        });
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = shared.closing.cancelled() => break,
                Some(_ended) = connections.join_next() => continue,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let Some(opened) = shared.room().await else { break };
                    connections.spawn(Arc::clone(&shared).converse(stream, opened));
                }
                Err(error) => {
                    if let Some((stream, opened)) = shared.not_accepted(&error, &self.listener).await {
                        connections.spawn(Arc::clone(&shared).converse(stream, opened));
                    }
                }
            }
        }
        // What the kernel has accepted for it would be reset.
        while let Some(Ok((stream, _))) = ready(self.listener.accept()).await {
            let Some(opened) = shared.open.enter() else { break };
            connections.spawn(Arc::clone(&shared).converse(stream, opened));
        }
        drop(self.listener);
        let last = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_CONNECTIONS, last).await.is_err() {
            tracing::warn!(
                listener = shared.name.text(),
                "listener={}: connections that did not end in time are cut",
                shared.name.text()
            );
        }
    }
}

fn http() -> Builder<TokioExecutor> {
    let mut http = Builder::new(TokioExecutor::new());
    http.http1().max_headers(MAX_HEADERS).max_buf_size(MAX_HEAD);
    http.http2().max_header_list_size(MAX_HEAD_READ);
    http
}

/// What is there at once, or nothing.
async fn ready<T>(future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = future => Some(done),
        () = std::future::ready(()) => None,
    }
}

impl ListenerState {
    /// A place for another connection: the longest idle one makes room. None once the listener is to close.
    async fn room(&self) -> Option<ConnectionSlot> {
        loop {
            if let Some(opened) = self.open.enter() {
                return Some(opened);
            }
            let ended = self.open.end_idlest(Duration::ZERO);
            self.counters.ended(self.name.text(), "room", ended);
            let what = match ended {
                0 => "all are busy or about to end, and new ones wait",
                _ => "the longest idle ones are closed for new ones",
            };
            if self.room_log.passes() {
                tracing::warn!(
                    listener = self.name.text(),
                    "listener={} has {} connections, its bound: {what}; a higher limit of file descriptors raises it",
                    self.name.text(),
                    self.open.bound()
                );
            }
            tokio::select! {
                () = self.closing.cancelled() => return None,
                () = self.open.left() => (),
                () = tokio::time::sleep(MOMENT) => (),
            }
        }
    }

    /// Says why nothing was accepted, and waits. Without a descriptor, the admin listener takes one of its reserve.
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
        if self.accept_log.passes() {
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
                    return self.open.enter().map(|opened| (stream, opened.with(reserve)));
                }
            }
            self.counters.ended(self.name.text(), "room", self.open.end_idlest(IDLE));
        }
        tokio::time::sleep(PAUSE).await;
        None
    }

    async fn converse(self: Arc<Self>, stream: TcpStream, opened: ConnectionSlot) {
        let _nodelay = stream.set_nodelay(true);
        let refused = {
            let shared = Arc::clone(&self);
            move || shared.refused("a target or a header that HTTP/2 does not allow")
        };
        let (service, counted) = (Arc::clone(&self), opened.clone_handle());
        let service = service_fn(move |request| service.answer(request, counted.begin()));
        let mut connection =
            pin!(self.http.serve_connection(TokioIo::new(ResetTap::new(stream, refused)), service));
        let why = tokio::select! {
            ended = &mut connection => return self.ended(ended),
            why = opened.is_over(&self.closing) => why,
        };
        if let Some(why) = why.counted() {
            self.counters.ended(self.name.text(), why, 1);
        }
        // A request that is on its way is answered.
        let moment = if why == CloseReason::Closing { LAST_REQUESTS } else { MOMENT };
        if let Ok(ended) = tokio::time::timeout(moment, &mut connection).await {
            return self.ended(ended);
        }
        connection.as_mut().graceful_shutdown();
        // What has begun is answered; what has not is cut.
        while let Err(_later) = tokio::time::timeout(LAST_REQUESTS, &mut connection).await {
            if !opened.is_busy() || why == CloseReason::Stalled {
                return;
            }
        }
    }

    fn answer(
        &self,
        request: Request<Incoming>,
        guard: RequestGuard,
    ) -> impl Future<Output = Result<Response<GuardedBody>, Infallible>> + use<> {
        let (is_ending, version) = (self.ending.clone(), request.version());
        let is_too_large = version == Version::HTTP_2 && size(&request) > MAX_HEAD;
        if is_too_large {
            self.refused(&too_large());
        }
        let answer = self.service.call(request.map(Body::new));
        async move {
            let mut response = if is_too_large {
                (StatusCode::SERVICE_UNAVAILABLE, [(REASON, HeaderValue::from_static(NOT_HTTP))])
                    .into_response()
            } else {
                answer.await?
            };
            // HTTP/2 has its own way to say it.
            if version == Version::HTTP_11 && (is_ending.is_cancelled() || guard.is_last()) {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response.map(|body| GuardedBody::new(body, guard)))
        }
    }

    /// Counts a connection that ended with a request that could not be read.
    fn ended(&self, ended: Result<(), Box<dyn Error + Send + Sync>>) {
        let Err(error) = ended else { return };
        let Some(error) = error.downcast_ref::<hyper::Error>() else { return };
        if error.is_parse_too_large() {
            self.refused(&too_large());
        } else if error.is_parse() || is_of_frames(error) {
            self.refused("a target or a header that HTTP does not allow");
        }
    }

    fn refused(&self, what: &str) {
        self.counters.refused(NOT_HTTP);
        if self.refused_log.passes() {
            tracing::warn!(
                code = NOT_HTTP,
                listener = self.name.text(),
                "refused code={NOT_HTTP} listener={}: it cannot be read: {what}",
                self.name.text()
            );
        }
    }
}

fn too_large() -> String {
    format!("a head over {} KiB, or more than {MAX_HEADERS} headers", MAX_HEAD / 1024)
}

/// Whether frames of HTTP/2 were wrong, and nothing else: a client that leaves is no error.
fn is_of_frames(error: &hyper::Error) -> bool {
    let is_of_connection = error.is_incomplete_message()
        || error.is_closed()
        || error.is_canceled()
        || error.is_timeout()
        || error.is_user()
        || error.is_body_write_aborted();
    !is_of_connection && error.source().is_some_and(|source| source.downcast_ref::<io::Error>().is_none())
}

/// Names and values, as HTTP/2 counts them.
fn size<T>(request: &Request<T>) -> usize {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    request.headers().iter().fold(target, |size, (name, value)| {
        size.saturating_add(name.as_str().len()).saturating_add(value.len()).saturating_add(HEADER_OVERHEAD)
    })
}
