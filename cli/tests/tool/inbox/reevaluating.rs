//! `reevaluate`.

use super::{ForwardedDelivery, RunningInbox, TestStore, generation, on_each_store};
use blobgate::contract::{Verdict, header};
use serde_json::{Value, json};
use std::io::Write;
use tempfile::NamedTempFile;

on_each_store! {
    releases_entries_after_a_rule_change
    requires_a_waiver_for_a_violation_in_the_head
    judges_the_stored_address
    leaves_a_contradiction_quarantined
    previews_in_json
}

/// An envoy.yaml with one hook, which allows results on these hosts.
fn envoy_yaml(hosts: &str) -> NamedTempFile {
    with_trust("{any_of: [token]}", hosts)
}

/// An envoy.yaml with this allowlist.
fn with_source(source: &str) -> NamedTempFile {
    let file = envoy_yaml("\"*.runblob.io\"");
    let text = std::fs::read_to_string(file.path()).unwrap();
    assert!(text.contains("source: any"));
    std::fs::write(file.path(), text.replace("source: any", &format!("source: {source}"))).unwrap();
    file
}

/// An envoy.yaml with this trust rule.
pub(super) fn with_trust(trust: &str, hosts: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    let text = format!(
        "filters:\n\
         - name: blobgate\n  \
           typed_config:\n    \
             config:\n      \
               configuration:\n        \
                 \"@type\": type.googleapis.com/google.protobuf.Struct\n        \
                 value:\n          \
                   version: 1\n          \
                   environment: test\n          \
                   token: {{keys: {{dev: {{alg: HS256, env: BLOBGATE_TOKEN_KEY}}}}}}\n          \
                   confirm: {{cluster: runblob_api, authority: platform.runblob.io}}\n          \
                   hooks:\n          \
                   - name: veo3\n            \
                     path: /hooks/veo3/{{token}}\n            \
                     dialect: veo3\n            \
                     source: any\n            \
                     trust: {trust}\n            \
                     result_url: [{hosts}]\n            \
                     quarantine: route\n"
    );
    file.write_all(text.as_bytes()).unwrap();
    file
}

/// Today's violation of an entry with another result host.
const DENIED: &str =
    "result-url-denied: video_url: host is none of 1 allowed hosts, expected a host of result_url";

/// A completion with a video on this host, quarantined for this reason.
pub(super) fn quarantined(number: usize, host: &str, reason: &'static str) -> ForwardedDelivery {
    let body = json!({
        "generation_id": generation(number),
        "status": "completed",
        "prompt": "a cat",
        "video_url": format!("https://{host}/{number}.mp4"),
    });
    let body = body.to_string().into_bytes();
    ForwardedDelivery { reason: Some(reason), body, ..ForwardedDelivery::quarantined(number) }
}

impl RunningInbox {
    /// Forwards it with its own token id. Returns its id.
    pub(super) async fn quarantine(&self, number: usize, delivery: &ForwardedDelivery) -> i64 {
        let mut request = self.client.post(format!("{}/hooks/veo3", self.receive));
        for (name, value) in delivery.headers() {
            request = request.header(name, value);
        }
        let request = request.header(header::TOKEN_ID, format!("t{number}"));
        let answer = request.body(delivery.body.clone()).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        self.entries("limit=1").await[0]["id"].as_i64().unwrap()
    }
}

