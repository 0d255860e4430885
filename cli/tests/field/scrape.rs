//! The metrics endpoints: their formats, and that the metrics listener does nothing else.

use crate::{PROGRAM, on_each_store};
use blobgate_testkit::inbox::{forwarded, fresh_generation, migrate};
use blobgate_testkit::{
    ClientResponse, Cluster, Connector, H1, InboxProcess, Reply, SqliteFile, TestDelivery, Upstream,
    eventually, free_port, metrics, needs,
};
use serde_json::Value;
use std::io::Write;
use std::net::TcpStream;
use std::process::{Command, Stdio};

on_each_store! {
    idle_and_slow_connections_do_no_harm
    the_metrics_listener_does_nothing_else
}

const METRICS: [&str; 2] = ["--metrics", "127.0.0.1:0"];

/// A request to the metrics listener.
fn request(
    inbox: &InboxProcess,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<ClientResponse, String> {
    let request = TestDelivery::without_body().method(method).path(path).header("host", "scrape.example");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
    Connector::plaintext(inbox.metrics.unwrap(), H1).try_open()?.try_send(&request)
}

#[track_caller]
fn scrape(inbox: &InboxProcess) -> String {
    let answer = request(inbox, "GET", "/metrics", &[]).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text()
}

/// Sends new, repeated, refused and failing deliveries.
fn traffic(inbox: &InboxProcess, service: &Upstream) {
    let generation = fresh_generation();
    for _ in 0..2 {
        assert_eq!(inbox.receive(&forwarded(&generation)).unwrap().status, 200);
    }
    service.take_one();
    service.reply(Reply::status(404));
    assert_eq!(inbox.receive(&forwarded(&fresh_generation())).unwrap().status, 200);
    assert_eq!(inbox.receive(&TestDelivery::completed()).unwrap().status, 503);
    let failing = [("route", "veo3/completed"), ("outcome", "4xx")];
    eventually("a failed attempt", || (value(inbox, "route_failing", &failing) > 0.0).then_some(()));
}

fn value(inbox: &InboxProcess, name: &str, labels: &[(&str, &str)]) -> f64 {
    metrics::sum(&metrics::parse(&scrape(inbox)), &format!("blobgate_inbox_{name}"), labels)
}

/// Runs `promtool check metrics`, which prints each problem of a text.
#[track_caller]
fn check_by_promtool(text: &str) {
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = promtool.spawn().unwrap();
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let done = promtool.wait_with_output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success() && said.is_empty(), "{said}\n{text}");
}

#[needs(Prometheus)]
#[test]
fn promtool_accepts_the_metrics_of_sqlite() {
    let file = SqliteFile::migrated(PROGRAM);
    let service = Upstream::start();
    let inbox = InboxProcess::start(PROGRAM, &file.url, service.port, &METRICS).ready();
    check_by_promtool(&scrape(&inbox));
    traffic(&inbox, &service);
    let text = scrape(&inbox);
    check_by_promtool(&text);
    check_by_promtool(&inbox.get("/metrics").unwrap().text());
    assert!(text.contains("# TYPE blobgate_inbox_received_total counter\n"), "{text}");
    for (name, labels, expected) in [
        ("received_total", &[("route", "veo3/completed"), ("what", "new")][..], 2.0),
        ("received_total", &[("route", "veo3/completed"), ("what", "repeated")], 1.0),
        ("refused_total", &[("reason", "not-ours")], 1.0),
        ("refused_total", &[("reason", "full")], 0.0),
        ("attempts_total", &[("route", "veo3/completed"), ("outcome", "delivered")], 1.0),
        ("route_failing", &[("route", "veo3/completed"), ("outcome", "5xx")], 0.0),
        ("dead_total", &[("route", "veo3/completed")], 0.0),
        ("fault", &[("reason", "full")], 0.0),
    ] {
        let name_of_series = format!("blobgate_inbox_{name}");
        assert!(metrics::parse(&text).iter().any(|sample| sample.name == name_of_series), "{name}");
        assert_eq!(metrics::sum(&metrics::parse(&text), &name_of_series, labels), expected, "{name}\n{text}");
    }
    let disk = |name| value(&inbox, name, &[]);
    assert!(disk("disk_size_bytes") >= disk("disk_free_bytes") && disk("disk_reserve_bytes") >= 67_108_864.0);
}

#[needs(Postgres, Prometheus)]
#[test]
fn promtool_accepts_the_metrics_of_postgres() {
    let cluster = Cluster::shared();
    let store = cluster.database();
    migrate(PROGRAM, &store);
    let service = Upstream::start();
    let inbox = InboxProcess::start(PROGRAM, &store, service.port, &METRICS).ready();
    traffic(&inbox, &service);
    let text = scrape(&inbox);
    check_by_promtool(&text);
    assert!(!text.contains("disk_"), "the disk of a server is not visible here:\n{text}");
}

#[test]
fn writes_the_format_that_the_client_accepts() {
    let file = SqliteFile::migrated(PROGRAM);
    let inbox = InboxProcess::start(PROGRAM, &file.url, 9, &METRICS).ready();
    const OPEN: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
    for (accept, content_type) in [
        ("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", OPEN),
        ("*/*", TEXT),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", TEXT),
    ] {
        let answer = request(&inbox, "GET", "/metrics", &[("accept", accept)]).unwrap();
        assert_eq!(answer.header("content-type").as_deref(), Some(content_type), "{accept}");
        assert_eq!(answer.text().ends_with("# EOF\n"), content_type == OPEN, "{accept}");
        let admin = TestDelivery::without_body().method("GET").path("/metrics").header("accept", accept);
        let admin = Connector::plaintext(inbox.admin, H1).open().send(&admin.header("host", "127.0.0.1"));
        assert_eq!(admin.header("content-type").as_deref(), Some(content_type), "{accept}");
    }
}

