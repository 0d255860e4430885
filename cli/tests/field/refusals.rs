//! The refusals of real Envoys, as the inbox lists them.

use crate::PROGRAM;
use crate::edge::Edge;
use blobgate::contract::header;
use blobgate_testkit::book::block;
use blobgate_testkit::delivery::GENERATION;
use blobgate_testkit::envoy::TOKEN_KEY;
use blobgate_testkit::{H1, H2, TestDelivery, eventually, on_every_envoy};
use serde_json::Value;
use std::process::Command;

/// The path with a token of the shipped hook. `more` are options of `blobgate mint`.
fn token_path(more: &[&str]) -> String {
    let url =
        ["--url", "https://hooks.example/hooks/veo3", "--aud", "development/veo3-token", "--kid", "dev"];
    let mut mint = Command::new(PROGRAM);
    mint.arg("mint").args(url).args(["--key-env", TOKEN_KEY.0]).args(more).env(TOKEN_KEY.0, TOKEN_KEY.1);
    let minted = String::from_utf8(mint.output().unwrap().stdout).unwrap();
    minted.trim().strip_prefix("https://hooks.example").unwrap().to_owned()
}

impl Edge {
    fn refusals(&self) -> Value {
        self.inbox.get("/refusals").unwrap().json()
    }

    /// Waits until the inbox lists this many refusals.
    #[track_caller]
    fn list(&self, count: u64) -> Value {
        let counted = |page: &Value| {
            let groups = page["groups"].as_array().unwrap().iter();
            groups.map(|group| group["count"].as_u64().unwrap()).sum::<u64>()
        };
        eventually(&format!("{count} refusals"), || {
            Some(self.refusals()).filter(|page| counted(page) >= count)
        })
    }

    /// The text of `inbox refusals` with these options.
    fn command(&self, more: &[&str]) -> String {
        let done = self.inbox.command(&[&["refusals"], more].concat());
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    }
}

/// A head that Envoy refuses, with gate headers that a client forges.
fn raw(line: &str, more: &str) -> Vec<u8> {
    format!("{line}\r\nhost: a\r\nblobgate-hook: veo3\r\nblobgate-job: forged\r\n{more}\r\n").into_bytes()
}

/// Sends a request of each kind. Returns the hook, the reason and the status of each refusal.
#[track_caller]
fn send_each_kind(edge: &Edge) -> Vec<(Option<&'static str>, &'static str, u16)> {
    let tls = |protocol| edge.envoy.tls(protocol).open();
    let (job, token) = (["--job", "order-17"], Some("veo3-token"));
    // Neither a quarantined nor an accepted delivery is a refusal.
    assert_eq!(tls(H2).send(&TestDelivery::completed()).status, 200);
    assert_eq!(tls(H2).send(&TestDelivery::of("{\"a\": 1}").path(&token_path(&job))).status, 200);
    tls(H1).send(&TestDelivery::of("{").header(header::REQUEST_ID, "order-17.a"));
    let grpc = TestDelivery::of("[").without_header("content-type");
    tls(H2).send(&grpc.header("content-type", "application/grpc").header(header::REQUEST_ID, "m4rk id"));
    tls(H2).send(&TestDelivery::completed().path("/hooks/veo3/m4rk.b.c"));
    tls(H1).send(&TestDelivery::completed().method("GET").path(&token_path(&job)));
    tls(H1).send(&TestDelivery::completed().path("/m4rk?token=m4rk"));
    edge.envoy.plaintext(H1).open().send(&TestDelivery::completed().header("user-agent", "m4rk"));
    for bytes in [
        raw("POST /webhook HTTP/1.1", "transfer-encoding: gzip, chunked\r\n"),
        raw("POST /webhook HTTP/1.1", "content-length: 1\r\ncontent-length: 2\r\n"),
        raw("FROB /webhook HTTP/1.1", ""),
        raw("POST /webhook%00m4rk HTTP/1.1", ""),
        raw("POST * HTTP/1.1", ""),
    ] {
        tls(H1).raw(&bytes).unwrap();
    }
    let many = (0..101).fold(TestDelivery::completed(), |all, n| all.header(&format!("x-{n}"), "m4rk"));
    tls(H1).send(&many);
    tls(H2).try_send(&many).expect_err("a stream that is reset");
    let mut all = vec![
        (Some("veo3"), "json-invalid", 400),
        (Some("veo3"), "https-required", 403),
        (token, "confirm-unavailable", 503),
        (token, "method-not-allowed", 405),
        (None, "route_not_found", 404),
        (None, "http1.invalid_transfer_encoding", 501),
        (None, "http1.codec_error", 400),
        (None, "path_normalization_failed", 400),
        (None, "http1.invalid_url", 400),
        (None, "http1.too_many_headers", 431),
        (None, "http2.too_many_headers", 0),
    ];
    all.sort_unstable();
    all
}

