//! Stores the generations that the application expects, with their jobs.

use super::error::Error;
use super::filter::{read_generation, read_hook, read_job};
use super::names::ExpectationState;
use super::{Operations, time, written};
use crate::line_limit::permits;
use crate::reconcile::{ReleaseError, Releaser};
use crate::store::{Announcement, AnnouncementOutcome, Expectation, StoreError, StoreHandle};
use serde::{Deserialize, Serialize};
use std::sync::atomic::Ordering;

/// Announces a generation and its job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectRequest {
    /// The hook of its webhook.
    pub hook: String,
    /// The generation.
    pub generation_id: String,
    /// The job.
    pub job: String,
}

/// An expectation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectationStatus {
    /// The hook.
    pub hook: String,
    /// The generation.
    pub generation_id: String,
    /// The job; nothing if the call only confirms a quarantined event.
    pub job: Option<String>,
    /// Its state.
    pub state: ExpectationState,
    /// The time of the announcement.
    pub expected_at: String,
    /// The number of calls to the status API.
    pub calls: i64,
    /// The result of the last call.
    pub answer: Option<String>,
    /// The time of the next call.
    pub next_call_at: Option<String>,
    /// An accepted entry with another job.
    pub job_mismatch: Option<JobMismatch>,
}

/// An accepted entry with another job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobMismatch {
    /// The entry.
    pub entry: i64,
    /// Its job.
    pub job: Option<String>,
}

/// An expectation, and the entries that it released.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectAnswer {
    /// The expectation.
    #[serde(flatten)]
    pub expectation: ExpectationStatus,
    /// Whether this inbox fetches an event whose webhook never comes: it has a status API (`--provider`).
    pub reconciles: bool,
    /// The quarantined entries that it released.
    pub released: Vec<i64>,
}

impl Operations {
    /// Stores an expectation, and releases the entries that were quarantined for the lack of it.
    pub(crate) async fn expect(&self, request: &ExpectRequest) -> Result<ExpectAnswer, Error> {
        let expected = Announcement {
            hook: read_hook(&request.hook)?,
            job: read_job(&request.job)?,
            generation: read_generation(&request.generation_id)?,
        };
        let (store, releaser, after) =
            (self.shared.store.clone(), self.releaser.clone(), self.reconcile_after);
        let (noted, released) = written(note(store, releaser, expected.clone(), after)).await?;
        let Announcement { hook, generation, job } = expected;
        let (expectation, is_new) = match noted {
            AnnouncementOutcome::Recorded { expectation, is_new } => (expectation, is_new),
            AnnouncementOutcome::OtherJob(other) => {
                return Err(Error::OtherJob { hook, generation, expected: other, named: job });
            }
        };
        if is_new && let Some(entry) = expectation.mismatch_id {
            self.shared.metrics.job_mismatch.inc();
            if permits(("job-mismatch", "")) {
                tracing::error!(
                    reason = "job-mismatch",
                    hook,
                    generation,
                    entry,
                    "job-mismatch hook={hook} generation={generation} entry={entry}: the accepted entry has another job"
                );
            }
        }
        let reconciles = self.per_minute.is_some();
        if is_new && !reconciles && !self.warned_of_no_provider.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                hook,
                generation,
                "this inbox does not reconcile hook={hook} generation={generation} and later expectations: an event whose webhook never comes is lost. Start the inbox with --provider"
            );
        }
        let released = released.map_err(|why| {
            if permits(("not-released", "")) {
                tracing::error!(
                    hook,
                    generation,
                    "cannot release a quarantined entry of hook={hook} generation={generation}: {why}"
                );
            }
            Error::NotReleased(why)
        })?;
        let mut expectation = ExpectationStatus::from(expectation);
        if !reconciles {
            expectation.next_call_at = None;
        }
        Ok(ExpectAnswer { expectation, reconciles, released })
    }
}

async fn note(
    store: StoreHandle,
    releaser: Releaser,
    expected: Announcement,
    after: i64,
) -> Result<(AnnouncementOutcome, Result<Vec<i64>, ReleaseError>), StoreError> {
    let mut noted = store.expect(&expected, after).await?;
    let mut released = Vec::new();
    if matches!(noted, AnnouncementOutcome::OtherJob(_)) {
        return Ok((noted, Ok(released)));
    }
    for id in store.explained(&expected).await? {
        match releaser.explained(id).await {
            Ok(()) => released.push(id),
            Err(why) if why.is_about_entry() => {}
            Err(why) => return Ok((noted, Err(why))),
        }
    }
    if !released.is_empty()
        && let AnnouncementOutcome::Recorded { is_new, .. } = noted
    {
        // The release may have changed its state.
        noted = match store.expect(&expected, after).await? {
            AnnouncementOutcome::Recorded { expectation, .. } => {
                AnnouncementOutcome::Recorded { expectation, is_new }
            }
            other => other,
        };
    }
    Ok((noted, Ok(released)))
}

impl From<Expectation> for ExpectationStatus {
    fn from(expectation: Expectation) -> Self {
        let state = expectation.state;
        let is_open = state == ExpectationState::Expected || expectation.wanted.is_some();
        Self {
            hook: expectation.hook,
            generation_id: expectation.generation,
            job: expectation.job,
            state,
            expected_at: time(expectation.expected_at),
            calls: expectation.asked,
            answer: expectation.answer,
            next_call_at: is_open.then(|| time(expectation.ask_at)),
            job_mismatch: expectation
                .mismatch_id
                .map(|entry| JobMismatch { entry, job: expectation.mismatch_job }),
        }
    }
}
