//! The page: the admin listener's view for people, rendered on the server.
//!
//! Each file is one view: it reads by [`crate::service`], and renders a template of `page/templates`. Nothing of a client reaches HTML
//! unescaped, since every template is escaped.

mod actions;
mod assets;
mod overview;
mod render;
mod visitor;

use crate::admin::Admin;
use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::{Redirect, Response};
use axum::routing::get;
use render::{Html, PageError};
use std::sync::Arc;
use visitor::{Visitor, admit};

/// The path of the page.
pub(crate) const HOME: &str = "/page/";

/// Only the page's own style and script. Nothing inline, no other site, no frame.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

type PageState = axum::extract::State<Arc<Admin>>;
type PageAnswer = Result<Html, PageError>;

pub(crate) fn routes(admin: &Arc<Admin>) -> Router<Arc<Admin>> {
    let views = Router::new()
        .route("/page/", get(overview::show))
        .merge(actions::routes())
        .route_layer(from_fn_with_state(Arc::clone(admin), admit));
    Router::new()
        .route("/", get(async || Redirect::to(HOME)))
        .route("/page", get(async || Redirect::to(HOME)))
        .route("/page/assets/{name}", get(assets::show))
        .merge(views)
        .layer(map_response(add_headers))
}

/// The headers of every response of the page.
async fn add_headers(mut response: Response) -> Response {
    const HEADERS: [(HeaderName, &str); 4] = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ];
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
