//! The requests of one connection.

use super::connections::{CloseReason, ConnectionSlot, GuardedBody, RequestGuard};
use super::tap::ResetTap;
use super::{ListenerName, ListenerState, REASON};
use crate::line_limit::permits;
use axum::body::Body;
use axum::http::header::{CONNECTION, HeaderValue};
use axum::http::{Request, Response, StatusCode, Version};
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

/// Twice the possible headers: the edge's `max_headers_count` of 100, the gate's own 21 (`blobgate-*`, Standard Webhooks' three
/// and `idempotency-key`), and about 10 of Envoy's.
pub const MAX_HEADERS: usize = 2 * (100 + 21 + 10);
/// The most bytes of a head. The edge takes 32 KiB (`max_request_headers_kb`), Envoy's default is 60; the gate adds up to 8.
pub const MAX_HEAD: usize = 128 << 10;
/// Above this size HTTP/2's reader answers 431 itself. Between [`MAX_HEAD`] and this size the answer is 503.
const MAX_HEAD_READ: u32 = 1 << 20;
/// HTTP/2 adds this many bytes to the size of each header: RFC 9113, section 6.5.2.
const HEADER_OVERHEAD: usize = 32;
/// Once the listener is closed, how long an open connection waits for a request in transit.
const CLOSING_PAUSE: Duration = Duration::from_millis(100);
/// The same for a connection that makes room.
const ROOM_PAUSE: Duration = Duration::from_millis(20);

/// The reason code of a request that cannot be read.
pub(crate) const NOT_HTTP: &str = "not-http";
const TOO_LARGE: &str = "its head is over 128 KiB, or has more than 262 headers";

pub(super) fn http() -> Builder<TokioExecutor> {
    let mut http = Builder::new(TokioExecutor::new());
    http.http1().max_headers(MAX_HEADERS).max_buf_size(MAX_HEAD);
    http.http2().max_header_list_size(MAX_HEAD_READ);
    http
}

impl ListenerState {
    pub(super) async fn converse(self: Arc<Self>, stream: TcpStream, slot: ConnectionSlot) {
        let _nodelay = stream.set_nodelay(true);
        let refused = {
            let state = Arc::clone(&self);
            move || state.refused("its target or a header is invalid in HTTP/2")
        };
        let (state, requests) = (Arc::clone(&self), slot.handle());
        let service = service_fn(move |request| state.answer(request, requests.begin()));
        let mut connection =
            pin!(self.http.serve_connection(TokioIo::new(ResetTap::new(stream, refused)), service));
        let why = tokio::select! {
            ended = &mut connection => return self.ended(ended),
            why = slot.is_over(&self.closing) => why,
        };
        if let Some(why) = why.counted() {
            self.counters.ended(self.name.text(), why, 1);
        }
        // A request in transit still gets an answer.
        let pause = if why == CloseReason::Closing { CLOSING_PAUSE } else { ROOM_PAUSE };
        if let Ok(ended) = tokio::time::timeout(pause, &mut connection).await {
            return self.ended(ended);
        }
        connection.as_mut().graceful_shutdown();
        // A request that has begun still gets an answer.
        while let Err(_later) = tokio::time::timeout(CLOSING_PAUSE, &mut connection).await {
            if !slot.is_busy() || why == CloseReason::Stalled {
                return;
            }
        }
    }

    fn answer(
        &self,
        request: Request<Incoming>,
        guard: RequestGuard,
    ) -> impl Future<Output = Result<Response<GuardedBody>, Infallible>> + use<> {
        let (ending, version) = (self.ending.clone(), request.version());
        let is_too_large = version == Version::HTTP_2 && size(&request) > MAX_HEAD;
        if is_too_large {
            self.refused(TOO_LARGE);
        }
        let answer = self.service.call(request.map(Body::new));
        async move {
            let mut response = if is_too_large {
                (StatusCode::SERVICE_UNAVAILABLE, [(REASON, HeaderValue::from_static(NOT_HTTP))])
                    .into_response()
            } else {
                answer.await?
            };
            // HTTP/2 has GOAWAY for this.
            if version == Version::HTTP_11 && (ending.is_cancelled() || guard.is_last()) {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response.map(|body| GuardedBody::new(body, guard)))
        }
    }

    /// Counts a connection that ended with an unreadable request.
    fn ended(&self, ended: Result<(), Box<dyn Error + Send + Sync>>) {
        let Err(error) = ended else { return };
        let Some(error) = error.downcast_ref::<hyper::Error>() else { return };
        if error.is_parse_too_large() {
            self.refused(TOO_LARGE);
        } else if error.is_parse() || is_of_frames(error) {
            self.refused("its target or a header is invalid in HTTP");
        }
    }

    fn refused(&self, why: &str) {
        if self.name == ListenerName::Receive {
            self.counters.refused(NOT_HTTP);
        }
        if permits((NOT_HTTP, self.name.text())) {
            tracing::warn!(
                reason = NOT_HTTP,
                listener = self.name.text(),
                "refused reason={NOT_HTTP} listener={}: cannot read the request: {why}",
                self.name.text()
            );
        }
    }
}

/// Whether only frames of HTTP/2 were wrong: a client that leaves is not an error.
fn is_of_frames(error: &hyper::Error) -> bool {
    let is_of_connection = error.is_incomplete_message()
        || error.is_closed()
        || error.is_canceled()
        || error.is_timeout()
        || error.is_user()
        || error.is_body_write_aborted();
    !is_of_connection && error.source().is_some_and(|source| source.downcast_ref::<io::Error>().is_none())
}

/// The bytes of names and values, as HTTP/2 counts them.
fn size<T>(request: &Request<T>) -> usize {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    request.headers().iter().fold(target, |size, (name, value)| {
        size.saturating_add(name.as_str().len()).saturating_add(value.len()).saturating_add(HEADER_OVERHEAD)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_names_the_limits() {
        let text = format!("its head is over {} KiB, or has more than {MAX_HEADERS} headers", MAX_HEAD >> 10);
        assert_eq!(TOO_LARGE, text);
    }
}
