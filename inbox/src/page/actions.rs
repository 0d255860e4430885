//! The actions of the page. A view shows what an action will do, a form does it, and a view shows the outcome.
//!
//! Nothing about a running action is in memory: the outcome is a row of the audit table, and the reasons of refused entries are
//! read again.

mod ask;
mod fields;
mod outcome;
mod pause;
mod reevaluate;
mod release_as;
mod run;
mod words;

use super::Visitor;
use super::render::PageError;
use crate::access::Caller;
use crate::admin::{Admin, MAX_CONFIGURATION, Problem};
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::sync::Arc;

pub(super) fn routes() -> Router<Arc<Admin>> {
    Router::new()
        .route("/page/actions/{action}", get(ask::show).post(run::change))
        .route("/page/actions/pause", get(pause::ask_pause).post(pause::pause))
        .route("/page/actions/resume", get(pause::ask_resume).post(pause::resume))
        .route("/page/actions/release-as", get(release_as::ask).post(release_as::release))
        .route(
            "/page/actions/reevaluate",
            get(reevaluate::ask).post(reevaluate::run).layer(DefaultBodyLimit::max(MAX_CONFIGURATION)),
        )
        .route("/page/actions/{action}/outcome", get(outcome::show))
        .route_layer(from_fn(require_operator))
}

async fn require_operator(visitor: Visitor, request: Request, next: Next) -> Response {
    if visitor.operates { next.run(request).await } else { PageError::from(Problem::NoRight).into_response() }
}

fn caller(visitor: &Visitor) -> Result<&Caller, PageError> {
    visitor.caller().ok_or_else(|| Problem::NoToken.into())
}
