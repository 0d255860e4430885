//! `GET /v1/veo/generations/{id}`.

use super::fault::StatusFault;
use super::generation::SandboxGeneration;
use super::lifecycle::Sandbox;
use super::{detail, report};
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// The size of a `huge` answer. A status has under 1 KiB.
const HUGE: usize = 32 << 20;
/// The content-length of a `cut` answer.
const CUT: HeaderValue = HeaderValue::from_static("400");

pub(super) async fn status(State(provider): State<Arc<Sandbox>>, Path(text): Path<String>) -> Response {
    let id = parse_id(&text);
    let (generation, faults) = {
        let mut ledger = provider.ledger();
        ledger.count_status_call(&text);
        let record = id.and_then(|id| ledger.record(id));
        (record.map(|record| record.generation.clone()), ledger.status_faults(id))
    };
    report_call(&text, generation.as_ref(), &faults);

    let delay =
        faults.iter().map(|fault| if let StatusFault::Slow(time) = fault { *time } else { Duration::ZERO });
    tokio::time::sleep(delay.sum()).await;
    let fault = faults.into_iter().find(|fault| !matches!(fault, StatusFault::Slow(_)));
    match (fault, generation) {
        (Some(StatusFault::Hang), _) => std::future::pending().await,
        (Some(StatusFault::Http(code)), _) => http(code),
        (Some(StatusFault::Cut), _) => cut(),
        (Some(StatusFault::Huge), generation) => huge(generation.as_ref()),
        (Some(StatusFault::BadJson), generation) => bad_json(generation.as_ref()),
        (Some(StatusFault::Lie(lie)), Some(generation)) => Json(generation.with_lie(lie)).into_response(),
        (Some(StatusFault::StillProcessing), Some(generation)) => {
            Json(generation.still_processing()).into_response()
        }
        (_, Some(generation)) => Json(generation).into_response(),
        (_, None) if id.is_none() => detail(StatusCode::BAD_REQUEST, "INVALID_TASK_ID"),
        (_, None) => detail(StatusCode::NOT_FOUND, "TASK_NOT_FOUND"),
    }
}

/// The provider uses the hyphenated form. `uuid` parses other forms too.
pub(super) fn parse_id(text: &str) -> Option<Uuid> {
    let hyphenated = text.len() == uuid::fmt::Hyphenated::LENGTH;
    text.parse().ok().filter(|_| hyphenated)
}

fn report_call(id: &str, generation: Option<&SandboxGeneration>, faults: &[StatusFault]) {
    let mut words = vec![generation.map_or("unknown", SandboxGeneration::summary).to_owned()];
    words.extend(faults.iter().map(|fault| fault.name()));
    report("status", &id.escape_debug().to_string(), format_args!("{}", words.join(", ")));
}

fn http(code: u16) -> Response {
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    match code {
        // These have no body: clients would read one as the next answer.
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED => code.into_response(),
        _ => detail(code, code.canonical_reason().unwrap_or("Unknown")),
    }
}

/// Headers, and a broken connection in place of the body.
fn cut() -> Response {
    let broken = async {
        tokio::task::yield_now().await; // The server sends the headers meanwhile.
        Err::<&[u8], _>(io::Error::from(io::ErrorKind::ConnectionAborted))
    };
    let headers = [(header::CONTENT_TYPE, HeaderValue::from_static(JSON)), (header::CONTENT_LENGTH, CUT)];
    (headers, Body::from_stream(stream::once(broken))).into_response()
}

/// The true status, with a huge field.
fn huge(generation: Option<&SandboxGeneration>) -> Response {
    let mut text = json(generation);
    text.truncate(text.len().saturating_sub(1));
    text.push_str(r#","padding":""#);
    text.push_str(&"0".repeat(HUGE));
    text.push_str(r#""}"#);
    ([(header::CONTENT_TYPE, JSON)], text).into_response()
}

fn bad_json(generation: Option<&SandboxGeneration>) -> Response {
    let text = json(generation);
    let half: String = text.chars().take(text.chars().count().div_euclid(2)).collect();
    ([(header::CONTENT_TYPE, JSON)], half).into_response()
}

const JSON: &str = "application/json";

fn json(generation: Option<&SandboxGeneration>) -> String {
    let known = generation.and_then(|generation| serde_json::to_string(generation).ok());
    known.unwrap_or_else(|| r#"{"detail":"TASK_NOT_FOUND"}"#.to_owned())
}
