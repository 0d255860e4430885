//! Makes the reconciler call the provider now, or lists what it would ask about.

use super::error::Error;
use super::{ExpectationStatus, Operations, written};
use crate::store::Expectation;
use serde::{Deserialize, Serialize};

/// Makes the reconciler call the provider now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReconcileRequest {
    /// Only list.
    #[serde(default)]
    pub dry_run: bool,
}

/// What the reconciler would ask about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReconcilePreview {
    /// The oldest first, up to 500.
    pub questions: Vec<ReconcileQuestion>,
    /// Whether there are more.
    pub more: bool,
    /// The calls that it may make in a minute; none without a provider.
    pub per_minute: Option<u32>,
}

/// A generation that the reconciler would ask about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReconcileQuestion {
    /// Its expectation.
    #[serde(flatten)]
    pub expectation: ExpectationStatus,
    /// Whether the reconciler would ask now.
    pub due: bool,
    /// Why.
    pub why: String,
}

/// What the reconciler asks about now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReconcileAnswer {
    /// So many generations.
    pub due: u64,
    /// The calls that it may make in a minute.
    pub per_minute: u32,
}

/// So an answer stays below a megabyte.
const MAX_QUESTIONS: usize = 500;

impl Operations {
    /// Makes the reconciler ask about all that is due, or was asked about before.
    pub(crate) async fn reconcile(&self) -> Result<ReconcileAnswer, Error> {
        let per_minute = self.per_minute.ok_or(Error::NoProvider)?;
        let store = self.shared.store.clone();
        let after = self.reconcile_after;
        let due = written(async move { store.call_now(after).await }).await?;
        self.nudge.notify_one();
        tracing::info!("due={due} to be asked about now, by an operator");
        Ok(ReconcileAnswer { due, per_minute })
    }

    /// Lists what the reconciler would ask about.
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
        (true, ..) => "the provider knows of no such generation, as yet",
        (_, true, _) => "it had not ended, or the provider gave no answer: see answer",
        (_, _, true) => "its quarantined event is not confirmed yet",
        _ if is_late => "no event has come in time",
        _ => "it still has time",
    };
    let due = is_late || open.asked > 0 || is_wanted;
    ReconcileQuestion { due, why: why.to_owned(), expectation: open.into() }
}
