//! `blobgate receiver`: a service behind the gate, for trying things out.

mod keep;

use crate::output::tell;
use crate::rfc3339::rfc3339;
use anyhow::{Result, anyhow};
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use blobgate::contract::header;
use keep::RequestFolder;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

/// Run a demo service: takes any POST, answers 200, and tells what came
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// What the service is called in what it prints
    #[arg(long, default_value = "receiver")]
    name: String,
    /// Where it listens; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9081")]
    listen: SocketAddr,
    /// Write each arrival into a file of its own in this directory before the answer: for quarantine
    #[arg(long, value_name = "DIRECTORY")]
    keep: Option<PathBuf>,
}

const EXAMPLES: &str = "\
It prints one line for each arrival: time (UTC), service, event, generation id, verdict, size.
It keeps the last 1,000 arrivals in memory, and forgets them when it ends:
  GET /deliveries   what came, as JSON: the headers that count, size and SHA-256 of the body
  GET /healthz      200
With --keep each has a file too, named by time and generation: the headers that count, an empty line, the body as it
came. It is on the disk before the answer is 200; where it cannot be, the answer is 503.

Examples:
  blobgate receiver --name video --listen 127.0.0.1:9081
  blobgate receiver --name quarantine --listen 127.0.0.1:9083 --keep /var/lib/quarantine
  curl -d '{\"status\":\"completed\"}' http://127.0.0.1:9081/webhook
  curl http://127.0.0.1:9081/deliveries";

/// So many arrivals are kept: a demo's worth, in a few MiB.
const KEPT: usize = 1000;

/// A connection that is still busy when the service ends is waited for so long.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// One POST that came, as `GET /deliveries` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReceivedRequest {
    /// When, in UTC.
    pub(crate) time: String,
    /// The headers that count: [`counts`]. A repeated one has its values joined by `, `.
    pub(crate) headers: BTreeMap<String, String>,
    /// The body's size in bytes.
    pub(crate) bytes: usize,
    /// The body's SHA-256, in hexadecimal.
    pub(crate) sha256: String,
}

struct ReceiverState {
    name: String,
    keep: Option<RequestFolder>,
    arrivals: Mutex<VecDeque<ReceivedRequest>>,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let keep = args.keep.as_deref().map(RequestFolder::open).transpose()?;
    let listener =
        TcpListener::bind(args.listen).await.map_err(|error| cannot_listen(args.listen, &error))?;
    tell(format_args!("{} listens on http://{}", args.name, listener.local_addr()?));

    let service = Arc::new(ReceiverState { name: args.name, keep, arrivals: Mutex::default() });
    let routes = Router::new()
        .route("/healthz", get(async || "ok\n").post(receive))
        .route("/deliveries", get(deliveries).post(receive))
        .fallback(post(receive))
        .with_state(service);

    let ending = Arc::new(Notify::new());
    let told = Arc::clone(&ending);
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let asked_to_end = async move {
        tokio::select! { _ = interrupt.recv() => (), _ = terminate.recv() => () };
        told.notify_one();
    };
    let late = async {
        ending.notified().await;
        tokio::time::sleep(LAST_ANSWERS).await;
    };
    tokio::select! {
        served = axum::serve(listener, routes).with_graceful_shutdown(asked_to_end) => served?,
        () = late => (),
    }
    Ok(ExitCode::SUCCESS)
}

async fn receive(
    State(service): State<Arc<ReceiverState>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Receipt>, StatusCode> {
    let arrival = ReceivedRequest::new(&headers, &body);
    // Disks are slow, and others are served meanwhile.
    let written = tokio::task::spawn_blocking({
        let (service, arrival) = (Arc::clone(&service), arrival.clone());
        move || service.keep.as_ref().map_or(Ok(()), |keep| keep.write(&arrival, &body))
    });
    if let Err(error) = written.await.unwrap_or_else(|ended| Err(io::Error::other(ended))) {
        tell(format_args!("{}, not kept: {error}", arrival.line(&service.name)));
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    }
    tell(format_args!("{}", arrival.line(&service.name)));
    let mut arrivals = service.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
    if arrivals.len() == KEPT {
        arrivals.pop_front();
    }
    arrivals.push_back(arrival);
    Ok(Json(Receipt { status: "received" }))
}

async fn deliveries(State(service): State<Arc<ReceiverState>>) -> Json<VecDeque<ReceivedRequest>> {
    Json(service.arrivals.lock().unwrap_or_else(PoisonError::into_inner).clone())
}

/// What the provider's page has a receiver answer.
#[derive(Serialize)]
struct Receipt {
    status: &'static str,
}

impl ReceivedRequest {
    fn new(headers: &HeaderMap, body: &[u8]) -> Self {
        let mut kept = BTreeMap::<String, String>::new();
        for (name, value) in headers.iter().filter(|(name, _)| counts(name.as_str())) {
            let value = value.as_bytes().escape_ascii().to_string();
            kept.entry(name.as_str().to_owned())
                .and_modify(|first| *first = format!("{first}, {value}"))
                .or_insert(value);
        }
        Self {
            time: rfc3339(OffsetDateTime::now_utc()),
            headers: kept,
            bytes: body.len(),
            sha256: sha256(body),
        }
    }

    /// For a person: columns that stay in place from line to line.
    fn line(&self, service: &str) -> String {
        let header = |name| self.headers.get(name).map_or("-", String::as_str);
        let time = self.time.get(11..19).unwrap_or("-");
        // What is quarantined has only claimed its event.
        let claimed = self.header(header::EVENT).or(self.header(header::CLAIMED_EVENT));
        let (event, id) = (claimed.unwrap_or("-"), header(header::GENERATION_ID));
        let verdict = header(header::VERDICT);
        format!("{time}  {service:<8} {event:<10} {id:<36}  {verdict:<11} {} bytes", self.bytes)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// What Standard Webhooks signs and where it says so.
const SIGNATURE: [&str; 3] = [header::WEBHOOK_ID, header::WEBHOOK_TIMESTAMP, header::WEBHOOK_SIGNATURE];

/// What the gate and the inbox set, and what a receiver goes by.
fn counts(header: &str) -> bool {
    header.starts_with(header::PREFIX)
        || SIGNATURE.contains(&header)
        || matches!(header, header::IDEMPOTENCY_KEY | "content-type")
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

pub(crate) fn cannot_listen(address: SocketAddr, error: &io::Error) -> anyhow::Error {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            anyhow!(
                "port {} of {} is taken by another program: end it, or choose another with --listen",
                address.port(),
                address.ip()
            )
        }
        _ => anyhow!("cannot listen on {address}: {error}"),
    }
}
