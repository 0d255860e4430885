//! `/sandbox/*`: for tests. The provider does not have it.

use super::generation::{GenerationError, GenerationStatus, SandboxGeneration};
use super::ledger::{CallLog, GenerationRecord};
use super::lifecycle::Sandbox;
use super::script::Script;
use super::status::parse_id;
use super::{clock, detail, report};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

pub(super) async fn faults(State(provider): State<Arc<Sandbox>>) -> Json<Script> {
    Json(provider.ledger().script.clone())
}

pub(super) async fn set_faults(
    State(provider): State<Arc<Sandbox>>,
    body: Bytes,
) -> Result<Json<Script>, AdminError> {
    let script: Script = parse(&body)?;
    report("faults", "-", format_args!("{}", script.summary()));
    provider.ledger().script = script.clone();
    Ok(Json(script))
}

pub(super) async fn end_faults(State(provider): State<Arc<Sandbox>>) -> StatusCode {
    report("faults", "-", format_args!("none"));
    provider.ledger().script = Script::default();
    StatusCode::NO_CONTENT
}

pub(super) async fn generations(State(provider): State<Arc<Sandbox>>) -> Json<Vec<GenerationRecord>> {
    Json(provider.ledger().all())
}

pub(super) async fn calls(State(provider): State<Arc<Sandbox>>) -> Json<CallLog> {
    Json(provider.ledger().calls())
}

pub(super) async fn register(
    State(provider): State<Arc<Sandbox>>,
    Path(text): Path<String>,
    body: Bytes,
) -> Result<Json<SandboxGeneration>, AdminError> {
    let id = parse_id(&text).ok_or_else(|| {
        AdminError("the id in the path is no UUID. Write it in the 8-4-4-4-12 form".to_owned())
    })?;
    let registration: Registration = parse(&body)?;
    if registration.generation_id.as_ref().is_some_and(|same| *same != text) {
        return Err(AdminError("generation_id differs from the id in the path. Leave it out".to_owned()));
    }
    let (generation, sandbox) = registration.generation(text);
    report("registered", &generation.generation_id, format_args!("{}", generation.summary()));
    provider
        .ledger()
        .add(id, GenerationRecord { generation: generation.clone(), callback_url: None, sandbox });
    Ok(Json(generation))
}

/// A status object. Only `status` is required.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Registration {
    generation_id: Option<String>,
    status: GenerationStatus,
    prompt: Option<String>,
    video_url: Option<String>,
    created_at: Option<String>,
    completed_at: Option<String>,
    #[serde(default)]
    seed: u64,
    error: Option<GenerationError>,
    #[serde(default)]
    sandbox: Script,
}

/// The prompt of the provider's page.
const PROMPT: &str = "A cat playing with a ball in a sunny room";

impl Registration {
    fn generation(self, generation_id: String) -> (SandboxGeneration, Script) {
        let ended = matches!(self.status, GenerationStatus::Completed | GenerationStatus::Failed);
        let generation = SandboxGeneration {
            generation_id,
            status: self.status,
            prompt: self.prompt.unwrap_or_else(|| PROMPT.to_owned()),
            video_url: self.video_url,
            created_at: self.created_at.unwrap_or_else(clock::now),
            completed_at: self.completed_at.or_else(|| ended.then(clock::now)),
            seed: self.seed,
            error: self.error,
        };
        (generation, self.sandbox)
    }
}

/// Ignores content-type: `curl -d` sends the type of a form.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, AdminError> {
    serde_json::from_slice(body).map_err(|error| AdminError(error.to_string()))
}

/// An unusable body or path: 422.
pub(super) struct AdminError(String);

impl IntoResponse for AdminError {
    fn into_response(self) -> Response {
        detail(StatusCode::UNPROCESSABLE_ENTITY, self.0)
    }
}
