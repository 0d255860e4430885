//! What was kept and holds now: it is decided on anew, as if it had come just now, and what was kept of it is ended.

use crate::arrival::{Arrival, read_headers};
use crate::commit::Committer;
use crate::metrics::Metrics;
use crate::space::Space;
use crate::store::{Error, Outcome, Releasable, Session, Store};
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
    pub(crate) store: Store,
    pub(crate) committer: Committer,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) space: Arc<Space>,
}

/// Why something stays kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotReleased {
    #[error(transparent)]
    Store(#[from] Error),
    #[error("{0}")]
    NotNow(String),
}

/// Of a released entry.
const EXPLAINED: &str = "released: its generation is expected of its job";
const CONFIRMED: &str = "released: the provider says the same";

impl Releaser {
    /// Stores an arrival as the receive listener would.
    pub(super) async fn store(&self, arrival: Arrival) -> Result<Outcome, String> {
        self.space.check(arrival.verdict).map_err(|full| full.to_string())?;
        let outcome = self.committer.store(arrival).await.map_err(|error| error.to_string())?;
        if let Outcome::Kept(reason) = &outcome {
            self.metrics.kept(reason);
        }
        Ok(outcome)
    }

    /// Releases an entry that an expectation explains. Returns whether it was still kept.
    pub(crate) async fn explained(&self, session: &mut Session, id: i64) -> Result<bool, NotReleased> {
        let Some(kept) = self.store.releasable(id).await? else { return Ok(false) };
        let headers = read_headers(&kept.headers);
        self.release(session, id, read(kept, &headers)?, EXPLAINED).await?;
        Ok(true)
    }

    /// Releases an entry of which the provider's answer says the same. Returns whether it does.
    pub(super) async fn confirmed(
        &self,
        session: &mut Session,
        id: i64,
        dialect: Dialect,
        answer: &[u8],
    ) -> Result<bool, NotReleased> {
        let Some(kept) = self.store.releasable(id).await? else { return Ok(false) };
        let Some(event) = event(dialect, &kept.body) else { return Ok(false) };
        if confirm::read(dialect, &event, b"200", answer) != confirm::Outcome::Confirmed {
            return Ok(false);
        }
        let headers = match &kept.judged {
            Some(judged) => read_headers(judged),
            None => accepted(read_headers(&kept.headers), &event)?,
        };
        self.release(session, id, read(kept, &headers)?, CONFIRMED).await?;
        Ok(true)
    }

    /// Stores what was kept as an arrival of now, and ends it: what dies in between is a repeat the next time. Returns what
    /// has become of the arrival; where that is kept too, for another reason, it stands for both.
    pub(crate) async fn release(
        &self,
        session: &mut Session,
        id: i64,
        arrival: Arrival,
        why: &str,
    ) -> Result<Outcome, NotReleased> {
        let not_now = |why: String| NotReleased::NotNow(why);
        let outcome = self.store(arrival).await.map_err(not_now)?;
        if let Outcome::TokenFull | Outcome::QuarantineFull = outcome {
            return Err(not_now("the quarantine has no room for what it contradicts".to_owned()));
        }
        session.release(id, why).await?;
        Ok(outcome)
    }
}

/// What was kept, as it comes now.
fn read(kept: Releasable, headers: &HeaderMap) -> Result<Arrival, NotReleased> {
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
