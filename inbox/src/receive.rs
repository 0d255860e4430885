//! The receive listener, for the gate only. It answers 200 once an event is stored, and 503 otherwise.

use crate::arrival::{Arrival, ArrivalError};
use crate::commit::{CommitError, Committer};
use crate::failpoint::die_at;
use crate::handles::InboxHandles;
use crate::health::{Fault, StandingFault, now};
use crate::key::{SignatureError, WebhookKeys};
use crate::line_limit::permits;
use crate::listen::{NOT_HTTP, REASON, is_local, split_port};
use crate::metrics::quarantined_route;
use crate::request_ids::safe_request_id;
use crate::signatures::Signatures;
use crate::space::Full;
use crate::store::ArrivalOutcome;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use blobgate::contract::header::WEBHOOK_ID;
use blobgate::contract::token::is_name;
use blobgate::policy::Verdict;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use serde_json::json;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::time::Instant;

/// The largest `max_body_bytes` of the gate.
const MAX_BODY: usize = 1_000_000;
/// The gate buffers a whole body before it sends it, so a body takes no longer.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// The body of each refusal. The gate's public client gets it, so the cause is in the log alone.
const NOT_STORED: &str = "The event is not stored. Send it again.\n";

pub(crate) struct Receiver {
    pub(crate) committer: Committer,
    pub(crate) shared: InboxHandles,
    /// Every request needs a signature of one of these keys.
    pub(crate) keys: Option<WebhookKeys>,
    pub(crate) signatures: Arc<Signatures>,
    /// The listener's port, if its address is a loopback address.
    pub(crate) local_port: Option<u16>,
}

pub(crate) fn routes(receiver: Arc<Receiver>) -> Router {
    let of_store = Fault::ALL.into_iter().filter(|fault| fault.is_of_store()).map(Fault::code);
    receiver.shared.metrics.create_refused(REFUSALS.into_iter().chain([NOT_HTTP]).chain(of_store));
    Router::new().fallback(receive).with_state(receiver)
}

async fn receive(State(receiver): State<Arc<Receiver>>, request: Request) -> Response {
    let request_id = safe_request_id(request.headers()).map(str::to_owned);
    match receiver.receive(request).await {
        Ok(received) => {
            die_at!("after-commit");
            receiver.shared.metrics.received(&received.route, received.what);
            receiver.shared.refusals.stored();
            // The body of the example in the provider's documentation.
            Json(json!({"status": "received"})).into_response()
        }
        Err(refusal) => {
            let code = refusal.code();
            receiver.shared.metrics.refused(code);
            if refusal.is_of_inbox() {
                receiver.shared.incidents.refused(code);
            }
            if refusal.is_of_delivery() {
                receiver.shared.refusals.refused(code, now());
            }
            if matches!(refusal, ReceiveRefusal::Full(_)) {
                receiver.shared.space.note(&receiver.shared.faults);
            }
            if permits(("refused", code)) {
                let request_id = request_id.as_deref();
                let id = request_id.map(|id| format!(" request_id={id}")).unwrap_or_default();
                tracing::warn!(reason = code, request_id, "refused reason={code}{id}: {refusal}");
            }
            let headers = HeaderMap::from_iter([(REASON, HeaderValue::from_static(code))]);
            (StatusCode::SERVICE_UNAVAILABLE, headers, NOT_STORED).into_response()
        }
    }
}

/// A delivery that the inbox answers 200.
struct ReceivedDelivery {
    route: String,
    /// `new`, `repeated` or `quarantined`.
    what: &'static str,
}

/// The codes of [`ReceiveRefusal`], except those of a fault of the store.
pub(crate) const REFUSALS: [&str; 9] = [
    "method",
    "host",
    "body",
    "signature",
    Fault::ClockOffset.code(),
    "not-ours",
    "full",
    "token-full",
    "not-stored",
];

