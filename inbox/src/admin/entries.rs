//! `GET /entries` and `GET /entries/{id}`: what is stored, for a person.

use super::problem::Problem;
use super::{Admin, expect, read_number, time};
use crate::arrival::{hex, read_headers};
use crate::entry::Lane;
use crate::store::{Entry, Filter, Payload};
use crate::violation;
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use std::sync::Arc;

/// Entries in one answer, unless it is asked for another number.
const USUAL: i64 = 100;
/// And at most.
const MOST: i64 = 500;

#[derive(Serialize)]
pub(super) struct List {
    entries: Vec<Shown>,
    /// The `before` of the entries that follow.
    next: Option<i64>,
}

/// An entry. Times are RFC 3339 in UTC.
#[derive(Serialize)]
pub(super) struct Shown {
    id: i64,
    lane: String,
    state: String,
    hook: String,
    generation: Option<String>,
    event: Option<String>,
    reason: Option<String>,
    token_id: Option<String>,
    job: Option<String>,
    proven: bool,
    /// In bytes, of what can still be shown: 0 once that is purged.
    size: i64,
    route: Option<String>,
    supersedes: Option<String>,
    r#override: Option<String>,
    redelivery: i64,
    received_at: String,
    seen: i64,
    seen_at: String,
    due_at: String,
    ended_at: Option<String>,
    attempts: i64,
    status: Option<i64>,
    answer: Option<String>,
    lease_until: Option<String>,
    /// SHA-256 of the body, in hexadecimal.
    digest: String,
}

#[derive(Serialize)]
pub(super) struct Whole {
    #[serde(flatten)]
    entry: Shown,
    /// What came; nothing once it is purged.
    #[serde(flatten)]
    payload: Option<Came>,
    /// What is expected of its generation.
    expectation: Option<expect::Shown>,
    /// What breaks the rule of its reason, as far as that is known: a field and what is documented, and no value.
    violation: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Came {
    path: String,
    headers: Vec<Header>,
    /// `text`, or `base64` of what is no UTF-8.
    body_encoding: &'static str,
    body: String,
}

/// With what is not visible ASCII escaped.
#[derive(Serialize)]
struct Header {
    name: String,
    value: String,
}

pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    Query(asked): Query<Vec<(String, String)>>,
) -> Result<Json<List>, Problem> {
    let (mut limit, mut before) = (USUAL, None);
    let mut filter = Vec::new();
    for (name, value) in &asked {
        match name.as_str() {
            "limit" => limit = read_number(name, value, MOST)?,
            "before" => before = Some(read_number(name, value, i64::MAX)?),
            _ => filter.push((name.as_str(), value.as_str())),
        }
    }
    let filter = Filter::read(filter).map_err(Problem::bad)?;
    let mut entries = admin.store.list(&filter, before, limit.saturating_add(1)).await?;
    let limit = usize::try_from(limit).unwrap_or_default();
    let more = entries.len() > limit;
    entries.truncate(limit);
    let next = entries.last().filter(|_| more).map(|entry| entry.id);
    Ok(Json(List { entries: entries.into_iter().map(Shown::from).collect(), next }))
}

pub(super) async fn show(
    State(admin): State<Arc<Admin>>,
    Path(id): Path<String>,
) -> Result<Json<Whole>, Problem> {
    let number = read_number("id", &id, i64::MAX)?;
    let found = admin.store.show(number).await?;
    let (entry, payload) = found.ok_or_else(|| Problem::not_found(format!("there is no entry {id}")))?;
    let expectation = match &entry.generation {
        Some(generation) => admin.store.expectation(&entry.hook, generation).await?.map(expect::Shown::from),
        None => None,
    };
    let violation = match (&entry.reason, &payload) {
        (Some(code), Some(payload)) if entry.lane == Lane::Quarantine => {
            violation::describe(code.as_str(), &payload.headers, &payload.body)
        }
        _ => None,
    };
    Ok(Json(Whole { entry: entry.into(), payload: payload.map(Came::from), expectation, violation }))
}

impl From<Entry> for Shown {
    fn from(entry: Entry) -> Self {
        Self {
            id: entry.id,
            lane: entry.lane.to_string(),
            state: entry.state.to_string(),
            hook: entry.hook,
            generation: entry.generation,
            event: entry.event,
            reason: entry.reason.map(|reason| reason.to_string()),
            token_id: entry.token_id,
            job: entry.job,
            proven: entry.authenticated,
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
            attempts: entry.attempts,
            status: entry.status,
            answer: entry.answer,
            lease_until: entry.lease_until.map(time),
            digest: hex(&entry.digest),
        }
    }
}

impl From<Payload> for Came {
    fn from(payload: Payload) -> Self {
        let headers = read_headers(&payload.headers);
        Self::with(payload, &headers)
    }
}

impl Came {
    /// With other headers than came.
    pub(super) fn with(payload: Payload, headers: &HeaderMap) -> Self {
        let headers = headers.iter().map(|(name, value)| Header {
            name: name.to_string(),
            value: value.as_bytes().escape_ascii().to_string(),
        });
        let headers = headers.collect();
        let (body_encoding, body) = match String::from_utf8(payload.body) {
            Ok(text) => ("text", text),
            Err(bytes) => ("base64", BASE64_STANDARD.encode(bytes.into_bytes())),
        };
        Self { path: payload.path.escape_ascii().to_string(), headers, body_encoding, body }
    }
}
