//! `POST /release`: a person says which event an entry in quarantine is, and it is decided as an arrival of now.

use super::filter::{read_event, read_generation};
use super::problem::Problem;
use super::{Admin, read_body, written};
use crate::entry::{EntryState, Lane, QuarantineReason};
use crate::reconcile::{NOT_KEPT, NotReleased};
use crate::release;
use crate::store::{Entry, Outcome, Payload};
use crate::violation;
use axum::Json;
use axum::extract::State;
use blobgate::event::{GenerationId, Kind};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    id: i64,
    /// `completed`, `failed` or `timeout`.
    r#as: String,
    /// Where the entry names none.
    generation_id: Option<String>,
    /// Only says what would be.
    #[serde(default)]
    dry_run: bool,
}

/// With `dry_run`, what would be.
#[derive(Serialize)]
pub(super) struct Released {
    id: i64,
    hook: String,
    generation: String,
    event: &'static str,
    /// `waiting`, or `repeated` where the event is stored already.
    outcome: &'static str,
    /// Where it is delivered.
    route: Option<String>,
    /// Why it was in quarantine: what a service gets as `blobgate-override`.
    r#override: Option<String>,
    /// What broke that rule.
    violation: Option<String>,
    size: i64,
}

/// Of the entry that it was.
const TOLD: &str = "released: a person has said which event it is";

pub(super) async fn release(State(admin): State<Arc<Admin>>, body: Bytes) -> Result<Json<Released>, Problem> {
    let asked: Asked = read_body(&body)?;
    if asked.id < 1 {
        return Err(Problem::bad(format!("id {} is no number from 1", asked.id)));
    }
    let kind = read_event(&asked.r#as).map_err(Problem::bad)?;
    let named = asked.generation_id.as_deref().map(read_generation).transpose().map_err(Problem::bad)?;
    let named = named.as_deref().and_then(GenerationId::parse);
    let found = admin.store.show(asked.id).await?;
    let (entry, payload) =
        found.ok_or_else(|| Problem::not_found(format!("there is no entry {}", asked.id)))?;
    let payload = check(&entry, payload).map_err(Problem::conflict)?;
    decide(&admin, entry, payload, (kind, named), asked.dry_run).await.map(Json)
}

/// It would be put into quarantine again.
fn stays(entry: &Entry, kind: Kind, generation: &str, reason: &QuarantineReason) -> Problem {
    let remedy = match &entry.job {
        Some(job) if QuarantineReason::EXPLAINED.contains(reason) => format!(
            "`blobgate inbox expect --hook {} --generation {generation} --job {job}` lets its token speak of it",
            entry.hook
        ),
        _ => format!("`blobgate inbox ls --generation {generation}` shows the others of its generation"),
    };
    let (id, event) = (entry.id, kind.name());
    Problem::conflict(format!(
        "entry {id} stays in quarantine, for as {event} it is a case of {reason}: {remedy}"
    ))
}

/// Whether it is in quarantine, with what came.
fn check(entry: &Entry, payload: Option<Payload>) -> Result<Payload, String> {
    let (id, state) = (entry.id, entry.state.as_str().replace('_', " "));
    match (entry.lane, entry.state) {
        (Lane::Quarantine, EntryState::Quarantined) => {}
        (Lane::Quarantine, EntryState::Superseded) => {
            return Err(format!(
                "entry {id} was released already: the event that it has become is another entry"
            ));
        }
        (Lane::Quarantine, EntryState::Dropped) => {
            return Err(format!("entry {id} is dropped: a person has given it up"));
        }
        (Lane::Quarantine, _) => {
            return Err(format!("entry {id} was let out of quarantine already, and is {state}"));
        }
        (_, EntryState::Waiting | EntryState::InFlight) => {
            return Err(format!(
                "entry {id} is not in quarantine: it is {state}, and is delivered without this"
            ));
        }
        _ => {
            return Err(format!(
                "entry {id} is not in quarantine: it is {state}; `blobgate inbox replay {id}` delivers it again"
            ));
        }
    }
    payload.ok_or_else(|| format!("the body of entry {id} is purged: there is nothing to deliver"))
}

async fn decide(
    admin: &Admin,
    entry: Entry,
    payload: Payload,
    (kind, named): (Kind, Option<GenerationId>),
    dry_run: bool,
) -> Result<Released, Problem> {
    let id = entry.id;
    let violation = entry
        .reason
        .as_ref()
        .and_then(|reason| violation::describe(reason.as_str(), &payload.headers, &payload.body));
    let arrival = release::arrival(&entry, payload, kind, named)
        .map_err(|error| Problem::conflict(error.to_string()))?;
    let generation = arrival.generation.clone().unwrap_or_default();
    let (store, releaser) = (Arc::clone(&admin.store), admin.releaser.clone());
    let outcome = written(async move {
        if dry_run {
            return store.would_release(id, &arrival).await.map(Ok);
        }
        match releaser.decide(&*store, id, &arrival, TOLD).await {
            Ok(outcome) => Ok(Ok(outcome)),
            Err(NotReleased::Store(error)) => Err(error),
            Err(NotReleased::NotNow(why)) => Ok(Err(why)),
        }
    })
    .await?
    .map_err(Problem::not_now)?;
    let (outcome, route) = match outcome {
        Some(Outcome::Waits(route)) => ("waiting", Some(route)),
        Some(Outcome::Repeated) => ("repeated", None),
        Some(Outcome::Quarantined(reason)) => return Err(stays(&entry, kind, &generation, &reason)),
        Some(Outcome::TokenFull | Outcome::QuarantineFull) | None => {
            return Err(Problem::conflict(format!("entry {id}: {NOT_KEPT}")));
        }
    };
    if !dry_run {
        log::info!("released={id} event={} outcome={outcome} by an operator", kind.name());
    }
    let (hook, r#override, size) = (entry.hook, entry.reason.map(|reason| reason.to_string()), entry.size);
    Ok(Released { id, hook, generation, event: kind.name(), outcome, route, r#override, violation, size })
}
