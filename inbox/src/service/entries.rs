//! Lists and shows entries.

use super::error::{BadRequest, Error};
use super::filter::EntryFilter;
use super::names::{EntryState, EventKind, Lane};
use super::{EntryPayload, ExpectationStatus, Operations, time};
use crate::entry::QuarantineReason;
use crate::reevaluate::HeadRecord;
use crate::store::{AttemptRow, EntryRow};
use axum::http::{HeaderName, HeaderValue};
use blobgate::Reason;
use blobgate::hook::Hook;
use blobgate::policy::OriginalFindings;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The default number of entries in an answer.
const DEFAULT_LIMIT: i64 = 100;
/// Keeps an answer below a megabyte.
pub(super) const MAX_LIMIT: i64 = 500;

/// A request for entries, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListRequest {
    /// Only entries that match.
    pub filter: EntryFilter,
    /// The most entries, from 1 to 500; 100 by default.
    pub limit: Option<i64>,
    /// Only entries with a lower id.
    pub before: Option<i64>,
}

/// A page of entries, the newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryPage {
    /// The entries.
    pub entries: Vec<EntrySummary>,
    /// The `before` of the next page; nothing on the last.
    pub next: Option<i64>,
    /// Whether the page ends because the inbox has examined 20,000 entries, and not because it is full.
    #[serde(default)]
    pub examined: bool,
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntrySummary {
    /// Its number.
    pub id: i64,
    /// Its lane.
    pub lane: Lane,
    /// Its state.
    pub state: EntryState,
    /// Its hook.
    pub hook: String,
    /// Its generation, if the gate could read one.
    pub generation: Option<String>,
    /// Its event. In quarantine, the event that it claims.
    pub event: Option<EventKind>,
    /// The reason of its quarantine.
    pub reason: Option<String>,
    /// The violated field and the expectation, without a value.
    #[serde(default)]
    pub detail: Option<String>,
    /// The address of its client, on a quarantined delivery; nothing once it is purged.
    pub client: Option<String>,
    /// The id of its token.
    pub token_id: Option<String>,
    /// Its job.
    pub job: Option<String>,
    /// The request id of its first delivery; nothing once it is purged.
    #[serde(default)]
    pub request_id: Option<String>,
    /// The `traceparent` of its first delivery; nothing once it is purged.
    #[serde(default)]
    pub traceparent: Option<String>,
    /// Whether its sender is authenticated.
    pub authenticated: bool,
    /// The bytes of its payload; 0 once it is purged.
    pub size: i64,
    /// The route of its attempts: hook and event.
    pub route: Option<String>,
    /// The event that it supersedes: the value of `blobgate-supersedes`.
    pub supersedes: Option<String>,
    /// The reason that a person overrode: the value of `blobgate-override`.
    pub r#override: Option<String>,
    /// The number of replays and releases.
    pub redelivery: i64,
    /// The time of its first delivery.
    pub received_at: String,
    /// The number of its deliveries.
    pub seen: i64,
    /// The time of its last delivery.
    pub seen_at: String,
    /// The time of its next attempt.
    pub due_at: String,
    /// The time at which its state became final.
    pub ended_at: Option<String>,
    /// The time of the last replay or release.
    #[serde(default)]
    pub redelivered_at: Option<String>,
    /// In the state `superseded`: the entry that superseded it. Of a released entry, the one that its release made or repeated.
    #[serde(default)]
    pub superseded_by: Option<i64>,
    /// The number of attempts.
    pub attempts: i64,
    /// The status of the last answer.
    pub status: Option<i64>,
    /// The first 200 bytes of the last answer, with a note in brackets if more is missing, or why there is no answer.
    pub answer: Option<String>,
    /// The end of the lease of its attempt.
    pub lease_until: Option<String>,
    /// SHA-256 of the body, in hexadecimal.
    pub digest: String,
}

/// An entry with its payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryDetail {
    /// The entry.
    #[serde(flatten)]
    pub entry: EntrySummary,
    /// Its payload; nothing once it is purged.
    #[serde(flatten)]
    pub payload: Option<EntryPayload>,
    /// The expectation of its generation.
    pub expectation: Option<ExpectationStatus>,
    /// Its attempts in order: failures, and a success that was not the first attempt. The first 3 and the last 17 are recorded.
    #[serde(default)]
    pub attempt_log: Vec<AttemptRecord>,
}

