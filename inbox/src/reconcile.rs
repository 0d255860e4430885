//! The reconciler fetches the result of each expected generation whose webhook never came. It also confirms events that are
//! in quarantine because the status API did not answer the gate.
//!
//! Each call is counted and committed before it is made, and its outcome is written after it: no transaction is open meanwhile.
//! An event that it fetches goes through the same transaction as any arrival, so that the first commit is first.

mod ask;
mod event;
mod release;

use crate::entry::ExpectationState;
use crate::metrics::Metrics;
use crate::store::{ArrivalOutcome, CallBudget, NextCall, StatusAnswer, StatusCall, StoreError, StoreHandle};
use ask::Provider;
use axum::http::Uri;
use blobgate::confirm::{self, PolledStatus};
use blobgate::dialect::Dialect;
use blobgate::event::{Event, GenerationId};
pub(crate) use release::{NotReleased, Releaser, goes_on};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How the reconciler calls the provider.
#[derive(Clone, Debug)]
pub struct Reconcile {
    /// The address that leads to its status API, over plain HTTP: Envoy adds TLS and the key. Without it the reconciler is off.
    pub provider: Option<Uri>,
    /// The time from an expectation to the first call: the product's limit and a margin.
    pub after: Duration,
    /// The calls in any minute, of all inboxes on one store.
    pub per_minute: u32,
    /// The time from the first call about a generation to the next. It doubles each time, up to a day.
    pub again: Duration,
}

/// How often the reconciler looks for a generation to ask about.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often it looks through the quarantine, and counts expectations.
const COUNT_EVERY: Duration = Duration::from_secs(10);
/// Generations that it takes up from the quarantine at once.
const MAX_UNCONFIRMED: i64 = 100;
/// The answers in a row that deny a generation before the reconciler believes them.
const MAX_MISSING: i64 = 3;
/// The only dialect so far.
const DIALECT: Dialect = Dialect::Veo3;

pub(crate) struct Reconciler {
    store: StoreHandle,
    releaser: Releaser,
    metrics: Arc<Metrics>,
    /// An operator makes it look now.
    nudge: Arc<Notify>,
    provider: Option<Provider>,
    after: i64,
    allowed: CallBudget,
    /// Whether deliveries are signed, as the gate signs them.
    signs: bool,
    /// The known path of each hook.
    paths: BTreeMap<String, String>,
    ending: CancellationToken,
}

impl Reconciler {
    pub(crate) fn new(
        releaser: Releaser,
        nudge: Arc<Notify>,
        reconcile: &Reconcile,
        signs: bool,
        ending: CancellationToken,
    ) -> Self {
        Self {
            store: Arc::clone(&releaser.shared.store),
            metrics: Arc::clone(&releaser.shared.metrics),
            releaser,
            nudge,
            provider: reconcile.provider.clone().map(Provider::new),
            after: micros(reconcile.after),
            allowed: CallBudget {
                per_minute: i64::from(reconcile.per_minute),
                retry_after: micros(reconcile.again),
            },
            signs,
            paths: BTreeMap::new(),
            ending,
        }
    }

