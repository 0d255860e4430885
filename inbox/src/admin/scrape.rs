//! The metrics: an endpoint of the admin listener, and the only one of the metrics listener.

use super::problem::{Problem, write_document};
use crate::metrics::{ExpositionFormat, Metrics};
use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::map_response_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::sync::Arc;

/// The routes of the metrics listener. It needs no token, and compares no Host header: a page in a browser that reaches it reads
/// counts and the names of hooks, and can change nothing. `docs` is the base URL of the documentation.
pub(crate) fn scrape_routes(metrics: Arc<Metrics>, docs: &str) -> Router {
    Router::new()
        .route("/metrics", get(async move |headers: HeaderMap| scrape(&metrics, &headers)))
        .method_not_allowed_fallback(async || Problem::NoMethod)
        .fallback(async || Problem::NoEndpoint)
        .layer(map_response_with_state(docs.into(), write_document))
}

/// The metrics in the format that the client prefers.
pub(super) fn scrape(metrics: &Metrics, headers: &HeaderMap) -> Response {
    let format = ExpositionFormat::preferred(headers);
    match metrics.text(format) {
        Ok(text) => {
            ([(header::CONTENT_TYPE, format.content_type()), (header::VARY, "accept")], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
