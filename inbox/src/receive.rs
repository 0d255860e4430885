//! The receive listener, for the gate only: 200 once it is stored, and 503 for everything else.

use crate::arrival::Arrival;
use crate::clocks::Clocks;
use crate::commit::{Committer, NotStored};
use crate::failpoint::die_at;
use crate::health::Fault;
use crate::key::{Keys, SignatureError};
use crate::listen::{REASON, is_local, split_port};
use crate::log_limit::LogLimit;
use crate::shared::Shared;
use crate::store::Outcome;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use blobgate::contract::header::WEBHOOK_ID;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use serde_json::json;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The gate's own largest `max_body_bytes`.
const LARGEST_BODY: usize = 1_000_000;
/// The gate holds a body whole before it sends it.
const WHOLE_WITHIN: Duration = Duration::from_secs(5);

pub(crate) struct Receiver {
    pub(crate) committer: Committer,
    pub(crate) shared: Shared,
    /// Whose signature everything must have.
    pub(crate) keys: Option<Keys>,
    pub(crate) clocks: Arc<Clocks>,
    pub(crate) log: LogLimit,
    /// The listener's port, if only this machine reaches it.
    pub(crate) local_port: Option<u16>,
}

pub(crate) fn routes(receiver: Arc<Receiver>) -> Router {
    Router::new().fallback(receive).with_state(receiver)
}

async fn receive(State(receiver): State<Arc<Receiver>>, request: Request) -> Response {
    match receiver.receive(request).await {
        Ok(what) => {
            die_at!("after-commit");
            receiver.shared.metrics.received(what);
            // As the provider's page has a receiver answer.
            Json(json!({"status": "received"})).into_response()
        }
        Err(refused) => {
            receiver.shared.metrics.refused(refused.code);
            let Refused { code, why } = refused;
            if receiver.log.passes() {
                tracing::warn!(code, "refused code={code}: {why}");
            }
            let headers = HeaderMap::from_iter([(REASON, HeaderValue::from_static(code))]);
            (StatusCode::SERVICE_UNAVAILABLE, headers, format!("{why}\n")).into_response()
        }
    }
}

struct Refused {
    code: &'static str,
    why: String,
}

impl Refused {
    fn new(code: &'static str, why: impl Display) -> Self {
        Self { code, why: why.to_string() }
    }
}

impl Receiver {
    async fn receive(&self, request: Request) -> Result<&'static str, Refused> {
        if request.method() != Method::POST {
            return Err(Refused::new("method", "only a POST is stored"));
        }
        let (head, body) = request.into_parts();
        if self.keys.is_none() && self.is_page(&head.headers, head.uri.authority()) {
            return Err(Refused::new(
                "host",
                "its host names this listener's port by a name, as a browser does: use its address, or a signing key",
            ));
        }
        let body = read(body).await?;
        if let Some(keys) = &self.keys {
            self.check_signature(keys, &body, &head.headers)?;
        }
        let arrival = Arrival::read(head.uri.path(), &head.headers, body)
            .map_err(|not_ours| Refused::new("not-ours", not_ours))?;
        // A signature covers its id, and not the marks: those must say the same.
        if self.keys.is_some() && !arrival.fits(head.headers.get(WEBHOOK_ID)) {
            return Err(Refused::new("signature", "its webhook-id is another event's"));
        }
        // Files that were replaced are found by the commit: its answer comes after the rescue.
        if let Some(fault) = self.shared.faults.get(Fault::StoreDamaged) {
            return Err(Refused::new(fault.reason, fault.detail));
        }
        self.shared.space.check(arrival.verdict).map_err(|full| Refused::new("full", full))?;
        let outcome = self.committer.store(arrival).await;
        match outcome.map_err(|error| self.not_stored(error))? {
            Outcome::Waits(_) => Ok("new"),
            Outcome::Repeated => Ok("repeated"),
            Outcome::Quarantined(reason) => {
                self.shared.metrics.quarantined(&reason);
                Ok("quarantined")
            }
            Outcome::TokenFull => Err(Refused::new(
                "token-full",
                "its token has as much in quarantine as one may: see `blobgate inbox ls`",
            )),
            Outcome::QuarantineFull => {
                Err(Refused::new("full", "the quarantine has reached its share of the store"))
            }
        }
    }
}

impl Receiver {
    /// Whether it can come from a page of a browser on this machine, whose name leads here: such a page may set any header.
    /// One that comes by the address has to ask first (CORS), and is refused. The gate sends the edge's own name on.
    fn is_page(&self, headers: &HeaderMap, authority: Option<&Authority>) -> bool {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let host = host.or(authority.map(Authority::as_str)).unwrap_or_default();
        self.local_port.is_some() && split_port(host).1 == self.local_port && !is_local(host)
    }

    fn check_signature(&self, keys: &Keys, body: &[u8], headers: &HeaderMap) -> Result<(), Refused> {
        let verified = keys.verify(body, headers);
        self.clocks.note(&verified, Instant::now());
        verified.map(|_| ()).map_err(|error| {
            let code = match error {
                SignatureError::NoSignature => "signature",
                SignatureError::OutOfTime(_) => Fault::ClockOffset.code(),
            };
            Refused::new(code, error)
        })
    }

    /// The standing fault of the store is the reason, where there is one.
    fn not_stored(&self, error: NotStored) -> Refused {
        match self.shared.faults.of_store() {
            Some(fault) => Refused::new(fault.reason, fault.detail),
            None => Refused::new("not-stored", error),
        }
    }
}

async fn read(body: Body) -> Result<Bytes, Refused> {
    let whole = tokio::time::timeout(WHOLE_WITHIN, Limited::new(body, LARGEST_BODY).collect()).await;
    let whole = whole.map_err(|_| Refused::new("body", "it does not come to its end"))?;
    whole.map(|whole| whole.to_bytes()).map_err(|error| Refused::new("body", error))
}
