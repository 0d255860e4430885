//! The inbox over HTTP, with an SQLite store: deliveries of the gate, attempts, and the admin listener.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test may panic: that is how it fails"
)]

#[path = "serve/access_log.rs"]
mod access_log;
#[path = "support/settings.rs"]
mod settings;
#[path = "serve/views.rs"]
mod views;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use blobgate::contract::{self, Kind, Verdict, header};
use blobgate_inbox::store::Place;
use blobgate_inbox::{ServeError, Settings, WebhookKeys, serve};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use settings::settings;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER_KEY: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const ID: &str = "ffd473d5-5bef-4e14-bf22-8d559be3c19f";
const OTHER_ID: &str = "00000000-0000-4000-8000-000000000001";
const MAX_WAIT: Duration = Duration::from_secs(20);

/// A service that records requests and replies with a chosen status after a chosen time.
#[derive(Clone)]
struct RecordingService {
    got: Arc<Mutex<Vec<(String, HeaderMap, Bytes)>>>,
    reply: Arc<Mutex<(StatusCode, Duration)>>,
    answered: Arc<Mutex<usize>>,
    address: SocketAddr,
}

impl RecordingService {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let service = Self {
            got: Arc::default(),
            reply: Arc::new(Mutex::new((StatusCode::OK, Duration::ZERO))),
            answered: Arc::default(),
            address: listener.local_addr().unwrap(),
        };
        let routes = Router::new().fallback(Self::receive).with_state(service.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        service
    }

    async fn receive(State(service): State<Self>, request: Request) -> (StatusCode, &'static str) {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        service.got.lock().unwrap().push((head.uri.to_string(), head.headers, body));
        let (status, after) = *service.reply.lock().unwrap();
        tokio::time::sleep(after).await;
        *service.answered.lock().unwrap() += 1;
        (status, "reply")
    }

    fn set_reply(&self, status: u16, after: Duration) {
        *self.reply.lock().unwrap() = (StatusCode::from_u16(status).unwrap(), after);
    }

