//! `blobgate demo`, against a scripted gate: with the right behaviour, or with one difference.

mod inbox;
mod reconcile;

use crate::running::{RunningReceiver, RunningTool, blobgate, client, output, text};
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path as UrlPath, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, RequestExt, Router};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL;
use blobgate::contract::{Kind, Proof, Verdict, header};
use blobgate_testkit::closed_port;
use inbox::{InboxBehaviour, InboxStandIn, ReconcileBehaviour};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio_rustls::TlsAcceptor;

/// The behaviour for one request.
#[derive(Clone, Copy)]
struct GateBehaviour {
    status: u16,
    code: Option<&'static str>,
    /// The service, with the event, or for quarantine with the reason.
    over: Option<(ServiceName, &'static str)>,
    /// `blobgate-proofs`.
    proof: Option<&'static str>,
    body: Body,
    /// The behaviour of an inbox in the path.
    inbox: InboxBehaviour,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ServiceName {
    Video,
    Failure,
    Quarantine,
}

#[derive(Clone, Copy)]
enum Body {
    Unchanged,
    WithSpaceAfterIt,
}

const fn accepts(service: ServiceName, event: &'static str) -> GateBehaviour {
    GateBehaviour {
        status: 200,
        code: None,
        over: Some((service, event)),
        proof: None,
        body: Body::Unchanged,
        inbox: InboxBehaviour::Right,
    }
}

const fn authenticates(proof: &'static str) -> GateBehaviour {
    GateBehaviour { proof: Some(proof), ..accepts(ServiceName::Video, "completed") }
}

const fn quarantines(reason: &'static str) -> GateBehaviour {
    accepts(ServiceName::Quarantine, reason)
}

const fn refuses(status: u16, code: &'static str) -> GateBehaviour {
    GateBehaviour {
        status,
        code: Some(code),
        over: None,
        proof: None,
        body: Body::Unchanged,
        inbox: InboxBehaviour::Right,
    }
}

/// The shipped gate's behaviour for the demo's deliveries in their order. A machine may be unable to send the one from
/// another address, which is not here.
const SHIPPED: [GateBehaviour; 21] = [
    accepts(ServiceName::Video, "completed"),
    accepts(ServiceName::Failure, "failed"),
    accepts(ServiceName::Failure, "timeout"),
    refuses(404, "unknown-hook"),
    refuses(403, "https-required"),
    refuses(405, "method-not-allowed"),
    refuses(400, "header-invalid"),
    refuses(415, "unsupported-encoding"),
    refuses(413, "body-too-large"),
    refuses(400, "body-missing"),
    refuses(400, "json-invalid"),
    refuses(400, "json-too-deep"),
    refuses(400, "json-duplicate-key"),
    refuses(422, "schema-invalid"),
    refuses(422, "generation-id-invalid"),
    authenticates("token"),
    authenticates("confirmed"),
    refuses(403, "not-confirmed"),
    refuses(403, "not-confirmed"),
    quarantines("token-expired"),
    quarantines("result-url-denied"),
];
/// The first row of the authenticating hook.
const AUTHENTICATING: usize = 15;
const SOURCE_DENIED: GateBehaviour = refuses(403, "source-denied");

struct GateStandIn {
    does: Mutex<std::vec::IntoIter<GateBehaviour>>,
    video: String,
    failure: String,
    quarantine: String,
    inbox: Option<InboxStandIn>,
    /// The rest of the path of each delivery to the authenticating hook.
    tokens: Mutex<Vec<String>>,
    /// The number of ordered generations with a callback.
    ordered: AtomicUsize,
    /// The callbacks of the scripted sandbox.
    callbacks: Mutex<Vec<Value>>,
}

/// The body of a generation.
fn generation(id: &str) -> String {
    json!({"generation_id": id, "status": "completed"}).to_string()
}

/// The generation without a callback.
const UNCALLED: &str = "5f1c8c1e-7c0c-4b0a-9a5e-0d5c8a9b1c00";
const GENERATED: [&str; 2] = ["5f1c8c1e-7c0c-4b0a-9a5e-0d5c8a9b1c01", "5f1c8c1e-7c0c-4b0a-9a5e-0d5c8a9b1c02"];

impl GateStandIn {
    async fn answer(self: &Arc<Self>, peer: SocketAddr, request: Request) -> Response {
        let next =
            if peer.ip().is_loopback() { self.does.lock().unwrap().next() } else { Some(SOURCE_DENIED) };
        let does = next.unwrap_or_else(|| panic!("the demo sent an unexpected request"));
        let mut job = None;
        if let Some(rest) = request.uri().path().strip_prefix("/hooks/veo3") {
            job = claims(rest).filter(|_| does.proof == Some("token")).map(|claims| claims["job"].clone());
            self.tokens.lock().unwrap().push(rest.to_owned());
        }
        let job = job.as_ref().and_then(Value::as_str);
        // An unread body would close the connection.
        let body = request.extract::<Bytes, _>().await.unwrap();
        match &self.inbox {
            Some(entries) if entries.is_in_path() => self.forward_to_inbox(entries, job, body, does),
            _ => self.deliver(&[], job, body, does).await,
        }
        let status = StatusCode::from_u16(does.status).unwrap();
        match does.code {
            Some(code) => (status, [(header::REASON, code)]).into_response(),
            None => status.into_response(),
        }
    }

    async fn deliver(&self, headers: &[(&str, &str)], job: Option<&str>, body: Bytes, does: GateBehaviour) {
        let Some((service, event)) = does.over else { return };
        let mut request = match service {
            ServiceName::Video | ServiceName::Failure => {
                let payload: Value = serde_json::from_slice(&body).unwrap();
                let id = payload["generation_id"].as_str().unwrap();
                let url = if service == ServiceName::Video { &self.video } else { &self.failure };
                let request = client().post(url).header(header::VERDICT, Verdict::Accepted.name());
                request
                    .header(header::EVENT, event)
                    .header(header::GENERATION_ID, id)
                    .header(header::IDEMPOTENCY_KEY, format!("veo3:{id}:{event}"))
            }
            ServiceName::Quarantine => {
                let request =
                    client().post(&self.quarantine).header(header::VERDICT, Verdict::Quarantined.name());
                request.header(header::REASON, event)
            }
        };
        let proof = does.proof.map(|proof| (header::PROOFS, proof));
        let job = job.map(|job| (header::JOB, job));
        for (name, value) in headers.iter().copied().chain(proof).chain(job) {
            request = request.header(name, value);
        }
        let body = match does.body {
            Body::Unchanged => body,
            Body::WithSpaceAfterIt => [&*body, b" "].concat().into(),
        };
        assert_eq!(request.body(body).send().await.unwrap().status(), 200);
    }
}

/// The claims of the token at the end of a path.
fn claims(path: &str) -> Option<Value> {
    let claims = path.strip_prefix('/')?.split('.').nth(1)?;
    Some(serde_json::from_slice(&BASE64URL.decode(claims).unwrap()).unwrap())
}

/// `POST /v1/veo/generate`: calls back before the answer, or never.
async fn generate(State(stand_in): State<Arc<GateStandIn>>, headers: HeaderMap, body: Bytes) -> Response {
    assert_eq!(headers["authorization"], format!("Bearer {API_KEY}"));
    let order: Value = serde_json::from_slice(&body).unwrap();
    let answer = |id| (StatusCode::CREATED, Json(json!({"generation_id": id, "status": "pending"})));
    if order["sandbox"] == json!({"faults": ["never"]}) {
        return answer(UNCALLED).into_response();
    }
    let id = GENERATED[stand_in.ordered.fetch_add(1, Ordering::Relaxed)];
    let callback = client().post(order["callback_url"].as_str().unwrap()).body(generation(id));
    let status = callback.send().await.unwrap().status().as_u16();
    stand_in.callbacks.lock().unwrap().push(json!({"generation_id": id, "status": status, "error": null}));
    answer(id).into_response()
}

const API_KEY: &str = "rb-a-key-of-a-test";
const TOKEN_KEY: &str = "a token key of a test, 32 bytes and more";

/// The files of `dev/secrets`: the gate's environment and the API key.
fn secrets(directory: &Path) -> [String; 2] {
    let [env, key] = ["env", "key"].map(|name| directory.join(name));
    std::fs::write(&env, format!("BLOBGATE_SIGNING_KEY=whsec_x\nBLOBGATE_TOKEN_KEY={TOKEN_KEY}\n")).unwrap();
    std::fs::write(&key, format!("{API_KEY}\n")).unwrap();
    [env, key].map(|path| path.to_str().unwrap().to_owned())
}

async fn demo(does: Vec<GateBehaviour>, more: &[&str]) -> Output {
    demo_and_tokens(does, more).await.0
}

async fn demo_and_tokens(does: Vec<GateBehaviour>, more: &[&str]) -> (Output, Vec<String>) {
    let closed = closed_port();
    let inbox = format!("http://{}", closed.address);
    run_demo(does, None, &[&["--inbox", &inbox], more].concat()).await
}

/// Runs the demo with an inbox in the path.
async fn demo_by_inbox(does: Vec<GateBehaviour>, more: &[&str]) -> Output {
    demo_by(&InboxStandIn::default(), does, more).await.0
}

async fn demo_by(entries: &InboxStandIn, does: Vec<GateBehaviour>, more: &[&str]) -> (Output, Vec<String>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let inbox = format!("http://{}", listener.local_addr().unwrap());
    let more = [&["--inbox", &inbox], more].concat();
    run_demo(does, Some((entries.clone(), listener)), &more).await
}

/// Runs the demo against a scripted gate before three real receivers. Also returns the rest of each path at the
/// authenticating hook.
async fn run_demo(
    does: Vec<GateBehaviour>,
    inbox: Option<(InboxStandIn, tokio::net::TcpListener)>,
    more: &[&str],
) -> (Output, Vec<String>) {
    run_demo_to(Stdio::piped(), does, inbox, more).await
}

async fn run_demo_to(
    stdout: Stdio,
    does: Vec<GateBehaviour>,
    inbox: Option<(InboxStandIn, tokio::net::TcpListener)>,
    more: &[&str],
) -> (Output, Vec<String>) {
    let (entries, admin) = inbox.unzip();
    let [video, failure, quarantine] = ["video", "failure", "quarantine"].map(RunningReceiver::start);
    let stand_in = Arc::new(GateStandIn {
        does: Mutex::new(does.into_iter()),
        video: video.url("/"),
        failure: failure.url("/"),
        quarantine: quarantine.url("/"),
        inbox: entries,
        tokens: Mutex::default(),
        ordered: AtomicUsize::default(),
        callbacks: Mutex::default(),
    });
    if let Some(admin) = admin {
        stand_in.listen_as_inbox(admin);
    }
    let routes = Router::new()
        .route("/v1/veo/generate", post(generate))
        .route("/v1/veo/generations/{id}", get(async |UrlPath(id): UrlPath<String>| generation(&id)))
        .route(
            "/sandbox/calls",
            get(async |State(stand_in): State<Arc<GateStandIn>>| {
                Json(json!({"callbacks": *stand_in.callbacks.lock().unwrap()}))
            }),
        )
        .fallback(
            async |State(stand_in): State<Arc<GateStandIn>>,
                   ConnectInfo(peer): ConnectInfo<SocketAddr>,
                   request: Request| { stand_in.answer(peer, request).await },
        )
        .with_state(Arc::clone(&stand_in))
        .into_make_service_with_connect_info::<SocketAddr>();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });

    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem())
        .unwrap();
    let url = format!("http://{address}/webhook");
    let (token_url, sandbox) = (format!("http://{address}/hooks/veo3"), format!("http://{address}"));
    let services = [("video", &video), ("failure", &failure), ("quarantine", &quarantine)];
    let services = services.map(|(name, at)| format!("{name}={}", at.url("/")));
    let [env, key] = secrets(directory.path());
    let mut args = vec!["demo", "--gate", &url, "--plain", &url, "--ca", ca.to_str().unwrap()];
    args.extend([
        "--token-gate",
        &token_url,
        "--sandbox",
        &sandbox,
        "--secrets",
        &env,
        "--api-key-file",
        &key,
    ]);
    args.extend(services.iter().flat_map(|service| ["--service", service]));
    args.extend(more);
    let mut command = blobgate(&args);
    command.stdout(stdout);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    server.abort();
    let tokens = std::mem::take(&mut *stand_in.tokens.lock().unwrap());
    (output, tokens)
}

