//! The admin listener: health, metrics, and the actions of an operator over HTTP.
//!
//! | request | role | action |
//! |---|---|---|
//! | `GET /livez`, `GET /healthz`, `GET /readyz` | | 200 while the process answers, the store takes events, the inbox is ready; else 503 and the reason |
//! | `GET /page/` | | the page for people; `/` redirects to it |
//! | `GET /metrics` | `read` | the metrics, in OpenMetrics or in Prometheus' text format, by `Accept`. The metrics listener (`--metrics`) has this endpoint too, without the token |
//! | `GET /entries?state=&lane=&hook=&event=&reason=&generation=&job=&request_id=&since=&limit=&before=` | `read` | lists entries, the newest first; `next` is the `before` of the next page. `examined` is true if the page ends because the inbox has examined 20,000 entries; the next page may have more |
//! | `GET /entries/{id}` | `read` | shows an entry with its payload |
//! | `GET /tail?after=&until=&with=&limit=` and the filters of `/entries` | `read` | lists entries after a cursor, in commit order; `next` is the `after` of the next page; without `after`: no entry, and the newest cursor. `with=came` adds the payload as received, `with=delivery` as delivered |
//! | `GET /why?generation=&job=&request_id=&entry=&hook=` | `read` | tells the story of a generation: expectation, deliveries, decisions and attempts by time, and the next steps. Exactly one of the first four parameters |
//! | `POST /why` with `{"generation", "job", "request_id", "entry", "hook"}` | `operate` | the same, and calls the status API about the generation; the call counts against `--reconcile-per-minute` |
//! | `GET /stats` | `read` | counts entries by route, state and reason; with the space of the store and the calls to the status API |
//! | `GET /audit?before=&limit=&entry=` | `read` | lists the actions of operators, the newest first, up to 100; with `entry`, those that changed it. Each has up to 500 ids |
//! | `GET /traffic` | `read` | counts the deliveries of each minute of the last 24 hours, as this inbox saw them since its start |
//! | `GET /refusals?hook=&reason=` | `read` | lists the refusals of the gates that this inbox has seen since its start, by hook and reason |
//! | `GET /pauses` | `read` | lists pauses |
//! | `PUT /pauses`, `DELETE /pauses` | `operate` | sets and ends pauses: `{"hook", "event"}`, at least one of them |
//! | `POST /expect` | `expect` | stores the job of a generation: `{"hook", "generation_id", "job"}` |
//! | `POST /reconcile` | `operate` | makes the reconciler call the status API now; with `"dry_run": true` it lists the generations |
//! | `POST /replay`, `POST /retry`, `POST /release`, `POST /drop`, `POST /purge` | `operate` | changes `{"ids"}`, or `{"filter", "after", "until", "limit"}` in pieces of up to 500, until `next` is null; `"action"` of the first answer makes the next pieces one action of the audit. With `"dry_run": true` it counts, also in pieces |
//! | `POST /release` with `{"id", "as", "generation_id"}` | `operate` | releases a quarantined entry as this event; with `"dry_run": true` it shows the outcome |
//! | `POST /reevaluate` | `operate` | judges quarantined entries by the gate's `"config"`, selected as above, with reasons to `"waive"` |
//!
//! A client sends a token of this role, or one of the role `operate`. Answers are JSON. A failure is a problem document of RFC 9457.

mod endpoints;
mod problem;
mod scrape;

use crate::access::{Access, AccessRole, Caller};
use crate::handles::InboxHandles;
use crate::health::{Fault, StandingFault};
use crate::listen::is_local;
use crate::service::Operations;
use crate::watch::ProbeError;
use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRequestParts, Request, State};
use axum::handler::Handler;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state, map_response_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, get, on};
pub(crate) use problem::Problem;
use problem::write_document;
pub(crate) use scrape::scrape_routes;
use std::sync::Arc;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

pub(crate) struct Admin {
    pub(crate) operations: Operations,
    pub(crate) shared: InboxHandles,
    pub(crate) access: Access,
    /// The base URL of the documentation.
    pub(crate) docs: String,
    pub(crate) ending: CancellationToken,
}

