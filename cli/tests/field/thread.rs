//! One request id and one trace through the whole stack: Envoy with the gate, the inbox, the service.

use crate::PROGRAM;
use crate::edge::Edge;
use blobgate::contract::header;
use blobgate_testkit::book::block;
use blobgate_testkit::delivery::GENERATION;
use blobgate_testkit::envoy::TOKEN_KEY;
use blobgate_testkit::inbox::fresh_generation;
use blobgate_testkit::{
    H1, H2, Reply, ServiceRequest, TestDelivery, TraceCollector, TraceSpan, eventually, on_every_envoy,
};
use serde_json::{Value, json};
use std::process::Command;

const UNSAFE: &str = "m4rk\" verdict=accepted";

/// A `completed` of this generation, with a token. Its video is on a host that the hook does not allow.
fn quarantined(generation: &str) -> TestDelivery {
    let url =
        ["--url", "https://hooks.example/hooks/veo3", "--aud", "development/veo3-token", "--kid", "dev"];
    let mut mint = Command::new(PROGRAM);
    mint.arg("mint").args(url).args(["--key-env", TOKEN_KEY.0]).env(TOKEN_KEY.0, TOKEN_KEY.1);
    let minted = String::from_utf8(mint.output().unwrap().stdout).unwrap();
    let path = minted.trim().strip_prefix("https://hooks.example").unwrap();
    event(generation, "https://elsewhere.example/video.mp4").path(path)
}

fn event(generation: &str, video: &str) -> TestDelivery {
    let mut payload: Value = serde_json::from_slice(&TestDelivery::completed().body()).unwrap();
    assert_eq!(payload["generation_id"], GENERATION);
    payload["generation_id"] = json!(generation);
    payload["video_url"] = json!(video);
    TestDelivery::json(&payload)
}

fn accepted(generation: &str) -> TestDelivery {
    event(generation, "https://cdn.runblob.io/video.mp4")
}

impl Edge {
    /// The newest entry, by `blobgate inbox show`.
    #[track_caller]
    fn entry(&self) -> Value {
        let newest = self.inbox.get("/entries?limit=1").unwrap().json()["entries"][0]["id"].to_string();
        let shown = self.inbox.command(&["show", &newest, "--json"]);
        serde_json::from_slice(&shown.stdout).unwrap()
    }

