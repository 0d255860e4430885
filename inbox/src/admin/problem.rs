//! The answer to a request that fails: a status and a problem document.

use crate::access::AccessRole;
use crate::line_limit::permits;
use crate::service::{self, ProblemCode};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use thiserror::Error;

/// The media type of a problem document: RFC 9457, section 6.1.
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Why a request fails.
#[derive(Debug, Error)]
pub(crate) enum Problem {
    #[error("no endpoint has this path: see the inbox API's page")]
    NoEndpoint,
    #[error("the endpoint does not have this method: the Allow header has its methods")]
    NoMethod,
    #[error("an admin token is missing or wrong: send Authorization: Bearer TOKEN")]
    NoToken,
    #[error("this endpoint needs the role {}: send a token of that role", .0.name())]
    RoleDenied(AccessRole),
    #[error(
        "the Host header is a name, as in a browser's request: use an IP address or localhost, or set an admin token"
    )]
    HostName,
    #[error("a change without an admin token must be JSON: send content-type: application/json")]
    ContentType,
    #[error("the body is wrong: {0}")]
    Body(#[from] serde_json::Error),
    #[error(transparent)]
    Service(#[from] service::Error),
}

impl Problem {
    pub(crate) fn code(&self) -> ProblemCode {
        use service::Error;
        match self {
            Problem::NoEndpoint => ProblemCode::EndpointUnknown,
            Problem::NoMethod => ProblemCode::MethodDenied,
            Problem::NoToken => ProblemCode::TokenInvalid,
            Problem::RoleDenied(_) => ProblemCode::RoleDenied,
            Problem::HostName => ProblemCode::HostDenied,
            Problem::ContentType => ProblemCode::ContentTypeDenied,
            Problem::Body(_) => ProblemCode::BodyInvalid,
            Problem::Service(error) => match error {
                Error::BadRequest(_) => ProblemCode::RequestInvalid,
                Error::Configuration(_) => ProblemCode::ConfigurationInvalid,
                Error::NoEntry(_) => ProblemCode::EntryUnknown,
                Error::NoPause(_) => ProblemCode::PauseUnknown,
                Error::NoAction(_) => ProblemCode::ActionUnknown,
                Error::OtherJob { .. } => ProblemCode::JobConflict,
                Error::ReleaseAs(_) => ProblemCode::ReleaseRefused,
                Error::NoProvider => ProblemCode::ProviderMissing,
                Error::NotReleased(_) | Error::NotNow(_) => ProblemCode::NotReleased,
                Error::NewerEvent(_) | Error::NewerFilter(_) => ProblemCode::VersionTooOld,
                Error::Late(_) => ProblemCode::StoreTimeout,
                Error::Replaced => ProblemCode::StoreReplaced,
                Error::Store(_) => ProblemCode::StoreFailing,
            },
        }
    }
}

impl From<service::BadRequest> for Problem {
    fn from(error: service::BadRequest) -> Self {
        Self::Service(error.into())
    }
}

/// What [`write_document`] turns into the body of a response.
#[derive(Clone)]
struct ProblemDetail {
    code: ProblemCode,
    detail: String,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        if let Problem::Service(service::Error::Store(error)) = &self
            && permits(("operator-request", ""))
        {
            tracing::error!("an operator's request failed: {error}");
        }
        let code = self.code();
        let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        if code == ProblemCode::TokenInvalid {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(ProblemDetail { code, detail: self.to_string() });
        response
    }
}

/// The problem of a response that axum wrote itself.
fn of_axum(status: StatusCode) -> Option<ProblemDetail> {
    let (code, detail) = match status {
        StatusCode::PAYLOAD_TOO_LARGE => {
            (ProblemCode::BodyTooLarge, "the body is larger than the endpoint takes: send a smaller one")
        }
        status if status.is_client_error() => {
            (ProblemCode::RequestInvalid, "the path or the query cannot be read: send UTF-8, percent-encoded")
        }
        _ => return None,
    };
    Some(ProblemDetail { code, detail: detail.to_owned() })
}

/// Writes the problem document of a response. `docs` is the base URL of the documentation.
pub(super) async fn write_document(State(docs): State<Arc<str>>, mut response: Response) -> Response {
    let problem = response.extensions_mut().remove().or_else(|| of_axum(response.status()));
    let Some(ProblemDetail { code, detail }) = problem else { return response };
    let Ok(body) = serde_json::to_vec(&code.document(&docs, detail)) else { return response };
    response.headers_mut().insert(header::CONTENT_TYPE, PROBLEM_JSON);
    *response.body_mut() = Body::from(body);
    response
}
