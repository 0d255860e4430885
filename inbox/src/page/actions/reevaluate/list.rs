//! Judges entries in pieces within a time, and lists the outcomes.

use crate::access::Caller;
use crate::admin::{Admin, Problem};
use crate::service::{Error, ReevaluateRequest};
use serde::Serialize;
use std::time::{Duration, Instant};

/// The time in which one request starts pieces.
const MAX_RUN: Duration = Duration::from_secs(5);
/// The entries of a piece: one takes some milliseconds.
const PIECE: i64 = 100;
/// The lines of the view, which stays under 200 KB.
const MAX_LINES: usize = 500;

#[derive(Default)]
pub(super) struct JudgedList {
    pub(super) lines: Vec<ListLine>,
    /// The entries without a line.
    pub(super) more: usize,
    pub(super) released: i64,
    pub(super) to_confirm: i64,
    pub(super) stays: i64,
    /// The newest judged entry.
    pub(super) last: Option<i64>,
    /// The `after` of the next entries; nothing after the last.
    pub(super) next: Option<i64>,
    pub(super) audit: Option<i64>,
    /// The code of the failure that stopped the run.
    pub(super) stopped: Option<&'static str>,
}

/// The outcome for an entry.
#[derive(Serialize)]
pub(super) struct ListLine {
    id: i64,
    outcome: ListedOutcome,
    /// Why it stays.
    why: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum ListedOutcome {
    Released,
    ToConfirm,
    Stays,
}

impl JudgedList {
    /// Judges, and without `dry_run` releases.
    pub(super) async fn judge(
        admin: &Admin,
        caller: &Caller,
        request: &ReevaluateRequest,
    ) -> Result<Self, Error> {
        let began = Instant::now();
        let mut list = Self::default();
        let mut request = request.clone();
        request.limit = request.filter.is_some().then_some(PIECE);
        loop {
            let answer = match admin.operations.reevaluate(caller, request.clone()).await {
                Ok(answer) => answer,
                Err(error) if list.audit.is_some() => {
                    list.stopped = Some(Problem::Service(error).code().code());
                    return Ok(list);
                }
                Err(error) => return Err(error),
            };
            for id in answer.changed {
                list.released = list.released.saturating_add(1);
                list.add(id, ListedOutcome::Released, None);
            }
            for id in answer.to_confirm {
                list.to_confirm = list.to_confirm.saturating_add(1);
                list.add(id, ListedOutcome::ToConfirm, None);
            }
            for refused in answer.refused {
                list.stays = list.stays.saturating_add(1);
                list.add(refused.id, ListedOutcome::Stays, Some(refused.why));
            }
            list.audit = answer.action.or(list.audit);
            list.next = answer.next;
            request.action = answer.action.or(request.action);
            request.after = answer.next;
            if answer.next.is_none() || began.elapsed() >= MAX_RUN {
                return Ok(list);
            }
        }
    }

    fn add(&mut self, id: i64, outcome: ListedOutcome, why: Option<String>) {
        self.last = self.last.max(Some(id));
        if self.lines.len() < MAX_LINES {
            self.lines.push(ListLine { id, outcome, why });
        } else {
            self.more = self.more.saturating_add(1);
        }
    }
}
