//! `blobgate demo`, against a stand-in that does what it is told: the right thing, or the wrong one in one place.

use crate::running::{Receiver, blobgate, client, output, text};
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{RequestExt, Router};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::Value;
use std::net::{SocketAddr, TcpListener};
use std::process::Output;
use std::sync::{Arc, Mutex};
use tokio_rustls::TlsAcceptor;

/// What the stand-in does with one request.
#[derive(Clone, Copy)]
struct Does {
    status: u16,
    code: Option<&'static str>,
    /// Where it hands the delivery over, as what.
    over: Option<(Service, &'static str)>,
    body: Body,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    Video,
    Failure,
}

#[derive(Clone, Copy)]
enum Body {
    AsItCame,
    WithSpaceAfterIt,
}

const fn accepts(service: Service, event: &'static str) -> Does {
    Does { status: 200, code: None, over: Some((service, event)), body: Body::AsItCame }
}

const fn refuses(status: u16, code: &'static str) -> Does {
    Does { status, code: Some(code), over: None, body: Body::AsItCame }
}

/// What the shipped gate does with the demo's deliveries in the order in which they come, but for the one from
/// another address, which a machine may not be able to send.
const SHIPPED: [Does; 15] = [
    accepts(Service::Video, "completed"),
    accepts(Service::Failure, "failed"),
    accepts(Service::Failure, "timeout"),
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
];
const SOURCE_DENIED: Does = refuses(403, "source-denied");

struct StandIn {
    does: Mutex<std::vec::IntoIter<Does>>,
    video: String,
    failure: String,
}

impl StandIn {
    async fn answer(&self, peer: SocketAddr, request: Request) -> Response {
        let next =
            if peer.ip().is_loopback() { self.does.lock().unwrap().next() } else { Some(SOURCE_DENIED) };
        let does = next.unwrap_or_else(|| panic!("one request more than the table has"));
        let mark = request.headers()["x-demo-delivery"].clone();
        // Read in any case: a body left behind would cost the connection.
        let body = request.extract::<Bytes, _>().await.unwrap();
        if let Some((service, event)) = does.over {
            self.hand_over(mark, body, does.body, service, event).await;
        }
        let status = StatusCode::from_u16(does.status).unwrap();
        match does.code {
            Some(code) => (status, [("blobgate-reason", code)]).into_response(),
            None => status.into_response(),
        }
    }

    async fn hand_over(&self, mark: HeaderValue, body: Bytes, change: Body, service: Service, event: &str) {
        let payload: Value = serde_json::from_slice(&body).unwrap();
        let id = payload["generation_id"].as_str().unwrap();
        let url = if service == Service::Video { &self.video } else { &self.failure };
        let request = client()
            .post(url)
            .header("x-demo-delivery", mark)
            .header("blobgate-verdict", "accepted")
            .header("blobgate-event", event)
            .header("blobgate-generation-id", id)
            .header("idempotency-key", format!("veo3:{id}:{event}"));
        let body = match change {
            Body::AsItCame => body,
            Body::WithSpaceAfterIt => [&*body, b" "].concat().into(),
        };
        assert_eq!(request.body(body).send().await.unwrap().status(), 200);
    }
}

/// Runs the demo against a stand-in between it and two real receivers.
async fn demo(does: Vec<Does>, more: &[&str]) -> Output {
    let (video, failure) = (Receiver::start("video"), Receiver::start("failure"));
    let stand_in = Arc::new(StandIn {
        does: Mutex::new(does.into_iter()),
        video: video.url("/"),
        failure: failure.url("/"),
    });
    let routes = Router::new()
        .fallback(
            async |State(stand_in): State<Arc<StandIn>>,
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
    let services =
        [("video", &video), ("failure", &failure)].map(|(name, at)| format!("{name}={}", at.url("/")));
    let mut args = vec!["demo", "--gate", &url, "--plain", &url, "--ca", ca.to_str().unwrap()];
    args.extend(services.iter().flat_map(|service| ["--service", service]));
    args.extend(more);
    let mut command = blobgate(&args);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    server.abort();
    output
}

async fn demo_but(row: usize, change: impl FnOnce(&mut Does)) -> String {
    let mut does = SHIPPED.to_vec();
    change(&mut does[row]);
    let end = demo(does, &[]).await;
    assert_eq!((end.status.code(), text(&end.stderr)), (Some(1), String::new()), "{}", text(&end.stdout));
    text(&end.stdout)
}

#[tokio::test]
async fn a_right_gate_is_shown_row_by_row() {
    let end = demo(SHIPPED.to_vec(), &[]).await;
    let table = text(&end.stdout);
    assert_eq!((end.status.code(), text(&end.stderr)), (Some(0), String::new()), "{table}");
    let rows: Vec<_> = table.lines().filter(|line| line.starts_with("ok ")).collect();
    for (row, does) in rows.iter().filter(|row| !row.contains("source-denied")).zip(SHIPPED) {
        assert!(row.contains(&format!(" {} ", does.status)), "{row}");
        assert!(row.contains(does.code.unwrap_or("-")), "{row}");
        let place = match does.over {
            Some((Service::Video, _)) => "video",
            Some((Service::Failure, _)) => "failure",
            None => "nowhere",
        };
        assert!(row.ends_with(place), "{row}");
    }
    let (shown, left_out) = (rows.len(), table.lines().filter(|line| line.starts_with("- ")).count());
    assert_eq!(shown + left_out, SHIPPED.len() + 1, "{table}");
    assert!(table.contains(&format!("All {shown} rows are as expected.")), "{table}");
    for event in ["completed", "failed", "timeout"] {
        assert!(table.contains(&format!("blobgate-event: {event}\n")), "{table}");
    }
    assert!(!table.contains('\x1b'), "colours without a terminal");
}

#[tokio::test]
async fn machines_get_json() {
    let end = demo(SHIPPED.to_vec(), &["--json"]).await;
    let report: Value = serde_json::from_slice(&end.stdout).unwrap();
    assert_eq!((end.status.code(), &report["as_expected"]), (Some(0), &Value::Bool(true)));
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), SHIPPED.len() + 1);
    assert_eq!((&rows[0]["answer"], &rows[0]["code"]), (&200.into(), &Value::Null));
    let [arrived] = &rows[0]["arrived"].as_array().unwrap()[..] else { panic!("{report:#}") };
    assert_eq!(arrived["service"], "video");
    assert_eq!(arrived["headers"]["blobgate-generation-id"], rows[0]["generation_id"]);
    assert_eq!((&rows[3]["answer"], &rows[3]["code"]), (&404.into(), &"unknown-hook".into()));
    assert_eq!(rows[3]["arrived"], Value::Array(Vec::new()));
}

