//! Releases one quarantined entry as the event that a person names.

use super::super::form::CheckedForm;
use super::super::refusal::VisitRefusal;
use super::super::render::{NavPlace, PageError, render};
use super::super::{PageState, Visitor};
use super::fields::{ActionFields, FieldPair, link, wrong};
use crate::service::{
    BadRequest, EntrySummary, Error, EventKind, ReleaseAsAnswer, ReleaseAsRequest, ReleaseOutcome,
};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Serialize;

#[derive(Serialize)]
struct ReleaseAsView {
    entry: EntrySummary,
    events: Vec<&'static str>,
    /// The event of the question.
    event: Option<&'static str>,
    generation_id: Option<String>,
    /// The outcome of a dry run.
    would: Option<WouldRelease>,
    /// Why the entry cannot be released as this event.
    refusal: Option<String>,
}

#[derive(Serialize)]
struct WouldRelease {
    generation: String,
    hook: String,
    /// Whether the store already has the event.
    repeats: bool,
    hidden: Vec<FieldPair>,
}

/// The fields of a query or a form.
struct ReleaseAsFields {
    id: i64,
    event: Option<EventKind>,
    generation_id: Option<String>,
}

pub(super) async fn ask(
    State(admin): PageState,
    visitor: Visitor,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Response, PageError> {
    let fields = ReleaseAsFields::read(ActionFields::new(query))?;
    let caller = visitor.caller().ok_or(VisitRefusal::NotSignedIn)?;
    let entry = admin.operations.show(fields.id).await?.entry;
    let dry_run = match fields.request(true) {
        Some(request) => match admin.operations.release_as(caller, &request).await {
            Ok(answer) => Some(Ok(answer)),
            Err(Error::ReleaseAs(why)) => Some(Err(why.to_string())),
            Err(error) => return Err(error.into()),
        },
        None => None,
    };
    let (would, refusal) = match dry_run {
        Some(Ok(answer)) => (Some(fields.would(answer)), None),
        Some(Err(why)) => (None, Some(why)),
        None => (None, None),
    };
    let status = if refusal.is_some() { StatusCode::CONFLICT } else { StatusCode::OK };
    let ReleaseAsFields { event, generation_id, .. } = fields;
    let events = EventKind::ALL.map(EventKind::name).to_vec();
    let view =
        ReleaseAsView { entry, events, event: event.map(EventKind::name), generation_id, would, refusal };
    Ok((status, render("action_release_as.html", &visitor, NavPlace::Entries, &view)?).into_response())
}

pub(super) async fn release(State(admin): PageState, form: CheckedForm) -> Result<Redirect, PageError> {
    let fields = ReleaseAsFields::read(ActionFields::of_form(&form))?;
    let request = fields.request(false);
    let request = request.ok_or_else(|| wrong("the event is missing: choose one"))?;
    let released = admin.operations.release_as(form.caller(), &request).await?;
    let row = released.action.map(|row| ("audit", row.to_string()));
    Ok(Redirect::to(&link("/page/actions/release-as/outcome", row.as_slice())))
}

impl ReleaseAsFields {
    fn read(mut fields: ActionFields) -> Result<Self, PageError> {
        let mut ids = fields.take_ids("ids")?;
        let event =
            fields.take("as")?.map(|event| event.parse()).transpose().map_err(|error: BadRequest| error)?;
        let generation_id = fields.take("generation_id")?;
        fields.end()?;
        match (ids.pop_first(), ids.is_empty()) {
            (Some(id), true) => Ok(Self { id, event, generation_id }),
            _ => Err(wrong("an event belongs to one entry: open that entry, and choose the action there")),
        }
    }

    fn request(&self, dry_run: bool) -> Option<ReleaseAsRequest> {
        let generation_id = self.generation_id.clone();
        Some(ReleaseAsRequest { id: self.id, r#as: self.event?, generation_id, dry_run })
    }

    fn would(&self, answer: ReleaseAsAnswer) -> WouldRelease {
        let mut hidden = vec![("ids", self.id.to_string()), ("as", String::from(answer.event))];
        hidden.extend(self.generation_id.clone().map(|generation| ("generation_id", generation)));
        let repeats = answer.outcome == ReleaseOutcome::Repeated;
        WouldRelease { generation: answer.generation, hook: answer.hook, repeats, hidden }
    }
}
