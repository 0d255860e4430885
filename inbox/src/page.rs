//! The page: the admin listener's view for people, rendered on the server.
//!
//! Each file is one view: it reads by [`crate::service`], and renders a template of `page/templates`. Nothing of a client reaches HTML
//! unescaped, since every template is escaped.

mod actions;
mod admit;
mod assets;
mod audit;
mod body;
mod chart;
mod cookie;
mod curl;
mod entry;
mod form;
mod health;
mod list;
mod live;
mod next;
mod overview;
mod prose;
mod refusal;
mod refusals;
mod render;
mod search;
mod sign_in;
mod site;
mod step;
mod story;
mod visible;
mod visitor;
mod wording;

use crate::admin::Admin;
use admit::{admit, require_operator};
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{from_fn, from_fn_with_state, map_response};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{any, get, post};
use axum::{Extension, Router};
use live::LiveFeed;
use render::{Html, PageError};
use std::sync::Arc;
use visitor::Visitor;

/// The path of the page.
const HOME: &str = "/page/";
/// The path of the sign-in.
const SIGN_IN: &str = "/page/sign-in";

/// The path of the list.
const ENTRIES: &str = "/page/entries";

/// Only the page's own style and script. Nothing inline, no other site, no frame.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

type PageState = axum::extract::State<Arc<Admin>>;
type PageAnswer = Result<Html, PageError>;

/// The routes of the page. `admit` stands before each view, and before each form.
pub(crate) fn routes(admin: &Arc<Admin>) -> Router {
    let admitted = || from_fn_with_state(Arc::clone(admin), admit);
    let views = Router::new()
        .route(HOME, get(overview::show))
        .route(ENTRIES, get(list::show))
        .route("/page/entries/{id}", get(entry::show))
        .route("/page/entries/{id}/body", get(entry::body))
        .route("/page/refusals", get(refusals::show))
        .route("/page/audit", get(audit::show))
        .route("/page/live", get(live::stream).layer(Extension(Arc::<LiveFeed>::default())))
        .merge(actions::routes())
        .route("/page/{*rest}", any(unknown))
        .route_layer(from_fn(require_operator))
        .route_layer(admitted());
    let leaving = Router::new().route("/page/sign-out", post(sign_in::sign_out)).route_layer(admitted());
    let open = Router::new()
        .route("/", get(async || Redirect::to(HOME)))
        .route("/page", get(async || Redirect::to(HOME)))
        .route("/page/assets/{name}", get(assets::show))
        .route(SIGN_IN, get(sign_in::ask).post(sign_in::sign_in));
    // `form` has its own limits.
    let all = open.merge(leaving).merge(views).layer(DefaultBodyLimit::disable());
    all.layer(map_response(write_problem)).layer(map_response(add_headers)).with_state(Arc::clone(admin))
}

async fn unknown() -> PageError {
    PageError::new(
        StatusCode::NOT_FOUND,
        "There is no such view",
        "no view has this address: begin at the overview".to_owned(),
    )
}

/// Shows a refusal that axum wrote itself as a page, such as of a method or a query.
async fn write_problem(response: Response) -> Response {
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let is_page = kind.is_some_and(|kind| kind.starts_with("text/html"));
    let (title, detail) = match response.status() {
        status if !status.is_client_error() || is_page => return response,
        StatusCode::METHOD_NOT_ALLOWED => (
            "The view has no such method",
            "the address takes no request of this method: use the page's own links and forms",
        ),
        StatusCode::NOT_FOUND => ("There is nothing here", "no view has this address: begin at the overview"),
        _ => ("The address cannot be read", "its path or query is not valid: begin at the overview"),
    };
    let (old, _) = response.into_parts();
    let mut response = PageError::new(old.status, title, detail.to_owned()).into_response();
    response.headers_mut().extend(old.headers.get(header::ALLOW).map(|allow| (header::ALLOW, allow.clone())));
    response
}

/// The path of the list with a query.
fn entries_path(query: &str) -> String {
    if query.is_empty() { ENTRIES.to_owned() } else { format!("{ENTRIES}?{query}") }
}

/// Encodes the pairs of a query.
fn encode<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// The headers of every response of the page.
async fn add_headers(mut response: Response) -> Response {
    // With `no-referrer`, a browser sends `Origin: null` with the page's own forms.
    const HEADERS: [(HeaderName, &str); 6] = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
