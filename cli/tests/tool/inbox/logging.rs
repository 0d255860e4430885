//! The log of a running inbox.

use crate::running::closed_port;
use blobgate::contract::{Kind, Verdict, header};
use blobgate_testkit::inbox::{InboxProcess, forwarded, fresh_generation, migrate};
use blobgate_testkit::{TestDelivery, eventually};
use serde_json::Value;
use std::process::Command;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_blobgate");

/// Visible characters, which a header may have, and which could end a string or a line of JSON.
const HOSTILE: &str = r#"veo"}{"level":"INFO"\u0022\"#;

fn store() -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("inbox.db").display());
    migrate(PROGRAM, &store);
    (folder, store)
}

fn hostile() -> TestDelivery {
    forwarded(&fresh_generation()).without_header(header::HOOK).header(header::HOOK, HOSTILE)
}

#[test]
fn logs_json_with_fields() {
    let (_folder, store) = store();
    let service = closed_port();
    let inbox = InboxProcess::start(PROGRAM, &store, service.address.port(), &["--log-format", "json"]);
    // Five failed attempts take the route down.
    for _ in 0..6 {
        assert_eq!(inbox.receive(&hostile()).unwrap().status, 200);
    }
    assert_eq!(inbox.receive(&hostile().without_header(header::CONTRACT)).unwrap().status, 503);
    let lines: Vec<Value> = eventually("the route is down, and a delivery refused", || {
        let log = inbox.log();
        (log.contains(" is down") && log.contains("refused code=")).then(|| {
            log.lines()
                .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
                .collect()
        })
    });
    let [down, refused] = ["route", "code"].map(|field| {
        lines.iter().find(|line| line.get(field).is_some()).unwrap_or_else(|| panic!("{field}: {lines:?}"))
    });
    let route = format!("{HOSTILE}/completed");
    assert_eq!((&down["level"], &down["route"]), (&"WARN".into(), &route.clone().into()));
    assert_eq!(down["target"], "blobgate_inbox::deliver");
    let message = down["message"].as_str().unwrap();
    assert!(message.starts_with(&format!("route={route} is down: ")), "{message}");
    assert_eq!((&refused["level"], &refused["code"]), (&"WARN".into(), &"not-ours".into()));
    let sentence = format!(
        "refused code=not-ours: the gate writes another version of the gate headers ({}). Upgrade the older of both",
        header::CONTRACT
    );
    assert_eq!(refused["message"], sentence);
}

#[test]
fn logs_the_client_of_a_quarantined_delivery() {
    let (_folder, store) = store();
    let inbox = InboxProcess::start(PROGRAM, &store, closed_port().address.port(), &["--log-format", "json"]);
    let quarantined = |generation: &str, client: &str| {
        forwarded(generation)
            .without_header(header::VERDICT)
            .without_header(header::EVENT)
            .header(header::VERDICT, Verdict::Quarantined.name())
            .header(header::CLAIMED_EVENT, Kind::Completed.name())
            .header(header::REASON, "source-denied")
            .header(header::CLIENT, client)
    };
    let generations = [fresh_generation(), fresh_generation()];
    for (generation, client) in generations.iter().zip(["203.0.113.9", HOSTILE]) {
        assert_eq!(inbox.receive(&quarantined(generation, client)).unwrap().status, 200);
    }
    let lines: Vec<Value> = eventually("two lines", || {
        let log = inbox.log();
        let lines = log.lines().filter(|line| line.contains("quarantined reason="));
        let lines: Vec<_> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
        (lines.len() == 2).then_some(lines)
    });
    for ((line, generation), client) in lines.iter().zip(&generations).zip(["203.0.113.9", "-"]) {
        let fields = ["level", "reason", "hook", "event", "generation", "client"].map(|field| &line[field]);
        assert_eq!(fields, ["WARN", "source-denied", "veo3", "completed", generation, client]);
        let message = format!(
            "quarantined reason=source-denied hook=veo3 event=completed generation={generation} client={client}"
        );
        assert_eq!(line["message"], message);
    }
}

#[test]
fn serves_without_a_writable_log() {
    let (_folder, store) = store();
    let service = closed_port();
    for format in ["text", "json"] {
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$0\" \"$@\" 2>/dev/full", PROGRAM]).env("BLOBGATE_LOG_FORMAT", format);
        let inbox = InboxProcess::spawn(command, PROGRAM, &store, service.address.port(), &[]);
        let refused = inbox.receive(&hostile().without_header(header::CONTRACT)).unwrap();
        assert_eq!(refused.status, 503, "{format}");
        assert_eq!(inbox.receive(&hostile()).unwrap().status, 200, "{format}");
    }
}
