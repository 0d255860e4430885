//! Changes entries in pieces, and redirects to the outcome, so that a reload changes nothing.

use super::super::PageState;
use super::super::form::CheckedForm;
use super::super::render::PageError;
use super::fields::{ActionFields, FieldPair, join, link, pairs};
use super::words::EntryAction;
use crate::access::Caller;
use crate::admin::{Admin, Problem};
use crate::service::{ChangeRequest, Error};
use axum::extract::{Path, State};
use axum::response::Redirect;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// The time in which one request starts pieces. A browser waits for the answer, and a proxy for 15 s and more.
const MAX_RUN: Duration = Duration::from_secs(5);
/// The refused entries in the address of the outcome: under 8 KB.
const MAX_REFUSED: usize = 500;

/// The pieces of one request.
#[derive(Default)]
struct PageChange {
    /// The row of the audit table.
    audit: Option<i64>,
    changed: usize,
    refused: BTreeSet<i64>,
    /// The `after` of the next piece.
    after: Option<i64>,
    /// The code of the failure that stopped the run.
    stopped: Option<&'static str>,
}

pub(super) async fn change(
    State(admin): PageState,
    Path(action): Path<String>,
    form: CheckedForm,
) -> Result<Redirect, PageError> {
    let action = EntryAction::read(&action)?;
    let mut fields = ActionFields::of_form(&form);
    let (until, after) = (fields.take_number("until")?, fields.take_number("after")?);
    let audit = fields.take_number("audit")?;
    let request = ChangeRequest { until, after, action: audit, ..fields.selection()? };
    let run = PageChange { audit, ..PageChange::default() };
    let run = run.run(&admin, form.caller(), action, request.clone()).await?;
    Ok(Redirect::to(&link(&format!("/page/actions/{}/outcome", action.name()), &run.pairs(&request))))
}

impl PageChange {
    async fn run(
        mut self,
        admin: &Admin,
        caller: &Caller,
        action: EntryAction,
        mut request: ChangeRequest,
    ) -> Result<Self, Error> {
        let began = Instant::now();
        loop {
            let change = action.change(&admin.operations);
            let answer = match admin.operations.change(caller, change, request.clone()).await {
                Ok(answer) => answer,
                // The outcome view tells what the earlier pieces did.
                Err(error) if self.changed > 0 => {
                    self.stopped = Some(Problem::Service(error).code().code());
                    return Ok(self);
                }
                Err(error) => return Err(error),
            };
            self.audit = answer.action;
            request.action = answer.action;
            self.changed = self.changed.saturating_add(answer.changed.len());
            self.refused.extend(answer.refused.iter().map(|refused| refused.id));
            self.after = answer.next;
            request.after = answer.next;
            if answer.next.is_none() || began.elapsed() >= MAX_RUN {
                return Ok(self);
            }
        }
    }

    /// The query of the outcome. The selection is there if more entries match it.
    fn pairs(&self, request: &ChangeRequest) -> Vec<FieldPair> {
        let mut query = Vec::new();
        query.extend(self.audit.map(|audit| ("audit", audit.to_string())));
        if !self.refused.is_empty() {
            query.push(("refused", join(self.refused.iter().take(MAX_REFUSED))));
        }
        query.extend(self.stopped.map(|code| ("stopped", code.to_owned())));
        if let Some(after) = self.after {
            query.push(("after", after.to_string()));
            query.extend(request.until.map(|until| ("until", until.to_string())));
            query.extend(pairs(request));
        }
        query
    }
}
