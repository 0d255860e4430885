//! Pauses deliveries, and resumes them.

use super::super::form::CheckedForm;
use super::super::render::{Html, NavPlace, PageError, render};
use super::super::{PageState, Visitor};
use super::fields::{ActionFields, FieldPair, link};
use super::words::PageAction;
use crate::admin::Admin;
use crate::service::{ActivePause, BadRequest, EventKind, PauseTarget, read_hook};
use axum::extract::{Query, State};
use axum::response::Redirect;
use serde::Serialize;
use std::collections::BTreeSet;

#[derive(Serialize)]
struct PauseView {
    action: &'static str,
    pauses: Vec<PauseLine>,
    /// The hooks with a route.
    hooks: BTreeSet<String>,
    events: Vec<&'static str>,
    asked: Option<AskedPause>,
}

#[derive(Serialize)]
struct PauseLine {
    target: String,
    since: String,
    resume: String,
}

/// The target of the question.
#[derive(Serialize)]
struct AskedPause {
    target: String,
    hidden: Vec<FieldPair>,
    /// Since when this pause exists.
    since: Option<String>,
    /// Whether a route has the hook.
    is_known: bool,
}

pub(super) async fn ask_pause(
    State(admin): PageState,
    visitor: Visitor,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Html, PageError> {
    let target = read_target(ActionFields::new(query))?;
    target.hook.as_deref().map(read_hook).transpose()?;
    ask(&admin, &visitor, PageAction::Pause, target).await
}

pub(super) async fn ask_resume(
    State(admin): PageState,
    visitor: Visitor,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Html, PageError> {
    ask(&admin, &visitor, PageAction::Resume, read_target(ActionFields::new(query))?).await
}

pub(super) async fn pause(State(admin): PageState, form: CheckedForm) -> Result<Redirect, PageError> {
    let target = read_target(ActionFields::of_form(&form))?;
    let paused = admin.operations.pause(form.caller(), &target).await?;
    // A pause that exists already has no row.
    let path = paused
        .action
        .map_or_else(|| link("/page/actions/pause", &pairs(&target)), |row| outcome("pause", row));
    Ok(Redirect::to(&path))
}

pub(super) async fn resume(State(admin): PageState, form: CheckedForm) -> Result<Redirect, PageError> {
    let target = read_target(ActionFields::of_form(&form))?;
    let resumed = admin.operations.resume(form.caller(), &target).await?;
    let path = resumed.action.map_or_else(|| "/page/actions/pause".to_owned(), |row| outcome("resume", row));
    Ok(Redirect::to(&path))
}

fn outcome(action: &str, row: i64) -> String {
    link(&format!("/page/actions/{action}/outcome"), &[("audit", row.to_string())])
}

async fn ask(
    admin: &Admin,
    visitor: &Visitor,
    action: PageAction,
    target: PauseTarget,
) -> Result<Html, PageError> {
    let stats = admin.operations.stats().await?;
    let hooks: BTreeSet<String> =
        stats.routes.iter().filter_map(|route| Some(route.route.split_once('/')?.0.to_owned())).collect();
    let is_asked = target.hook.is_some() || target.event.is_some();
    let asked = is_asked.then(|| AskedPause {
        target: words(&target),
        hidden: pairs(&target),
        since: stats.pauses.iter().find(|pause| is_of(pause, &target)).map(|pause| pause.since.clone()),
        is_known: target.hook.as_ref().is_none_or(|hook| hooks.contains(hook)),
    });
    let view = PauseView {
        action: action.name(),
        pauses: stats.pauses.into_iter().map(PauseLine::from).collect(),
        hooks,
        events: EventKind::ALL.map(EventKind::name).to_vec(),
        asked,
    };
    render("action_pause.html", visitor, NavPlace::Nowhere, &view)
}

fn is_of(pause: &ActivePause, target: &PauseTarget) -> bool {
    pause.hook == target.hook && pause.event == target.event
}

fn read_target(mut fields: ActionFields) -> Result<PauseTarget, PageError> {
    let hook = fields.take("hook")?;
    let event =
        fields.take("event")?.map(|event| event.parse()).transpose().map_err(|error: BadRequest| error)?;
    fields.end()?;
    Ok(PauseTarget { hook, event })
}

fn pairs(target: &PauseTarget) -> Vec<FieldPair> {
    let hook = target.hook.clone().map(|hook| ("hook", hook));
    hook.into_iter().chain(target.event.map(|event| ("event", String::from(event)))).collect()
}

/// `hook veo3, event completed`.
fn words(target: &PauseTarget) -> String {
    let pairs = pairs(target);
    pairs.iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ")
}

impl From<ActivePause> for PauseLine {
    fn from(pause: ActivePause) -> Self {
        let ActivePause { hook, event, since } = pause;
        let target = PauseTarget { hook, event };
        Self { target: words(&target), since, resume: link("/page/actions/resume", &pairs(&target)) }
    }
}
