//! The admin listener: health, metrics, and what the commands ask.
//!
//! | request | what it does |
//! |---|---|
//! | `GET /entries?state=&lane=&hook=&event=&reason=&generation=&job=&since=&limit=&before=` | lists, the newest first; `next` is the `before` of what follows |
//! | `GET /entries/{id}` | shows one, with what came |
//! | `GET /tail?after=&until=&with=&limit=` and the filters of `/entries` | what follows a place, in the order of commits; `next` is the `after` of what follows; without one, the place of now. `with=came` adds what came, `with=delivery` what is sent |
//! | `GET /stats` | counts by route, state and reason |
//! | `GET`, `PUT`, `DELETE /pauses` | lists, sets and ends pauses: `{"hook", "event"}`, one of them at least |
//! | `POST /expect` | says of which job a generation is: `{"hook", "generation_id", "job"}` |
//! | `POST /reconcile` | asks the provider now about what is due; with `"dry_run": true` it lists |
//! | `POST /replay`, `POST /drop`, `POST /purge` | changes `{"ids"}`, or `{"filter", "after", "until", "limit"}` in pieces of up to 500; with `"dry_run": true` it counts |
//! | `POST /rejudge` | judges what is kept again: as these, with the gate's `"config"` and reasons to `"waive"` |
//! | `POST /release` | decides on an entry in quarantine as the event that a person says it is: `{"id", "as", "generation_id"}`; with `"dry_run": true` it says what would be |
//!
//! Answers are JSON; a problem is a status and `{"error": "one sentence"}`.

mod change;
mod entries;
mod expect;
mod filter;
mod pauses;
mod problem;
mod reconcile;
mod rejudge;
mod release;
mod stats;
mod tail;

use crate::deliver::Wake;
use crate::health::{Fault, Faults};
use crate::listen::is_local;
use crate::metrics::Metrics;
use crate::reconcile::Releaser;
use crate::space::Space;
use crate::store::{StoreError, StoreHandle};
use crate::watch::Watch;
use ::time::OffsetDateTime;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use blobgate::policy::Verdict;
use bytes::Bytes;
pub use filter::{EVENTS, LANES, STATES, reasons};
use problem::Problem;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub(crate) struct Admin {
    pub(crate) store: StoreHandle,
    pub(crate) space: Arc<Space>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) wake: Arc<Wake>,
    pub(crate) watch: Arc<Watch>,
    pub(crate) faults: Arc<Faults>,
    /// What a caller has to show.
    pub(crate) token: Option<String>,
    pub(crate) ending: CancellationToken,
    pub(crate) releaser: Releaser,
    /// Has the reconcile look now.
    pub(crate) nudge: Arc<Notify>,
    /// How many calls a minute the reconcile may make, where it makes any.
    pub(crate) asks: Option<u32>,
    /// In microseconds.
    pub(crate) reconcile_after: i64,
}

/// A change waits behind others, for as long as a statement may take, and then for its own.
const WRITTEN_WITHIN: Duration = Duration::from_secs(30);

/// Reasons of the head, which nobody can look at again, and an operator can override.
pub fn waivable() -> impl Iterator<Item = &'static str> {
    crate::rejudge::WAIVABLE.into_iter().map(blobgate::Reason::code)
}

pub(crate) fn routes(admin: Arc<Admin>) -> Router {
    let open = Router::new()
        .route("/livez", get(livez))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz));
    let closed = Router::new()
        .route("/metrics", get(metrics))
        .route("/entries", get(entries::list))
        .route("/entries/{id}", get(entries::show))
        .route("/stats", get(stats::stats))
        .route("/pauses", get(pauses::pauses).put(pauses::pause).delete(pauses::resume))
        .route("/expect", post(expect::expect))
        .route("/reconcile", post(reconcile::reconcile))
        .route("/replay", post(change::replay))
        .route("/drop", post(change::discard))
        .route("/rejudge", post(rejudge::rejudge))
        .route("/release", post(release::release))
        .route("/purge", post(change::purge))
        .route("/tail", get(tail::tail))
        .route_layer(from_fn_with_state(Arc::clone(&admin), check_caller));
    open.merge(closed)
        .fallback(async || Problem::not_found("there is nothing at this path"))
        .with_state(admin)
}

/// Who may ask: whoever shows the token, or, where there is none, whoever is on this machine and is no page of a browser
/// there, which would come under a name, or with a body that it calls something else than JSON.
async fn check_caller(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    let Some(token) = &admin.token else {
        return match check_page(&request) {
            Ok(()) => next.run(request).await,
            Err(problem) => problem.into_response(),
        };
    };
    let shown = request.headers().get(header::AUTHORIZATION).map(|value| value.as_bytes());
    // Digests of the same length are compared, so that time tells nothing of the token.
    let expected = digest(format!("Bearer {token}").as_bytes());
    if shown.is_some_and(|shown| digest(shown) == expected) {
        next.run(request).await
    } else {
        ([(header::WWW_AUTHENTICATE, "Bearer")], Problem::unauthorized()).into_response()
    }
}

fn check_page(request: &Request) -> Result<(), Problem> {
    let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let host = text(header::HOST).or(request.uri().host()).unwrap_or_default();
    if !is_local(host) {
        return Err(Problem::forbidden("ask by an address, or with a token"));
    }
    let is_json = text(header::CONTENT_TYPE).is_some_and(|kind| kind.starts_with("application/json"));
    if request.method() == Method::GET || is_json {
        return Ok(());
    }
    Err(Problem::forbidden("a change is JSON, and says so: content-type: application/json"))
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
    match admin.faults.of_store() {
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
    if let Some(fault) = admin.faults.standing().first() {
        return not(format!("{}: {}\n", fault.reason, fault.detail));
    }
    if let Err(full) = admin.space.check(Verdict::Accepted) {
        return not(format!("full: {full}\n"));
    }
    looked.map_or_else(|why| not(format!("{why}\n")), |()| "ok\n".into_response())
}

/// Whether the store takes events. The files are compared first, by system calls alone.
async fn look(admin: &Arc<Admin>) -> Result<(), String> {
    let _raised = admin.store.check_files();
    if let Some(fault) = admin.faults.get(Fault::StoreReplaced) {
        return Err(format!("{}: {}", fault.reason, fault.detail));
    }
    admin.watch.look().await
}

fn not(why: String) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match admin.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Writes in a task of its own, to its end: whoever asks may leave.
async fn written<T: Send + 'static>(
    write: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::time::timeout(WRITTEN_WITHIN, tokio::spawn(write)).await {
        Ok(Ok(done)) => Ok(done?),
        Ok(Err(_)) | Err(_) => Err(Problem::late(WRITTEN_WITHIN)),
    }
}

fn read_body<T: DeserializeOwned>(body: &Bytes) -> Result<T, Problem> {
    serde_json::from_slice(body)
        .map_err(|error| Problem::bad(format!("the body is not as it should be: {error}")))
}

/// From 1 on.
fn read_number(name: &str, value: &str, most: i64) -> Result<i64, Problem> {
    let number = value.parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| {
        let to = if most == i64::MAX { String::new() } else { format!(" to {most}") };
        Problem::bad(format!("{name} {value:?} is no number from 1{to}"))
    })
}

/// Microseconds since 1970, in RFC 3339.
fn time(micros: i64) -> String {
    let at = i128::from(micros).saturating_mul(1_000);
    let Ok(at) = OffsetDateTime::from_unix_timestamp_nanos(at) else { return String::new() };
    let (hour, minute, second, milli) = at.to_hms_milli();
    format!("{}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z", at.date())
}