/// Why a request is answered 503.
#[derive(Debug, Error)]
enum ReceiveRefusal {
    #[error("the method is not POST: the gate only sends POST")]
    Method,
    #[error(
        "the Host header is a name with this listener's port, as in a request from a web page: use the IP address, or set a signing key"
    )]
    Host,
    #[error("the body did not end within {} s", BODY_TIMEOUT.as_secs())]
    SlowBody,
    #[error("cannot read the body: {0}")]
    Body(Box<dyn Error + Send + Sync>),
    #[error(transparent)]
    NotSigned(#[from] SignatureError),
    #[error("the webhook-id belongs to another event, so the signature does not cover this one")]
    OtherId,
    #[error(transparent)]
    NotOurs(#[from] ArrivalError),
    #[error("{}", .0.detail)]
    Fault(StandingFault),
    #[error(transparent)]
    Full(#[from] Full),
    #[error("the quarantine has no room for more entries of this token: `blobgate inbox ls` lists them")]
    TokenFull,
    #[error(transparent)]
    NotStored(#[from] CommitError),
}

impl ReceiveRefusal {
    /// The reason code, in the log, the counter and [`REASON`].
    fn code(&self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Host => "host",
            Self::SlowBody | Self::Body(_) => "body",
            Self::NotSigned(SignatureError::OutOfTime(_)) => Fault::ClockOffset.code(),
            Self::NotSigned(SignatureError::NoSignature | SignatureError::OtherKey) | Self::OtherId => {
                "signature"
            }
            Self::NotOurs(_) => "not-ours",
            Self::Fault(fault) => fault.reason,
            Self::Full(_) => "full",
            Self::TokenFull => "token-full",
            Self::NotStored(_) => "not-stored",
        }
    }
}

impl ReceiveRefusal {
    /// Whether the gate can have sent the request: it only sends POST, and not as a page in a browser.
    fn is_of_delivery(&self) -> bool {
        !matches!(self, Self::Method | Self::Host)
    }

    /// Whether the cause is here. Any client of the port can cause the others, and would use up the hour of a notification.
    fn is_of_inbox(&self) -> bool {
        match self {
            Self::Fault(_) | Self::Full(_) | Self::TokenFull | Self::NotStored(_) => true,
            Self::NotSigned(error) => matches!(error, SignatureError::OutOfTime(_)),
            Self::Method | Self::Host | Self::SlowBody | Self::Body(_) | Self::OtherId | Self::NotOurs(_) => {
                false
            }
        }
    }
}

impl Receiver {
    async fn receive(&self, request: Request) -> Result<ReceivedDelivery, ReceiveRefusal> {
        if request.method() != Method::POST {
            return Err(ReceiveRefusal::Method);
        }
        let (head, body) = request.into_parts();
        if self.keys.is_none() && self.is_page(&head.headers, head.uri.authority()) {
            return Err(ReceiveRefusal::Host);
        }
        let body = read(body).await?;
        if let Some(keys) = &self.keys {
            let verified = keys.verify(&body, &head.headers);
            self.signatures.note(&verified, Instant::now());
            verified?;
        }
        let arrival = Arrival::read(head.uri.path(), &head.headers, body)?;
        // A name is stored, and is a label of metrics.
        if !is_name(&arrival.hook) {
            return Err(ArrivalError::Header.into());
        }
        // The signature covers webhook-id, but not the gate headers: both must name one event.
        if self.keys.is_some() && !arrival.fits(head.headers.get(WEBHOOK_ID)) {
            return Err(ReceiveRefusal::OtherId);
        }
        // A commit finds out whether files were replaced, so that its answer comes after the rescue.
        if let Some(fault) = self.shared.faults.get(Fault::StoreDamaged) {
            return Err(ReceiveRefusal::Fault(fault));
        }
        self.shared.space.check(arrival.verdict)?;
        let quarantined = quarantined_route(&arrival.hook);
        let route = match arrival.verdict {
            Verdict::Quarantined => quarantined.clone(),
            Verdict::Accepted | Verdict::Observed => arrival.route(),
        };
        let outcome = self.committer.store(arrival).await;
        match outcome.map_err(|error| self.not_stored(error))? {
            ArrivalOutcome::Waits(route) => Ok(ReceivedDelivery { route, what: "new" }),
            ArrivalOutcome::Repeated => Ok(ReceivedDelivery { route, what: "repeated" }),
            ArrivalOutcome::Quarantined(cause) => {
                self.shared.metrics.quarantined(&cause.reason);
                Ok(ReceivedDelivery { route: quarantined, what: "quarantined" })
            }
            ArrivalOutcome::TokenFull => Err(ReceiveRefusal::TokenFull),
            ArrivalOutcome::QuarantineFull => Err(Full::Quarantine.into()),
        }
    }

    /// Whether a web page in a browser on this machine can have sent the request: such a page may set any header. Under the
    /// listener's address a browser sends a preflight first (CORS), which is refused. The gate forwards the Host header of the
    /// edge, which has another port.
    fn is_page(&self, headers: &HeaderMap, authority: Option<&Authority>) -> bool {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let host = host.or(authority.map(Authority::as_str)).unwrap_or_default();
        self.local_port.is_some() && split_port(host).1 == self.local_port && !is_local(host)
    }

    /// A standing fault of the store is a better reason than the error.
    fn not_stored(&self, error: CommitError) -> ReceiveRefusal {
        match self.shared.faults.of_store() {
            Some(fault) => ReceiveRefusal::Fault(fault),
            None => error.into(),
        }
    }
}

async fn read(body: Body) -> Result<Bytes, ReceiveRefusal> {
    let whole = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY).collect()).await;
    let whole = whole.map_err(|_| ReceiveRefusal::SlowBody)?;
    whole.map(|whole| whole.to_bytes()).map_err(ReceiveRefusal::Body)
}
