//! `/pauses`: what is not delivered until somebody says so.

use super::filter::{read_event, read_hook};
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
    /// What may be wrong with the name.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

pub(super) async fn pauses(State(admin): State<Arc<Admin>>) -> Result<Json<Vec<Paused>>, Problem> {
    Ok(Json(admin.store.paused().await?.into_iter().map(Paused::from).collect()))
}

pub(super) async fn pause(State(admin): State<Arc<Admin>>, body: Bytes) -> Result<Json<Done>, Problem> {
    let (hook, event) = read(&body, read_hook)?;
    // A hook may be paused before its first event, and a wrong name pauses nothing.
    let is_known = hook.is_empty() || admin.store.knows_hook(&hook).await?;
    let note = (!is_known).then(|| {
        format!("no accepted or quarantined entry and no expectation has hook {hook}: look whether that is its name in the gate's configuration")
    });
    log::info!("an operator pauses {}", name(&hook, &event));
    let store = Arc::clone(&admin.store);
    let changed = written(async move { store.pause(&hook, &event).await }).await?;
    Ok(Json(Done { changed, note }))
}

pub(super) async fn resume(State(admin): State<Arc<Admin>>, body: Bytes) -> Result<Json<Done>, Problem> {
    // A pause ends by its name, whatever that is: a store may have one from a version that took any.
    let (hook, event) = read(&body, any_text)?;
    let name = name(&hook, &event);
    let store = Arc::clone(&admin.store);
    if !written(async move { store.resume(&hook, &event).await }).await? {
        return Err(Problem::not_found(format!(
            "there is no pause of {name}: a pause ends as it was set, and GET /pauses lists them"
        )));
    }
    log::info!("an operator resumes {name}");
    Ok(Json(Done { changed: true, note: None }))
}

/// Hook and event, as the store has them: empty is any.
fn read(
    body: &Bytes,
    read_hook: impl Fn(&str) -> Result<String, String>,
) -> Result<(String, String), Problem> {
    let What { hook, event } = read_body(body)?;
    if hook.is_none() && event.is_none() {
        return Err(Problem::bad("name a hook, an event, or both"));
    }
    let hook = hook.map(|hook| read_hook(&hook)).transpose().map_err(Problem::bad)?;
    let event = event.map(|event| read_event(&event)).transpose().map_err(Problem::bad)?;
    Ok((hook.unwrap_or_default(), event.map_or_else(String::new, |event| event.name().to_owned())))
}

fn any_text(value: &str) -> Result<String, String> {
    // PostgreSQL's text has no NUL.
    let is_text = !value.is_empty() && !value.contains('\0');
    if is_text { Ok(value.to_owned()) } else { Err(format!("{value:?} is no hook")) }
}

fn name(hook: &str, event: &str) -> String {
    let hook = hook.escape_debug();
    match (hook.clone().next(), event) {
        (None, event) => format!("event {event}"),
        (Some(_), "") => format!("hook {hook}"),
        (Some(_), event) => format!("hook {hook}, event {event}"),
    }
}

impl From<PausedSince> for Paused {
    fn from(pause: PausedSince) -> Self {
        let named = |name: String| Some(name).filter(|name| !name.is_empty());
        Self { hook: named(pause.hook), event: named(pause.event), since: time(pause.since) }
    }
}
