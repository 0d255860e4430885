//! Makes the reconciler call the status API now, or lists the generations of its next calls.

use super::error::Error;
use super::{ExpectationStatus, Operations, written};
use crate::access::Caller;
use crate::store::{ActionKind, Expectation, NewAction};
use serde::{Deserialize, Serialize};

/// Makes the reconciler call the status API now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReconcileRequest {
    /// List the generations, and call nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// The generations that the reconciler would call about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReconcilePreview {
    /// The oldest first, up to 500.
    pub questions: Vec<ReconcileQuestion>,
    /// Whether there are more.
    pub more: bool,
    /// The calls in a minute; nothing without a status API.
    pub per_minute: Option<u32>,
}

/// A generation that the reconciler would call about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReconcileQuestion {
    /// Its expectation.
    #[serde(flatten)]
    pub expectation: ExpectationStatus,
    /// Whether the call is due now.
    pub due: bool,
    /// The reason of the call.
    pub why: String,
}

/// The calls that are due now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReconcileAnswer {
    /// The number of generations.
    pub due: u64,
    /// The calls in a minute.
    pub per_minute: u32,
    /// The action's number in the audit; nothing if no call is due.
    #[serde(default)]
    pub action: Option<i64>,
}

/// Keeps an answer below a megabyte.
const MAX_QUESTIONS: usize = 500;

impl Operations {
    /// Makes all calls due that are overdue, or were made before.
    pub(crate) async fn reconcile(&self, caller: &Caller) -> Result<ReconcileAnswer, Error> {
        let per_minute = self.per_minute.ok_or(Error::NoProvider)?;
        let store = self.shared.store.clone();
        let after = self.reconcile_after;
        let action = NewAction::by(caller, ActionKind::Reconcile);
        let (due, action) = written(async move { store.call_now(after, &action).await }).await?;
        self.nudge.notify_one();
        tracing::info!("reconcile due={due} by an operator");
        Ok(ReconcileAnswer { due, per_minute, action })
    }

    /// Lists the generations that the reconciler would call about.
    pub(crate) async fn preview_reconcile(&self) -> Result<ReconcilePreview, Error> {
        let now = self.shared.store.now().await?;
        let limit = i64::try_from(MAX_QUESTIONS).unwrap_or(i64::MAX);
        let mut open = self.shared.store.open_expectations(limit.saturating_add(1)).await?;
        let more = open.len() > MAX_QUESTIONS;
        open.truncate(MAX_QUESTIONS);
        let overdue_since = now.saturating_sub(self.reconcile_after);
        let questions = open.into_iter().map(|open| question(open, overdue_since)).collect();
        Ok(ReconcilePreview { questions, more, per_minute: self.per_minute })
    }
}

fn question(open: Expectation, overdue_since: i64) -> ReconcileQuestion {
    let is_late = open.expected_at <= overdue_since;
    let is_wanted = open.wanted.is_some();
    let why = match (open.missing > 0, open.asked > 0, is_wanted) {
        (true, ..) => "the status API denies the generation so far",
        (_, true, _) => "the last call brought no result: see answer",
        (_, _, true) => "its quarantined event needs a confirmation",
        _ if is_late => "its event is overdue",
        _ => "its event is not due yet",
    };
    let due = is_late || open.asked > 0 || is_wanted;
    ReconcileQuestion { due, why: why.to_owned(), expectation: open.into() }
}