    pub(crate) async fn run(mut self) {
        let mut counted: Option<Instant> = None;
        while !self.ending.is_cancelled() {
            let is_time = counted.is_none_or(|counted| counted.elapsed() >= COUNT_EVERY);
            match self.look(is_time).await {
                Ok(()) if is_time => counted = Some(Instant::now()),
                Ok(()) => {}
                Err(error) if error.is_replaced() => {}
                Err(error) => {
                    self.metrics.store_errors.inc();
                    tracing::error!("the reconciler does not ask now: {error}");
                }
            }
            tokio::select! {
                () = self.ending.cancelled() => return,
                () = self.nudge.notified() => counted = None,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    async fn look(&mut self, is_time: bool) -> Result<(), StoreError> {
        if is_time {
            self.count().await?;
        }
        self.ask_all().await
    }

    async fn count(&mut self) -> Result<(), StoreError> {
        let (expected, overdue) = self.store.count_expected(self.after).await?;
        self.metrics.expected.set(expected);
        self.metrics.expected_overdue.set(overdue);
        if self.provider.is_some() {
            for (hook, generation) in self.store.unconfirmed(MAX_UNCONFIRMED).await? {
                self.store.request_call(&hook, &generation).await?;
            }
        }
        Ok(())
    }

    /// Asks about what is due, within this minute's calls.
    async fn ask_all(&mut self) -> Result<(), StoreError> {
        if self.provider.is_none() {
            return Ok(());
        }
        while !self.ending.is_cancelled()
            && let NextCall::Call(question) = self.store.next_call(self.allowed).await?
        {
            // An event that comes during the call takes another call.
            let kept = self.store.unconfirmed_of(&question.hook, &question.generation).await?;
            let Some((what, answered)) = self.ask(&question, &kept).await? else { return Ok(()) };
            self.metrics.reconciled(what);
            if answered.state == Some(ExpectationState::Unknown)
                && question.state == ExpectationState::Expected
            {
                self.metrics.expected_unknown.inc();
                tracing::error!(
                    hook = question.hook,
                    generation = question.generation,
                    "expected-unknown hook={} generation={}: the provider has said {MAX_MISSING} times that there is none",
                    question.hook,
                    question.generation
                );
            }
            self.store.record_answer(&question, &answered, &kept).await?;
        }
        Ok(())
    }

    /// Returns the result, as a counter has it; none where the inbox ends meanwhile.
    async fn ask(
        &mut self,
        question: &StatusCall,
        kept: &[i64],
    ) -> Result<Option<(&'static str, StatusAnswer)>, StoreError> {
        let missing = question.missing;
        let not = |what: confirm::Outcome, missing, state| {
            Some((what.name(), StatusAnswer { answer: what.name(), missing, state }))
        };
        if kept.is_empty() && !question.wants_an_event() {
            let answer = "nothing-quarantined";
            return Ok(Some((
                answer,
                StatusAnswer { answer, missing, state: Some(ExpectationState::Arrived) },
            )));
        }
        let (Some(id), Some(provider)) = (GenerationId::parse(&question.generation), &self.provider) else {
            return Ok(not(confirm::Outcome::NotStarted, missing, None));
        };
        let path = DIALECT.status_path(id);
        let answer = tokio::select! {
            // The next time is written already.
            () = self.ending.cancelled() => return Ok(None),
            answer = provider.ask(&path) => answer,
        };
        let Some((status, body)) = answer else {
            return Ok(not(confirm::Outcome::NoAnswer, missing, None));
        };
        Ok(match confirm::parse_status(DIALECT, id, status, &body) {
            PolledStatus::Ended(event, webhook) => {
                let (what, state) = self.ended(question, kept, &event, webhook, &body).await?;
                Some((what, StatusAnswer { answer: event.kind.name(), missing: 0, state }))
            }
            PolledStatus::Not(confirm::Outcome::Unknown) => {
                let missing = missing.saturating_add(1);
                let is_unknown = missing >= MAX_MISSING;
                not(confirm::Outcome::Unknown, missing, is_unknown.then_some(ExpectationState::Unknown))
            }
            PolledStatus::Not(confirm::Outcome::StillWorking) => not(confirm::Outcome::StillWorking, 0, None),
            // Says nothing about the generation.
            PolledStatus::Not(other) => not(other, missing, None),
        })
    }

    /// Releases the quarantined entries that the answer confirms; without one, stores the fetched event.
    async fn ended(
        &mut self,
        question: &StatusCall,
        kept: &[i64],
        event: &Event,
        webhook: Vec<u8>,
        answer: &[u8],
    ) -> Result<(&'static str, Option<ExpectationState>), StoreError> {
        let (mut released, mut left) = (false, false);
        for id in kept {
            match self.releaser.confirmed(*id, DIALECT, answer).await {
                Ok(()) => released = true,
                Err(NotReleased::Store(error)) => return Err(error),
                Err(why) if why.is_about_entry() => left = true,
                Err(why) => return Ok(self.not_stored(&why)),
            }
        }
        if released {
            return Ok(("released", Some(ExpectationState::Arrived)));
        }
        if !question.wants_an_event() {
            // The entries may have been released or dropped meanwhile.
            return Ok(if left {
                ("contradicted", Some(ExpectationState::Contradicted))
            } else {
                ("repeated", Some(ExpectationState::Arrived))
            });
        }
        let path = self.path(&question.hook).await?;
        let arrival = match event::arrival(question, DIALECT, event, webhook, &path, self.signs) {
            Ok(arrival) => arrival,
            Err(why) => return Ok(self.not_stored(&why)),
        };
        Ok(match self.releaser.store(arrival).await {
            Ok(ArrivalOutcome::Waits(_)) => {
                tracing::info!(
                    hook = question.hook,
                    generation = question.generation,
                    event = event.kind.name(),
                    "reconciled hook={} generation={} event={}: the status API had it, for no webhook came",
                    question.hook,
                    question.generation,
                    event.kind.name()
                );
                ("reconciled", Some(ExpectationState::Reconciled))
            }
            Ok(ArrivalOutcome::Repeated) => ("repeated", Some(ExpectationState::Arrived)),
            // An earlier event contradicts it.
            Ok(ArrivalOutcome::Quarantined(_)) => ("quarantined", Some(ExpectationState::Arrived)),
            Ok(ArrivalOutcome::TokenFull | ArrivalOutcome::QuarantineFull) => {
                self.not_stored(&"the quarantine is full")
            }
            Err(why) => self.not_stored(&why),
        })
    }

    /// The reconciler asks again later.
    fn not_stored(&self, why: &dyn std::fmt::Display) -> (&'static str, Option<ExpectationState>) {
        tracing::error!("the provider's answer is not stored, and is asked for again later: {why}");
        ("not-stored", None)
    }

    /// The path that a hook's events came to, or a likely one where none has come yet.
    async fn path(&mut self, hook: &str) -> Result<String, StoreError> {
        if let Some(path) = self.paths.get(hook) {
            return Ok(path.clone());
        }
        let found = self.store.path(hook).await?.and_then(|path| String::from_utf8(path).ok());
        let Some(path) = found else { return Ok(format!("/hooks/{hook}")) };
        self.paths.insert(hook.to_owned(), path.clone());
        Ok(path)
    }
}

impl StatusCall {
    /// Whether its event is expected and has not come; else it is asked about for its quarantined events alone.
    fn wants_an_event(&self) -> bool {
        self.job.is_some() && ![ExpectationState::Arrived, ExpectationState::Reconciled].contains(&self.state)
    }
}

pub(crate) fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}
