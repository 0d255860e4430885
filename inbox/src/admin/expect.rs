//! `POST /expect`: of which job a generation is, said by who ordered it.

use super::filter::{read_generation, read_hook, read_job};
use super::problem::Problem;
use super::{Admin, read_body, time, written};
use crate::entry::ExpectationState;
use crate::reconcile::{NotReleased, Releaser};
use crate::store::{Expectation, Expected, Noted, StoreHandle};
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    hook: String,
    generation_id: String,
    job: String,
}

/// An expectation. Times are RFC 3339 in UTC.
#[derive(Serialize)]
pub(super) struct Shown {
    hook: String,
    generation_id: String,
    /// None where it is only asked about for what is kept.
    job: Option<String>,
    state: String,
    expected_at: String,
    /// How often the provider was asked, and what it said last.
    asked: i64,
    answer: Option<String>,
    /// When it is asked next.
    ask_at: Option<String>,
    job_mismatch: Option<Mismatch>,
}

/// An accepted entry that came with another job.
#[derive(Serialize)]
struct Mismatch {
    entry: i64,
    job: Option<String>,
}

#[derive(Serialize)]
struct Answer {
    #[serde(flatten)]
    shown: Shown,
    /// What was kept, and is explained by it.
    released: Vec<i64>,
}

pub(super) async fn expect(State(admin): State<Arc<Admin>>, body: Bytes) -> Result<Response, Problem> {
    let expected = read(&body)?;
    let (store, releaser, after) = (Arc::clone(&admin.store), admin.releaser.clone(), admin.reconcile_after);
    let (noted, released) = written(note(store, releaser, expected.clone(), after)).await?;
    let Expected { hook, generation, job } = &expected;
    let (expectation, is_new) = match noted {
        Noted::Is { expectation, is_new } => (expectation, is_new),
        Noted::OtherJob(other) => {
            return Err(Problem::conflict(format!(
                "generation {generation} of hook {hook} is expected of job {other:?}, and not of {job:?}"
            )));
        }
    };
    if is_new && let Some(entry) = expectation.mismatch_id {
        admin.metrics.job_mismatch.inc();
        log::error!(
            "job-mismatch hook={hook} generation={generation} entry={entry}: it was accepted with another job"
        );
    }
    let released = released.map_err(|why| {
        log::error!("what an expectation explains is not released: {why}");
        Problem::not_now(format!("it is expected, and what is kept of it waits: {why}; say it again later"))
    })?;
    Ok(Json(Answer { shown: expectation.into(), released }).into_response())
}

async fn note(
    store: StoreHandle,
    releaser: Releaser,
    expected: Expected,
    after: i64,
) -> Result<(Noted, Result<Vec<i64>, NotReleased>), crate::store::StoreError> {
    let mut noted = store.expect(&expected, after).await?;
    let mut released = Vec::new();
    if matches!(noted, Noted::OtherJob(_)) {
        return Ok((noted, Ok(released)));
    }
    for id in store.explained(&expected).await? {
        match releaser.explained(&*store, id).await {
            Ok(true) => released.push(id),
            Ok(false) => {}
            Err(why) => return Ok((noted, Err(why))),
        }
    }
    if !released.is_empty()
        && let Noted::Is { is_new, .. } = noted
    {
        // By now it may have arrived.
        noted = match store.expect(&expected, after).await? {
            Noted::Is { expectation, .. } => Noted::Is { expectation, is_new },
            other => other,
        };
    }
    Ok((noted, Ok(released)))
}

/// Hook and job are written as the gate has them.
fn read(body: &Bytes) -> Result<Expected, Problem> {
    let Asked { hook, generation_id, job } = read_body(body)?;
    let hook = read_hook(&hook).map_err(Problem::bad)?;
    let job = read_job(&job).map_err(Problem::bad)?;
    let generation = read_generation(&generation_id).map_err(Problem::bad)?;
    Ok(Expected { hook, generation, job })
}

impl From<Expectation> for Shown {
    fn from(expectation: Expectation) -> Self {
        let is_open = expectation.state == ExpectationState::Expected || expectation.wanted.is_some();
        Self {
            hook: expectation.hook,
            generation_id: expectation.generation,
            job: expectation.job,
            state: expectation.state.to_string(),
            expected_at: time(expectation.expected_at),
            asked: expectation.asked,
            answer: expectation.answer,
            ask_at: is_open.then(|| time(expectation.ask_at)),
            job_mismatch: expectation
                .mismatch_id
                .map(|entry| Mismatch { entry, job: expectation.mismatch_job }),
        }
    }
}
