//! One status call for an operator, within the calls of the minute that all inboxes share.

use super::profile::HookProfiles;
use super::status_api::StatusApi;
use super::{Reconcile, micros};
use crate::store::{CallBudget, StoreError, StoreHandle};
use blobgate::confirm::{self, Outcome, PolledStatus};
use blobgate::dialect::Dialect;
use blobgate::event::{Event, GenerationId};
use bytes::Bytes;

pub(crate) struct StatusCaller {
    status_api: StatusApi,
    budget: CallBudget,
}

/// The result of a call, or why there was none.
#[derive(Debug)]
pub(crate) enum StatusReply {
    /// The generation has ended. The body is the answer's.
    Ended { dialect: Dialect, event: Box<Event>, body: Bytes },
    /// The answer contains no event. It has this status.
    NoEvent(Outcome, u16),
    /// No whole answer, and why.
    Failed(String),
    /// No call: the calls of this minute are used up.
    BudgetSpent,
    /// No call: the store does not know which dialect the hook has.
    UnknownDialect,
}

impl StatusCaller {
    /// `None` for an inbox without a status API.
    pub(crate) fn new(reconcile: &Reconcile) -> Option<Self> {
        let status_api = StatusApi::new(reconcile.provider.clone()?);
        let budget =
            CallBudget { per_minute: i64::from(reconcile.per_minute), retry_after: micros(reconcile.again) };
        Some(Self { status_api, budget })
    }

    /// The calls in a minute.
    pub(crate) fn per_minute(&self) -> i64 {
        self.budget.per_minute
    }

    /// Calls the status API once.
    pub(crate) async fn call(
        &self,
        store: &StoreHandle,
        hook: Option<&str>,
        id: GenerationId,
    ) -> Result<StatusReply, StoreError> {
        let dialect = match (hook, Dialect::ALL) {
            (Some(hook), _) => {
                HookProfiles::default().find(store, hook).await?.map(|profile| profile.dialect)
            }
            (None, [dialect]) => Some(*dialect),
            (None, _) => None,
        };
        let Some(dialect) = dialect else { return Ok(StatusReply::UnknownDialect) };
        if !store.take_call(self.budget).await? {
            return Ok(StatusReply::BudgetSpent);
        }
        let (status, body) = match self.status_api.get(&dialect.status_path(id)).await {
            Ok(answer) => answer,
            Err(why) => return Ok(StatusReply::Failed(why)),
        };
        Ok(match confirm::parse_status(dialect, id, status, &body) {
            PolledStatus::Ended(event, _) => StatusReply::Ended { dialect, event, body },
            PolledStatus::NoEvent(outcome) => StatusReply::NoEvent(outcome, status),
        })
    }
}
