//! What was kept and holds now: in one transaction it is decided on anew, as if it had come just now, and ended as kept.

use crate::arrival::{Arrival, read_headers};
use crate::commit::Committer;
use crate::deliver::Wake;
use crate::metrics::Metrics;
use crate::space::Space;
use crate::store::{Outcome, Quarantined, Store, StoreError, StoreHandle};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use blobgate::confirm;
use blobgate::dialect::Dialect;
use blobgate::event::Event;
use blobgate::json;
use blobgate::policy::{Proof, Verdict};
use std::sync::Arc;

/// What stores again, through the same transaction as any arrival.
#[derive(Clone)]
pub(crate) struct Releaser {
    pub(crate) store: StoreHandle,
    pub(crate) committer: Committer,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) space: Arc<Space>,
    pub(crate) wake: Arc<Wake>,
}

/// Why something stays kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotReleased {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    NotNow(String),
}

/// Of an entry that was to be released, and has gone on or was dropped meanwhile.
pub(crate) const NOT_KEPT: &str = "it is not kept any more";
/// Of a released entry.
const EXPLAINED: &str = "released: its generation is expected of its job";
const CONFIRMED: &str = "released: the provider says the same";

impl Releaser {
    /// Stores what nobody sent, as the receive listener would.
    pub(super) async fn store(&self, arrival: Arrival) -> Result<Outcome, String> {
        self.space.check(arrival.verdict).map_err(|full| full.to_string())?;
        let outcome = self.committer.store(arrival).await.map_err(|error| error.to_string())?;
        if let Outcome::Quarantined(reason) = &outcome {
            self.metrics.quarantined(reason);
        }
        Ok(outcome)
    }

    /// Releases an entry that an expectation explains. Returns whether it goes on.
    pub(crate) async fn explained(&self, store: &dyn Store, id: i64) -> Result<bool, NotReleased> {
        let Some(kept) = self.store.quarantined(id).await? else { return Ok(false) };
        let headers = read_headers(&kept.headers);
        Ok(self.release(store, id, &read(kept, &headers)?, EXPLAINED).await?.is_ok())
    }

    /// Releases an entry of which the provider's answer says the same. Returns whether it goes on.
    pub(super) async fn confirmed(
        &self,
        store: &dyn Store,
        id: i64,
        dialect: Dialect,
        answer: &[u8],
    ) -> Result<bool, NotReleased> {
        let Some(kept) = self.store.quarantined(id).await? else { return Ok(false) };
        let Some(event) = event(dialect, &kept.body) else { return Ok(false) };
        if confirm::read(dialect, &event, b"200", answer) != confirm::Outcome::Confirmed {
            return Ok(false);
        }
        let headers = match &kept.reevaluated {
            Some(headers) => read_headers(headers),
            None => accepted(read_headers(&kept.headers), &event)?,
        };
        Ok(self.release(store, id, &read(kept, &headers)?, CONFIRMED).await?.is_ok())
    }

    /// Has a kept entry go on as this arrival, or says why it stays.
    pub(crate) async fn release(
        &self,
        store: &dyn Store,
        id: i64,
        arrival: &Arrival,
        why: &str,
    ) -> Result<Result<(), String>, NotReleased> {
        Ok(goes_on(self.decide(store, id, arrival, why).await?))
    }

    /// The same, with what was decided; nothing where it is not kept any more.
    pub(crate) async fn decide(
        &self,
        store: &dyn Store,
        id: i64,
        arrival: &Arrival,
        why: &str,
    ) -> Result<Option<Outcome>, NotReleased> {
        self.space.check(arrival.verdict).map_err(|full| NotReleased::NotNow(full.to_string()))?;
        let outcome = store.release(id, arrival, why).await?;
        if let Some(outcome @ Outcome::Waits(route)) = &outcome {
            self.space.add(arrival, outcome);
            self.wake.up([route.clone()]);
        }
        Ok(outcome)
    }
}

/// Whether an entry that was to be released goes on, or why it stays.
pub(crate) fn goes_on(outcome: Option<Outcome>) -> Result<(), String> {
    match outcome {
        Some(Outcome::Waits(_) | Outcome::Repeated) => Ok(()),
        Some(Outcome::Quarantined(reason)) => Err(reason.to_string()),
        Some(Outcome::TokenFull | Outcome::QuarantineFull) => Err("the quarantine is full".to_owned()),
        None => Err(NOT_KEPT.to_owned()),
    }
}

/// What was kept, as it comes now.
fn read(kept: Quarantined, headers: &HeaderMap) -> Result<Arrival, NotReleased> {
    let path = String::from_utf8_lossy(&kept.path);
    Arrival::read(&path, headers, kept.body.into()).map_err(|error| NotReleased::NotNow(error.to_string()))
}

/// The headers of what was kept only because the provider could not be asked.
fn accepted(mut headers: HeaderMap, event: &Event) -> Result<HeaderMap, NotReleased> {
    headers.remove("blobgate-reason");
    headers.remove("blobgate-claimed-event");
    let proofs = match headers.get("blobgate-proofs").and_then(|proofs| proofs.to_str().ok()) {
        Some(proofs) => format!("{proofs},{}", Proof::Confirmed.name()),
        None => Proof::Confirmed.name().to_owned(),
    };
    for (name, value) in [
        ("blobgate-verdict", Verdict::Accepted.name()),
        ("blobgate-event", event.kind.name()),
        ("blobgate-proofs", &proofs),
    ] {
        let value = HeaderValue::try_from(value).map_err(|error| NotReleased::NotNow(error.to_string()))?;
        headers.insert(HeaderName::from_static(name), value);
    }
    Ok(headers)
}

/// What a kept body says.
fn event(dialect: Dialect, body: &[u8]) -> Option<Event> {
    let payload = json::parse(body, crate::arrival::MAX_DEPTH, dialect.known()).ok()?;
    blobgate::event::check(dialect.read(&payload).ok()?).ok()
}