impl EntryDetail {
    /// The gate's findings when the entry arrived, to judge it by a hook of today's configuration.
    ///
    /// # Errors
    /// The violation that stands, because the store does not have the part of the head that it is about.
    pub fn findings(&self, hook: &Hook) -> Result<OriginalFindings, Reason> {
        let lines = self.payload.iter().flat_map(|payload| &payload.headers);
        let headers = lines.filter_map(|line| {
            Some((
                HeaderName::from_bytes(line.name.as_bytes()).ok()?,
                HeaderValue::from_str(&line.value).ok()?,
            ))
        });
        HeadRecord {
            headers: &headers.collect(),
            client: self.entry.client.as_deref(),
            token_id: self.entry.token_id.as_deref(),
            job: self.entry.job.as_deref(),
            reason: self.entry.reason.as_deref().and_then(Reason::parse),
        }
        .findings(hook, &BTreeSet::new())
    }
}

/// An attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// Its number from 1. Replays do not restart it.
    pub number: i64,
    /// The time of its end. Without a result, the time at which an inbox noticed it.
    pub at: String,
    /// Its time in milliseconds; nothing if the inbox ended before it did.
    pub duration_ms: Option<i64>,
    /// The status of the answer.
    pub status: Option<i64>,
    /// The first 200 bytes of the answer, with a note in brackets if more is missing, or why there is no answer; nothing for an
    /// empty answer.
    pub answer: Option<String>,
}

impl From<AttemptRow> for AttemptRecord {
    fn from(attempt: AttemptRow) -> Self {
        Self {
            number: attempt.number,
            at: time(attempt.at),
            duration_ms: attempt.duration.and_then(|duration| duration.checked_div(1_000)),
            status: attempt.status,
            answer: Some(attempt.answer).filter(|answer| !answer.is_empty()),
        }
    }
}

impl Operations {
    /// Lists entries.
    pub(crate) async fn list(&self, request: &ListRequest) -> Result<EntryPage, Error> {
        let limit = check_limit(request.limit, DEFAULT_LIMIT)?;
        let filter = request.filter.check()?;
        let listed = self.shared.store.list(&filter, request.before, limit.saturating_add(1)).await?;
        let mut entries = listed.entries;
        let limit = usize::try_from(limit).unwrap_or_default();
        let more = entries.len() > limit;
        entries.truncate(limit);
        let last = entries.last().filter(|_| more).map(|entry| entry.id);
        let entries = entries.into_iter().map(EntrySummary::try_from).collect::<Result<_, _>>()?;
        Ok(EntryPage {
            entries,
            next: last.or(listed.next),
            examined: last.is_none() && listed.next.is_some(),
        })
    }

    /// Shows an entry.
    pub(crate) async fn show(&self, id: i64) -> Result<EntryDetail, Error> {
        let (entry, payload) = self.shared.store.show(id).await?.ok_or(Error::NoEntry(id))?;
        let expectation = match &entry.generation {
            Some(generation) => self.shared.store.expectation(&entry.hook, generation).await?,
            None => None,
        };
        let expectation = expectation.map(ExpectationStatus::from);
        let entry = EntrySummary::try_from(entry)?;
        let attempts = self.shared.store.attempts(&BTreeSet::from([id])).await?.remove(&id);
        let attempt_log = attempts.unwrap_or_default().into_iter().map(AttemptRecord::from).collect();
        Ok(EntryDetail { entry, payload: payload.map(EntryPayload::from), expectation, attempt_log })
    }
}

impl ListRequest {
    /// Reads the pairs of a query.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub(crate) fn read(pairs: &[(String, String)]) -> Result<Self, BadRequest> {
        let mut request = Self::default();
        for (name, value) in pairs {
            match name.as_str() {
                "limit" => request.limit = Some(read_number("limit", value, Some(MAX_LIMIT))?),
                "before" => request.before = Some(read_number("before", value, None)?),
                _ => request.filter.read(name, value)?,
            }
        }
        Ok(request)
    }

    /// The pairs of a query.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = self.filter.pairs();
        pairs.extend(self.limit.map(|limit| ("limit", limit.to_string())));
        pairs.extend(self.before.map(|before| ("before", before.to_string())));
        pairs
    }
}

/// Checks the number of entries in an answer.
pub(super) fn check_limit(limit: Option<i64>, default: i64) -> Result<i64, BadRequest> {
    let limit = limit.unwrap_or(default);
    if (1..=MAX_LIMIT).contains(&limit) {
        return Ok(limit);
    }
    Err(BadRequest::NoNumber { name: "limit", value: limit.to_string(), max: Some(MAX_LIMIT) })
}

