//! The refusals of real Envoys, as the inbox lists them.

use crate::PROGRAM;
use crate::edge::Edge;
use blobgate::contract::header;
use blobgate_testkit::delivery::GENERATION;
use blobgate_testkit::envoy::TOKEN_KEY;
use blobgate_testkit::{H1, H2, TestDelivery, eventually, on_every_envoy};
use serde_json::{Value, json};
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
    /// Waits for the group of a hook and a reason, and returns it.
    #[track_caller]
    fn group(&self, hook: Option<&str>, reason: &str, count: u64) -> Value {
        let mut seen = Value::Null;
        let found = || {
            seen = self.inbox.get("/refusals").unwrap().json();
            let groups = seen["groups"].as_array().unwrap();
            let is_it = |group: &&Value| group["hook"] == json!(hook) && group["reason"] == reason;
            groups.iter().find(is_it).filter(|group| group["count"] == count).cloned()
        };
        eventually(&format!("{count} refusals of {hook:?} for {reason}"), found)
    }

    fn refusals(&self) -> Value {
        self.inbox.get("/refusals").unwrap().json()
    }
}

#[test]
fn explore() {
    on_every_envoy(|version| {
        let edge = Edge::with(version, |shipped| shipped);
        let tls = |protocol| edge.envoy.tls(protocol).open();
        tls(H1).send(&TestDelivery::of("{").header(header::REQUEST_ID, "order-17.a"));
        let _ = TestDelivery::of("{");
        tls(H2).send(
            &TestDelivery::completed().path(&token_path(&[])).header("content-type", "application/grpc"),
        );
        tls(H2).send(&TestDelivery::completed().path("/hooks/veo3/a.b.c"));
        tls(H1).send(&TestDelivery::completed().method("GET").path(&token_path(&["--job", "order-17"])));
        tls(H2).send(&TestDelivery::completed());
        tls(H2).send(&TestDelivery::of("{\"a\": 1}").path(&token_path(&["--job", "order-18"])));
        tls(H1).send(&TestDelivery::completed().path("/nobody/secret"));
        edge.envoy.plaintext(H1).open().send(&TestDelivery::completed());
        tls(H1).raw(b"POST /webhook HTTP/1.1\r\nhost: a\r\nblobgate-hook: forged\r\ntransfer-encoding: gzip, chunked\r\n\r\n").unwrap();
        tls(H1).raw(b"POST /webhook HTTP/1.1\r\nhost: a\r\nblobgate-hook: forged\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n").unwrap();
        tls(H1).raw(b"FROB /webhook HTTP/1.1\r\nhost: a\r\nblobgate-hook: forged\r\n\r\n").unwrap();
        tls(H1).raw(b"POST /webhook#a HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        tls(H1).raw(b"POST /webhook%00a HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        tls(H1).raw(b"POST * HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        tls(H1).raw(b"POST /webhook HTTP/1.1\r\nhost: a\"b\r\n\r\n").unwrap();
        tls(H1).raw(b"POST /webhook HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n").unwrap();
        tls(H1).send(&(0..101).fold(TestDelivery::completed(), |all, n| all.header(&format!("x-{n}"), "a")));
        let _ = tls(H2)
            .try_send(&(0..101).fold(TestDelivery::completed(), |all, n| all.header(&format!("x-{n}"), "a")));
        tls(H1).send(&TestDelivery::completed().header("x", "a".repeat(40_000)));
        let _ = GENERATION;
        blobgate_testkit::pause(std::time::Duration::from_secs(4));
        let page = edge.refusals();
        println!("{} {page:#}", version.name);
        for line in edge.envoy.access_log() {
            println!(
                "{} LINE {} {} {} {} {}",
                version.name, line["reason"], line["status"], line["details"], line["flags"], line["method"]
            );
        }
        println!("{}", String::from_utf8_lossy(&edge.inbox.command(&["refusals"]).stdout));
        println!("{:?}", edge.envoy.stats("access_logs|inbox_access_log.*rq_total"));
        println!("{}", edge.inbox.log());
        println!(
            "TRAFFIC {:?}",
            edge.inbox.get("/traffic").unwrap().json()["minutes"].as_array().unwrap().last()
        );
        panic!();
    });
}
