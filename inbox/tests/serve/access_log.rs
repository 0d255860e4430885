//! The access log listener: what an Envoy sends, and what anybody else on this machine can send.

use super::{MAX_WAIT, ServedInbox, gate_headers};
use axum::body::Bytes;
use axum::http::{Method, Request};
use blobgate::contract::header;
use h2::SendStream;
use h2::client::{ResponseFuture, SendRequest};
use serde_json::Value;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};

const PATH: &str = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs";
/// The numbers of gRPC.
const OK: &str = "0";
const EXHAUSTED: &str = "8";
const UNIMPLEMENTED: &str = "12";

/// A field of bytes.
fn field(number: u8, value: impl AsRef<[u8]>) -> Vec<u8> {
    let value = value.as_ref();
    [varint(u64::from(number) << 3 | 2), varint(u64::try_from(value.len()).unwrap()), value.to_vec()].concat()
}

/// A field of a number.
fn number(field: u8, value: u64) -> Vec<u8> {
    [varint(u64::from(field) << 3), varint(value)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).unwrap());
    bytes
}

/// An entry of a map of texts.
fn pair(number: u8, name: &str, value: impl AsRef<[u8]>) -> Vec<u8> {
    field(number, [field(1, name), field(2, value)].concat())
}

/// A message of entries of this gate.
fn message(node: impl AsRef<[u8]>, entries: &[Vec<u8>]) -> Vec<u8> {
    let identifier = field(1, [field(1, field(1, node)), field(2, "blobgate")].concat());
    let entries = entries.iter().flat_map(|entry| field(1, entry)).collect::<Vec<_>>();
    [identifier, field(2, entries)].concat()
}

fn frame(message: &[u8]) -> Vec<u8> {
    [&[0], &u32::try_from(message.len()).unwrap().to_be_bytes()[..], message].concat()
}

/// A refusal of the gate, with the fields that Envoy adds.
fn refusal(hook: &str, reason: &str, id: &str) -> Vec<u8> {
    let address = field(1, [field(2, "192.0.2.7"), number(3, 4711)].concat());
    let detail = field(2, field(1, "body: no JSON, expected JSON"));
    let common = [
        field(2, address),
        field(5, [number(1, 1_796_083_200), number(2, 123_456_789)].concat()),
        field(21, [field(1, "wasm.blobgate_detail"), field(2, [field(1, "type"), detail].concat())].concat()),
    ];
    let request = [
        number(1, 3),
        field(5, "/hooks/veo3/m4rk-token"),
        field(6, "m4rk-agent"),
        field(9, id),
        pair(13, header::HOOK, hook),
        pair(13, header::GENERATION_ID, "ffd473d5-5bef-4e14-bf22-8d559be3c19f"),
        pair(13, header::JOB, "order-17"),
        pair(13, "x-other", "m4rk-header"),
    ];
    let response = [field(1, number(1, 400)), pair(4, header::REASON, reason), field(6, "wasm")];
    [field(1, common.concat()), field(3, request.concat()), field(4, response.concat())].concat()
}

/// A refusal of Envoy itself.
fn of_envoy(status: u64, details: impl AsRef<[u8]>, request: &[u8]) -> Vec<u8> {
    let response = [field(1, number(1, status)), field(6, details)].concat();
    [field(1, []), field(3, request), field(4, response)].concat()
}

struct LoggedInbox {
    inbox: ServedInbox,
    address: SocketAddr,
}