async fn releases_entries_after_a_rule_change(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    for number in 1..=3 {
        inbox.quarantine(number, &quarantined(number, "cdn.new.example", "result-url-denied")).await;
    }
    let elsewhere = inbox.quarantine(4, &quarantined(4, "cdn.evil.example", "result-url-denied")).await;

    let today = envoy_yaml("runblob.io");
    let today = today.path().to_str().unwrap();
    let filter = ["--reason", "result-url-denied"];
    let judge =
        |config, more: &[&'static str]| [&["reevaluate", "--config", config], &filter[..], more].concat();
    assert_eq!(inbox.lines(&judge(today, &["--dry-run"])), ["0 entries would pass"]);
    let message = inbox.refused(&judge(today, &["--yes"]), 1);
    assert!(
        message.starts_with(&format!("4 entries still quarantined: {DENIED} (1, 2, 3, 4)\n")),
        "{message}"
    );

    let wider = envoy_yaml("cdn.new.example");
    let wider = wider.path().to_str().unwrap();
    assert_eq!(inbox.lines(&judge(wider, &["--dry-run"])), ["3 entries would pass"]);
    assert_eq!(inbox.entries("state=quarantined").await.len(), 4, "a dry run changes nothing");
    assert!(inbox.service.deliveries().is_empty());
    let output = inbox.command(&judge(wider, &["--yes"]));
    assert_eq!(output.status.code(), Some(1), "one stays");
    assert_eq!(crate::running::text(&output.stdout), "3 entries released\n");

    let requests = inbox.service.wait_for(3).await;
    for one in &requests {
        assert_eq!(one.header(header::VERDICT), Some(Verdict::Accepted.name()));
        assert_eq!(one.header(header::RESULT_HOST), Some("cdn.new.example"));
        assert_eq!((one.header(header::REASON), one.header(header::OVERRIDE)), (None, None));
    }
    let left = inbox.entries("state=quarantined").await;
    assert_eq!(left.iter().map(|entry| entry["id"].as_i64().unwrap()).collect::<Vec<_>>(), [elsewhere]);
    // A second reevaluation releases none, and the accepted event is a repeat.
    inbox.refused(&judge(wider, &["--yes"]), 1);
    let genuine = ForwardedDelivery {
        verdict: Verdict::Accepted,
        reason: None,
        ..quarantined(1, "cdn.new.example", "")
    };
    inbox.store(&genuine).await;
    inbox.store(&ForwardedDelivery::completed(9)).await;
    assert_eq!(inbox.service.wait_for(4).await.len(), 4);
}

async fn requires_a_waiver_for_a_violation_in_the_head(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    let id = inbox.quarantine(1, &quarantined(1, "cdn.runblob.io", "source-denied")).await.to_string();
    let config = with_source("[203.0.113.0/24]");
    let judge = ["reevaluate", "--config", config.path().to_str().unwrap(), &id];
    let message = inbox.refused(&judge, 1);
    let remedy = "the allowlist does not have its address 2001:db8::9. Add it to `source`, or override with `--waive source-denied`";
    assert!(
        message.starts_with(&format!("1 entry still quarantined: source-denied: {remedy} (1)\n")),
        "{message}"
    );
    let waived = [&judge[..], &["--waive", "source-denied"]].concat();
    assert_eq!(inbox.lines(&waived), ["1 entry released"]);
    let request = &inbox.service.wait_for(1).await[0];
    assert_eq!(request.header(header::OVERRIDE), Some("source-denied"));
    let message = inbox.refused(&[&judge[..], &["--waive", "json-invalid"]].concat(), 2);
    assert!(message.contains("invalid value 'json-invalid'"), "{message}");

    let id = inbox.quarantine(2, &quarantined(2, "cdn.runblob.io", "header-invalid")).await.to_string();
    let message = inbox.refused(&["reevaluate", "--config", judge[2], &id], 1);
    let remedy = "the store does not have the part of the request that broke this rule. `--waive header-invalid` overrides it";
    assert!(
        message.starts_with(&format!("1 entry still quarantined: header-invalid: {remedy} ({id})\n")),
        "{message}"
    );
}

async fn judges_the_stored_address(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    let id = inbox.quarantine(1, &quarantined(1, "cdn.runblob.io", "source-denied")).await.to_string();
    let config = with_source("[2001:db8::/32]");
    let judge = ["reevaluate", "--config", config.path().to_str().unwrap(), &id];
    assert_eq!(inbox.lines(&judge), ["1 entry released"]);
    let request = &inbox.service.wait_for(1).await[0];
    assert_eq!((request.header(header::OVERRIDE), request.header(header::REASON)), (None, None));
}

/// Envoy loads such a configuration, and so do the tool and the admin listener.
#[tokio::test(flavor = "multi_thread")]
async fn reads_an_allowlist_of_150000_ranges() {
    let inbox = RunningInbox::start(TestStore::sqlite()).await;
    let id = inbox.quarantine(1, &quarantined(1, "cdn.runblob.io", "source-denied")).await.to_string();
    let ranges =
        (0..150_000).map(|number| format!("\"2001:db9:{:x}:{:x}::/64\"", number >> 16, number & 0xffff));
    let mut ranges: Vec<_> = ranges.collect();
    let without = with_source(&format!("[{}]", ranges.join(", ")));
    let message = inbox.refused(&["reevaluate", "--config", without.path().to_str().unwrap(), &id], 1);
    assert!(message.contains("the allowlist does not have its address"), "{message}");
    ranges.push("\"2001:db8::9\"".to_owned());
    let with = with_source(&format!("\n              - {}", ranges.join("\n              - ")));
    assert_eq!(
        inbox.lines(&["reevaluate", "--config", with.path().to_str().unwrap(), &id]),
        ["1 entry released"]
    );
    // Beyond the limit the answer is a problem document, as for a method that the endpoint does not have.
    let url = format!("{}/reevaluate", inbox.admin);
    let large =
        inbox.client.post(&url).header("content-type", "application/json").body(vec![b' '; (64 << 20) + 1]);
    let answer = large.send().await.unwrap();
    assert_eq!(answer.status(), 413);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    assert_eq!(answer.json::<Value>().await.unwrap()["code"], "body-too-large");
}

async fn leaves_a_contradiction_quarantined(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    inbox
        .store(&ForwardedDelivery {
            verdict: Verdict::Accepted,
            reason: None,
            ..quarantined(1, "cdn.runblob.io", "")
        })
        .await;
    inbox.service.wait_for(1).await;
    let other = quarantined(1, "other.runblob.io", "result-url-denied");
    let id = inbox.quarantine(1, &other).await.to_string();
    let config = envoy_yaml("\"*.runblob.io\"");
    let message = inbox.refused(&["reevaluate", "--config", config.path().to_str().unwrap(), &id], 1);
    assert!(message.starts_with("1 entry still quarantined: event-conflict (2)\n"), "{message}");
    assert_eq!(inbox.entries("state=quarantined").await.len(), 1, "no second quarantined entry");
}

async fn previews_in_json(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    let passes = inbox.quarantine(1, &quarantined(1, "cdn.runblob.io", "result-url-denied")).await;
    let stays = inbox.quarantine(2, &quarantined(2, "cdn.example.com", "result-url-denied")).await;
    let config = envoy_yaml("\"*.runblob.io\"");
    let judge =
        ["reevaluate", "--config", config.path().to_str().unwrap(), "--state", "quarantined", "--json"];
    let would: Value = serde_json::from_str(&inbox.lines(&[&judge[..], &["--dry-run"]].concat())[0]).unwrap();
    let why = json!([{"id": stays, "why": DENIED}]);
    assert_eq!(would, json!({"would_pass": [passes], "would_ask": [], "would_stay": why}));
    let done = inbox.command(&[&judge[..], &["--yes"]].concat());
    let done: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(done, json!({"changed": [passes], "to_confirm": [], "refused": why}));
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_a_file_without_a_gate() {
    let inbox = RunningInbox::start(TestStore::sqlite()).await;
    let empty = NamedTempFile::new().unwrap();
    let name = empty.path().to_str().unwrap();
    let message = inbox.refused(&["reevaluate", "--config", name, "17"], 1);
    let sentence = "has no configuration of the gate, an object with hooks. Name another with --config";
    assert_eq!(message, format!("blobgate: {name} {sentence}\n"));
    let message = inbox.refused(&["reevaluate", "--config", "/nowhere", "17"], 1);
    assert!(message.starts_with("blobgate: cannot use /nowhere: "), "{message}");
    let message = inbox.refused(&["reevaluate", "17"], 2);
    assert!(message.contains("--config <FILE>"), "{message}");
}