async fn demo_but(row: usize, change: impl FnOnce(&mut GateBehaviour)) -> String {
    let mut does = SHIPPED.to_vec();
    change(&mut does[row]);
    let end = demo(does, &[]).await;
    assert_eq!((end.status.code(), text(&end.stderr)), (Some(1), String::new()), "{}", text(&end.stdout));
    text(&end.stdout)
}

async fn demo_by_inbox_but(row: usize, change: impl FnOnce(&mut GateBehaviour)) -> String {
    let mut does = SHIPPED.to_vec();
    change(&mut does[row]);
    let end = demo_by_inbox(does, &[]).await;
    assert_eq!((end.status.code(), text(&end.stderr)), (Some(1), String::new()), "{}", text(&end.stdout));
    text(&end.stdout)
}

#[tokio::test]
async fn shows_a_right_gate_row_by_row() {
    let end = demo(SHIPPED.to_vec(), &[]).await;
    let table = shows_every_row(&end, "quarantine");
    assert!(table.contains(": not in the path; the gate delivers\n"), "{table}");
}

#[tokio::test]
async fn shows_a_right_gate_with_an_inbox() {
    let end = demo_by_inbox(SHIPPED.to_vec(), &[]).await;
    let table = shows_every_row(&end, "inbox");
    assert!(table.contains(": stores and delivers\n"), "{table}");
    for reason in ["token-expired", "result-url-denied"] {
        let lines = format!(": quarantined\n        {}: {reason}\n", header::REASON);
        assert!(table.contains(&lines), "{table}");
    }
}