    #[track_caller]
    fn operator(&self, args: &[&str]) {
        let done = self.inbox.command(args);
        assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// The lines of the access log with this request id. Those of port 8090 have an attempt.
    #[track_caller]
    fn access_lines(&self, id: &str, count: usize) -> Vec<Value> {
        let of_id = || -> Vec<Value> {
            self.envoy.access_log().into_iter().filter(|line| line["request_id"] == id).collect()
        };
        eventually("lines in the access log", || Some(of_id()).filter(|lines| lines.len() == count))
    }
}

fn request_id(arrival: &ServiceRequest) -> Option<String> {
    arrival.header(header::REQUEST_ID)
}

/// The trace id and the parent.
#[track_caller]
fn trace(arrival: &ServiceRequest) -> (String, String) {
    let traceparent = arrival.header(header::TRACEPARENT).expect("a traceparent");
    let parts: Vec<&str> = traceparent.split('-').collect();
    (parts[1].to_owned(), parts[2].to_owned())
}

/// The places of an operator: `grep ID` finds the delivery in each.
#[test]
fn one_request_id_is_in_every_place() {
    on_every_envoy(|version| {
        let edge = Edge::with(version, |shipped| shipped);
        for (protocol, sent) in
            [(H1, Some("order-17.a")), (H2, Some("01J_x")), (H1, None), (H2, Some(UNSAFE))]
        {
            let mut delivery = quarantined(&fresh_generation());
            if let Some(sent) = sent {
                delivery = delivery.header(header::REQUEST_ID, sent);
            }
            let answer = edge.envoy.tls(protocol).open().send(&delivery);
            assert_eq!((answer.status, answer.header(header::REQUEST_ID)), (200, None), "{answer:?}");
            let entry = edge.entry();
            let id = entry["request_id"].as_str().unwrap_or_else(|| panic!("{entry}")).to_owned();
            match sent.filter(|sent| *sent != UNSAFE) {
                Some(sent) => assert_eq!(id, sent),
                None => assert_eq!(id.len(), 36, "a UUID: {id}"),
            }
            edge.access_lines(&id, 1);
            let in_log = |log: String, what: &str| {
                log.lines().any(|line| line.contains(what) && line.contains(&format!("request_id={id}")))
            };
            eventually("the inbox's line", || in_log(edge.inbox.log(), "quarantined").then_some(()));
            eventually("the gate's line", || in_log(edge.envoy.log(), "verdict=quarantined").then_some(()));
            // Released, and replayed.
            let entry_id = entry["id"].to_string();
            for (command, lines) in [("release", 2), ("replay", 3)] {
                edge.operator(&[command, &entry_id]);
                assert_eq!(request_id(&edge.service.take_one()).as_deref(), Some(&*id), "{command}");
                let lines = edge.access_lines(&id, lines);
                let last = lines.last().unwrap();
                assert_eq!((&last["attempt"], &last["status"]), (&json!("1"), &json!(200)), "{last}");
                assert_eq!(last["generation_id"], entry["generation"], "{last}");
            }
        }
        let access = format!("{:?}", edge.envoy.access_log());
        assert!(!(access + &edge.envoy.log() + &edge.inbox.log()).contains("m4rk"));
    });
}

/// A repeat keeps the ids of the first delivery.
#[test]
fn a_repeat_changes_no_id() {
    on_every_envoy(|version| {
        let edge = Edge::with(version, |shipped| shipped);
        let delivery = accepted(&fresh_generation());
        let send =
            |id: &str| edge.envoy.tls(H2).open().send(&delivery.clone().header(header::REQUEST_ID, id));
        assert_eq!(send("first-1").status, 200);
        let first = edge.service.take_one();
        assert_eq!(send("second-1").status, 200);
        let entry = edge.entry();
        assert_eq!(entry["request_id"], "first-1");
        edge.operator(&["replay", &entry["id"].to_string()]);
        let replayed = edge.service.take_one();
        assert_eq!(request_id(&replayed).as_deref(), Some("first-1"));
        assert_eq!(trace(&replayed).0, trace(&first).0);
    });
}

#[test]
fn a_trace_joins_the_delivery_and_its_attempts() {
    on_every_envoy(|version| {
        let collector = TraceCollector::start();
        let mut edge = Edge::with(version, |shipped| shipped.tracing(collector.port(), 0));
        // Turned on as in the book, while Envoy runs.
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("run")).unwrap();
        std::os::unix::fs::symlink(edge.envoy.admin_socket(), folder.path().join("run/admin.sock")).unwrap();
        let mut shell = Command::new("sh");
        let done = shell.args(["-ec", &block("tracing-on")]).current_dir(folder.path()).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&done.stdout), "OK\n", "{done:?}");

        edge.service.reply(Reply::status(500));
        let delivery = accepted(&fresh_generation()).header(header::REQUEST_ID, "trace-1");
        assert_eq!(edge.envoy.tls(H2).open().send(&delivery).status, 200);
        let failed = edge.service.take_one();
        let entry = edge.entry();
        edge.restart();
        edge.service.reply(Reply::status(200));
        edge.operator(&["retry", &entry["id"].to_string()]);
        let delivered = edge.service.take_one();
        edge.operator(&["replay", &entry["id"].to_string()]);
        let replayed = edge.service.take_one();

        let (trace_id, _) = trace(&failed);
        let spans = collector.wait_for(4, |span| span.trace_id == trace_id);
        let attempt = |span: &TraceSpan| span.attributes.get("blobgate.attempt").cloned();
        let edge_spans: Vec<&TraceSpan> = spans.iter().filter(|span| attempt(span).is_none()).collect();
        let [first] = edge_spans[..] else { panic!("{spans:#?}") };
        assert_eq!(first.parent_id, "");
        for (arrival, number, status) in
            [(&failed, "1", "500"), (&delivered, "2", "200"), (&replayed, "1", "200")]
        {
            let (id, parent) = trace(arrival);
            assert_eq!((&*id, request_id(arrival).as_deref()), (&*trace_id, Some("trace-1")));
            let span =
                spans.iter().find(|span| span.span_id == parent).unwrap_or_else(|| panic!("{spans:#?}"));
            assert_eq!(span.parent_id, first.span_id, "the parent of an attempt is the delivery");
            assert_eq!(attempt(span).as_deref(), Some(number));
            assert_eq!(span.attributes["http.status_code"], status);
        }
        // The access log joins too.
        let lines = edge.access_lines("trace-1", 4);
        assert!(lines.iter().all(|line| line["trace_id"] == *trace_id), "{lines:?}");
        assert_eq!(edge.entry()["traceparent"], format!("00-{trace_id}-{}-01", first.span_id));
    });
}