#[test]
fn lists_what_the_gate_and_envoy_refuse() {
    on_every_envoy(|version| {
        let edge = Edge::with(version, |shipped| shipped);
        let expected = send_each_kind(&edge);
        let page = edge.list(13);
        let groups = page["groups"].as_array().unwrap();
        let mut found: Vec<_> = groups
            .iter()
            .map(|group| {
                let status = u16::try_from(group["first"][0]["status"].as_u64().unwrap()).unwrap();
                (group["hook"].as_str(), group["reason"].as_str().unwrap(), status)
            })
            .collect();
        found.sort_unstable();
        assert_eq!(found, expected);
        assert!(groups.iter().all(|group| group["meaning"].is_string()), "{page:#}");
        assert_eq!(groups.iter().map(|group| group["count"].as_u64().unwrap()).sum::<u64>(), 13);
        let first =
            |reason: &str| groups.iter().find(|group| group["reason"] == reason).unwrap()["first"][0].clone();
        let json = first("json-invalid");
        for (name, value) in [
            ("client", "127.0.0.1"),
            ("method", "POST"),
            ("request_id", "order-17.a"),
            ("detail", "body: has no whole JSON value, expected one JSON value in UTF-8"),
            ("gate", "gate-1"),
        ] {
            assert_eq!(json[name], value, "{json}");
        }
        assert_eq!(first("confirm-unavailable")["generation"], GENERATION);
        let codec = first("http1.codec_error");
        assert!(codec["job"].is_null() && codec["request_id"].is_null(), "{codec}");
        // Neither a path nor a token, an agent or another header. The control: Envoy's own log has a line for each.
        assert!(!page.to_string().contains("m4rk") && edge.envoy.access_log().len() >= 15);
        let shown = block("explain-refusals");
        let shown: Vec<&str> = shown.split_whitespace().collect();
        assert_eq!(shown[..3], ["blobgate", "inbox", "refusals"]);
        let text = edge.command(&shown[3..]);
        assert!(
            text.contains("veo3  json-invalid  2 refusals\n  The body is not JSON in UTF-8.\n"),
            "{text}"
        );
        assert!(text.starts_with("seen by this inbox since 2"), "{text}");
        let text = edge.command(&["--hook", "veo3", "--reason", "https-required"]);
        assert!(text.contains("connection: is plaintext, expected TLS") && !text.contains("json-invalid"));
        assert!(!edge.inbox.log().contains("m4rk"), "{}", edge.inbox.log());
    });
}

/// Envoy reports to the inbox that comes back, and not what came before it.
#[test]
fn an_inbox_that_restarts_gets_the_next_refusals() {
    on_every_envoy(|version| {
        let mut edge = Edge::with(version, |shipped| shipped);
        let refused = |edge: &Edge| edge.envoy.tls(H1).open().send(&TestDelivery::of("{")).status;
        assert_eq!(refused(&edge), 400);
        edge.list(1);
        edge.restart();
        assert_eq!(edge.refusals()["groups"].as_array().unwrap().len(), 0);
        // The first message after the restart can be lost with its old connection.
        eventually("a refusal after the restart", || {
            assert_eq!(refused(&edge), 400);
            (!edge.refusals()["groups"].as_array().unwrap().is_empty()).then_some(())
        });
    });
}