#[track_caller]
fn shows_every_row(end: &Output, quarantine: &str) -> String {
    let table = text(&end.stdout);
    assert_eq!((end.status.code(), text(&end.stderr)), (Some(0), String::new()), "{table}");
    let rows: Vec<_> = table.lines().filter(|line| line.starts_with("ok ")).collect();
    let answered =
        rows.iter().filter(|row| !row.contains("source-denied") && !row.contains("without a callback"));
    for (row, does) in answered.zip(SHIPPED) {
        assert!(row.contains(&format!(" {} ", does.status)), "{row}");
        assert!(row.contains(does.code.unwrap_or("-")), "{row}");
        let place = match does.over {
            Some((ServiceName::Video, _)) => "video",
            Some((ServiceName::Failure, _)) => "failure",
            Some((ServiceName::Quarantine, _)) => quarantine,
            None => "nowhere",
        };
        assert!(row.ends_with(place), "{row}");
    }
    let (shown, left_out) = (rows.len(), table.lines().filter(|line| line.starts_with("- ")).count());
    // Two rows are not in SHIPPED: from another address, and without a callback.
    assert_eq!(shown + left_out, SHIPPED.len() + 2, "{table}");
    assert!(table.contains(&format!("All {shown} rows are as expected.")), "{table}");
    for event in Kind::ALL {
        let line = format!("{}: {}\n", header::EVENT, event.name());
        assert!(table.contains(&line), "{table}");
    }
    assert!(!table.contains('\x1b'), "colours without a terminal");
    table
}

