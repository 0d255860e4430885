//! Shows the outcome of an action. Its address names a row and entries; each fact about them is from the store.

use super::super::render::{Html, NavPlace, PageError, render};
use super::super::{PageState, Visitor};
use super::ask::RefusedView;
use super::fields::{ActionFields, FieldPair, join, link, pairs, unknown};
use super::words::{EntryAction, PageAction};
use crate::admin::Admin;
use crate::service::{AuditRecord, AuditRequest, ChangeRequest, ProblemCode};
use axum::extract::{Path, Query, State};
use serde::Serialize;
use std::collections::BTreeSet;

/// The links to changed entries. The audit has up to 500.
const MAX_LINKS: usize = 50;

#[derive(Serialize)]
struct OutcomeView {
    action: &'static str,
    title: String,
    next: &'static str,
    record: Option<RecordView>,
    refused: Option<UnchangedView>,
    /// The failure that stopped the action.
    stopped: Option<&'static str>,
    rest: Option<RestView>,
}

/// A row of the audit table.
#[derive(Serialize)]
struct RecordView {
    id: i64,
    at: String,
    who: Option<String>,
    ids: Vec<i64>,
    /// The changed entries without a link here.
    more: i64,
    note: Option<String>,
    link: String,
}

/// Entries that the action did not change.
#[derive(Serialize)]
struct UnchangedView {
    ids: Vec<i64>,
    reasons: Vec<RefusedView>,
    /// Asks for the same action, if it applies by now.
    again: Option<String>,
}

/// The entries of the filter that the action has not come to.
#[derive(Serialize)]
struct RestView {
    /// The hidden fields of the form that continues.
    hidden: Vec<FieldPair>,
    /// The view that asks for the configuration again: the inbox does not store it.
    link: Option<String>,
}

pub(super) async fn show(
    State(admin): PageState,
    visitor: Visitor,
    Path(action): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Html, PageError> {
    let action = PageAction::read(&action)?;
    let mut fields = ActionFields::new(query);
    let refused = fields.take_ids("refused")?;
    let stopped = fields.take("stopped")?;
    let stopped = stopped.and_then(|code| ProblemCode::ALL.iter().find(|known| known.code() == code));
    let audit = fields.take_number("audit")?;
    let rest = rest(action, fields, audit)?;
    let record = match audit {
        Some(id) => Some(record(&admin, action, id).await?),
        None => None,
    };
    let refused = match action {
        PageAction::Change(action) if !refused.is_empty() => Some(unchanged(&admin, action, refused).await?),
        _ => None,
    };
    let view = OutcomeView {
        action: action.name(),
        title: record.as_ref().map_or_else(|| "Nothing changed".to_owned(), |record| action.done(record)),
        next: action.next(),
        record: record.map(RecordView::from),
        refused,
        stopped: stopped.map(|code| code.title()),
        rest,
    };
    render("action_outcome.html", &visitor, NavPlace::Entries, &view)
}

/// The place at which the action continues, if its address has one.
fn rest(
    action: PageAction,
    mut fields: ActionFields,
    audit: Option<i64>,
) -> Result<Option<RestView>, PageError> {
    let (after, until) = (fields.take_number("after")?, fields.take_number("until")?);
    let Some(after) = after else {
        fields.end()?;
        return Ok(None);
    };
    let mut hidden = pairs(&fields.selection()?);
    hidden.push(("after", after.to_string()));
    // A later list has a configuration of its own, so it is another action.
    if action == PageAction::Reevaluate {
        let link = link("/page/actions/reevaluate", &hidden);
        return Ok(Some(RestView { hidden, link: Some(link) }));
    }
    hidden.extend(until.map(|until| ("until", until.to_string())));
    hidden.extend(audit.map(|audit| ("audit", audit.to_string())));
    Ok(Some(RestView { hidden, link: None }))
}

/// The row of an action. The row of another action is no fact about this one.
async fn record(admin: &Admin, action: PageAction, id: i64) -> Result<AuditRecord, PageError> {
    let request = AuditRequest { before: id.checked_add(1), limit: Some(1), entry: None };
    let found = admin.operations.audit(&request).await?.actions.pop();
    let found = found.filter(|record| record.id == id && record.action == action.name());
    found.ok_or_else(|| unknown("the audit has no such row of this action: look at the audit"))
}

/// The reasons of now.
async fn unchanged(
    admin: &Admin,
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

impl From<AuditRecord> for RecordView {
    fn from(record: AuditRecord) -> Self {
        let AuditRecord { id, at, who, entries, mut ids, note, .. } = record;
        ids.truncate(MAX_LINKS);
        let linked = i64::try_from(ids.len()).unwrap_or(i64::MAX);
        let before = id.saturating_add(1).to_string();
        Self {
            id,
            at,
            who,
            more: entries.saturating_sub(linked).max(0),
            ids,
            note,
            link: link("/page/audit", &[("before", before)]),
        }
    }
}
