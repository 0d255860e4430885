//! `POST /reconcile`: asks the provider now, or says about what it would be asked.

use super::expect::Shown;
use super::problem::Problem;
use super::{Admin, read_body, written};
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// Only lists.
    #[serde(default)]
    dry_run: bool,
}

#[derive(Serialize)]
struct WouldAsk {
    /// The oldest first.
    questions: Vec<Question>,
    /// Whether there are more than are listed.
    more: bool,
    /// None where this inbox asks nobody.
    per_minute: Option<u32>,
}

#[derive(Serialize)]
struct Question {
    #[serde(flatten)]
    shown: Shown,
    /// Whether `POST /reconcile` would have it asked now.
    due: bool,
    why: &'static str,
}

#[derive(Serialize)]
struct Due {
    due: u64,
    per_minute: u32,
}

/// So many are listed.
const MOST: usize = 500;

pub(super) async fn reconcile(State(admin): State<Arc<Admin>>, body: Bytes) -> Result<Response, Problem> {
    let Asked { dry_run } = read_body(&body)?;
    if dry_run {
        return Ok(Json(list(&admin).await?).into_response());
    }
    let Some(per_minute) = admin.asks else {
        return Err(Problem::conflict("this inbox asks nobody: start it with --provider"));
    };
    let store = Arc::clone(&admin.store);
    let after = admin.reconcile_after;
    let due = written(async move { store.ask_now(after).await }).await?;
    admin.nudge.notify_one();
    log::info!("due={due} to be asked about now, by an operator");
    Ok(Json(Due { due, per_minute }).into_response())
}

async fn list(admin: &Admin) -> Result<WouldAsk, Problem> {
    let now = admin.store.now().await?;
    let most = i64::try_from(MOST).unwrap_or(i64::MAX);
    let mut open = admin.store.open_questions(most.saturating_add(1)).await?;
    let more = open.len() > MOST;
    open.truncate(MOST);
    let questions = open.into_iter().map(|open| {
        let is_late = open.expected_at <= now.saturating_sub(admin.reconcile_after);
        let is_wanted = open.wanted.is_some();
        let why = match (open.missing > 0, open.asked > 0, is_wanted) {
            (true, ..) => "the provider knows of no such generation, as yet",
            (_, true, _) => "it had not ended, or the provider gave no answer: see answer",
            (_, _, true) => "the provider's word is missing for what is kept of it",
            _ if is_late => "no event has come in time",
            _ => "it still has time",
        };
        Question { due: is_late || open.asked > 0 || is_wanted, why, shown: open.into() }
    });
    Ok(WouldAsk { questions: questions.collect(), more, per_minute: admin.asks })
}