/// Reads the number of an entry.
///
/// # Errors
/// [`BadRequest`].
pub(crate) fn read_id(value: &str) -> Result<i64, BadRequest> {
    read_number("id", value, None)
}

/// Reads a number above 0.
pub(crate) fn read_number(name: &'static str, value: &str, max: Option<i64>) -> Result<i64, BadRequest> {
    let number = value.parse().ok().filter(|number| (1..=max.unwrap_or(i64::MAX)).contains(number));
    number.ok_or_else(|| BadRequest::NoNumber { name, value: value.to_owned(), max })
}

/// The event of a row. A newer version may have stored one that this version does not know.
pub(super) fn event(name: &str) -> Result<EventKind, Error> {
    name.parse().map_err(|_| Error::NewerEvent(name.to_owned()))
}

/// Whether the gate quarantined the delivery. Its sender is authenticated then, also by an expired token, which is no proof.
fn is_quarantined_by_gate(lane: Lane, reason: Option<&QuarantineReason>) -> bool {
    lane == Lane::Quarantine && matches!(reason, Some(QuarantineReason::Gate(_)))
}

impl TryFrom<EntryRow> for EntrySummary {
    type Error = Error;

    fn try_from(entry: EntryRow) -> Result<Self, Error> {
        Ok(Self {
            id: entry.id,
            lane: entry.lane,
            state: entry.state,
            hook: entry.hook,
            generation: entry.generation,
            event: entry.event.as_deref().map(event).transpose()?,
            authenticated: entry.authenticated || is_quarantined_by_gate(entry.lane, entry.reason.as_ref()),
            reason: entry.reason.map(|reason| reason.to_string()),
            detail: entry.detail,
            client: entry.client,
            token_id: entry.token_id,
            job: entry.job,
            request_id: entry.ids.request_id,
            traceparent: entry.ids.traceparent,
            size: entry.size,
            route: entry.route,
            supersedes: entry.supersedes.map(|superseded| superseded.to_string()),
            r#override: entry.overrides,
            redelivery: entry.redelivery,
            received_at: time(entry.received_at),
            seen: entry.seen,
            seen_at: time(entry.seen_at),
            due_at: time(entry.due_at),
            ended_at: entry.ended_at.map(time),
            redelivered_at: entry.redelivered_at.map(time),
            superseded_by: entry.superseded_by.filter(|_| entry.state == EntryState::Superseded),
            attempts: entry.attempts,
            status: entry.status,
            answer: entry.answer,
            lease_until: entry.lease_until.map(time),
            digest: hex::encode(&entry.digest),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoredPayload;
    use serde_json::{Value, json};

    fn detail(payload: Option<EntryPayload>) -> EntryDetail {
        let time = "2026-01-31T12:00:00.000Z";
        let entry = json!({
            "id": 17, "lane": "quarantine", "state": "quarantined", "hook": "veo3", "event": "failed",
            "authenticated": true, "size": 2, "redelivery": 0, "received_at": time, "seen": 1, "seen_at": time,
            "due_at": time, "attempts": 0, "digest": "00",
        });
        let entry = serde_json::from_value(entry).unwrap();
        EntryDetail { entry, payload, expectation: None, attempt_log: Vec::new() }
    }

    #[track_caller]
    fn row(payload: Option<EntryPayload>, body: &Value) {
        let detail = detail(payload);
        let json = serde_json::to_value(&detail).unwrap();
        assert_eq!((&json["event"], json.get("body").unwrap_or(&Value::Null)), (&json!("failed"), body));
        assert_eq!(serde_json::from_value::<EntryDetail>(json).unwrap(), detail);
    }

    #[test]
    fn the_gate_quarantines_authenticated_senders_only() {
        let by_gate =
            |lane, reason: &str| is_quarantined_by_gate(lane, Some(&QuarantineReason::parse(reason)));
        assert!(by_gate(Lane::Quarantine, "token-expired"));
        assert!(!by_gate(Lane::Quarantine, "event-conflict"));
        assert!(!by_gate(Lane::Observed, "token-expired"));
    }

    #[test]
    fn answers_read_back() {
        row(None, &Value::Null);
        for (bytes, body) in [(&b"{}"[..], "{}"), (&[0xff, 0xfe], "//4=")] {
            let payload =
                StoredPayload { path: b"/webhook".to_vec(), headers: Vec::new(), body: bytes.to_vec() };
            let payload = EntryPayload::from(payload);
            assert_eq!(payload.bytes().as_deref(), Some(bytes));
            row(Some(payload), &json!(body));
        }
    }
}
