//! `blobgate receiver`: a demo service behind the gate.

mod folder;

use crate::end_signals::EndSignals;
use crate::option::parse_address;
use crate::output::{self, print_line};
use crate::rfc3339::rfc3339;
use anyhow::{Result, anyhow};
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use blobgate::contract::header;
use folder::RequestFolder;
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
use tokio::sync::Notify;

/// Run a demo service that answers 200 to every POST and prints it
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The name of the service in its output
    #[arg(long, default_value = "receiver")]
    name: String,
    /// The address; port 0 picks a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9081", value_parser = parse_address)]
    listen: SocketAddr,
    /// A directory for the requests, a file each; for a quarantine service
    #[arg(long, value_name = "DIRECTORY")]
    keep: Option<PathBuf>,
}

const EXAMPLES: &str = "\
It prints a line for each request: time (UTC), service, event, generation id, verdict, size.
It remembers the last 1,000 requests until its end:
  GET /deliveries   the requests as JSON: headers of the gate, size and SHA-256 of the body
  GET /healthz      200
With --keep it writes each request to a file, named by time and generation: the headers, an empty
line, and the body unchanged. It answers 200 once the file is on the disk, and otherwise 503.

Exit code: 0 when a signal ended it, 1 when it cannot start, 2 for wrong usage.

Examples:
  blobgate receiver --name video --listen 127.0.0.1:9081
  blobgate receiver --name quarantine --listen 127.0.0.1:9083 --keep /var/lib/quarantine
  curl -d '{\"status\":\"completed\"}' http://127.0.0.1:9081/webhook
  curl http://127.0.0.1:9081/deliveries";

/// A few MiB, enough for a demo.
const MAX_REQUESTS: usize = 1000;

/// The wait for open connections at the end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// A POST, as `GET /deliveries` lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReceivedRequest {
    /// The time in UTC.
    pub(crate) time: String,
    /// The headers of [`is_recorded`]. The values of a repeated one are joined by `, `.
    pub(crate) headers: BTreeMap<String, String>,
    /// The body's size in bytes.
    pub(crate) bytes: usize,
    /// The body's SHA-256, in hexadecimal.
    pub(crate) sha256: String,
}

struct ReceiverState {
    name: String,
    folder: Option<RequestFolder>,
    requests: Mutex<VecDeque<ReceivedRequest>>,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let folder = args.keep.as_deref().map(RequestFolder::open).transpose()?;
    let listener = TcpListener::bind(args.listen)
        .await
        .map_err(|error| cannot_listen(args.listen, "--listen", &error))?;
    print_line(format_args!("{} listens on http://{}", args.name, listener.local_addr()?));

    let service = Arc::new(ReceiverState { name: args.name, folder, requests: Mutex::default() });
    let routes = Router::new()
        .route("/healthz", get(async || "ok\n").post(receive))
        .route("/deliveries", get(deliveries).post(receive))
        .fallback(post(receive))
        .with_state(service);

    let ending = Arc::new(Notify::new());
    let notifier = Arc::clone(&ending);
    let mut signals = EndSignals::watch()?;
    let end_requested = async move {
        signals.next().await;
        notifier.notify_one();
    };
    let late = async {
        ending.notified().await;
        tokio::time::sleep(SHUTDOWN_TIMEOUT).await;
    };
    tokio::select! {
        served = axum::serve(listener, routes).with_graceful_shutdown(end_requested) => served?,
        () = late => (),
        full = output::until_full() => return Err(full.into()),
    }
    Ok(ExitCode::SUCCESS)
}

async fn receive(
    State(service): State<Arc<ReceiverState>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Receipt>, StatusCode> {
    let request = ReceivedRequest::new(&headers, &body);
    // A slow disk does not block other requests.
    let written = tokio::task::spawn_blocking({
        let (service, request) = (Arc::clone(&service), request.clone());
        move || service.folder.as_ref().map_or(Ok(()), |folder| folder.write(&request, &body))
    });
    if let Err(error) = written.await.unwrap_or_else(|ended| Err(io::Error::other(ended))) {
        print_line(format_args!("{}, 503: cannot write its file: {error}", request.line(&service.name)));
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    }
    print_line(format_args!("{}", request.line(&service.name)));
    let mut requests = service.requests.lock().unwrap_or_else(PoisonError::into_inner);
    if requests.len() == MAX_REQUESTS {
        requests.pop_front();
    }
    requests.push_back(request);
    Ok(Json(Receipt { status: "received" }))
}

async fn deliveries(State(service): State<Arc<ReceiverState>>) -> Json<VecDeque<ReceivedRequest>> {
    Json(service.requests.lock().unwrap_or_else(PoisonError::into_inner).clone())
}

/// The answer of a receiver on the provider's page.
#[derive(Serialize)]
struct Receipt {
    status: &'static str,
}

impl ReceivedRequest {
    fn new(headers: &HeaderMap, body: &[u8]) -> Self {
        let mut recorded = BTreeMap::<String, String>::new();
        for (name, value) in headers.iter().filter(|(name, _)| is_recorded(name.as_str())) {
            let value = value.as_bytes().escape_ascii().to_string();
            recorded
                .entry(name.as_str().to_owned())
                .and_modify(|first| *first = format!("{first}, {value}"))
                .or_insert(value);
        }
        Self {
            time: rfc3339(OffsetDateTime::now_utc()),
            headers: recorded,
            bytes: body.len(),
            sha256: sha256(body),
        }
    }

    /// A line with fixed columns.
    fn line(&self, service: &str) -> String {
        let header = |name| self.headers.get(name).map_or("-", String::as_str);
        let time = self.time.get(11..19).unwrap_or("-");
        // A quarantined delivery claims its event.
        let claimed = self.header(header::EVENT).or(self.header(header::CLAIMED_EVENT));
        let (event, id) = (claimed.unwrap_or("-"), header(header::GENERATION_ID));
        let verdict = header(header::VERDICT);
        format!("{time}  {service:<8} {event:<10} {id:<36}  {verdict:<11} {} bytes", self.bytes)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// The headers of Standard Webhooks.
const SIGNATURE: [&str; 3] = [header::WEBHOOK_ID, header::WEBHOOK_TIMESTAMP, header::WEBHOOK_SIGNATURE];

/// A header of the gate or the inbox, or one that a service reads.
fn is_recorded(header: &str) -> bool {
    header.starts_with(header::PREFIX)
        || SIGNATURE.contains(&header)
        || matches!(header, header::IDEMPOTENCY_KEY | "content-type")
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

pub(crate) fn cannot_listen(address: SocketAddr, option: &str, error: &io::Error) -> anyhow::Error {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            anyhow!(
                "port {} of {} is taken by another program. End it, or name another with {option}",
                address.port(),
                address.ip()
            )
        }
        _ => anyhow!("cannot listen on {address}: {error}. Name another with {option}"),
    }
}