fn the_metrics_listener_does_nothing_else(store: &str) {
    let service = Upstream::off();
    let inbox = InboxProcess::start(PROGRAM, store, service.port, &METRICS).ready();
    assert_eq!(inbox.receive(&forwarded(&fresh_generation())).unwrap().status, 200);
    let entries = || inbox.get("/entries").unwrap().text().matches("\"hook\":\"veo3\"").count();
    assert_eq!(entries(), 1);
    let endpoints = ["livez", "healthz", "readyz", "entries", "entries/1", "stats", "pauses", "tail"];
    let changes = ["expect", "reconcile", "replay", "release", "reevaluate", "drop", "purge"];
    let paths = endpoints.iter().chain(&changes).map(|path| format!("/{path}"));
    let odd = ["/", "//metrics", "/metrics/", "/METRICS", "/%6detrics", "/metrics/../stats", "/hooks/veo3"];
    for path in paths.chain(odd.map(str::to_owned)) {
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
            refused(&inbox, method, &path, 404, "endpoint-unknown");
        }
    }
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"] {
        refused(&inbox, method, "/metrics", 405, "method-denied");
    }
    // The body of a change, which the admin listener takes.
    for (method, path, body) in [
        ("PUT", "/pauses", r#"{"hook":"veo3"}"#),
        ("POST", "/drop", r#"{"ids":[1]}"#),
        ("POST", "/metrics", r#"{"ids":[1]}"#),
    ] {
        let change =
            TestDelivery::of(body).method(method).path(path).header("content-type", "application/json");
        let answer = Connector::plaintext(inbox.metrics.unwrap(), H1).open().send(&change);
        assert!([404, 405].contains(&answer.status), "{method} {path}");
    }
    let head = request(&inbox, "HEAD", "/metrics", &[]).unwrap();
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(inbox.get("/pauses").unwrap().text(), "[]");
    let stored: Value = serde_json::from_str(&inbox.get("/entries").unwrap().text()).unwrap();
    assert_eq!(stored["entries"].as_array().unwrap().len(), 1, "{stored}");
    assert!(["waiting", "in_flight"].contains(&stored["entries"][0]["state"].as_str().unwrap()), "{stored}");
    assert!(scrape(&inbox).contains("blobgate_inbox_fault"));
}

#[track_caller]
fn refused(inbox: &InboxProcess, method: &str, path: &str, status: u16, code: &str) {
    let answer = request(inbox, method, path, &[]).unwrap();
    let content_type = answer.header("content-type");
    assert_eq!(
        (answer.status, content_type.as_deref()),
        (status, Some("application/problem+json")),
        "{method} {path}"
    );
    if method != "HEAD" {
        let problem: Value = serde_json::from_str(&answer.text()).unwrap();
        assert_eq!(problem["code"], code, "{method} {path}");
    }
}

/// More connections than the listener takes stay open: some silent, some with half a head.
fn idle_and_slow_connections_do_no_harm(store: &str) {
    let service = Upstream::start();
    let inbox = InboxProcess::start(PROGRAM, store, service.port, &METRICS).ready();
    let open: Vec<_> = (0..120)
        .map(|number| {
            let mut stream = TcpStream::connect(("127.0.0.1", inbox.metrics.unwrap())).unwrap();
            if number % 2 == 0 {
                stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: a\r\n").unwrap();
            }
            stream
        })
        .collect();
    eventually("a scrape", || {
        request(&inbox, "GET", "/metrics", &[]).ok().filter(|answer| answer.status == 200)
    });
    assert_eq!(inbox.receive(&forwarded(&fresh_generation())).unwrap().status, 200);
    service.take_one();
    assert_eq!(inbox.get("/readyz").unwrap().status, 200);
    let room = [("listener", "metrics"), ("reason", "room")];
    assert!(value(&inbox, "connections_ended_total", &room) > 0.0);
    // A client of this listener is no gate.
    drop(open);
    let mut stream = TcpStream::connect(("127.0.0.1", inbox.metrics.unwrap())).unwrap();
    stream.write_all(b"\x16\x03\x01 no http\r\n\r\n").unwrap();
    eventually("a line", || inbox.log().contains("listener=metrics: cannot read the request").then_some(()));
    assert_eq!(value(&inbox, "refused_total", &[("reason", "not-http")]), 0.0, "no delivery is refused");
}

#[test]
fn names_a_taken_port() {
    let file = SqliteFile::migrated(PROGRAM);
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let free = format!("127.0.0.1:{}", free_port());
    let args = [
        "inbox",
        "serve",
        "--store",
        &file.url,
        "--listen",
        &free,
        "--admin",
        "127.0.0.1:0",
        "--metrics",
        &address,
    ];
    let done = blobgate_testkit::inbox::blobgate(PROGRAM, &args);
    let sentence = format!(
        "blobgate: port {port} of 127.0.0.1 is taken by another program. End it, or name another with --metrics\n"
    );
    assert_eq!((done.status.code(), String::from_utf8(done.stderr).unwrap()), (Some(1), sentence));
}

#[test]
fn is_off_by_default() {
    let file = SqliteFile::migrated(PROGRAM);
    let inbox = InboxProcess::start(PROGRAM, &file.url, 9, &[]).ready();
    assert_eq!(inbox.metrics, None);
    let text = inbox.get("/metrics").unwrap().text();
    assert!(!text.contains("listener=\"metrics\""), "{text}");
}
