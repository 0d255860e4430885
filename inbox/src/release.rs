//! An entry in quarantine of which a person says which event it is: from here on it is an arrival like any other.

use crate::arrival::{Arrival, MAX_DEPTH, read_headers};
use crate::rejudge::marked;
use crate::store::{Entry, Payload};
use blobgate::dialect::Dialect;
use blobgate::event::{GenerationId, Kind};
use blobgate::json::{self, Value};
use blobgate::policy::Verdict;
use blobgate::{forward, json::Known};
use thiserror::Error;

/// Why an entry cannot be the event that somebody says it is.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum CannotRelease {
    #[error("entry {0} names no generation: name it with --generation")]
    NoGeneration(i64),
    #[error("entry {0} is about generation {1}, which a release does not change: leave --generation out")]
    OtherGeneration(i64, String),
    #[error("entry {0} has no header blobgate-dialect that this version knows: release it with a newer one")]
    NoDialect(i64),
    #[error("entry {0} cannot be read as a delivery: {1}")]
    NotOurs(i64, String),
}

/// The arrival that the entry would have been, had it been this event. Its result URL is not checked.
pub(crate) fn arrival(
    entry: &Entry,
    payload: Payload,
    kind: Kind,
    named: Option<GenerationId>,
) -> Result<Arrival, CannotRelease> {
    let headers = read_headers(&payload.headers);
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let dialect = text("blobgate-dialect").as_deref().and_then(Dialect::by_name);
    let dialect = dialect.ok_or(CannotRelease::NoDialect(entry.id))?;
    let body = parse(&payload.body, dialect.known());
    let known =
        entry.generation.as_deref().and_then(GenerationId::parse).or_else(|| dialect.generation(&body));
    let generation_id = match (known, named) {
        (Some(known), Some(named)) if known != named => {
            return Err(CannotRelease::OtherGeneration(entry.id, known.to_string()));
        }
        (known, named) => known.or(named).ok_or(CannotRelease::NoGeneration(entry.id))?,
    };
    let event = dialect.event_as(&body, kind, generation_id);
    let mut set = vec![
        ("blobgate-verdict", Verdict::Accepted.name().into()),
        ("blobgate-hook", entry.hook.as_str().into()),
        ("blobgate-dialect", dialect.name().into()),
        ("blobgate-contract", forward::CONTRACT.into()),
        ("blobgate-generation-id", generation_id.text().into()),
    ];
    for name in ["blobgate-proofs", "blobgate-token-id", "blobgate-job", "blobgate-observed"] {
        set.extend(text(name).map(|value| (name, value.into())));
    }
    forward::about_event(Verdict::Accepted, dialect, &event, &mut set);
    let headers = marked(headers, &set, entry.reason.as_ref().map(|reason| reason.as_str()));
    let path = String::from_utf8_lossy(&payload.path).into_owned();
    Arrival::read(&path, &headers, payload.body.into())
        .map_err(|error| CannotRelease::NotOurs(entry.id, error.to_string()))
}

/// A body that is no JSON says nothing.
fn parse(body: &[u8], known: Known) -> Value<'_> {
    json::parse(body, MAX_DEPTH, known).unwrap_or(Value::Null)
}