impl LoggedInbox {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let inbox = ServedInbox::with(|settings| settings.access_log = Some(listener)).await;
        Self { inbox, address }
    }

    async fn connect(&self) -> SendRequest<Bytes> {
        let (client, connection) =
            h2::client::handshake(TcpStream::connect(self.address).await.unwrap()).await.unwrap();
        tokio::spawn(async move { drop(connection.await) });
        client
    }

    async fn page(&self) -> Value {
        let (status, text) = self.inbox.get("/refusals", &[]).await.unwrap();
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Waits for the group of a reason.
    async fn group(&self, reason: &str) -> Value {
        let until = Instant::now() + MAX_WAIT;
        loop {
            let page = self.page().await;
            let groups = page["groups"].as_array().unwrap();
            if let Some(group) = groups.iter().find(|group| group["reason"] == reason) {
                return group.clone();
            }
            assert!(Instant::now() < until, "no {reason} in {page:#}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Sends a whole stream, and returns its gRPC status.
    async fn send(&self, frames: Vec<u8>) -> String {
        let (answer, mut body) = open(&mut self.connect().await, "", &[]);
        write(&mut body, frames, true).await;
        status(answer).await
    }

    /// The inbox still takes events, and a refusal.
    async fn works(&self, reason: &str) {
        self.inbox.post(&gate_headers(&[])).await.assert_stored();
        assert_eq!(self.send(frame(&message("gate-1", &[refusal("veo3", reason, "id")]))).await, OK);
        assert_eq!(self.group(reason).await["count"], 1);
    }
}

fn open(
    client: &mut SendRequest<Bytes>,
    path: &str,
    headers: &[(&str, &str)],
) -> (ResponseFuture, SendStream<Bytes>) {
    let path = if path.is_empty() { PATH } else { path };
    let mut request = Request::builder().method(Method::POST).uri(format!("http://inbox{path}"));
    request = request.header("content-type", "application/grpc").header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    client.send_request(request.body(()).unwrap(), false).unwrap()
}

/// Sends bytes as far as the inbox takes them.
async fn write(body: &mut SendStream<Bytes>, bytes: Vec<u8>, ends: bool) {
    let mut bytes = Bytes::from(bytes);
    while !bytes.is_empty() {
        body.reserve_capacity(bytes.len());
        let room = std::future::poll_fn(|context| body.poll_capacity(context)).await;
        let Some(Ok(room)) = room else { return };
        if body.send_data(bytes.split_to(room.min(bytes.len())), false).is_err() {
            return;
        }
    }
    if ends {
        drop(body.send_data(Bytes::new(), true));
    }
}

/// The status of gRPC, or that of HTTP.
async fn status(answer: ResponseFuture) -> String {
    let answer = tokio::time::timeout(MAX_WAIT, answer).await.expect("an answer").unwrap();
    let (head, mut body) = answer.into_parts();
    if let Some(status) = head.headers.get("grpc-status") {
        return status.to_str().unwrap().to_owned();
    }
    while let Some(data) = body.data().await {
        drop(data);
    }
    match body.trailers().await.unwrap() {
        Some(trailers) => trailers["grpc-status"].to_str().unwrap().to_owned(),
        None => head.status.as_u16().to_string(),
    }
}

#[tokio::test]
async fn lists_a_refusal_without_path_headers_and_agent() {
    let logged = LoggedInbox::start().await;
    let page = logged.page().await;
    assert_eq!(
        (&page["receives"], &page["groups"], &page["dropped"]),
        (&true.into(), &Value::Array(vec![]), &0.into())
    );
    let entries =
        [refusal("veo3", "json-invalid", "order-17.a"), refusal("veo3", "json-invalid", "not safe")];
    assert_eq!(logged.send(frame(&message("gate-1", &entries))).await, OK);
    let group = logged.group("json-invalid").await;
    assert_eq!((&group["hook"], &group["count"]), (&"veo3".into(), &2.into()));
    assert!(group["meaning"].as_str().unwrap().ends_with('.'), "{group}");
    let first = serde_json::json!({
        "at": "2026-12-01T00:00:00.123Z", "status": 400, "client": "192.0.2.7", "method": "POST",
        "detail": "body: no JSON, expected JSON", "request_id": "order-17.a",
        "generation": "ffd473d5-5bef-4e14-bf22-8d559be3c19f", "job": "order-17", "gate": "gate-1",
    });
    assert_eq!(group["first"][0], first);
    assert_eq!(group["first"][1]["request_id"], Value::Null);
    let text = logged.page().await.to_string();
    assert!(!text.contains("m4rk"), "{text}");
    let (_, traffic) = logged.inbox.get("/traffic", &[]).await.unwrap();
    let traffic: Value = serde_json::from_str(&traffic).unwrap();
    let minutes = traffic["minutes"].as_array().unwrap();
    assert_eq!(minutes.iter().map(|minute| minute["gate_refused"].as_u64().unwrap()).sum::<u64>(), 2);
    for (query, groups) in [
        ("?hook=veo3", 1),
        ("?hook=other", 0),
        ("?reason=json-invalid", 1),
        ("?reason=json-invalid&hook=veo3", 1),
        ("?reason=token-expired", 0),
    ] {
        let (_, text) = logged.inbox.get(&format!("/refusals{query}"), &[]).await.unwrap();
        let page: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(page["groups"].as_array().unwrap().len(), groups, "{query}");
    }
    for query in ["?hook=No", "?what=1", "?hook=a&hook=b"] {
        assert_eq!(logged.inbox.get(&format!("/refusals{query}"), &[]).await.unwrap().0, 400, "{query}");
    }
}

#[tokio::test]
async fn says_without_a_listener_that_nothing_can_come() {
    let inbox = ServedInbox::start().await;
    let (_, text) = inbox.get("/refusals", &[]).await.unwrap();
    let page: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&page["receives"], &page["groups"]), (&false.into(), &Value::Array(vec![])));
}

#[tokio::test]
async fn believes_no_gate_header_of_a_client() {
    let logged = LoggedInbox::start().await;
    let forged = [
        pair(13, header::HOOK, "veo3"),
        pair(13, header::JOB, "order-17"),
        pair(13, header::GENERATION_ID, "ffd473d5-5bef-4e14-bf22-8d559be3c19f"),
    ];
    let entries = [
        of_envoy(400, "http1.codec_error", &forged.concat()),
        // A reset stream, and an answer of a service.
        of_envoy(0, "http2.too_many_headers", &[]),
        of_envoy(404, "via_upstream", &[]),
        of_envoy(0, "downstream_remote_disconnect", &[]),
        of_envoy(200, "direct_response", &[]),
        // Details with text that varies, and texts that a terminal could act on.
        of_envoy(503, "upstream_reset_before_response_started{connection_failure|m4rk}", &[]),
        of_envoy(500, "x".repeat(10_000), &[]),
        of_envoy(500, b"\x1b[2J\xff", &[]),
        of_envoy(599, "", &[]),
        refusal("Not A Hook\u{1b}", "forged\u{202e}\n", "id"),
    ];
    assert_eq!(logged.send(frame(&message(b"\x1b[2J\xff gate".repeat(50), &entries))).await, OK);
    logged.group("forged").await;
    let page = logged.page().await;
    let mut found: Vec<_> = page["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|group| {
            (group["reason"].as_str().unwrap().to_owned(), group["hook"].clone(), group["first"][0].clone())
        })
        .collect();
    found.sort_by(|one, other| one.0.cmp(&other.0));
    let names: Vec<_> = found.iter().map(|(reason, ..)| reason.as_str()).collect();
    let cut = "x".repeat(64);
    assert_eq!(
        names,
        [
            "forged",
            "http1.codec_error",
            "http2.too_many_headers",
            "upstream_reset_before_response_started",
            &cut
        ]
    );
    for (reason, hook, record) in &found {
        assert!(hook.is_null(), "{reason}");
        let gate = record["gate"].as_str().unwrap();
        assert!(gate.len() == 64 && gate.starts_with("?[2J??gate?[2J"), "{gate}");
        if reason != "forged" {
            assert!(record["job"].is_null() && record["generation"].is_null(), "{record}");
        }
    }
    assert!(!page.to_string().contains("m4rk"));
}

