//! Turns a quarantined entry into an arrival of the event that a person names.

use crate::arrival::{Arrival, ArrivalError, MAX_DEPTH, read_headers};
use crate::reevaluate::with_gate_headers;
use crate::store::{EntryRow, StoredPayload};
use blobgate::contract::{self, header};
use blobgate::dialect::Dialect;
use blobgate::event::{GenerationId, Kind};
use blobgate::json::{self, Value};
use blobgate::policy::Verdict;
use blobgate::{forward, json::KnownKeys};
use thiserror::Error;

/// Why an entry cannot be released as an event.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum ReleaseAsError {
    #[error("entry {0} names no generation: pass --generation")]
    NoGeneration(i64),
    #[error("entry {0} is about generation {1}, and a release cannot change that: leave --generation out")]
    OtherGeneration(i64, String),
    #[error("the dialect of entry {0} is missing or unknown: use a newer version")]
    NoDialect(i64),
    #[error("entry {0} is not a valid delivery: {1}")]
    NotOurs(i64, ArrivalError),
    #[error("the body of entry {0} is purged, so it cannot be released")]
    Purged(i64),
    #[error("entry {0} is already released: another entry has its event")]
    Released(i64),
    #[error("entry {0} is dropped")]
    Dropped(i64),
    #[error("entry {0} is already released, and is {1}")]
    AlreadyReleased(i64, String),
    #[error("entry {0} is not quarantined: it is {1}, and needs no release")]
    NotFinished(i64, String),
    #[error("entry {0} is not quarantined: it is {1}; `blobgate inbox replay {0}` delivers it again")]
    NotQuarantined(i64, String),
    #[error(
        "entry {id} stays in quarantine: as {event}, its reason is {reason}. \
         `blobgate inbox ls --generation {generation}` lists the entries that it contradicts"
    )]
    Contradicts { id: i64, event: &'static str, reason: String, generation: String },
    #[error(
        "entry {id} stays in quarantine: as {event}, its reason is {reason}. \
         `blobgate inbox expect --hook {hook} --generation {generation} --job {job}` permits its token"
    )]
    Unexplained {
        id: i64,
        event: &'static str,
        reason: String,
        hook: String,
        generation: String,
        job: String,
    },
    #[error("entry {0}: {1}")]
    NotNow(i64, String),
}

/// The arrival of the entry as this event. It does not check the result URL.
pub(crate) fn arrival(
    entry: &EntryRow,
    payload: StoredPayload,
    kind: Kind,
    named: Option<GenerationId>,
) -> Result<Arrival, ReleaseAsError> {
    let headers = read_headers(&payload.headers);
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let dialect = text(header::DIALECT).as_deref().and_then(Dialect::by_name);
    let dialect = dialect.ok_or(ReleaseAsError::NoDialect(entry.id))?;
    let body = parse(&payload.body, dialect.known());
    let known =
        entry.generation.as_deref().and_then(GenerationId::parse).or_else(|| dialect.generation(&body));
    let generation_id = match (known, named) {
        (Some(known), Some(named)) if known != named => {
            return Err(ReleaseAsError::OtherGeneration(entry.id, known.to_string()));
        }
        (known, named) => known.or(named).ok_or(ReleaseAsError::NoGeneration(entry.id))?,
    };
    let event = dialect.event_as(&body, kind, generation_id);
    let mut set = vec![
        (header::VERDICT, Verdict::Accepted.name().into()),
        (header::HOOK, entry.hook.as_str().into()),
        (header::DIALECT, dialect.name().into()),
        (header::CONTRACT, contract::VERSION.into()),
        (header::GENERATION_ID, generation_id.text().into()),
    ];
    for name in [header::PROOFS, header::TOKEN_ID, header::JOB, header::OBSERVED] {
        set.extend(text(name).map(|value| (name, value.into())));
    }
    forward::add_event(Verdict::Accepted, dialect, &event, &mut set);
    let mut headers = with_gate_headers(headers, &set, entry.reason.as_ref().map(|reason| reason.as_str()));
    entry.ids.set(&mut headers);
    let path = String::from_utf8_lossy(&payload.path).into_owned();
    Arrival::read(&path, &headers, payload.body.into())
        .map_err(|error| ReleaseAsError::NotOurs(entry.id, error))
}

/// Parses a body. A body that is not JSON is null.
fn parse(body: &[u8], known: KnownKeys) -> Value<'_> {
    json::parse(body, MAX_DEPTH, known).unwrap_or(Value::Null)
}
