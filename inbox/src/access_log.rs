//! The access log listener: Envoys report their refusals here, by gRPC.
//!
//! It is never in the way of a delivery. Envoy drops entries while the inbox does not read them, and the inbox answers nothing
//! before the end of a stream. Any client of the listener can forge refusals, so its address is a loopback address by default.

mod message;
mod read;

use crate::handles::InboxHandles;
use crate::line_limit::permits;
use crate::traffic::TrafficEvent;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use blobgate::Reason;
use message::{AccessLogMessage, AccessLogResponse, HttpLogEntry};
use prost::Message;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::server::{ClientStreamingService, Grpc};
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;

/// The most streams at once: an Envoy has one for each worker, and 16 Envoys with 16 workers are many.
const MAX_STREAMS: usize = 256;
/// The largest message. Envoy sends one past 16 KiB (`buffer_size_bytes`), with a last entry of up to 32 KiB of headers
/// (`max_request_headers_kb`), and in the first one its node: 62 KB in Envoy 1.40, which lists its extensions.
const MAX_MESSAGE: usize = 256 << 10;
/// A stream ends after this time, and Envoy begins another with its next message. So a dead or hostile client does not use up
/// the streams.
const MAX_AGE: Duration = Duration::from_secs(100);
/// After this many entries a stream lets other tasks run.
const ENTRIES_AT_ONCE: usize = 256;

#[derive(Clone)]
struct AccessLogService {
    shared: InboxHandles,
    streams: Arc<Semaphore>,
    closing: CancellationToken,
}

pub(crate) fn routes(shared: &InboxHandles, closing: &CancellationToken) -> Router {
    let service = AccessLogService {
        shared: shared.clone(),
        streams: Arc::new(Semaphore::new(MAX_STREAMS)),
        closing: closing.clone(),
    };
    Router::new()
        .route("/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs", post(receive))
        .with_state(service)
}

async fn receive(State(service): State<AccessLogService>, request: Request) -> Response {
    // A page in a browser cannot send HTTP/2 without TLS.
    let kind = request.headers().get(header::CONTENT_TYPE).map(|kind| kind.as_bytes());
    if request.version() != Version::HTTP_2 || !kind.is_some_and(|kind| kind.starts_with(b"application/grpc"))
    {
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, "This listener takes gRPC of Envoy alone.\n")
            .into_response();
    }
    // It takes no compressed message: Envoy sends none, and a small one can become large.
    let mut grpc = Grpc::new(ProstCodec::default()).max_decoding_message_size(MAX_MESSAGE);
    grpc.client_streaming(service, request).await.map(axum::body::Body::new)
}

impl ClientStreamingService<AccessLogMessage> for AccessLogService {
    type Response = AccessLogResponse;
    type Future = Pin<Box<dyn Future<Output = Result<tonic::Response<AccessLogResponse>, Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<Streaming<AccessLogMessage>>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            let Ok(_slot) = Arc::clone(&service.streams).try_acquire_owned() else {
                return Err(Status::resource_exhausted("the inbox has its most streams"));
            };
            let read = tokio::select! {
                read = service.read(request.into_inner()) => read,
                () = service.closing.cancelled() => Ok(()),
                () = tokio::time::sleep(MAX_AGE) => Ok(()),
            };
            if let Err(status) = &read
                && permits(("access-log", ""))
            {
                // The text of a status may be the client's.
                tracing::warn!("cannot read a message of the access log: {:?}", status.code());
            }
            read.map(|()| tonic::Response::new(AccessLogResponse {}))
        })
    }
}

impl AccessLogService {
    async fn read(&self, mut messages: Streaming<AccessLogMessage>) -> Result<(), Status> {
        let mut gate = None;
        loop {
            let message = match messages.message().await {
                Ok(Some(message)) => message,
                Ok(None) => return Ok(()),
                // An Envoy that ends cuts its stream.
                Err(status) if matches!(status.code(), tonic::Code::Cancelled | tonic::Code::Unknown) => {
                    return Ok(());
                }
                Err(status) => return Err(status),
            };
            // Only the first message of a stream has it.
            if let Some(node) = message.identifier.and_then(|identifier| identifier.node) {
                gate = read::gate(&node.id);
            }
            let entries = message.http_logs.map(|logs| logs.log_entry).unwrap_or_default();
            for (number, entry) in entries.into_iter().enumerate() {
                if number.checked_rem(ENTRIES_AT_ONCE) == Some(ENTRIES_AT_ONCE - 1) {
                    tokio::task::yield_now().await;
                }
                let entry = HttpLogEntry::decode(entry)
                    .map_err(|_| Status::invalid_argument("an entry is not of Envoy's access log"))?;
                self.note(entry, gate.as_ref());
            }
        }
    }

    fn note(&self, entry: HttpLogEntry, gate: Option<&Arc<str>>) {
        let Some((key, record)) = read::read(entry, gate) else { return };
        // The inbox has counted an answer that it, or a service, gave.
        if *key.reason != *Reason::UpstreamError.code() {
            self.shared.metrics.traffic.count(TrafficEvent::GateRefused);
        }
        self.shared.gate_refusals.add(key, record);
    }
}
