//! The HTTP answer to a request that fails: a status and one sentence.

use crate::service;
use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use thiserror::Error;

/// Why a request fails.
#[derive(Debug, Error)]
pub(super) enum Problem {
    #[error("there is nothing at this path")]
    NoSuchPath,
    #[error("show the admin token: Authorization: Bearer ...")]
    NoToken,
    #[error("ask by an address, or with a token")]
    NoAddress,
    #[error("a change is JSON, and says so: content-type: application/json")]
    NoJson,
    #[error("the body is not as it should be: {0}")]
    Body(#[from] serde_json::Error),
    #[error(transparent)]
    Service(#[from] service::Error),
}

/// `{"error": "one sentence"}`.
#[derive(Serialize)]
struct Sentence {
    error: String,
}

impl Problem {
    fn status(&self) -> StatusCode {
        use service::Error;
        match self {
            Problem::Body(_) => StatusCode::BAD_REQUEST,
            Problem::NoToken => StatusCode::UNAUTHORIZED,
            Problem::NoAddress | Problem::NoJson => StatusCode::FORBIDDEN,
            Problem::NoSuchPath => StatusCode::NOT_FOUND,
            Problem::Service(error) => match error {
                Error::BadRequest(_) | Error::CannotJudge(_) => StatusCode::BAD_REQUEST,
                Error::NoEntry(_) | Error::NoPause(_) => StatusCode::NOT_FOUND,
                Error::OtherJob { .. } | Error::CannotRelease(_) | Error::NoProvider => StatusCode::CONFLICT,
                Error::NotReleased(_)
                | Error::NotNow(_)
                | Error::NewerEvent(_)
                | Error::Late(_)
                | Error::Replaced
                | Error::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
            },
        }
    }
}

impl From<service::BadRequest> for Problem {
    fn from(error: service::BadRequest) -> Self {
        Self::Service(error.into())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        if let Problem::Service(service::Error::Store(error)) = &self {
            tracing::error!("an operator's request failed: {error}");
        }
        let answer = (self.status(), Json(Sentence { error: self.to_string() }));
        match self {
            Problem::NoToken => ([(header::WWW_AUTHENTICATE, "Bearer")], answer).into_response(),
            _ => answer.into_response(),
        }
    }
}