#[tokio::test]
async fn takes_no_other_message() {
    let logged = LoggedInbox::start().await;
    let good = frame(&message("gate-1", &[refusal("veo3", "json-invalid", "id")]));
    let noise: Vec<u8> =
        (0..5_000_u32).map(|n| u8::try_from(n.wrapping_mul(2_654_435_761) >> 24).unwrap()).collect();
    // A group that never ends, a length of 4 GiB, a bad varint, one byte, a number as message, and one past the limit.
    let bad = [
        frame(&noise),
        noise.clone(),
        frame(&vec![0x0b; 10_000]),
        [&[0], &[0xff; 4][..]].concat(),
        frame(&[0xff; 20]),
        vec![0],
        frame(&number(2, 1)),
        frame(&message("gate-1", &[vec![0xff; 100]])),
        frame(&vec![b'a'; (256 << 10) + 1]),
        [[1].to_vec(), good[1..].to_vec()].concat(),
        [[2].to_vec(), good[1..].to_vec()].concat(),
    ];
    for (index, bytes) in bad.iter().enumerate() {
        let got = logged.send(bytes.clone()).await;
        assert_ne!(got, OK, "{index}");
        // What came before a bad frame counts.
        logged.send([good.clone(), bytes.clone()].concat()).await;
    }
    assert_eq!(logged.group("json-invalid").await["count"], bad.len());
    assert_eq!(logged.send(Vec::new()).await, OK);
    // 60,000 entries without fields in a message, and one of another kind.
    let many = frame(&field(2, field(1, []).repeat(60_000)));
    assert_eq!(logged.send(many).await, OK);
    assert_eq!(logged.send(frame(&field(3, "tcp"))).await, OK);

    let mut client = logged.connect().await;
    let (answer, mut body) = open(&mut client, "", &[("grpc-encoding", "gzip")]);
    write(&mut body, good.clone(), true).await;
    assert_eq!(status(answer).await, UNIMPLEMENTED);
    let (answer, _body) = open(&mut client, "/envoy.service.accesslog.v3.AccessLogService/Other", &[]);
    assert_eq!(status(answer).await, "404");
    // A page in a browser sends HTTP/1.1.
    let url = format!("http://{}{PATH}", logged.address);
    let request = Request::post(url).header("content-type", "application/grpc");
    let request = request.body(http_body_util::Full::new(Bytes::from(good))).unwrap();
    assert_eq!(super::client().request(request).await.unwrap().status(), 415);
    logged.works("token-expired").await;
}

