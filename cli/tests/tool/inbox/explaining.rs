//! `explain --entry`: a stored entry by a configuration.

use super::reevaluating::{quarantined, with_trust};
use super::{ForwardedDelivery, RunningInbox, TestStore, on_each_store};
use crate::running::{blobgate, text};
use blobgate::contract::header;
use serde_json::Value;
use tempfile::NamedTempFile;

on_each_store! {
    judges_an_entry_by_a_configuration
}

impl RunningInbox {
    /// The explanation of an entry, and its exit code.
    fn explain(&self, id: i64, config: &NamedTempFile, more: &[&str]) -> (Value, Option<i32>) {
        let (id, config) = (id.to_string(), config.path().to_str().unwrap());
        let args = ["explain", "--config", config, "--entry", &id, "--json", "--admin", &self.admin];
        let output = blobgate(&[&args[..], more].concat()).output().unwrap();
        let report = serde_json::from_slice(&output.stdout).unwrap_or(Value::String(text(&output.stderr)));
        (report, output.status.code())
    }
}

async fn judges_an_entry_by_a_configuration(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    let id = inbox.quarantine(1, &quarantined(1, "cdn.new.example", "result-url-denied")).await;
    let (narrow, wide) = ("runblob.io", "cdn.new.example");
    let (token, both) = ("{any_of: [token]}", "{all_of: [token, confirmed]}");

    let (report, code) = inbox.explain(id, &with_trust(token, narrow), &[]);
    assert_eq!(
        (&report["verdict"], &report["reason"], code),
        (&"quarantined".into(), &"result-url-denied".into(), Some(3))
    );
    let detail = report["detail"].as_str().unwrap();
    assert!(detail.starts_with("video_url: host is ") && !detail.contains("cdn.new.example"), "{detail}");
    assert_eq!(report["subject"]["entry"], id);
    assert!(report["stages"].as_array().unwrap().iter().any(|stage| stage["reason"] == "result-url-denied"));

    let (report, code) = inbox.explain(id, &with_trust(token, wide), &[]);
    assert_eq!((&report["verdict"], code), (&"accepted".into(), Some(0)), "{report:#}");
    let headers = report["service_request"]["headers"].as_array().unwrap();
    assert!(headers.iter().any(|one| one["name"] == header::EVENT && one["value"] == "completed"));

    let (report, code) = inbox.explain(id, &with_trust(both, wide), &[]);
    assert_eq!((&report["verdict"], code), (&"needs-confirmation".into(), Some(5)));
    let (report, code) = inbox.explain(id, &with_trust(both, wide), &["--confirm", "contradicted"]);
    assert_eq!((&report["reason"], code), (&"not-confirmed".into(), Some(3)), "{report:#}");

    // The stored entry is as before, and the service got nothing.
    assert_eq!(inbox.entries("state=quarantined").await.len(), 1);
    assert!(inbox.service.deliveries().is_empty());

    let (error, code) = inbox.explain(99, &with_trust(token, wide), &[]);
    assert_eq!(code, Some(1), "{error}");
    let other = with_trust(token, wide);
    let renamed = std::fs::read_to_string(other.path()).unwrap().replace("name: veo3", "name: other");
    std::fs::write(other.path(), renamed).unwrap();
    let (error, code) = inbox.explain(id, &other, &[]);
    assert!(error.as_str().unwrap().contains("Name one of other"), "{error}");
    assert_eq!(code, Some(2));

    // The head's violation is judged by the stored address.
    let denied = ForwardedDelivery { reason: Some("source-denied"), ..quarantined(2, wide, "source-denied") };
    let id = inbox.quarantine(2, &denied).await;
    let (report, code) = inbox.explain(id, &with_trust(token, wide), &[]);
    assert_eq!((&report["verdict"], code), (&"accepted".into(), Some(0)), "{report:#}");
}
