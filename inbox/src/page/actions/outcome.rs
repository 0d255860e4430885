//! Shows the outcome of an action on entries. Its address names rows and entries; each fact about them is from the store.

use super::super::render::{Html, PageError, Place, render};
use super::super::{PageState, Visitor};
use super::ask::RefusedView;
use super::fields::{ActionFields, FieldPair, join, link, pairs};
use super::words::{EntryAction, entries};
use crate::service::{ChangeRequest, ProblemCode};
use axum::extract::{Path, Query, State};
use serde::Serialize;
use std::collections::BTreeSet;

#[derive(Serialize)]
struct OutcomeView {
    action: &'static str,
    verb: &'static str,
    past: &'static str,
    title: String,
    refused: Option<UnchangedView>,
    /// The failure that stopped the action.
    stopped: Option<&'static str>,
    /// The hidden fields of the form that continues.
    rest: Option<Vec<FieldPair>>,
}

/// Entries that the action did not change.
#[derive(Serialize)]
struct UnchangedView {
    ids: Vec<i64>,
    reasons: Vec<RefusedView>,
    /// Asks for the same action, if it applies by now.
    again: Option<String>,
}

pub(super) async fn show(
    State(admin): PageState,
    visitor: Visitor,
    Path(action): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Html, PageError> {
    let action = EntryAction::read(&action)?;
    let mut fields = ActionFields::new(query);
    let refused = fields.take_ids("refused")?;
    let stopped = fields.take("stopped")?;
    let stopped = stopped.and_then(|code| ProblemCode::ALL.iter().find(|known| known.code() == code));
    let (audit, after, until) =
        (fields.take_number("audit")?, fields.take_number("after")?, fields.take_number("until")?);
    let rest = match after {
        Some(after) => {
            let mut rest = pairs(&fields.selection()?);
            rest.push(("after", after.to_string()));
            rest.extend(until.map(|until| ("until", until.to_string())));
            rest.extend(audit.map(|audit| ("audit", audit.to_string())));
            Some(rest)
        }
        None => {
            fields.end()?;
            None
        }
    };
    let refused = if refused.is_empty() { None } else { Some(unchanged(&admin, action, refused).await?) };
    let view = OutcomeView {
        action: action.name(),
        verb: action.verb(),
        past: action.past(),
        title: format!("{} {}", entries(0), action.past()),
        refused,
        stopped: stopped.map(|code| code.title()),
        rest,
    };
    render("action_outcome.html", &visitor, Place::Entries, &view)
}

/// The reasons of now.
async fn unchanged(
    admin: &crate::admin::Admin,
    action: EntryAction,
    ids: BTreeSet<i64>,
) -> Result<UnchangedView, PageError> {
    let selection = ChangeRequest { ids: Some(ids.clone()), ..ChangeRequest::default() };
    let preview = admin.operations.preview(action.change(&admin.operations), &selection).await?;
    let path = format!("/page/actions/{}", action.name());
    let again = (!preview.would_change.is_empty()).then(|| link(&path, &[("ids", join(&ids))]));
    let reasons = preview.would_refuse.into_iter().map(|refused| RefusedView::new(refused, &selection));
    Ok(UnchangedView { reasons: reasons.collect(), ids: ids.into_iter().collect(), again })
}
