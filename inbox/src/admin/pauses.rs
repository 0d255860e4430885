//! `/pauses`: what is not delivered until somebody says so.

use super::filter::{read_event, text};
use super::problem::Problem;
use super::{Admin, read_body, time, written};
use crate::store::PausedSince;
use axum::Json;
use axum::extract::State;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A hook, an event, or an event of a hook.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct What {
    hook: Option<String>,
    event: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Paused {
    /// None for every hook.
    hook: Option<String>,
    /// None for every event.
    event: Option<String>,
    since: String,
}

#[derive(Serialize)]
pub(super) struct Done {
    /// False where it was so already.
    changed: bool,
}

pub(super) async fn pauses(State(admin): State<Arc<Admin>>) -> Result<Json<Vec<Paused>>, Problem> {
    Ok(Json(admin.store.paused().await?.into_iter().map(Paused::from).collect()))
}

pub(super) async fn pause(State(admin): State<Arc<Admin>>, body: Bytes) -> Result<Json<Done>, Problem> {
    let (hook, event) = read(&body)?;
    log::info!("an operator pauses {}", name(&hook, &event));
    let mut session = admin.store.session();
    let changed = written(async move { session.pause(&hook, &event).await }).await?;
    Ok(Json(Done { changed }))
}

pub(super) async fn resume(State(admin): State<Arc<Admin>>, body: Bytes) -> Result<Json<Done>, Problem> {
    let (hook, event) = read(&body)?;
    let name = name(&hook, &event);
    let mut session = admin.store.session();
    if !written(async move { session.resume(&hook, &event).await }).await? {
        return Err(Problem::not_found(format!(
            "there is no pause of {name}: a pause ends as it was set, and GET /pauses lists them"
        )));
    }
    log::info!("an operator resumes {name}");
    Ok(Json(Done { changed: true }))
}

/// Hook and event, as the store has them: empty is any.
fn read(body: &Bytes) -> Result<(String, String), Problem> {
    let What { hook, event } = read_body(body)?;
    if hook.is_none() && event.is_none() {
        return Err(Problem::bad("name a hook, an event, or both"));
    }
    let hook = hook.map(|hook| text("hook", &hook)).transpose().map_err(Problem::bad)?;
    let event = event.map(|event| read_event(&event)).transpose().map_err(Problem::bad)?;
    Ok((hook.unwrap_or_default(), event.unwrap_or_default().to_owned()))
}

fn name(hook: &str, event: &str) -> String {
    match (hook, event) {
        ("", event) => format!("event {event}"),
        (hook, "") => format!("hook {hook}"),
        (hook, event) => format!("hook {hook}, event {event}"),
    }
}

impl From<PausedSince> for Paused {
    fn from(pause: PausedSince) -> Self {
        let named = |name: String| Some(name).filter(|name| !name.is_empty());
        Self { hook: named(pause.hook), event: named(pause.event), since: time(pause.since) }
    }
}
