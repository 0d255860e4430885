//! `blobgate sandbox`: RunBlob's Veo3 API, without a video and without a price.

mod admin;
mod callback;
mod clock;
mod door;
mod fault;
mod generate;
mod generation;
mod key;
mod ledger;
mod provider;
mod script;
mod status;

use crate::output::tell;
use crate::receiver::cannot_listen;
use anyhow::Result;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use callback::CallbackClient;
use clock::SandboxClock;
use door::{ApiListener, Peer};
use key::ApiKey;
use provider::Sandbox;
use serde::Serialize;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Run a stand-in for RunBlob's Veo3 API: generations that cost nothing, callbacks as documented, faults on demand
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Where it listens; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9443")]
    listen: SocketAddr,
    /// The certificate it shows, with its chain, in PEM; without it the API is plain HTTP
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// A file with the API key that callers have to show; without it, RUNBLOB_API_KEY of the environment is the key
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// A certificate to trust where it calls back, beside the public ones, in PEM
    #[arg(long, value_name = "FILE")]
    callback_ca: Option<PathBuf>,
    /// How long a generation takes, before --speed; from 10m on it ends as TIMEOUT
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = clock::parse_time)]
    generation_time: Duration,
    /// How many times faster than the provider generations end and callbacks are repeated
    #[arg(long, value_name = "TIMES", default_value = "1", value_parser = clock::parse_speed)]
    speed: f64,
    /// Answer /sandbox/* to other machines too, without a key: for a network that you trust
    #[arg(long)]
    open_admin: bool,
}

const EXAMPLES: &str = "\
The API, with `Authorization: Bearer KEY`, as at https://platform.runblob.io:
  POST /v1/veo/generate           takes an order; answers with a generation_id
  GET  /v1/veo/generations/{id}   pending, processing, completed or failed
An order with a callback_url (https) is called back when it ends: up to 5 times, 30 s apart, until a 200.

An order may say how it ends and what goes wrong, in a field that the provider does not have:
  \"sandbox\": {\"outcome\": \"UNSAFE_CONTENT\", \"faults\": [\"slow:1500\", \"twice\"]}
Outcomes: completed (by itself), timeout (after 10 min), or an error code.
Faults of the status: hang, slow:MS, lie (or lie:status, lie:url, lie:code, lie:id), huge, bad-json, status:NNN,
  cut (ends after the headers), still-processing.
  slow goes with any other; of the others the first is the answer, an order's own before those set for all.
Faults of the callback: never, twice, contradict (calls back a second time with the opposite).
Only generations and the time between callbacks follow --speed: `slow` and the client's timeouts (10 s to
connect, 30 s in all) do not. The times in a status are the machine's, in UTC.

For tests, from this machine and without a key:
  PUT    /sandbox/faults             the same object, for every order; GET shows it, DELETE ends it
  PUT    /sandbox/generations/{id}   makes a generation known, in the shape of a status
  GET    /sandbox/generations        what is known
  GET    /sandbox/calls              how often the status was asked for, and each callback with its answer

Examples:
  RUNBLOB_API_KEY=dev blobgate sandbox --speed 60 --callback-ca certs/edge.pem
  curl -H 'Authorization: Bearer dev' -d '{\"prompt\": \"A cat playing with a ball\",
    \"callback_url\": \"https://127.0.0.1:8443/webhook\"}' http://127.0.0.1:9443/v1/veo/generate
  curl -X PUT -d '{\"faults\": [\"status:503\"]}' http://127.0.0.1:9443/sandbox/faults
  curl http://127.0.0.1:9443/sandbox/calls";

/// Three reference images of the documented 20 MB in base64 (4 bytes for 3), and the rest of an order.
const LARGEST_ORDER: usize = 96 << 20;

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let key = ApiKey::find(args.api_key_file.as_deref())?;
    let tls = match (&args.tls_cert, &args.tls_key) {
        (Some(certificate), Some(key)) => Some(door::tls(certificate, key)?),
        _ => None,
    };
    let caller = CallbackClient::new(args.callback_ca.as_deref())?;
    let clock = SandboxClock::new(args.generation_time, args.speed);
    let listener =
        TcpListener::bind(args.listen).await.map_err(|error| cannot_listen(args.listen, &error))?;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let scheme = if tls.is_some() { "https" } else { "http" };
    let door = ApiListener::open(listener, tls)?;
    tell(format_args!("sandbox listens on {scheme}://{}", door.address));

    let routes = routes(Arc::new(Sandbox::new(key, clock, caller)), args.open_admin);
    let served = axum::serve(door, routes.into_make_service_with_connect_info::<Peer>());
    tokio::select! {
        served = served => served?,
        _ = interrupt.recv() => (),
        _ = terminate.recv() => (),
    }
    // At once: on the way through `main` the runtime would wait for a name that is being looked up.
    std::process::exit(0)
}

fn routes(provider: Arc<Sandbox>, open_admin: bool) -> Router {
    let api = Router::new()
        .route("/v1/veo/generate", post(generate::generate))
        .route("/v1/veo/generations/{id}", get(status::status))
        .route_layer(from_fn_with_state(Arc::clone(&provider), key::check));
    let mut admin = Router::new()
        .route("/sandbox/faults", get(admin::faults).put(admin::set_faults).delete(admin::end_faults))
        .route("/sandbox/generations", get(admin::generations))
        .route("/sandbox/generations/{id}", put(admin::register))
        .route("/sandbox/calls", get(admin::calls));
    if !open_admin {
        admin = admin.route_layer(from_fn(door::check_loopback));
    }
    api.merge(admin)
        .fallback(async || detail(StatusCode::NOT_FOUND, "Not Found"))
        .method_not_allowed_fallback(async || detail(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed"))
        .layer(DefaultBodyLimit::max(LARGEST_ORDER))
        .with_state(provider)
}

/// An error of the API, as the provider's page on errors has it: `{"detail":"TASK_NOT_FOUND"}`.
fn detail(status: StatusCode, detail: impl Serialize) -> Response {
    #[derive(Serialize)]
    struct ErrorDetail<T> {
        detail: T,
    }
    (status, Json(ErrorDetail { detail })).into_response()
}

/// A line on what happened, in columns.
fn report(what: &str, id: &str, how: std::fmt::Arguments<'_>) {
    let time = clock::now();
    let time = time.get(11..19).unwrap_or("-");
    tell(format_args!("{time}  sandbox  {what:<10} {id:<36}  {how}"));
}
