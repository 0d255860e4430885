//! `blobgate inbox`: a running inbox between a scripted gate and a scripted service.

mod announcing;
mod api;
mod auditing;
mod changes;
mod confirming;
mod connecting;
mod copying;
mod expecting;
mod explaining;
mod faults;
mod following;
mod logging;
mod looking;
mod pausing;
mod purging;
mod reconciling;
mod reevaluating;
mod requests;
mod restoring;
mod telling;

use crate::running::{RunningTool, blobgate, client, text};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use blobgate::contract::{self, Proof, Verdict, header};
use blobgate_testkit::Cluster;
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};
use std::process::Output;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::Notify;

const DEADLINE: Duration = Duration::from_secs(60);

/// Runs tests on either store.
macro_rules! on_each_store {
    ($($test:ident)*) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(crate::inbox::TestStore::sqlite()).await;
            })*
        }
        mod on_postgres {
            $(#[blobgate_testkit::needs(Postgres)]
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(crate::inbox::TestStore::postgres()).await;
            })*
        }
    };
}
pub(crate) use on_each_store;

/// A store with its tables. Gone when dropped.
pub(crate) struct TestStore {
    url: String,
    _directory: Option<TempDir>,
    _cluster: Option<Arc<Cluster>>,
}

impl TestStore {
    pub(crate) fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", directory.path().join("inbox.db").display());
        Self { url, _directory: Some(directory), _cluster: None }.with_tables()
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// A store in a cluster of the caller.
    pub(crate) fn of(cluster: &Cluster) -> Self {
        Self::at(cluster.database()).with_tables()
    }

    /// A store that already exists, or whose tables come later.
    fn at(url: String) -> Self {
        Self { url, _directory: None, _cluster: None }
    }

    pub(crate) fn postgres() -> Self {
        let cluster = Cluster::shared();
        Self { url: cluster.database(), _directory: None, _cluster: Some(cluster) }.with_tables()
    }

    fn with_tables(self) -> Self {
        let migrated = blobgate(&["inbox", "migrate", "--store", &self.url]).output().unwrap();
        assert!(migrated.status.success(), "{}", text(&migrated.stderr));
        self
    }
}

/// A running inbox with its service. Ends when dropped.
struct RunningInbox {
    _running: RunningTool,
    receive: String,
    admin: String,
    service: Arc<StandInService>,
    client: Client,
    _place: TestStore,
}

impl RunningInbox {
    async fn start(place: TestStore) -> Self {
        Self::with(place, &[]).await
    }

    /// Starts it with TOKEN in its environment.
    async fn with(place: TestStore, more: &[&str]) -> Self {
        let (service, deliver_to) = StandInService::start().await;
        let args = ["inbox", "serve", "--store", &place.url, "--deliver-to", &deliver_to];
        let free = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--drain-rate", "10000"];
        let mut command = blobgate(&[&args[..], &free, more].concat());
        command.env("TOKEN", "an-admin-token-of-a-test").env("RUST_LOG", "error");
        let running = RunningTool::start(command);
        let addresses = running.first_line_after("inbox listens on ");
        let (receive, rest) = addresses.split_once(", admin ").unwrap();
        let (admin, page) = rest.split_once(", page ").unwrap();
        assert_eq!(page, format!("{admin}/page/"));
        let (receive, admin) = (receive.to_owned(), admin.to_owned());
        Self { _running: running, receive, admin, service, client: client(), _place: place }
    }

    /// Forwards a delivery, as the gate does.
    async fn forward(&self, delivery: &ForwardedDelivery) -> Response {
        let mut request = self.client.post(format!("{}/hooks/{}", self.receive, delivery.hook));
        for (name, value) in delivery.headers() {
            request = request.header(name, value);
        }
        request.body(delivery.body.clone()).send().await.unwrap()
    }

    async fn store(&self, delivery: &ForwardedDelivery) {
        assert_eq!(self.forward(delivery).await.status(), 200);
    }

