//! `blobgate sandbox`: a stand-in for RunBlob's Veo3 API.

mod admin;
mod callback;
mod clock;
mod fault;
mod generate;
mod generation;
mod key;
mod ledger;
mod lifecycle;
mod listener;
mod script;
mod status;

use crate::end_signals::EndSignals;
use crate::option::parse_address;
use crate::output::{self, print_line};
use crate::receiver::cannot_listen;
use anyhow::Result;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use callback::{CallbackClient, ResolvedHost};
use clock::SandboxClock;
use key::ApiKey;
use lifecycle::Sandbox;
use listener::{ApiListener, Peer};
use serde::Serialize;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// Run a stand-in for RunBlob's Veo3 API, with free generations and faults on demand
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The address; port 0 picks a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9443", value_parser = parse_address)]
    listen: SocketAddr,
    /// The certificate with its chain, in PEM [default: plain HTTP]
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// A file with the API key of its clients [default: RUNBLOB_API_KEY of the environment]
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// A trusted certificate for callbacks, in addition to the public ones, in PEM
    #[arg(long, value_name = "FILE")]
    callback_ca: Option<PathBuf>,
    /// The address and port of a callback's host, in place of DNS and of the URL's port
    #[arg(long, value_name = "HOST=ADDRESS", value_parser = callback::parse_resolved)]
    resolve: Vec<ResolvedHost>,
    /// The time of a generation, divided by --speed; from 10m on it ends as TIMEOUT
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = clock::parse_time)]
    generation_time: Duration,
    /// The speed of generations and callback retries, as a multiple of the provider's
    #[arg(long, value_name = "TIMES", default_value = "1", value_parser = clock::parse_speed)]
    speed: f64,
    /// Access to /sandbox/* from other machines, without a key: for trusted networks only
    #[arg(long)]
    open_admin: bool,
}

const EXAMPLES: &str = "\
The API, with `Authorization: Bearer KEY`, as at https://platform.runblob.io:
  POST /v1/veo/generate           orders a generation; the answer has its generation_id
  GET  /v1/veo/generations/{id}   pending, processing, completed or failed
The sandbox calls back the callback_url (https) of an order at its end, up to 5 times, 30 s apart,
until it gets 200.

A field of the order chooses its outcome and faults; the provider does not have this field:
  \"sandbox\": {\"outcome\": \"UNSAFE_CONTENT\", \"faults\": [\"slow:1500\", \"twice\"]}
Outcomes: completed (default), timeout (at 10 min), or an error code.
Faults of the status: hang, slow:MS, lie (or lie:status, lie:url, lie:code, lie:id), huge, bad-json,
  status:NNN, cut (ends after the headers), still-processing.
  An order has its own faults first, then the faults of all orders. The first one applies, and
  `slow` in addition to it.
Faults of the callback: never, twice, contradict (a second callback with the opposite outcome).
--speed changes generations and the time between callbacks. It does not change `slow` and the
timeouts of a callback (10 s to connect, 30 s in total). The times in a status are UTC.

For tests, from this machine and without a key:
  PUT    /sandbox/faults             sets outcome and faults of all orders; GET, DELETE
  PUT    /sandbox/generations/{id}   adds a generation, in the form of a status
  GET    /sandbox/generations        lists the generations
  GET    /sandbox/calls              lists status calls and callbacks

Exit code: 0 when a signal ended it, 1 when it cannot start, 2 for wrong usage.

Examples:
  RUNBLOB_API_KEY=dev blobgate sandbox --speed 60 --callback-ca certs/edge.pem
  curl -H 'Authorization: Bearer dev' -d '{\"prompt\": \"A cat playing with a ball\",
    \"callback_url\": \"https://127.0.0.1:8443/webhook\"}' http://127.0.0.1:9443/v1/veo/generate
  curl -X PUT -d '{\"faults\": [\"status:503\"]}' http://127.0.0.1:9443/sandbox/faults
  curl http://127.0.0.1:9443/sandbox/calls";

/// Three reference images of the documented 20 MB in base64 (4 bytes for 3), and the rest of an order.
const MAX_ORDER: usize = 96 << 20;

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let key = ApiKey::find(args.api_key_file.as_deref())?;
    let tls = match (&args.tls_cert, &args.tls_key) {
        (Some(certificate), Some(key)) => Some(listener::tls(certificate, key)?),
        _ => None,
    };
    let caller = CallbackClient::new(args.callback_ca.as_deref(), &args.resolve)?;
    let clock = SandboxClock::new(args.generation_time, args.speed);
    let listener = TcpListener::bind(args.listen)
        .await
        .map_err(|error| cannot_listen(args.listen, "--listen", &error))?;
    let mut signals = EndSignals::watch()?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let api = ApiListener::open(listener, tls)?;
    print_line(format_args!("sandbox listens on {scheme}://{}", api.address));

    let routes = routes(Arc::new(Sandbox::new(key, clock, caller)), args.open_admin);
    let served = axum::serve(api, routes.into_make_service_with_connect_info::<Peer>());
    let code = tokio::select! {
        served = served => served.map(|()| 0)?,
        _ = signals.next() => 0,
        _ = output::until_full() => 1,
    };
    // Returning through `main` would wait for a running DNS lookup.
    std::process::exit(code)
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
        admin = admin.route_layer(from_fn(listener::check_loopback));
    }
    api.merge(admin)
        .fallback(async || detail(StatusCode::NOT_FOUND, "Not Found"))
        .method_not_allowed_fallback(async || detail(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed"))
        .layer(DefaultBodyLimit::max(MAX_ORDER))
        .with_state(provider)
}

/// An error in the form of the provider's page on errors: `{"detail":"TASK_NOT_FOUND"}`.
fn detail(status: StatusCode, detail: impl Serialize) -> Response {
    #[derive(Serialize)]
    struct ErrorDetail<T> {
        detail: T,
    }
    (status, Json(ErrorDetail { detail })).into_response()
}

/// A line of output, in columns.
fn report(action: &str, id: &str, details: std::fmt::Arguments<'_>) {
    let time = clock::now();
    let time = time.get(11..19).unwrap_or("-");
    print_line(format_args!("{time}  sandbox  {action:<10} {id:<36}  {details}"));
}
