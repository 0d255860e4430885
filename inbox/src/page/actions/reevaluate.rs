//! Reevaluates quarantined entries by a configuration from a form: first the list of changes, then the changes.
//!
//! The inbox does not store the configuration. The view with the list contains it in a hidden field, for the form that follows.

mod form;
mod list;

use super::super::form::CheckedForm;
use super::super::render::{Html, NavPlace, PageError, render};
use super::super::{PageState, Visitor};
use super::ask::SelectedView;
use super::fields::{ActionFields, FieldPair, link, pairs};
use super::words::entries;
use crate::entry::QuarantineReason;
use crate::service::waivable;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use form::{ReevaluateForm, ReevaluateStep};
use list::{JudgedList, ListLine};
use serde::Serialize;
use tokio::sync::Semaphore;

/// A form of 64 MB takes several times its size in memory while it is read.
static ONE_AT_A_TIME: Semaphore = Semaphore::const_new(1);

#[derive(Serialize)]
struct AskConfigurationView {
    selected: SelectedView,
    hidden: Vec<FieldPair>,
    waivable: Vec<WaivableReason>,
}

#[derive(Serialize)]
struct WaivableReason {
    code: &'static str,
    meaning: String,
}

#[derive(Serialize)]
struct JudgedView {
    selected: SelectedView,
    lines: Vec<ListLine>,
    /// The entries without a line.
    more: usize,
    released: String,
    to_confirm: String,
    stays: String,
    /// The text of the button; nothing if no entry passes.
    button: Option<String>,
    config: String,
    /// The fields of the form that changes the listed entries.
    apply: Vec<FieldPair>,
    /// The fields of the form that lists the next entries; nothing after the last.
    next: Option<Vec<FieldPair>>,
}

pub(in crate::page::actions) async fn ask(
    State(admin): PageState,
    visitor: Visitor,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Html, PageError> {
    let mut fields = ActionFields::new(query);
    let after = fields.take_number("after")?;
    let selection = fields.selection()?;
    // A selection that the service refuses is not worth an upload.
    admin.operations.preview(crate::store::Change::Release, &selection).await?;
    let waivable =
        waivable().map(|code| WaivableReason { code, meaning: QuarantineReason::parse(code).meaning() });
    let view = AskConfigurationView {
        selected: SelectedView::new(&selection),
        hidden: pairs(&selection).into_iter().chain(number("after", after)).collect(),
        waivable: waivable.collect(),
    };
    render("action_reevaluate.html", &visitor, NavPlace::Entries, &view)
}

pub(in crate::page::actions) async fn run(
    State(admin): PageState,
    visitor: Visitor,
    form: CheckedForm,
) -> Result<Response, PageError> {
    let caller = form.caller().clone();
    let _permit = ONE_AT_A_TIME.acquire().await;
    let form = ReevaluateForm::read(form).await?;
    match form.step {
        ReevaluateStep::List => {
            let list = JudgedList::judge(&admin, &caller, &form.request(true)).await?;
            let view = JudgedView::new(list, form);
            Ok(render("action_reevaluate_list.html", &visitor, NavPlace::Entries, &view)?.into_response())
        }
        ReevaluateStep::Apply => {
            let request = form.request(false);
            let list = JudgedList::judge(&admin, &caller, &request).await?;
            let mut query: Vec<FieldPair> = Vec::new();
            query.extend(number("audit", list.audit));
            query.extend(list.stopped.map(|code| ("stopped", code.to_owned())));
            // The list that a person saw ended at `until`, or the time ended before.
            if let Some(after) = list.next.or(form.rest_after()) {
                query.extend(number("after", Some(after)));
                query.extend(pairs(&form.selection));
            }
            Ok(Redirect::to(&link("/page/actions/reevaluate/outcome", &query)).into_response())
        }
    }
}

fn number(name: &'static str, number: Option<i64>) -> Option<FieldPair> {
    number.map(|number| (name, number.to_string()))
}

impl JudgedView {
    fn new(list: JudgedList, form: ReevaluateForm) -> Self {
        let waived = form.waive.iter().map(|code| ("waive", code.clone()));
        let shared: Vec<FieldPair> = pairs(&form.selection).into_iter().chain(waived).collect();
        let mut apply = shared.clone();
        apply.push(("step", ReevaluateStep::Apply.name().to_owned()));
        apply.extend(number("after", form.selection.after));
        if form.selection.filter.is_some() {
            apply.extend(number("until", list.next.or(list.last)));
            apply.extend(list.next.map(|_| ("rest", "1".to_owned())));
        }
        let next = list.next.map(|after| {
            let mut next = shared;
            next.push(("after", after.to_string()));
            next
        });
        let passing = list.released.saturating_add(list.to_confirm);
        let button = match (list.released, list.to_confirm) {
            (0, 0) => None,
            (released, 0) => Some(format!("Release {}", entries(released))),
            (0, to_confirm) => Some(format!("Confirm {}", entries(to_confirm))),
            _ => Some(format!("Release or confirm {}", entries(passing))),
        };
        Self {
            selected: SelectedView::new(&form.selection),
            lines: list.lines,
            more: list.more,
            released: entries(list.released),
            to_confirm: entries(list.to_confirm),
            stays: entries(list.stays),
            button,
            config: form.config.to_string(),
            apply,
            next,
        }
    }
}
