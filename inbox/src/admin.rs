//! The admin listener: health, metrics, and the actions of an operator over HTTP.
//!
//! | request | what it does |
//! |---|---|
//! | `GET /entries?state=&lane=&hook=&event=&reason=&generation=&job=&since=&limit=&before=` | lists entries, the newest first; `next` is the `before` of the next page |
//! | `GET /entries/{id}` | shows an entry with its payload |
//! | `GET /tail?after=&until=&with=&limit=` and the filters of `/entries` | entries after a place, in the order of commits; `next` is the `after` of the next page; without `after`, the place of now. `with=came` adds the payload as it came, `with=delivery` as it is sent |
//! | `GET /stats` | counts entries by route, state and reason |
//! | `GET`, `PUT`, `DELETE /pauses` | lists, sets and ends pauses: `{"hook", "event"}`, one of them at least |
//! | `POST /expect` | notes the job of a generation: `{"hook", "generation_id", "job"}` |
//! | `POST /reconcile` | makes the reconciler ask now; with `"dry_run": true` it lists |
//! | `POST /replay`, `POST /release`, `POST /drop`, `POST /purge` | changes `{"ids"}`, or `{"filter", "after", "until", "limit"}` in pieces of up to 500; with `"dry_run": true` it counts |
//! | `POST /release` with `{"id", "as", "generation_id"}` | releases an entry in quarantine as this event; with `"dry_run": true` it says what would happen |
//! | `POST /reevaluate` | judges entries in quarantine by the gate's `"config"`, named as above, with reasons to `"waive"` |
//!
//! Answers are JSON; a problem is a status and `{"error": "one sentence"}`.

mod endpoints;
mod problem;

use crate::health::Fault;
use crate::listen::is_local;
use crate::service::Operations;
use crate::shared::Shared;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use blobgate::policy::Verdict;
use problem::Problem;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

pub(crate) struct Admin {
    pub(crate) operations: Operations,
    pub(crate) shared: Shared,
    /// The token that a client has to show.
    pub(crate) token: Option<String>,
    pub(crate) ending: CancellationToken,
}

pub(crate) fn routes(admin: Arc<Admin>) -> Router {
    let open = Router::new()
        .route("/livez", get(livez))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz));
    let closed = Router::new()
        .route("/metrics", get(metrics))
        .route("/entries", get(endpoints::list))
        .route("/entries/{id}", get(endpoints::show))
        .route("/stats", get(endpoints::stats))
        .route("/pauses", get(endpoints::pauses).put(endpoints::pause).delete(endpoints::resume))
        .route("/expect", post(endpoints::expect))
        .route("/reconcile", post(endpoints::reconcile))
        .route("/replay", post(endpoints::replay))
        .route("/release", post(endpoints::release))
        .route("/reevaluate", post(endpoints::reevaluate))
        .route("/drop", post(endpoints::discard))
        .route("/purge", post(endpoints::purge))
        .route("/tail", get(endpoints::tail))
        .route_layer(from_fn_with_state(Arc::clone(&admin), check_caller));
    open.merge(closed).fallback(async || Problem::NoSuchPath).with_state(admin)
}

/// Lets clients in that show the token. Without a token: local clients, but no page of a browser. DNS rebinding has a name in
/// Host, and a cross-site request without preflight has another content type than JSON.
async fn check_caller(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    let Some(token) = &admin.token else {
        return match check_page(&request) {
            Ok(()) => next.run(request).await,
            Err(problem) => problem.into_response(),
        };
    };
    let shown = request.headers().get(header::AUTHORIZATION).map(|value| value.as_bytes());
    // Digests have the same length, so that the time of the comparison does not depend on the token.
    let expected = digest(format!("Bearer {token}").as_bytes());
    if shown.is_some_and(|shown| digest(shown) == expected) {
        next.run(request).await
    } else {
        ([(header::WWW_AUTHENTICATE, "Bearer")], Problem::NoToken).into_response()
    }
}

fn check_page(request: &Request) -> Result<(), Problem> {
    let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let host = text(header::HOST).or(request.uri().host()).unwrap_or_default();
    if !is_local(host) {
        return Err(Problem::NoAddress);
    }
    let is_json = text(header::CONTENT_TYPE).is_some_and(|kind| kind.starts_with("application/json"));
    if request.method() == Method::GET || is_json {
        return Ok(());
    }
    Err(Problem::NoJson)
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).into()
}

/// 200 while the process answers. It never looks at the store: a restart would not mend one.
async fn livez() -> &'static str {
    "ok\n"
}

/// 200 while the store takes events.
async fn healthz(State(admin): State<Arc<Admin>>) -> Response {
    let looked = look(&admin).await;
    match admin.shared.faults.of_store() {
        Some(fault) => not(format!("{}: {}\n", fault.reason, fault.detail)),
        None => looked.map_or_else(|why| not(format!("{why}\n")), |()| "ok\n".into_response()),
    }
}

/// 200 while events are taken.
async fn readyz(State(admin): State<Arc<Admin>>) -> Response {
    if admin.ending.is_cancelled() {
        return not("ending: what is under way is finished, and events are stored until then\n".to_owned());
    }
    let looked = look(&admin).await;
    if let Some(fault) = admin.shared.faults.standing().first() {
        return not(format!("{}: {}\n", fault.reason, fault.detail));
    }
    if let Err(full) = admin.shared.space.check(Verdict::Accepted) {
        return not(format!("full: {full}\n"));
    }
    looked.map_or_else(|why| not(format!("{why}\n")), |()| "ok\n".into_response())
}

/// Whether the store takes events. The files are compared first, by system calls alone.
async fn look(admin: &Arc<Admin>) -> Result<(), String> {
    let _raised = admin.shared.store.check_files();
    if let Some(fault) = admin.shared.faults.get(Fault::StoreReplaced) {
        return Err(format!("{}: {}", fault.reason, fault.detail));
    }
    admin.shared.watch.look().await
}

fn not(why: String) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match admin.shared.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
