//! What went wrong with a question to the admin listener: a status and one sentence.

use crate::store::StoreError;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    sentence: String,
}

/// `{"error": "one sentence"}`.
#[derive(Serialize)]
struct Said<'a> {
    error: &'a str,
}

impl Problem {
    /// The question is not one.
    pub(super) fn bad(sentence: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, sentence: sentence.into() }
    }

    pub(super) fn unauthorized() -> Self {
        let sentence = "show the admin token: Authorization: Bearer ...".to_owned();
        Self { status: StatusCode::UNAUTHORIZED, sentence }
    }

    /// The question is not for this caller.
    pub(super) fn forbidden(sentence: impl Into<String>) -> Self {
        Self { status: StatusCode::FORBIDDEN, sentence: sentence.into() }
    }

    pub(super) fn not_found(sentence: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, sentence: sentence.into() }
    }

    /// It is otherwise already.
    pub(super) fn conflict(sentence: impl Into<String>) -> Self {
        Self { status: StatusCode::CONFLICT, sentence: sentence.into() }
    }

    pub(super) fn not_now(sentence: impl Into<String>) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, sentence: sentence.into() }
    }

    pub(super) fn late(within: Duration) -> Self {
        let sentence = format!(
            "the store does not answer within {} s: whether it was done is not known, and the same again does no harm",
            within.as_secs()
        );
        Self { status: StatusCode::SERVICE_UNAVAILABLE, sentence }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        if error.is_replaced() {
            let sentence = "store-replaced: the inbox does not use the store any more; `blobgate inbox stats` and its log say why, and how to go on";
            return Self::not_now(sentence);
        }
        log::error!("an operator's question failed: {error}");
        let sentence = format!("the store does not answer: {error}");
        Self { status: StatusCode::SERVICE_UNAVAILABLE, sentence }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status, Json(Said { error: &self.sentence })).into_response()
    }
}