/// A gate's configuration with a million IP ranges. Other bodies have axum's limit of 2 MB.
const MAX_CONFIGURATION: usize = 64 << 20;

pub(crate) fn routes(admin: &Arc<Admin>) -> Router {
    let open = Router::new()
        .route("/livez", get(livez))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .method_not_allowed_fallback(async || Problem::NoMethod);
    let mut closed = Router::new();
    for Endpoint { role, path, route, .. } in endpoints() {
        closed = closed.route(path, route.route_layer(from_fn_with_state(role, require)));
    }
    let closed = closed
        .method_not_allowed_fallback(async || Problem::NoMethod)
        .route_layer(from_fn_with_state(Arc::clone(admin), identify));
    open.merge(closed)
        .fallback(async || Problem::NoEndpoint)
        .layer(map_response_with_state(admin.docs.as_str().into(), write_document))
        .with_state(Arc::clone(admin))
}

/// An endpoint that needs a role.
struct Endpoint {
    role: AccessRole,
    /// For the tests of each endpoint.
    #[cfg_attr(not(test), expect(dead_code))]
    method: MethodFilter,
    path: &'static str,
    route: MethodRouter<Arc<Admin>>,
}

impl Endpoint {
    fn new<H, T>(role: AccessRole, method: MethodFilter, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<Admin>>,
        T: 'static,
    {
        Self { role, method, path, route: on(method, handler) }
    }
}

/// Every endpoint but those of health, with its role.
fn endpoints() -> Vec<Endpoint> {
    use AccessRole::{Expect, Operate, Read};
    const GET: MethodFilter = MethodFilter::GET;
    const POST: MethodFilter = MethodFilter::POST;
    let mut reevaluate = Endpoint::new(Operate, POST, "/reevaluate", endpoints::reevaluate);
    reevaluate.route = reevaluate.route.layer(DefaultBodyLimit::max(MAX_CONFIGURATION));
    vec![
        Endpoint::new(Read, GET, "/metrics", metrics),
        Endpoint::new(Read, GET, "/entries", endpoints::list),
        Endpoint::new(Read, GET, "/entries/{id}", endpoints::show),
        Endpoint::new(Read, GET, "/stats", endpoints::stats),
        Endpoint::new(Read, GET, "/audit", endpoints::audit),
        Endpoint::new(Read, GET, "/traffic", endpoints::traffic),
        Endpoint::new(Read, GET, "/refusals", endpoints::refusals),
        Endpoint::new(Read, GET, "/why", endpoints::why),
        Endpoint::new(Read, GET, "/pauses", endpoints::pauses),
        Endpoint::new(Read, GET, "/tail", endpoints::tail),
        Endpoint::new(Expect, POST, "/expect", endpoints::expect),
        Endpoint::new(Operate, POST, "/why", endpoints::ask_why),
        Endpoint::new(Operate, MethodFilter::PUT, "/pauses", endpoints::pause),
        Endpoint::new(Operate, MethodFilter::DELETE, "/pauses", endpoints::resume),
        Endpoint::new(Operate, POST, "/reconcile", endpoints::reconcile),
        Endpoint::new(Operate, POST, "/replay", endpoints::replay),
        Endpoint::new(Operate, POST, "/retry", endpoints::retry),
        Endpoint::new(Operate, POST, "/release", endpoints::release),
        reevaluate,
        Endpoint::new(Operate, POST, "/drop", endpoints::discard),
        Endpoint::new(Operate, POST, "/purge", endpoints::purge),
    ]
}

/// Finds out who sends the request. Without tokens: refuses requests of web pages. DNS rebinding brings a name in Host, and a
/// cross-site request without preflight cannot have the content type JSON.
async fn identify(State(admin): State<Arc<Admin>>, mut request: Request, next: Next) -> Response {
    let caller = if admin.access.has_tokens() {
        find_caller(&admin.access, request.headers()).ok_or(Problem::NoToken)
    } else {
        check_page(&request).map(|()| Caller::unnamed())
    };
    match caller {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

/// The client of `Authorization: Bearer TOKEN`. The scheme has any case (RFC 9110, section 11.1). A cookie counts for the page alone.
fn find_caller(access: &Access, headers: &HeaderMap) -> Option<Caller> {
    let mut sent = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(one), None) = (sent.next(), sent.next()) else { return None };
    let (scheme, token) = one.as_bytes().split_at_checked(b"Bearer ".len())?;
    if scheme.eq_ignore_ascii_case(b"Bearer ") { access.caller(token.trim_ascii()) } else { None }
}

/// Refuses clients without the role of an endpoint.
async fn require(State(role): State<AccessRole>, caller: Caller, request: Request, next: Next) -> Response {
    if caller.may(role) { next.run(request).await } else { Problem::RoleDenied(role).into_response() }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    /// A request without a caller has passed no check, so it gets 401.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or(Problem::NoToken)
    }
}

/// Checks that `Host` is no name: DNS rebinding brings one.
fn check_host(request: &Request) -> Result<(), Problem> {
    let sent = request.headers().get(header::HOST).and_then(|value| value.to_str().ok());
    let host = sent.or(request.uri().host()).unwrap_or_default();
    if is_local(host) { Ok(()) } else { Err(Problem::HostName) }
}

fn check_page(request: &Request) -> Result<(), Problem> {
    check_host(request)?;
    let sent = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_json = sent.is_some_and(|kind| kind.starts_with("application/json"));
    if request.method() == Method::GET || is_json {
        return Ok(());
    }
    Err(Problem::ContentType)
}

/// Why the inbox is not healthy or not ready.
#[derive(Debug, Error)]
enum NotReady {
    #[error("ending: the inbox finishes its attempts, and stores events until then")]
    Ending,
    #[error("{}: {}", .0.reason, .0.detail)]
    Fault(StandingFault),
    #[error(transparent)]
    Store(#[from] ProbeError),
}

impl IntoResponse for NotReady {
    fn into_response(self) -> Response {
        (StatusCode::SERVICE_UNAVAILABLE, format!("{self}\n")).into_response()
    }
}

/// 200 while the process answers. It does not probe the store: a restart would not repair one.
async fn livez() -> &'static str {
    "ok\n"
}

/// 200 while the store takes events.
async fn healthz(State(admin): State<Arc<Admin>>) -> Result<&'static str, NotReady> {
    let probed = probe(&admin).await;
    match admin.shared.faults.of_store() {
        Some(fault) => Err(NotReady::Fault(fault)),
        None => probed.map(|()| "ok\n"),
    }
}

/// 200 while the inbox takes events.
async fn readyz(State(admin): State<Arc<Admin>>) -> Result<&'static str, NotReady> {
    if admin.ending.is_cancelled() {
        return Err(NotReady::Ending);
    }
    let probed = probe(&admin).await;
    admin.shared.space.note(&admin.shared.faults);
    if let Some(fault) = admin.shared.faults.not_ready() {
        return Err(NotReady::Fault(fault));
    }
    probed.map(|()| "ok\n")
}

/// Whether the store takes events. Compares the store's files first: that takes only system calls.
async fn probe(admin: &Arc<Admin>) -> Result<(), NotReady> {
    let _raised = admin.shared.store.check_files();
    if let Some(fault) = admin.shared.faults.get(Fault::StoreReplaced) {
        return Err(NotReady::Fault(fault));
    }
    Ok(admin.shared.watch.probe().await?)
}

async fn metrics(State(admin): State<Arc<Admin>>, headers: HeaderMap) -> Response {
    scrape::scrape(&admin.shared.metrics, &headers)
}

#[cfg(test)]
#[allow(clippy::string_slice, reason = "a test may panic: that is how it fails")]
mod tests;
#[cfg(test)]
pub(crate) use tests::closed_endpoints;
