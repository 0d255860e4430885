//! The endpoints of the operator's actions. Each reads the request, and writes the answer as JSON.

use super::Admin;
use super::problem::Problem;
use crate::access::Caller;
use crate::service::{
    ActivePause, AuditPage, AuditRequest, ChangeRequest, EntryDetail, EntryPage, ExpectAnswer, ExpectRequest,
    InboxStats, ListRequest, PauseAnswer, PauseTarget, ReconcileRequest, ReevaluateAnswer, ReevaluateRequest,
    RefusalPage, RefusalRequest, ReleaseAsRequest, StoryAnswer, StoryRequest, TailPage, TailRequest,
    TrafficAnswer, read_id,
};
use crate::store::Change;
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use std::sync::Arc;

type AdminState = State<Arc<Admin>>;
type JsonAnswer<T> = Result<Json<T>, Problem>;
type QueryPairs = Query<Vec<(String, String)>>;

pub(super) async fn list(State(admin): AdminState, Query(pairs): QueryPairs) -> JsonAnswer<EntryPage> {
    Ok(Json(admin.operations.list(&ListRequest::read(&pairs)?).await?))
}

pub(super) async fn show(State(admin): AdminState, Path(id): Path<String>) -> JsonAnswer<EntryDetail> {
    Ok(Json(admin.operations.show(read_id(&id)?).await?))
}

pub(super) async fn tail(State(admin): AdminState, Query(pairs): QueryPairs) -> JsonAnswer<TailPage> {
    Ok(Json(admin.operations.tail(&TailRequest::read(&pairs)?).await?))
}

pub(super) async fn why(State(admin): AdminState, Query(pairs): QueryPairs) -> JsonAnswer<StoryAnswer> {
    Ok(Json(admin.operations.story(&StoryRequest::read(&pairs)?).await?))
}

/// Calls the status API too. It is a change, because the call counts against the budget.
pub(super) async fn ask_why(State(admin): AdminState, body: Bytes) -> JsonAnswer<StoryAnswer> {
    Ok(Json(admin.operations.story_and_status(&read::<StoryRequest>(&body)?).await?))
}

pub(super) async fn stats(State(admin): AdminState) -> JsonAnswer<InboxStats> {
    Ok(Json(admin.operations.stats().await?))
}

pub(super) async fn audit(State(admin): AdminState, Query(pairs): QueryPairs) -> JsonAnswer<AuditPage> {
    Ok(Json(admin.operations.audit(&AuditRequest::read(&pairs)?).await?))
}

pub(super) async fn traffic(State(admin): AdminState) -> Json<TrafficAnswer> {
    Json(admin.operations.traffic())
}

pub(super) async fn refusals(State(admin): AdminState, Query(pairs): QueryPairs) -> JsonAnswer<RefusalPage> {
    Ok(Json(admin.operations.refusals(&RefusalRequest::read(&pairs)?)))
}

pub(super) async fn pauses(State(admin): AdminState) -> JsonAnswer<Vec<ActivePause>> {
    Ok(Json(admin.operations.pauses().await?))
}

pub(super) async fn pause(State(admin): AdminState, caller: Caller, body: Bytes) -> JsonAnswer<PauseAnswer> {
    Ok(Json(admin.operations.pause(&caller, &read::<PauseTarget>(&body)?).await?))
}

pub(super) async fn resume(State(admin): AdminState, caller: Caller, body: Bytes) -> JsonAnswer<PauseAnswer> {
    Ok(Json(admin.operations.resume(&caller, &read::<PauseTarget>(&body)?).await?))
}

pub(super) async fn expect(State(admin): AdminState, body: Bytes) -> JsonAnswer<ExpectAnswer> {
    Ok(Json(admin.operations.expect(&read::<ExpectRequest>(&body)?).await?))
}

pub(super) async fn reconcile(
    State(admin): AdminState,
    caller: Caller,
    body: Bytes,
) -> Result<Response, Problem> {
    let ReconcileRequest { dry_run } = read(&body)?;
    if dry_run {
        return Ok(Json(admin.operations.preview_reconcile().await?).into_response());
    }
    Ok(Json(admin.operations.reconcile(&caller).await?).into_response())
}

pub(super) async fn replay(
    State(admin): AdminState,
    caller: Caller,
    body: Bytes,
) -> Result<Response, Problem> {
    change(&admin, &caller, Change::Replay, &body).await
}

pub(super) async fn retry(
    State(admin): AdminState,
    caller: Caller,
    body: Bytes,
) -> Result<Response, Problem> {
    change(&admin, &caller, Change::Retry(admin.operations.retries.pace()), &body).await
}

pub(super) async fn discard(
    State(admin): AdminState,
    caller: Caller,
    body: Bytes,
) -> Result<Response, Problem> {
    change(&admin, &caller, Change::Drop, &body).await
}

pub(super) async fn purge(
    State(admin): AdminState,
    caller: Caller,
    body: Bytes,
) -> Result<Response, Problem> {
    change(&admin, &caller, Change::Purge, &body).await
}

/// Releases entries as the events that they claim; with `as`, one entry as that event.
pub(super) async fn release(
    State(admin): AdminState,
    caller: Caller,
    body: Bytes,
) -> Result<Response, Problem> {
    #[derive(Deserialize)]
    struct AsField {
        r#as: Option<IgnoredAny>,
    }
    if read::<AsField>(&body)?.r#as.is_none() {
        return change(&admin, &caller, Change::Release, &body).await;
    }
    Ok(Json(admin.operations.release_as(&caller, &read::<ReleaseAsRequest>(&body)?).await?).into_response())
}

pub(super) async fn reevaluate(
    State(admin): AdminState,
    caller: Caller,
    body: Bytes,
) -> JsonAnswer<ReevaluateAnswer> {
    Ok(Json(admin.operations.reevaluate(&caller, read::<ReevaluateRequest>(&body)?).await?))
}

async fn change(admin: &Admin, caller: &Caller, change: Change, body: &Bytes) -> Result<Response, Problem> {
    let request: ChangeRequest = read(body)?;
    if request.dry_run {
        return Ok(Json(admin.operations.preview(change, &request).await?).into_response());
    }
    Ok(Json(admin.operations.change(caller, change, request).await?).into_response())
}

fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Problem> {
    Ok(serde_json::from_slice(body)?)
}
