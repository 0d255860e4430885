//! `reevaluate`: a rule has changed, and quarantined entries are judged by it.

use super::{ForwardedDelivery, RunningInbox, TestStore, generation, on_each_store};
use blobgate::contract::{Verdict, header};
use serde_json::{Value, json};
use std::io::Write;
use tempfile::NamedTempFile;

on_each_store! {
    a_widened_rule_lets_last_week_s_events_through
    what_only_the_head_shows_wants_a_waiver
    what_contradicts_stays
    says_what_it_would_do_in_json
}

/// An envoy.yaml with one hook, which takes results from these hosts.
fn envoy_yaml(hosts: &str) -> NamedTempFile {
    with_trust("{any_of: [token]}", hosts)
}

/// The same, with this rule.
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

/// A completion whose video is there, kept for this reason.
fn kept(number: usize, host: &str, reason: &'static str) -> ForwardedDelivery {
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
    /// Keeps it, with a good token of its own. Returns its id.
    async fn keep(&self, number: usize, delivery: &ForwardedDelivery) -> i64 {
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

async fn a_widened_rule_lets_last_week_s_events_through(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    for number in 1..=3 {
        inbox.keep(number, &kept(number, "cdn.new.example", "result-url-denied")).await;
    }
    let elsewhere = inbox.keep(4, &kept(4, "cdn.evil.example", "result-url-denied")).await;

    let today = envoy_yaml("runblob.io");
    let today = today.path().to_str().unwrap();
    let filter = ["--reason", "result-url-denied"];
    let judge =
        |config, more: &[&'static str]| [&["reevaluate", "--config", config], &filter[..], more].concat();
    assert_eq!(inbox.lines(&judge(today, &["--dry-run"])), ["0 entries would pass"]);
    let said = inbox.refused(&judge(today, &["--yes"]), 1);
    assert!(said.starts_with("4 entries still quarantined: result-url-denied (1, 2, 3, 4)\n"), "{said}");

    let wider = envoy_yaml("cdn.new.example");
    let wider = wider.path().to_str().unwrap();
    assert_eq!(inbox.lines(&judge(wider, &["--dry-run"])), ["3 entries would pass"]);
    assert_eq!(inbox.entries("state=quarantined").await.len(), 4, "a dry run changes nothing");
    assert!(inbox.service.came().is_empty());
    let output = inbox.command(&judge(wider, &["--yes"]));
    assert_eq!(output.status.code(), Some(1), "one stays");
    assert_eq!(crate::running::text(&output.stdout), "3 entries released\n");

    let came = inbox.service.wait_for(3).await;
    for one in &came {
        assert_eq!(one.header(header::VERDICT), Some(Verdict::Accepted.name()));
        assert_eq!(one.header(header::RESULT_HOST), Some("cdn.new.example"));
        assert_eq!((one.header(header::REASON), one.header(header::OVERRIDE)), (None, None));
    }
    let left = inbox.entries("state=quarantined").await;
    assert_eq!(left.iter().map(|entry| entry["id"].as_i64().unwrap()).collect::<Vec<_>>(), [elsewhere]);
    // Twice is once, and the genuine event is a repeat by now.
    inbox.refused(&judge(wider, &["--yes"]), 1);
    let genuine =
        ForwardedDelivery { verdict: Verdict::Accepted, reason: None, ..kept(1, "cdn.new.example", "") };
    inbox.store(&genuine).await;
    inbox.store(&ForwardedDelivery::completed(9)).await;
    assert_eq!(inbox.service.wait_for(4).await.len(), 4);
}

async fn what_only_the_head_shows_wants_a_waiver(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    let id = inbox.keep(1, &kept(1, "cdn.runblob.io", "source-denied")).await.to_string();
    let config = envoy_yaml("\"*.runblob.io\"");
    let judge = ["reevaluate", "--config", config.path().to_str().unwrap(), &id];
    let said = inbox.refused(&judge, 1);
    assert!(said.starts_with("1 entry still quarantined: source-denied (1)\n"), "{said}");
    let waived = [&judge[..], &["--waive", "source-denied"]].concat();
    assert_eq!(inbox.lines(&waived), ["1 entry released"]);
    let came = &inbox.service.wait_for(1).await[0];
    assert_eq!(came.header(header::OVERRIDE), Some("source-denied"));
    let said = inbox.refused(&[&judge[..], &["--waive", "json-invalid"]].concat(), 2);
    assert!(said.contains("invalid value 'json-invalid'"), "{said}");
}

async fn what_contradicts_stays(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    inbox
        .store(&ForwardedDelivery {
            verdict: Verdict::Accepted,
            reason: None,
            ..kept(1, "cdn.runblob.io", "")
        })
        .await;
    inbox.service.wait_for(1).await;
    let other = kept(1, "other.runblob.io", "result-url-denied");
    let id = inbox.keep(1, &other).await.to_string();
    let config = envoy_yaml("\"*.runblob.io\"");
    let said = inbox.refused(&["reevaluate", "--config", config.path().to_str().unwrap(), &id], 1);
    assert!(said.starts_with("1 entry still quarantined: event-conflict (2)\n"), "{said}");
    assert_eq!(inbox.entries("state=quarantined").await.len(), 1, "and nothing more is kept for it");
}

async fn says_what_it_would_do_in_json(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    let passes = inbox.keep(1, &kept(1, "cdn.runblob.io", "result-url-denied")).await;
    let stays = inbox.keep(2, &kept(2, "cdn.example.com", "result-url-denied")).await;
    let config = envoy_yaml("\"*.runblob.io\"");
    let judge =
        ["reevaluate", "--config", config.path().to_str().unwrap(), "--state", "quarantined", "--json"];
    let would: Value = serde_json::from_str(&inbox.lines(&[&judge[..], &["--dry-run"]].concat())[0]).unwrap();
    let why = json!([{"id": stays, "why": "result-url-denied"}]);
    assert_eq!(would, json!({"would_pass": [passes], "would_ask": [], "would_stay": why}));
    let done = inbox.command(&[&judge[..], &["--yes"]].concat());
    let done: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(done, json!({"changed": [passes], "asked": [], "refused": why}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_without_a_gate_is_said() {
    let inbox = RunningInbox::start(TestStore::sqlite()).await;
    let empty = NamedTempFile::new().unwrap();
    let name = empty.path().to_str().unwrap();
    let said = inbox.refused(&["reevaluate", "--config", name, "17"], 1);
    let sentence = "has no filter with the gate's configuration (an object with hooks)";
    assert_eq!(said, format!("blobgate: {name} {sentence}\n"));
    let said = inbox.refused(&["reevaluate", "--config", "/nowhere", "17"], 1);
    assert!(said.starts_with("blobgate: /nowhere cannot be read: "), "{said}");
    let said = inbox.refused(&["reevaluate", "17"], 2);
    assert!(said.contains("--config <FILE>"), "{said}");
}