    /// Stores it as a request with this id. Returns the id of its entry.
    async fn stored_with_request_id(&self, delivery: &ForwardedDelivery, request_id: &str) -> i64 {
        let mut request = self.client.post(format!("{}/hooks/{}", self.receive, delivery.hook));
        for (name, value) in delivery.headers() {
            request = request.header(name, value);
        }
        let request = request.header(header::REQUEST_ID, request_id).body(delivery.body.clone());
        assert_eq!(request.send().await.unwrap().status(), 200);
        self.entries("limit=1").await[0]["id"].as_i64().unwrap()
    }

    /// Stores it. Returns its id.
    async fn stored(&self, delivery: &ForwardedDelivery) -> i64 {
        self.store(delivery).await;
        self.entries("limit=1").await[0]["id"].as_i64().unwrap()
    }

    async fn entries(&self, query: &str) -> Vec<Value> {
        let found = self.get(&format!("/entries?{query}")).await;
        found["entries"].as_array().unwrap().clone()
    }

    async fn get(&self, path: &str) -> Value {
        self.client.get(format!("{}{path}", self.admin)).send().await.unwrap().json().await.unwrap()
    }

    async fn call(&self, method: Method, path: &str, body: &Value) -> (u16, Value) {
        let request = self.client.request(method, format!("{}{path}", self.admin)).json(body);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    /// Waits for an entry to be in a state.
    async fn wait_for(&self, id: i64, state: &str) {
        until(&format!("entry {id} is {state}"), async || {
            self.get(&format!("/entries/{id}")).await["state"] == state
        })
        .await;
    }

    /// Waits until the deliverer applies a pause, or its end.
    async fn wait_for_pause(&self, route: &str, paused: bool) {
        let line = format!("route_paused{{route=\"{route}\"}} {}", i32::from(paused));
        until(&line, async || {
            let metrics = self.client.get(format!("{}/metrics", self.admin)).send().await.unwrap();
            metrics.text().await.unwrap().contains(&line)
        })
        .await;
    }

    /// Runs a command against this inbox.
    fn command(&self, args: &[&str]) -> Output {
        let args = [&["inbox"], args, &["--admin", &self.admin]].concat();
        blobgate(&args).env("TOKEN", "an-admin-token-of-a-test").env("WRONG", "guess").output().unwrap()
    }

    /// The standard output of a successful command.
    #[track_caller]
    fn lines(&self, args: &[&str]) -> Vec<String> {
        let output = self.command(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout).lines().map(str::to_owned).collect()
    }

    /// The standard error of a command with this exit code.
    #[track_caller]
    fn refused(&self, args: &[&str], code: i32) -> String {
        let output = self.command(args);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {message}");
        message
    }
}

/// Waits for a condition.
async fn until(what: &str, is_met: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_met().await {
        assert!(Instant::now() < deadline, "not in {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A delivery from the gate.
#[derive(Clone)]
struct ForwardedDelivery {
    hook: &'static str,
    verdict: Verdict,
    event: Option<&'static str>,
    reason: Option<&'static str>,
    detail: Option<&'static str>,
    generation: Option<String>,
    job: Option<&'static str>,
    token: Option<&'static str>,
    body: Vec<u8>,
    /// Other headers.
    more: Vec<(&'static str, String)>,
}

/// The generation with this number.
fn generation(number: usize) -> String {
    format!("5f1c8c1e-7c0c-4b0a-9a5e-{number:012x}")
}

/// The client of each quarantined delivery.
const CLIENT: &str = "2001:db8::9";

impl ForwardedDelivery {
    fn completed(number: usize) -> Self {
        let body = json!({
            "generation_id": generation(number),
            "status": "completed",
            "prompt": "a cat that stays private",
            "result_url": format!("https://cdn.example.com/{number}.mp4"),
        });
        Self {
            hook: "veo3",
            verdict: Verdict::Accepted,
            event: Some("completed"),
            reason: None,
            detail: None,
            generation: Some(generation(number)),
            job: None,
            token: None,
            body: body.to_string().into_bytes(),
            more: Vec::new(),
        }
    }

    fn failed(number: usize) -> Self {
        Self { event: Some("failed"), body: b"{\"status\":\"failed\"}".to_vec(), ..Self::completed(number) }
    }

    fn quarantined(number: usize) -> Self {
        Self { verdict: Verdict::Quarantined, reason: Some("token-expired"), ..Self::completed(number) }
    }

    fn key(&self) -> String {
        let event = self.event.unwrap_or("none");
        format!("veo3:{}:{event}", self.generation.as_deref().unwrap_or("none"))
    }

    fn headers(&self) -> Vec<(&'static str, String)> {
        let event = if self.verdict == Verdict::Quarantined { header::CLAIMED_EVENT } else { header::EVENT };
        let optional = [
            (event, self.event.map(str::to_owned)),
            (header::REASON, self.reason.map(str::to_owned)),
            (header::DETAIL, self.detail.map(str::to_owned)),
            (header::GENERATION_ID, self.generation.clone()),
            (header::JOB, self.job.map(str::to_owned)),
            (header::TOKEN_ID, self.token.map(str::to_owned)),
            (header::CLIENT, (self.verdict == Verdict::Quarantined).then(|| CLIENT.to_owned())),
        ];
        let mut headers = vec![
            (header::CONTRACT, contract::VERSION.to_owned()),
            (header::VERDICT, self.verdict.name().to_owned()),
            (header::HOOK, self.hook.to_owned()),
            (header::DIALECT, "veo3".to_owned()),
            (header::PROOFS, Proof::Token.name().to_owned()),
            ("content-type", "application/json".to_owned()),
            (header::IDEMPOTENCY_KEY, self.key()),
        ];
        headers.extend(self.more.iter().cloned());
        headers.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
        headers
    }
}

/// A scripted service, which records its deliveries.
struct StandInService {
    status: AtomicU16,
    deliveries: Mutex<Vec<ServiceDelivery>>,
    /// It does not answer while this is set.
    hangs: Mutex<bool>,
    unblocked: Notify,
}

#[derive(Clone, Debug)]
struct ServiceDelivery {
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

impl ServiceDelivery {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

impl StandInService {
    async fn start() -> (Arc<Self>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let service = Arc::new(Self {
            status: AtomicU16::new(200),
            deliveries: Mutex::default(),
            hangs: Mutex::new(false),
            unblocked: Notify::new(),
        });
        let routes = Router::new().fallback(take).with_state(Arc::clone(&service));
        tokio::spawn(async { axum::serve(listener, routes).await });
        (service, url)
    }

    fn answer(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    fn hang(&self) {
        *self.hangs.lock().unwrap() = true;
    }

    fn unblock(&self) {
        *self.hangs.lock().unwrap() = false;
        self.unblocked.notify_waiters();
    }

    fn deliveries(&self) -> Vec<ServiceDelivery> {
        self.deliveries.lock().unwrap().clone()
    }

    /// Waits for this many deliveries.
    async fn wait_for(&self, count: usize) -> Vec<ServiceDelivery> {
        until(&format!("{count} deliveries"), async || self.deliveries().len() >= count).await;
        let deliveries = self.deliveries();
        assert_eq!(deliveries.len(), count);
        deliveries
    }
}

async fn take(
    State(service): State<Arc<StandInService>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, &'static str) {
    let unblocked = service.unblocked.notified();
    service.deliveries.lock().unwrap().push(ServiceDelivery { path: uri.to_string(), headers, body });
    let hangs = *service.hangs.lock().unwrap();
    if hangs {
        unblocked.await;
    }
    (StatusCode::from_u16(service.status.load(Ordering::SeqCst)).unwrap(), "scripted")
}
