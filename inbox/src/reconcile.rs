//! The reconciler fetches the result of each expected generation whose webhook never came. It also confirms events that are
//! in quarantine because the status API did not answer the gate.
//!
//! It counts and commits each call before the call, and writes the outcome after it: no transaction is open meanwhile.
//! A fetched event goes through the same transaction as an arrival, so that the first commit is first.

mod asking;
mod event;
mod outcome;
mod profile;
mod release;
mod status_api;

use crate::entry::ExpectationState;
use crate::handles::InboxHandles;
use crate::line_limit::permits_condition;
use crate::store::{ArrivalOutcome, CallBudget, NextCall, StatusAnswer, StatusCall, StoreError};
pub(crate) use asking::{StatusCaller, StatusReply};
use axum::http::Uri;
use blobgate::confirm::{self, PolledStatus};
use blobgate::event::{Event, GenerationId};
use outcome::CallOutcome;
use profile::{HookProfile, HookProfiles};
pub(crate) use release::{ReleaseError, Releaser, check_released, event as read_event};
use status_api::StatusApi;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The settings of the reconciler.
#[derive(Clone, Debug)]
pub struct Reconcile {
    /// The URL of Envoy's route to the status API. Envoy adds TLS and the API key. Without a URL the reconciler is off.
    pub provider: Option<Uri>,
    /// The time from an expectation to the first call: the product's limit and a margin.
    pub after: Duration,
    /// The calls in any minute, of all inboxes on one store.
    pub per_minute: u32,
    /// The time from the first call about a generation to the next. It doubles each time, up to a day.
    pub again: Duration,
}

/// The time between looks for a due generation.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The time between looks through the quarantine, and counts of expectations.
const COUNT_EVERY: Duration = Duration::from_secs(10);
/// Generations that it takes up from the quarantine at once.
const MAX_UNCONFIRMED: i64 = 100;
/// The reconciler believes that a generation does not exist after this many answers in a row.
const MAX_MISSING: i64 = 3;

pub(crate) struct Reconciler {
    releaser: Releaser,
    /// An operator makes it look now.
    nudge: Arc<Notify>,
    status_api: Option<StatusApi>,
    after: i64,
    allowed: CallBudget,
    /// Whether attempts are signed.
    signs: bool,
    profiles: HookProfiles,
    ending: CancellationToken,
}

/// The outcome of a call, and the new state of the expectation.
struct CallResult {
    outcome: CallOutcome,
    answered: StatusAnswer,
}

impl CallResult {
    /// The status API did not answer with the end of the generation.
    fn open(outcome: confirm::Outcome, missing: i64, state: Option<ExpectationState>) -> Self {
        let outcome = CallOutcome::StatusApi(outcome);
        Self { outcome, answered: StatusAnswer { answer: outcome.name(), missing, state } }
    }
}

impl Reconciler {
    pub(crate) fn new(
        releaser: Releaser,
        nudge: Arc<Notify>,
        reconcile: &Reconcile,
        signs: bool,
        ending: CancellationToken,
    ) -> Self {
        releaser.shared.metrics.create_reconciled(CallOutcome::ALL.map(CallOutcome::name));
        Self {
            releaser,
            nudge,
            status_api: reconcile.provider.clone().map(StatusApi::new),
            after: micros(reconcile.after),
            allowed: CallBudget {
                per_minute: i64::from(reconcile.per_minute),
                retry_after: micros(reconcile.again),
            },
            signs,
            profiles: HookProfiles::default(),
            ending,
        }
    }