#[tokio::test]
async fn sends_the_token_of_each_row() {
    let (end, paths) = demo_and_tokens(SHIPPED.to_vec(), &[]).await;
    assert_eq!(end.status.code(), Some(0));
    let hmac = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, TOKEN_KEY.as_bytes());
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    let tokens: Vec<_> = paths
        .iter()
        .map(|path| {
            let token = path.strip_prefix('/').filter(|token| !token.is_empty())?;
            let (signed, signature) = token.rsplit_once('.').unwrap();
            let claims = claims(path).unwrap();
            assert_eq!(claims["aud"], "development/veo3-token");
            assert!(claims["job"].as_str().unwrap().starts_with("demo-"), "{claims}");
            let signature = BASE64URL.decode(signature).unwrap();
            let ours = ring::hmac::verify(&hmac, signed.as_bytes(), &signature).is_ok();
            Some((ours, claims["exp"].as_i64().unwrap() > now))
        })
        .collect();
    let (good, foreign, expired) = (Some((true, true)), Some((false, true)), Some((true, false)));
    assert_eq!(tokens, [good, None, None, foreign, expired, good]);
    let shown = text(&end.stdout);
    for path in paths.iter().filter(|path| !path.is_empty()) {
        assert!(!shown.contains(path.as_str()), "a token is shown");
    }
}

