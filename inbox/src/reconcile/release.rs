//! Releases a quarantined entry: one transaction decides on it as on a new arrival, and ends the old entry.

use crate::arrival::{Arrival, ArrivalError, read_headers};
use crate::commit::{CommitError, Committer};
use crate::entry::QuarantineReason;
use crate::handles::InboxHandles;
use crate::space::Full;
use crate::store::{ArrivalOutcome, NewAction, QuarantinedEntry, ReleaseResult, StoreError};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use blobgate::confirm;
use blobgate::contract::header;
use blobgate::dialect::Dialect;
use blobgate::event::Event;
use blobgate::json;
use blobgate::policy::{Proof, Verdict};

/// Releases entries, by the same transaction as any arrival.
#[derive(Clone)]
pub(crate) struct Releaser {
    pub(crate) shared: InboxHandles,
    pub(crate) committer: Committer,
}

/// Why an entry stays in quarantine.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReleaseError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Full(#[from] Full),
    #[error("it is not a valid delivery: {0}")]
    NotOurs(#[from] ArrivalError),
    /// It would go into quarantine again for this reason.
    #[error("{0}")]
    Stays(QuarantineReason),
    #[error("the quarantine is full")]
    QuarantineFull,
    #[error("it is no longer quarantined")]
    Gone,
    #[error("the status API contradicts it")]
    Contradicted,
}

impl ReleaseError {
    /// Whether the cause is the entry, and not the store or its space: the next entry may succeed.
    pub(crate) fn is_about_entry(&self) -> bool {
        match self {
            Self::Store(_) | Self::Full(_) | Self::NotOurs(_) => false,
            Self::Stays(_) | Self::QuarantineFull | Self::Gone | Self::Contradicted => true,
        }
    }
}

/// Why a reconciled event is not stored.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReconcileError {
    #[error(transparent)]
    Full(#[from] Full),
    #[error(transparent)]
    NotStored(#[from] CommitError),
}

/// The answer of an entry that an expectation releases.
const EXPLAINED: &str = "released: its generation is announced with its job";
/// The answer of a confirmed entry.
const CONFIRMED: &str = "released: the status API confirms it";

impl Releaser {
    /// Stores a fetched event, like the receive listener.
    pub(super) async fn store(&self, arrival: Arrival) -> Result<ArrivalOutcome, ReconcileError> {
        self.shared.space.check(arrival.verdict)?;
        let outcome = self.committer.store(arrival).await?;
        if let ArrivalOutcome::Quarantined(cause) = &outcome {
            self.shared.metrics.quarantined(&cause.reason);
        }
        Ok(outcome)
    }

    /// Releases an entry whose generation and job are now expected.
    pub(crate) async fn explained(&self, id: i64) -> Result<(), ReleaseError> {
        let entry = self.shared.store.quarantined(id).await?.ok_or(ReleaseError::Gone)?;
        let headers = read_headers(&entry.headers);
        self.release(id, &read(entry, headers)?, EXPLAINED, None).await.map(|_| ())
    }

    /// Releases an entry that the status API's answer confirms.
    pub(super) async fn confirmed(
        &self,
        id: i64,
        dialect: Dialect,
        answer: &[u8],
    ) -> Result<(), ReleaseError> {
        let entry = self.shared.store.quarantined(id).await?.ok_or(ReleaseError::Gone)?;
        let event = event(dialect, &entry.body).ok_or(ReleaseError::Contradicted)?;
        if confirm::read(dialect, &event, b"200", answer).outcome != confirm::Outcome::Confirmed {
            return Err(ReleaseError::Contradicted);
        }
        let headers = match &entry.reevaluated {
            Some(headers) => read_headers(headers),
            None => accepted(read_headers(&entry.headers), &event)?,
        };
        self.release(id, &read(entry, headers)?, CONFIRMED, None).await.map(|_| ())
    }

    /// Releases an entry as this arrival. `note` becomes the answer of the old entry. `action` is an operator's.
    pub(crate) async fn release(
        &self,
        id: i64,
        arrival: &Arrival,
        note: &str,
        action: Option<&NewAction>,
    ) -> Result<ReleaseResult, ReleaseError> {
        self.shared.space.check(arrival.verdict)?;
        let released = self.shared.store.release(id, arrival, note, action).await?;
        let released = released.ok_or(ReleaseError::Gone)?;
        if let outcome @ ArrivalOutcome::Waits(route) = &released.outcome {
            self.shared.space.add(arrival, outcome);
            self.shared.wake.up([route.clone()]);
        }
        let outcome = check_released(Some(released.outcome))?;
        Ok(ReleaseResult { outcome, ..released })
    }
}

/// Checks that the entry leaves quarantine by this outcome.
pub(crate) fn check_released(outcome: Option<ArrivalOutcome>) -> Result<ArrivalOutcome, ReleaseError> {
    match outcome {
        Some(outcome @ (ArrivalOutcome::Waits(_) | ArrivalOutcome::Repeated)) => Ok(outcome),
        Some(ArrivalOutcome::Quarantined(cause)) => Err(ReleaseError::Stays(cause.reason)),
        Some(ArrivalOutcome::TokenFull | ArrivalOutcome::QuarantineFull) => Err(ReleaseError::QuarantineFull),
        None => Err(ReleaseError::Gone),
    }
}

/// The arrival of an entry. It keeps the ids of the entry.
fn read(entry: QuarantinedEntry, mut headers: HeaderMap) -> Result<Arrival, ReleaseError> {
    entry.ids.set(&mut headers);
    let path = String::from_utf8_lossy(&entry.path);
    Ok(Arrival::read(&path, &headers, entry.body.into())?)
}

/// The headers of an accepted event, for an entry that is in quarantine only because the status API did not answer.
fn accepted(mut headers: HeaderMap, event: &Event) -> Result<HeaderMap, ReleaseError> {
    headers.remove(header::REASON);
    headers.remove(header::CLAIMED_EVENT);
    let proofs = match headers.get(header::PROOFS).and_then(|proofs| proofs.to_str().ok()) {
        Some(proofs) => format!("{proofs},{}", Proof::Confirmed.name()),
        None => Proof::Confirmed.name().to_owned(),
    };
    for (name, value) in [
        (header::VERDICT, Verdict::Accepted.name()),
        (header::EVENT, event.kind.name()),
        (header::PROOFS, &proofs),
    ] {
        let value = HeaderValue::try_from(value).map_err(|_| ArrivalError::Header)?;
        headers.insert(HeaderName::from_static(name), value);
    }
    Ok(headers)
}

/// The event of a body.
pub(crate) fn event(dialect: Dialect, body: &[u8]) -> Option<Event> {
    let payload = json::parse(body, crate::arrival::MAX_DEPTH, dialect.known()).ok()?;
    blobgate::event::check(dialect.read(&payload).ok()?).ok()
}