#[tokio::test]
async fn a_wrong_row_is_marked() {
    #[track_caller]
    fn fails(table: &str, row: &str, fault: &str) {
        let lines: Vec<_> = table.lines().skip_while(|line| !line.starts_with("FAIL")).collect();
        assert!(lines[0].contains(row), "{table}");
        assert!(lines.contains(&&*format!("        ! {fault}")), "{table}");
        assert_eq!(table.matches("FAIL").count(), 1, "{table}");
        assert!(table.contains("\n1 of 1"), "{table}");
    }
    let body = |does: &mut Does| does.body = Body::WithSpaceAfterIt;
    fails(&demo_but(0, |does| does.status = 503).await, "completed, as", "the answer should be 200");
    fails(
        &demo_but(0, |does| does.code = Some("upstream-error")).await,
        "completed, as",
        "the answer should be 200",
    );
    fails(&demo_but(0, |does| does.over = None).await, "completed, as", "it should arrive at video, once");
    fails(&demo_but(1, |does| *does = SHIPPED[0]).await, "failed, as", "it should arrive at failure");
    fails(&demo_but(1, |does| *does = SHIPPED[2]).await, "failed, as", "blobgate-event should be failed");
    fails(
        &demo_but(2, body).await,
        "timed out",
        "the body that arrived should be the one that was sent, byte for byte",
    );
    fails(&demo_but(3, |does| does.code = None).await, "no hook", "the answer should be 404 unknown-hook");
    fails(&demo_but(6, |does| does.status = 422).await, "twice", "the answer should be 400 header-invalid");
    let over = SHIPPED[0].over;
    fails(&demo_but(4, |does| does.over = over).await, "without TLS", "it should arrive nowhere");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_shown_is_one_sentence() {
    let one = certificate();
    let (video, failure) = (Receiver::start("video"), Receiver::start("failure"));
    let run = |gate: SocketAddr, video: &str| {
        let (gate, ca) = (format!("https://{gate}/webhook"), one.path().to_str().unwrap());
        let services = [format!("video={video}"), format!("failure={}", failure.url(""))];
        output(&["demo", "--ca", ca, "--gate", &gate, "--service", &services[0], "--service", &services[1]])
    };

    let nobody = nobody();
    one_sentence(
        &run(nobody, &video.url("")),
        &format!("no gate can be reached at https://{nobody}/webhook ("),
    );
    let end = run(nobody, &format!("http://{nobody}"));
    one_sentence(&end, &format!("the service video at http://{nobody}/ cannot be asked what it got"));

    let another = TlsServer::start().await;
    let end = tokio::task::block_in_place(|| run(another.address, &video.url("")));
    one_sentence(
        &end,
        &format!("the gate at https://{}/webhook shows another certificate than", another.address),
    );

    let end = output(&["demo"]);
    one_sentence(&end, "the gate's certificate certs/edge.pem cannot be read: `make run` makes one");
}

#[test]
fn wrong_usage_ends_with_2() {
    for args in [
        &["demo", "--service", "video"][..],
        &["demo", "--service", "video=http://127.0.0.1:1"],
        &["demo", "--gate", "8443"],
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
    let said = text(&end.stderr);
    assert_eq!((end.status.code(), text(&end.stdout)), (Some(1), String::new()), "{said}");
    assert!(said.starts_with(&format!("blobgate: {start}")) && said.lines().count() == 1, "{said}");
}

/// An address at which nobody listens: the port was free a moment ago.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A certificate that no server here shows.
fn certificate() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(file.path(), made.cert.pem()).unwrap();
    file
}

/// A server with a certificate of its own.
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
                assert!(acceptor.accept(connection).await.is_err(), "the demo took any certificate");
            }
        });
        Self { address }
    }
}