#[tokio::test]
async fn reports_output_that_cannot_be_written() {
    let closed = closed_port();
    let inbox = format!("http://{}", closed.address);
    for more in [&["--inbox", &inbox][..], &["--inbox", &inbox, "--json"]] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let (end, _) = run_demo_to(full.into(), SHIPPED.to_vec(), None, more).await;
        let stderr = text(&end.stderr);
        assert_eq!(end.status.code(), Some(1), "{stderr}");
        assert!(stderr.starts_with("blobgate: cannot write to standard output: "), "{stderr}");
    }
}

#[tokio::test]
async fn prints_json() {
    let end = demo(SHIPPED.to_vec(), &["--json"]).await;
    let report: Value = serde_json::from_slice(&end.stdout).unwrap();
    assert_eq!((end.status.code(), &report["as_expected"]), (Some(0), &Value::Bool(true)));
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), SHIPPED.len() + 2);
    assert_eq!((&rows[0]["answer"], &rows[0]["code"]), (&200.into(), &Value::Null));
    let [arrived] = &rows[0]["arrived"].as_array().unwrap()[..] else { panic!("{report:#}") };
    assert_eq!(arrived["service"], "video");
    assert_eq!(arrived["headers"][header::GENERATION_ID], rows[0]["generation_id"]);
    assert_eq!((&rows[3]["answer"], &rows[3]["code"]), (&404.into(), &"unknown-hook".into()));
    assert_eq!(rows[3]["arrived"], Value::Array(Vec::new()));
    let row = rows.iter().find(|row| row["sent"] == "generated, with a token").unwrap();
    assert_eq!((&row["hook"], &row["generation_id"]), (&"/hooks/veo3".into(), &GENERATED[0].into()));
    assert_eq!(row["arrived"][0]["headers"][header::PROOFS], Proof::Token.name());
    assert_eq!(report["mode"], "alone");
}

#[tokio::test]
async fn prints_the_inbox_in_json() {
    let end = demo_by_inbox(SHIPPED.to_vec(), &["--json"]).await;
    let report: Value = serde_json::from_slice(&end.stdout).unwrap();
    assert_eq!((end.status.code(), &report["mode"]), (Some(0), &"inbox".into()), "{report:#}");
    let rows = report["rows"].as_array().unwrap();
    assert_eq!((&rows[0]["arrived"][0]["service"], &rows[0]["in_inbox"]), (&"video".into(), &json!([])));
    let quarantined = rows.iter().find(|row| row["sent"] == "expired token, half of the JSON").unwrap();
    assert_eq!(
        (&quarantined["arrived"], &quarantined["in_inbox"][0]["reason"]),
        (&json!([]), &"token-expired".into())
    );
}

#[track_caller]
fn fails(table: &str, row: &str, fault: &str) {
    let lines: Vec<_> = table.lines().skip_while(|line| !line.starts_with("FAIL")).collect();
    assert!(lines[0].contains(row), "{table}");
    assert!(lines.contains(&&*format!("        ! {fault}")), "{table}");
    assert_eq!(table.matches("FAIL").count(), 1, "{table}");
    assert!(table.contains("\n1 of 2"), "{table}");
}

fn expected(header: &str, value: &str) -> String {
    format!("expected {header}: {value}")
}

