//! The admin listener: health, metrics, and what the commands ask.

use crate::deliver::Wake;
use crate::metrics::Metrics;
use crate::space::Space;
use crate::store::Store;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use blobgate::policy::Verdict;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

pub(crate) struct Admin {
    pub(crate) store: Store,
    pub(crate) space: Arc<Space>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) wake: Arc<Wake>,
    /// What a caller has to show.
    pub(crate) token: Option<String>,
    pub(crate) ending: CancellationToken,
}

/// A store that does not answer in this time is away.
const HEALTHY_WITHIN: Duration = Duration::from_secs(3);

pub(crate) fn routes(admin: Arc<Admin>) -> Router {
    let open = Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz));
    let closed = Router::new()
        .route("/metrics", get(metrics))
        .route_layer(from_fn_with_state(Arc::clone(&admin), check_token));
    open.merge(closed).with_state(admin)
}

async fn check_token(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    let Some(token) = &admin.token else { return next.run(request).await };
    let shown = request.headers().get(header::AUTHORIZATION).map(|value| value.as_bytes());
    // Digests of the same length are compared, so that time tells nothing of the token.
    let expected = digest(format!("Bearer {token}").as_bytes());
    if shown.is_some_and(|shown| digest(shown) == expected) {
        next.run(request).await
    } else {
        (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], "show the admin token\n")
            .into_response()
    }
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).into()
}

/// 200 while the store can be written to.
async fn healthz(State(admin): State<Arc<Admin>>) -> Response {
    match writable(&admin).await {
        Ok(()) => "ok\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why).into_response(),
    }
}

/// 200 while events are taken.
async fn readyz(State(admin): State<Arc<Admin>>) -> Response {
    let not = |why: String| (StatusCode::SERVICE_UNAVAILABLE, why).into_response();
    if admin.ending.is_cancelled() {
        return not("the inbox is ending\n".to_owned());
    }
    if let Err(full) = admin.space.check(Verdict::Accepted) {
        return not(format!("{full}\n"));
    }
    match writable(&admin).await {
        Ok(()) => "ok\n".into_response(),
        Err(why) => not(why),
    }
}

async fn writable(admin: &Arc<Admin>) -> Result<(), String> {
    let mut session = admin.store.session();
    // In a task of its own: whoever asks may leave.
    let write = tokio::spawn(async move { session.heartbeat().await });
    match tokio::time::timeout(HEALTHY_WITHIN, write).await {
        Ok(Ok(Ok(()))) => Ok(()),
        Ok(Ok(Err(error))) => Err(format!("the store cannot be written to: {error}\n")),
        Ok(Err(_)) | Err(_) => {
            Err(format!("the store does not answer within {} s\n", HEALTHY_WITHIN.as_secs()))
        }
    }
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match admin.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