    /// Waits for this many requests, and returns all so far.
    async fn got(&self, count: usize) -> Vec<(String, HeaderMap, Bytes)> {
        let until = Instant::now() + MAX_WAIT;
        loop {
            let got = self.got.lock().unwrap().clone();
            if got.len() >= count {
                return got;
            }
            assert!(Instant::now() < until, "{} of {count} requests", got.len());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

struct ServedInbox {
    receive: SocketAddr,
    admin: SocketAddr,
    ending: CancellationToken,
    served: JoinHandle<Result<(), ServeError>>,
    service: RecordingService,
    _directory: TempDir,
}

impl ServedInbox {
    async fn start() -> Self {
        Self::with(|_| ()).await
    }

    async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Place::Sqlite(directory.path().join("inbox.db"));
        store.migrate().await.unwrap();
        let service = RecordingService::start().await;
        let mut settings = settings(store).await;
        settings.deliver_to = format!("http://{}", service.address).parse().unwrap();
        change(&mut settings);
        let (receive, admin) = (settings.receive.local_addr().unwrap(), settings.admin.local_addr().unwrap());
        let ending = CancellationToken::new();
        let served = tokio::spawn(serve(settings, ending.clone(), || ()));
        let inbox = Self { receive, admin, ending, served, service, _directory: directory };
        inbox.until_ready().await;
        inbox
    }

    async fn until_ready(&self) {
        let until = Instant::now() + MAX_WAIT;
        while self.get("/healthz", &[]).await.is_none_or(|(status, _)| status != 200) {
            assert!(Instant::now() < until && !self.served.is_finished(), "the inbox is not ready");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn send(&self, method: Method, headers: &[(&str, &str)], body: impl Into<Bytes>) -> InboxAnswer {
        let uri = format!("http://{}/hooks/veo3?from=runblob", self.receive);
        let mut request = axum::http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let answer = client().request(request.body(Full::new(body.into())).unwrap()).await.unwrap();
        let (head, body) = answer.into_parts();
        let reason = head.headers.get(header::INBOX_REASON).map(|reason| reason.to_str().unwrap().to_owned());
        let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        InboxAnswer { status: head.status.as_u16(), reason, body }
    }

    async fn post(&self, headers: &[(&str, &str)]) -> InboxAnswer {
        self.send(Method::POST, headers, completed()).await
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Option<(u16, String)> {
        let mut request = axum::http::Request::builder().uri(format!("http://{}{path}", self.admin));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = client().request(request.body(Full::default()).unwrap()).await.ok()?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.ok()?.to_bytes();
        Some((status, String::from_utf8(body.to_vec()).unwrap()))
    }

    /// Waits until the metrics have this line.
    async fn until_metric(&self, line: &str) {
        let until = Instant::now() + MAX_WAIT;
        loop {
            let (_, text) = self.get("/metrics", &[]).await.unwrap();
            if text.lines().any(|found| found == line) {
                return;
            }
            assert!(Instant::now() < until, "no {line} in\n{text}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[derive(Debug)]
struct InboxAnswer {
    status: u16,
    reason: Option<String>,
    body: String,
}

impl InboxAnswer {
    #[track_caller]
    fn assert_stored(&self) {
        assert_eq!((self.status, self.body.as_str()), (200, r#"{"status":"received"}"#), "{self:?}");
    }

    #[track_caller]
    fn assert_refused(&self, reason: &str) {
        // A public client gets this body: it has no cause.
        let body = "The event is not stored. Send it again.\n";
        assert_eq!((self.status, self.reason.as_deref(), self.body.as_str()), (503, Some(reason), body));
    }
}

fn client() -> Client<hyper_util::client::legacy::connect::HttpConnector, Full<Bytes>> {
    Client::builder(TokioExecutor::new()).build_http()
}

fn completed() -> String {
    format!(
        r#"{{"generation_id":"{ID}","status":"completed","video_url":"https://cdn.runblob.io/a.mp4?s=1"}}"#
    )
}

const GATE_HEADERS: [(&str, &str); 8] = [
    (header::VERDICT, Verdict::Accepted.name()),
    (header::HOOK, "veo3"),
    (header::DIALECT, "veo3"),
    (header::CONTRACT, contract::VERSION),
    (header::EVENT, Kind::Completed.name()),
    (header::GENERATION_ID, ID),
    (header::IDEMPOTENCY_KEY, "veo3:ffd473d5-5bef-4e14-bf22-8d559be3c19f:completed"),
    ("content-type", "application/json"),
];

/// The gate's headers with these changes; an empty value removes a header.
fn gate_headers<'a>(changes: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut headers: Vec<_> = GATE_HEADERS
        .into_iter()
        .filter(|(name, _)| changes.iter().all(|(changed, _)| changed != name))
        .collect();
    headers.extend(changes.iter().filter(|(_, value)| !value.is_empty()));
    headers
}

#[tokio::test]
async fn delivers_body_and_gate_headers_unchanged() {
    let inbox = ServedInbox::start().await;
    let other_headers = [("x-forwarded-for", "203.0.113.9"), ("traceparent", "00-1-2-01"), ("cookie", "a=b")];
    let mut headers = gate_headers(&[("blobgate-of-tomorrow", "\u{e4}")]);
    headers.extend(other_headers);
    inbox.post(&headers).await.assert_stored();
    let (path, got, body) = inbox.service.got(1).await.remove(0);
    assert_eq!((path.as_str(), body), ("/hooks/veo3", Bytes::from(completed())));
    for (name, value) in GATE_HEADERS {
        assert_eq!(got[name], value);
    }
    assert_eq!(got["blobgate-of-tomorrow"].as_bytes(), "\u{e4}".as_bytes());
    assert_eq!(got[header::ATTEMPT], "1");
    let names = got.keys().map(HeaderName::as_str).filter(|name| !name.starts_with(header::PREFIX));
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["content-length", "content-type", "host", header::IDEMPOTENCY_KEY, header::REQUEST_ID]
    );
}

#[tokio::test]
async fn refuses_requests_that_are_not_from_the_gate() {
    let inbox = ServedInbox::start().await;
    for changes in [
        &[(header::VERDICT, "")][..],
        &[(header::HOOK, "")],
        &[(header::EVENT, "")],
        &[(header::GENERATION_ID, "")],
        &[(header::VERDICT, Verdict::Quarantined.name())],
        &[(header::CONTRACT, "")],
        &[(header::CONTRACT, "2")],
        &[(header::CONTRACT, "10")],
        &[(header::VERDICT, "refused")],
        &[(header::DIALECT, "veo4")],
        &[(header::EVENT, "done")],
        &[(header::GENERATION_ID, "17")],
        &[(header::HOOK, "a"), (header::HOOK, "b")],
        &[(header::HOOK, "*")],
        &[(header::HOOK, &"a".repeat(33))],
        &[(header::JOB, "\u{e4}")],
        &[(header::ATTEMPT, "1")],
    ] {
        inbox.post(&gate_headers(changes)).await.assert_refused("not-ours");
    }
    inbox.send(Method::GET, &gate_headers(&[]), "").await.assert_refused("method");
    let too_large = inbox.send(Method::POST, &gate_headers(&[]), vec![b' '; 1_000_001]).await;
    too_large.assert_refused("body");
    inbox.post(&gate_headers(&[(header::CONTRACT, "1.7")])).await.assert_stored();
    assert_eq!(inbox.service.got(1).await.len(), 1, "the others are not delivered");
    inbox.until_metric(r#"blobgate_inbox_refused_total{reason="not-ours"} 17"#).await;
}

#[tokio::test]
async fn verifies_the_gates_signature_and_signs_each_attempt() {
    let keys = || Some(WebhookKeys::parse(&[("KEY".to_owned(), KEY.to_owned())]).unwrap());
    let inbox = ServedInbox::with(|settings| (settings.sign, settings.verify) = (keys(), keys())).await;
    let id = "veo3:ffd473d5-5bef-4e14-bf22-8d559be3c19f:completed";
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    let send = async |key: &str, time: i64| {
        let key = standardwebhooks::Webhook::new(key).unwrap();
        let signature = key.sign(id, time, completed().as_bytes()).unwrap();
        let time = time.to_string();
        let signed = [
            (header::WEBHOOK_ID, id),
            (header::WEBHOOK_TIMESTAMP, &*time),
            (header::WEBHOOK_SIGNATURE, &*signature),
        ];
        inbox.post(&gate_headers(&signed)).await
    };
    inbox.post(&gate_headers(&[])).await.assert_refused("signature");
    send(OTHER_KEY, now).await.assert_refused("signature");
    let late = send(KEY, now - 600).await;
    late.assert_refused("clock-offset");
    // The signature covers the id and not the gate headers, so the inbox compares them.
    let key = standardwebhooks::Webhook::new(KEY).unwrap();
    let signature = key.sign(id, now, completed().as_bytes()).unwrap();
    let time = now.to_string();
    let signed = [
        (header::WEBHOOK_ID, id),
        (header::WEBHOOK_TIMESTAMP, &*time),
        (header::WEBHOOK_SIGNATURE, &*signature),
    ];
    for other in [(header::GENERATION_ID, OTHER_ID), (header::EVENT, Kind::Failed.name())] {
        let answer = inbox.post(&gate_headers(&[&signed[..], &[other]].concat())).await;
        answer.assert_refused("signature");
    }
    // A signature of two minutes ago: the attempt has its own time.
    send(KEY, now - 120).await.assert_stored();
    let (_, got, body) = inbox.service.got(1).await.remove(0);
    standardwebhooks::Webhook::new(KEY).unwrap().verify(&body, &got).unwrap();
    assert_eq!(got[header::WEBHOOK_ID], id);
    assert!(got[header::WEBHOOK_TIMESTAMP].to_str().unwrap().parse::<i64>().unwrap() >= now);
}

#[tokio::test]
async fn verifies_signatures_of_binary_bodies() {
    let keys = || Some(WebhookKeys::parse(&[("KEY".to_owned(), KEY.to_owned())]).unwrap());
    let inbox = ServedInbox::with(|settings| settings.verify = keys()).await;
    let (body, id) = (b"{\xff\x00".as_slice(), "veo3:abc:quarantined");
    let [_, (_, time), (_, signature)] = keys().unwrap().headers(id, body);
    let signature = format!("v1,bm9uZQ== {signature}");
    let quarantined = gate_headers(&[
        (header::VERDICT, Verdict::Quarantined.name()),
        (header::REASON, "json-invalid"),
        (header::EVENT, ""),
        (header::WEBHOOK_ID, id),
        (header::WEBHOOK_TIMESTAMP, &time),
        (header::WEBHOOK_SIGNATURE, &signature),
    ]);
    inbox.send(Method::POST, &quarantined, body).await.assert_stored();
    let answer = inbox.send(Method::POST, &quarantined, [body, b" "].concat()).await;
    answer.assert_refused("signature");
}

#[tokio::test]
async fn retries_after_a_status_other_than_2xx() {
    let inbox = ServedInbox::start().await;
    inbox.service.set_reply(410, Duration::ZERO);
    inbox.post(&gate_headers(&[])).await.assert_stored();
    inbox.service.got(2).await;
    inbox.service.set_reply(204, Duration::ZERO);
    let got = inbox.service.got(3).await;
    let attempts: Vec<_> =
        got.iter().map(|(_, headers, _)| headers[header::ATTEMPT].to_str().unwrap()).collect();
    assert_eq!(attempts, ["1", "2", "3"]);
    let key = header::IDEMPOTENCY_KEY;
    assert!(got.iter().all(|(_, headers, body)| headers[key] == got[0].1[key] && *body == completed()));
    inbox.until_metric(r#"blobgate_inbox_attempts_total{route="veo3/completed",outcome="4xx"} 2"#).await;
    inbox
        .until_metric(r#"blobgate_inbox_attempts_total{route="veo3/completed",outcome="delivered"} 1"#)
        .await;
}

#[tokio::test]
async fn retries_after_a_timeout() {
    let inbox = ServedInbox::with(|settings| settings.timeout = Duration::from_millis(200)).await;
    inbox.service.set_reply(200, Duration::from_secs(5));
    inbox.post(&gate_headers(&[])).await.assert_stored();
    inbox
        .until_metric(r#"blobgate_inbox_attempts_total{route="veo3/completed",outcome="unanswered"} 1"#)
        .await;
    inbox.service.set_reply(200, Duration::ZERO);
    inbox
        .until_metric(r#"blobgate_inbox_attempts_total{route="veo3/completed",outcome="delivered"} 1"#)
        .await;
}

#[tokio::test]
async fn acknowledges_repeats_without_delivering_them() {
    let inbox = ServedInbox::start().await;
    for _ in 0..3 {
        inbox.post(&gate_headers(&[])).await.assert_stored();
    }
    // The same video with another signature in its URL.
    inbox.send(Method::POST, &gate_headers(&[]), completed().replace("s=1", "s=2")).await.assert_stored();
    // The control: another generation is delivered.
    inbox.post(&gate_headers(&[(header::GENERATION_ID, OTHER_ID)])).await.assert_stored();
    let got = inbox.service.got(2).await;
    let ids: Vec<_> =
        got.iter().map(|(_, headers, _)| headers[header::GENERATION_ID].to_str().unwrap()).collect();
    assert_eq!(ids, [ID, OTHER_ID]);
}

#[tokio::test]
async fn stores_only_whole_requests_of_clients_that_leave() {
    let inbox = ServedInbox::start().await;
    let body = completed();
    let head: String = gate_headers(&[]).iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    let whole =
        format!("POST /hooks/veo3 HTTP/1.1\r\nhost: inbox\r\n{head}content-length: {length}\r\n\r\n{body}");
    for sent in [whole.len() / 2, whole.len() - 10, whole.len()] {
        hang_up_after(inbox.receive, &whole.as_bytes()[..sent]).await;
    }
    assert_eq!(inbox.service.got(1).await.len(), 1);
    inbox.post(&gate_headers(&[])).await.assert_stored();
    inbox.until_metric(r#"blobgate_inbox_received_total{route="veo3/completed",what="repeated"} 1"#).await;
}

async fn hang_up_after(address: SocketAddr, bytes: &[u8]) {
    use tokio::io::AsyncWriteExt;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream.shutdown().await.unwrap();
}

#[tokio::test]
async fn finishes_attempts_before_it_ends() {
    let inbox = ServedInbox::start().await;
    inbox.service.set_reply(200, Duration::from_millis(700));
    inbox.post(&gate_headers(&[])).await.assert_stored();
    inbox.service.got(1).await;
    inbox.ending.cancel();
    inbox.served.await.unwrap().unwrap();
    assert_eq!(*inbox.service.answered.lock().unwrap(), 1, "the attempt is finished");
}

#[tokio::test]
async fn refuses_at_the_limit_and_accepts_after_retention() {
    let inbox = ServedInbox::with(|settings| settings.limit = 20).await;
    inbox.service.set_reply(500, Duration::ZERO);
    inbox.post(&gate_headers(&[])).await.assert_stored();
    let second = gate_headers(&[(header::GENERATION_ID, OTHER_ID)]);
    inbox.post(&second).await.assert_refused("full");
    assert_eq!(
        inbox.get("/readyz", &[]).await.unwrap(),
        (503, "full: the store has reached its limit: raise --limit\n".to_owned())
    );
    // Once entries are delivered, retention deletes them.
    inbox.service.set_reply(200, Duration::ZERO);
    let until = Instant::now() + MAX_WAIT;
    while inbox.post(&second).await.status != 200 {
        assert!(Instant::now() < until, "retention deletes nothing");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn refuses_web_pages_in_a_browser() {
    let inbox = ServedInbox::start().await;
    let call = async |method: Method, headers: &[(&str, &str)]| {
        let mut request =
            axum::http::Request::builder().method(method).uri(format!("http://{}/pauses", inbox.admin));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::from(r#"{"hook":"veo3"}"#)).unwrap();
        client().request(request).await.unwrap().status().as_u16()
    };
    let json = ("content-type", "application/json");
    // DNS rebinding, and requests without a CORS preflight.
    assert_eq!(call(Method::GET, &[("host", "evil.example:9085")]).await, 403);
    assert_eq!(call(Method::PUT, &[("host", "evil.example"), json]).await, 403);
    assert_eq!(call(Method::PUT, &[("content-type", "text/plain")]).await, 403);
    assert_eq!(call(Method::PUT, &[]).await, 403);
    for host in ["localhost:9085", "127.0.0.1", "[::1]:9085"] {
        assert_eq!(call(Method::PUT, &[("host", host), json]).await, 200, "{host}");
        assert_eq!(call(Method::GET, &[("host", host)]).await, 200, "{host}");
    }
}