#[tokio::test]
async fn marks_a_wrong_row() {
    let body = |does: &mut GateBehaviour| does.body = Body::WithSpaceAfterIt;
    fails(&demo_but(0, |does| does.status = 503).await, "completed, as", "expected the answer 200");
    fails(
        &demo_but(0, |does| does.code = Some("upstream-error")).await,
        "completed, as",
        "expected the answer 200",
    );
    fails(&demo_but(0, |does| does.over = None).await, "completed, as", "expected it once at video");
    fails(&demo_but(1, |does| *does = SHIPPED[0]).await, "failed, as", "expected it at failure");
    fails(
        &demo_but(1, |does| *does = SHIPPED[2]).await,
        "failed, as",
        &expected(header::EVENT, Kind::Failed.name()),
    );
    fails(&demo_but(2, body).await, "timeout, as", "expected the sent body, byte for byte");
    fails(
        &demo_but(3, |does| does.code = None).await,
        "without a hook",
        "expected the answer 404 unknown-hook",
    );
    fails(&demo_but(6, |does| does.status = 422).await, "twice", "expected the answer 400 header-invalid");
    let authenticating = |row: usize| AUTHENTICATING + row;
    fails(
        &demo_but(authenticating(0), |does| does.proof = Some("confirmed")).await,
        "generated, with a token",
        &expected(header::PROOFS, Proof::Token.name()),
    );
    fails(
        &demo_but(authenticating(1), |does| does.proof = None).await,
        "generated, without a token",
        &expected(header::PROOFS, Proof::Confirmed.name()),
    );
    fails(
        &demo_but(authenticating(1), body).await,
        "generated, without",
        "expected the sent body, byte for byte",
    );
    fails(
        &demo_but(authenticating(1), |does| does.over = None).await,
        "generated, without",
        "expected it once at video",
    );
    fails(
        &demo_but(authenticating(3), |does| *does = SHIPPED[0]).await,
        "another key's token",
        "expected the answer 403 not-confirmed",
    );
    fails(
        &demo_but(authenticating(4), |does| *does = quarantines("json-invalid")).await,
        "expired",
        &expected(header::REASON, "token-expired"),
    );
    fails(
        &demo_but(authenticating(5), |does| *does = SHIPPED[0]).await,
        "result elsewhere",
        "expected it at quarantine",
    );
    fails(
        &demo_but(0, |does| does.proof = Some("token")).await,
        "completed, as",
        &format!("expected no {}", header::PROOFS),
    );
    let over = SHIPPED[0].over;
    fails(&demo_but(4, |does| does.over = over).await, "over plain HTTP", "expected no arrival");
}

#[tokio::test]
async fn marks_a_wrong_row_with_an_inbox() {
    let by_inbox = |row, inbox| demo_by_inbox_but(row, move |does| does.inbox = inbox);
    let (completed, expired) = ("completed, as", "expired token");
    let row = SHIPPED.len() - 2;
    fails(&by_inbox(0, InboxBehaviour::DeliversTwice).await, completed, "expected it once at video");
    fails(&by_inbox(0, InboxBehaviour::Loses).await, completed, "expected it once at video");
    fails(
        &by_inbox(0, InboxBehaviour::Quarantines("event-conflict")).await,
        completed,
        "expected it at video, not quarantined in the inbox for event-conflict",
    );
    fails(
        &demo_by_inbox_but(0, |does| does.body = Body::WithSpaceAfterIt).await,
        completed,
        "expected the sent body, byte for byte",
    );
    fails(&demo_by_inbox_but(1, |does| *does = SHIPPED[0]).await, "failed, as", "expected it at failure");
    fails(
        &by_inbox(row, InboxBehaviour::Quarantines("json-invalid")).await,
        expired,
        "expected it quarantined for token-expired",
    );
    fails(
        &by_inbox(row, InboxBehaviour::SeesTwice).await,
        expired,
        "expected one delivery to the inbox, not 2",
    );
    fails(&by_inbox(row, InboxBehaviour::Drops).await, expired, "expected it quarantined, not dropped");
    fails(&demo_by_inbox_but(row, |does| does.over = None).await, expired, "expected it once at quarantine");
    let over = SHIPPED[0].over;
    let late = demo_by_inbox_but(4, |does| does.over = over).await;
    fails(&late, "over plain HTTP", "expected no arrival");
    let quarantined = demo_by_inbox_but(4, |does| {
        *does = GateBehaviour { over: quarantines("token-expired").over, ..*does }
    })
    .await;
    fails(&quarantined, "over plain HTTP", "expected no arrival");
}