#[tokio::test]
async fn a_thousand_streams_leave_room_for_deliveries() {
    let logged = LoggedInbox::start().await;
    let mut held = Vec::new();
    let mut refused = 0;
    for _ in 0..10 {
        let mut client = logged.connect().await;
        for _ in 0..100 {
            client = client.ready().await.unwrap();
            let (answer, mut body) = open(&mut client, "", &[]);
            // The start of a message that never comes.
            write(&mut body, vec![0, 0, 0, 0xff, 0xff, 1], false).await;
            held.push((answer, body));
        }
    }
    let mut waiting = Vec::new();
    for (answer, body) in held {
        match tokio::time::timeout(Duration::from_millis(5), status(answer)).await {
            Ok(status) => {
                assert_eq!(status, EXHAUSTED);
                refused += 1;
            }
            Err(_still_open) => waiting.push(body),
        }
    }
    assert!((700..=744).contains(&refused), "{refused} of 1,000, of which 256 are open");
    let begun = Instant::now();
    logged.inbox.post(&gate_headers(&[])).await.assert_stored();
    assert!(begun.elapsed() < Duration::from_secs(5));
    drop(waiting);
    // Their slots are free again.
    let until = Instant::now() + MAX_WAIT;
    while logged.send(frame(&message("gate-1", &[refusal("veo3", "json-invalid", "id")]))).await != OK {
        assert!(Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    logged.group("json-invalid").await;
}

#[tokio::test]
async fn the_inbox_ends_while_a_stream_is_open() {
    let logged = LoggedInbox::start().await;
    let mut client = logged.connect().await;
    let (answer, mut body) = open(&mut client, "", &[]);
    write(&mut body, frame(&message("gate-1", &[refusal("veo3", "json-invalid", "id")])), false).await;
    logged.group("json-invalid").await;
    let begun = Instant::now();
    logged.inbox.ending.cancel();
    assert_eq!(status(answer).await, OK);
    logged.inbox.served.await.unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}
