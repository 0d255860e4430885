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
use super::refusal::VisitRefusal;
use super::render::PageError;
use crate::admin::Admin;
use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::sync::Arc;

/// The routes. They stand behind the checks of each visitor and each form.
pub(super) fn routes() -> Router<Arc<Admin>> {
    Router::new()
        .route("/page/actions/{action}", get(ask::show).post(run::change))
        .route("/page/actions/pause", get(pause::ask_pause).post(pause::pause))
        .route("/page/actions/resume", get(pause::ask_resume).post(pause::resume))
        .route("/page/actions/release-as", get(release_as::ask).post(release_as::release))
        .route("/page/actions/reevaluate", get(reevaluate::ask).post(reevaluate::run))
        .route("/page/actions/{action}/outcome", get(outcome::show))
        .route_layer(from_fn(require_operator))
}

/// The questions are for operators, too.
async fn require_operator(visitor: Visitor, request: Request, next: Next) -> Response {
    if visitor.operates {
        next.run(request).await
    } else {
        PageError::from(VisitRefusal::NoRight).into_response()
    }
}