    pub(crate) async fn run(mut self) {
        let mut counted: Option<Instant> = None;
        while !self.ending.is_cancelled() {
            let count_due = counted.is_none_or(|counted| counted.elapsed() >= COUNT_EVERY);
            match self.look(count_due).await {
                Ok(()) if count_due => counted = Some(Instant::now()),
                Ok(()) => {}
                Err(error) if error.is_replaced() => {}
                Err(error) => {
                    self.shared().metrics.store_errors.inc();
                    if permits_condition(("reconciler", "")) {
                        tracing::error!("the reconciler waits for the store: {error}");
                    }
                }
            }
            tokio::select! {
                () = self.ending.cancelled() => return,
                () = self.nudge.notified() => counted = None,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    fn shared(&self) -> &InboxHandles {
        &self.releaser.shared
    }

    async fn look(&mut self, count_due: bool) -> Result<(), StoreError> {
        if count_due {
            self.count().await?;
        }
        self.call_all().await
    }

    async fn count(&mut self) -> Result<(), StoreError> {
        let InboxHandles { store, metrics, incidents, .. } = self.shared();
        let (expected, overdue) = store.count_expected(self.after).await?;
        metrics.expected.set(expected);
        metrics.expected_overdue.set(overdue);
        incidents.overdue(overdue);
        if self.status_api.is_some() {
            for (hook, generation) in store.unconfirmed(MAX_UNCONFIRMED).await? {
                store.request_call(&hook, &generation).await?;
            }
        }
        Ok(())
    }

    /// Calls the status API about each due generation, within this minute's calls.
    async fn call_all(&mut self) -> Result<(), StoreError> {
        if self.status_api.is_none() {
            return Ok(());
        }
        while !self.ending.is_cancelled()
            && let NextCall::Call(question) = self.shared().store.next_call(self.allowed).await?
        {
            // An event that arrives during the call needs another call.
            let quarantined =
                self.shared().store.unconfirmed_of(&question.hook, &question.generation).await?;
            let Some(result) = self.call(&question, &quarantined).await? else { return Ok(()) };
            let CallResult { outcome, answered } = result;
            self.shared().metrics.reconciled(outcome.name());
            if answered.state == Some(ExpectationState::Unknown)
                && question.state == ExpectationState::Expected
            {
                self.shared().metrics.expected_unknown.inc();
                self.shared().incidents.unknown();
                tracing::error!(
                    reason = "expected-unknown",
                    hook = question.hook,
                    generation = question.generation,
                    "expected-unknown hook={} generation={}: the status API has denied it {MAX_MISSING} times",
                    question.hook,
                    question.generation
                );
            }
            self.shared().store.record_answer(&question, &answered, &quarantined).await?;
        }
        Ok(())
    }

    /// Calls the status API once. Returns nothing where the inbox ends meanwhile.
    async fn call(
        &mut self,
        question: &StatusCall,
        quarantined: &[i64],
    ) -> Result<Option<CallResult>, StoreError> {
        let missing = question.missing;
        if quarantined.is_empty() && !question.wants_an_event() {
            let outcome = CallOutcome::NothingQuarantined;
            let state = Some(ExpectationState::Arrived);
            let answered = StatusAnswer { answer: outcome.name(), missing, state };
            return Ok(Some(CallResult { outcome, answered }));
        }
        let Some(profile) = self.profiles.find(&self.releaser.shared.store, &question.hook).await? else {
            let outcome = CallOutcome::UnknownDialect;
            let answered = StatusAnswer { answer: outcome.name(), missing, state: None };
            return Ok(Some(CallResult { outcome, answered }));
        };
        let (Some(id), Some(status_api)) = (GenerationId::parse(&question.generation), &self.status_api)
        else {
            return Ok(Some(CallResult::open(confirm::Outcome::NotStarted, missing, None)));
        };
        let path = profile.dialect.status_path(id);
        let answer = tokio::select! {
            // The store already has the time of the next call.
            () = self.ending.cancelled() => return Ok(None),
            answer = status_api.get(&path) => answer,
        };
        let (status, body) = match answer {
            Ok(answer) => answer,
            Err(why) => {
                outcome::log_failed(question, confirm::Outcome::NoAnswer, &why);
                return Ok(Some(CallResult::open(confirm::Outcome::NoAnswer, missing, None)));
            }
        };
        Ok(Some(match confirm::parse_status(profile.dialect, id, status, &body) {
            PolledStatus::Ended(event, webhook) => {
                let answer = event.kind.name();
                let (outcome, state) =
                    self.ended(question, quarantined, &profile, &event, webhook, &body).await?;
                CallResult { outcome, answered: StatusAnswer { answer, missing: 0, state } }
            }
            PolledStatus::NoEvent(confirm::Outcome::Unknown) => {
                let missing = missing.saturating_add(1);
                let state = (missing >= MAX_MISSING).then_some(ExpectationState::Unknown);
                CallResult::open(confirm::Outcome::Unknown, missing, state)
            }
            PolledStatus::NoEvent(confirm::Outcome::StillWorking) => {
                CallResult::open(confirm::Outcome::StillWorking, 0, None)
            }
            // Tells nothing about the generation, so the count of denials stays.
            PolledStatus::NoEvent(other) => {
                outcome::log_failed(question, other, &format!("the status API answers {status}"));
                CallResult::open(other, missing, None)
            }
        }))
    }

    /// Releases the quarantined entries that the answer confirms; without one, stores the fetched event.
    async fn ended(
        &mut self,
        question: &StatusCall,
        quarantined: &[i64],
        profile: &HookProfile,
        event: &Event,
        webhook: Vec<u8>,
        answer: &[u8],
    ) -> Result<(CallOutcome, Option<ExpectationState>), StoreError> {
        use ExpectationState::{Arrived, Contradicted, Reconciled};
        let (mut released, mut remaining) = (false, false);
        for id in quarantined {
            match self.releaser.confirmed(*id, profile.dialect, answer).await {
                Ok(()) => released = true,
                Err(ReleaseError::Store(error)) => return Err(error),
                Err(why) if why.is_about_entry() => remaining = true,
                Err(why) => return Ok((outcome::not_stored(question, &why), None)),
            }
        }
        if released {
            return Ok((CallOutcome::Released, Some(Arrived)));
        }
        if !question.wants_an_event() {
            // A person may have released or dropped the entries meanwhile.
            return Ok(if remaining {
                (CallOutcome::Contradicted, Some(Contradicted))
            } else {
                (CallOutcome::Repeated, Some(Arrived))
            });
        }
        let arrival =
            match event::arrival(question, profile.dialect, event, webhook, &profile.path, self.signs) {
                Ok(arrival) => arrival,
                Err(why) => return Ok((outcome::not_stored(question, &why), None)),
            };
        Ok(match self.releaser.store(arrival).await {
            Ok(ArrivalOutcome::Waits(_)) => {
                tracing::info!(
                    hook = question.hook,
                    generation = question.generation,
                    event = event.kind.name(),
                    "reconciled hook={} generation={} event={}: no webhook came, and the status API had the result",
                    question.hook,
                    question.generation,
                    event.kind.name()
                );
                (CallOutcome::Reconciled, Some(Reconciled))
            }
            Ok(ArrivalOutcome::Repeated) => (CallOutcome::Repeated, Some(Arrived)),
            // An earlier event contradicts it.
            Ok(ArrivalOutcome::Quarantined(_)) => (CallOutcome::Quarantined, Some(Arrived)),
            Ok(ArrivalOutcome::TokenFull | ArrivalOutcome::QuarantineFull) => {
                (outcome::not_stored(question, &"the quarantine is full"), None)
            }
            Err(why) => (outcome::not_stored(question, &why), None),
        })
    }
}

impl StatusCall {
    /// Whether an expected event is still missing. If not, the call is about quarantined entries only.
    fn wants_an_event(&self) -> bool {
        self.job.is_some() && ![ExpectationState::Arrived, ExpectationState::Reconciled].contains(&self.state)
    }
}

pub(crate) fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}