#[tokio::test]
async fn reports_an_unknown_inbox() {
    let does = SHIPPED.map(|does| GateBehaviour { inbox: InboxBehaviour::DeliversAtOnce, ..does });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let inbox = Some((InboxStandIn::default(), listener));
    let end = run_demo(does.to_vec(), inbox, &["--inbox", "none"]).await.0;
    one_sentence(
        &end,
        "cannot check the entries: an inbox delivered the events, and the demo knows none. Name its admin listener with --inbox",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_unreachable_parts_and_missing_files() {
    let one = certificate();
    let [video, failure, quarantine] = ["video", "failure", "quarantine"].map(RunningReceiver::start);
    let directory = tempfile::tempdir().unwrap();
    let [env, key] = secrets(directory.path());
    let running =
        RunningTool::start(blobgate(&["sandbox", "--listen", "127.0.0.1:0", "--api-key-file", &key]));
    let sandbox = running.first_line_after("sandbox listens on ");
    let demo = |gate: SocketAddr, video: &str, sandbox: &str, env: &str| {
        let (gate, ca) = (format!("https://{gate}/webhook"), one.path().to_str().unwrap());
        let mut args = vec!["demo", "--ca", ca, "--gate", &gate, "--sandbox", sandbox];
        args.extend(["--secrets", env, "--api-key-file", &key, "--inbox", "none"]);
        let services = [("video", video), ("failure", &failure.url("")), ("quarantine", &quarantine.url(""))];
        let services = services.map(|(name, url)| format!("{name}={url}"));
        args.extend(services.iter().flat_map(|service| ["--service", service]));
        output(&args)
    };
    let run = |gate: SocketAddr, video: &str| demo(gate, video, &sandbox, &env);

    let closed = closed_port();
    let closed_address = closed.address;
    one_sentence(
        &run(closed_address, &video.url("")),
        &format!("cannot connect to the gate at https://{closed_address}/webhook: "),
    );
    let end = run(closed_address, &format!("http://{closed_address}"));
    one_sentence(
        &end,
        &format!("cannot list the requests of the service video at http://{closed_address}/: "),
    );

    let end = demo(closed_address, &video.url(""), &format!("http://{closed_address}"), &env);
    one_sentence(&end, &format!("cannot connect to the sandbox at http://{closed_address}/: "));
    let end = demo(closed_address, &video.url(""), &video.url(""), &env);
    one_sentence(&end, &format!("the sandbox at {}/ answers 405", video.url("")));
    let end = demo(closed_address, &video.url(""), &sandbox, "secrets/env");
    one_sentence(
        &end,
        "cannot read the gate's environment secrets/env: No such file or directory (os error 2). `make run` makes it, --secrets names another",
    );
    let end = demo(closed_address, &video.url(""), &sandbox, &key);
    one_sentence(&end, &format!("cannot sign tokens: {key} has no line BLOBGATE_TOKEN_KEY=..."));

    let another = TlsServer::start().await;
    let end = tokio::task::block_in_place(|| run(another.address, &video.url("")));
    one_sentence(&end, &format!("cannot trust the gate at https://{}/webhook: ", another.address));

    let end = output(&["demo"]);
    one_sentence(
        &end,
        "cannot read the gate's certificate certs/edge.pem: No such file or directory (os error 2). `make run` makes one",
    );
}

#[test]
fn exits_with_2_on_wrong_usage() {
    for args in [
        &["demo", "--service", "video"][..],
        &["demo", "--service", "video=http://127.0.0.1:1"],
        &["demo", "--gate", "8443"],
        &["demo", "--inbox", "9085"],
        &["demo", "--aud", "veo3-token"],
        &["demo", "more"],
        &["nothing"],
        &[],
    ] {
        let end = output(args);
        assert_eq!((end.status.code(), text(&end.stdout)), (Some(2), String::new()), "{args:?}");
    }
}

#[track_caller]
fn one_sentence(end: &Output, start: &str) {
    let message = text(&end.stderr);
    assert_eq!((end.status.code(), text(&end.stdout)), (Some(1), String::new()), "{message}");
    assert!(message.starts_with(&format!("blobgate: {start}")) && message.lines().count() == 1, "{message}");
}

/// A certificate that no server here uses.
fn certificate() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(file.path(), made.cert.pem()).unwrap();
    file
}

/// A server with another certificate.
struct TlsServer {
    address: SocketAddr,
}

impl TlsServer {
    async fn start() -> Self {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (connection, _) = listener.accept().await.unwrap();
                assert!(
                    acceptor.accept(connection).await.is_err(),
                    "the demo accepted an untrusted certificate"
                );
            }
        });
        Self { address }
    }
}
