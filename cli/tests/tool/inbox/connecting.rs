//! The connection of a command to its inbox.

use super::{RunningInbox, StandInService, TestStore, until};
use crate::running::{blobgate, text};
use blobgate_testkit::{Cluster, closed_port, needs};
use serde_json::{Value, json};

/// Each command with its arguments.
const COMMANDS: [&[&str]; 15] = [
    &["ls"],
    &["show", "1"],
    &["stats"],
    &["pause", "--hook", "veo3"],
    &["resume", "--hook", "veo3"],
    &["drop", "1", "--yes"],
    &["replay", "1"],
    &["retry", "1"],
    &["release", "1"],
    &["reevaluate", "1", "--config", concat!(env!("CARGO_MANIFEST_DIR"), "/../envoy.yaml")],
    &["expect", "--hook", "veo3", "--generation", "5f1c8c1e-7c0c-4b0a-9a5e-000000000001", "--job", "a"],
    &["reconcile", "--dry-run"],
    &["tail"],
    &["export"],
    &["purge", "--job", "order-7", "--yes"],
];

#[tokio::test(flavor = "multi_thread")]
async fn requires_the_token() {
    let inbox = RunningInbox::with(TestStore::sqlite(), &["--admin-token", "ops:operate:TOKEN"]).await;
    let sentence = format!(
        "blobgate: the inbox at {}/ refuses the request without its token. Name the variable that has it with --admin-token-env\n",
        inbox.admin
    );
    for command in COMMANDS {
        assert_eq!(inbox.refused(command, 1), sentence);
        assert_eq!(inbox.refused(&[command, &["--admin-token-env", "WRONG"]].concat(), 1), sentence);
    }
    assert!(inbox.lines(&["ls", "--admin-token-env", "TOKEN"]).is_empty());
    let unset = inbox.refused(&["ls", "--admin-token-env", "NOT_THERE"], 2);
    assert_eq!(unset, "blobgate: the environment variable NOT_THERE is unset or empty. Set it\n");
    // A token in the place of its variable's name.
    let shown = inbox.refused(&["ls", "--admin-token-env", "a-secret-token"], 2);
    let sentence = "no environment variable has this name. Write the name of a variable, and not its value";
    assert_eq!(shown, format!("blobgate: {sentence}\n"));

    for path in [
        "/entries",
        "/entries/1",
        "/stats",
        "/pauses",
        "/replay",
        "/retry",
        "/release",
        "/reevaluate",
        "/drop",
        "/purge",
        "/tail",
        "/audit",
        "/traffic",
        "/refusals",
        "/expect",
        "/reconcile",
        "/metrics",
    ] {
        let answer = inbox.client.get(format!("{}{path}", inbox.admin)).send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), answer.headers()["www-authenticate"].as_bytes()),
            (401, &b"Bearer"[..])
        );
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{path}");
        let problem = json!({
            "type": "https://docs.blobgate.example/reference/inbox-api.html#token-invalid",
            "title": "The request does not contain an admin token.", "status": 401, "code": "token-invalid",
            "detail": "an admin token is missing or wrong: send Authorization: Bearer TOKEN",
        });
        assert_eq!(answer.json::<Value>().await.unwrap(), problem, "{path}");
    }
    let health = inbox.client.get(format!("{}/healthz", inbox.admin)).send().await.unwrap();
    assert_eq!(health.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn needs_no_public_certificates() {
    let inbox = RunningInbox::start(TestStore::sqlite()).await;
    let mut command = blobgate(&["inbox", "ls", "--admin", &inbox.admin]);
    let output = command.env("SSL_CERT_FILE", "/nowhere").env("SSL_CERT_DIR", "/nowhere").output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), "no entry matches\n"));
}

#[tokio::test]
async fn names_an_unreachable_inbox() {
    let closed = closed_port();
    let url = format!("http://{}", closed.address);
    for command in COMMANDS {
        let output = blobgate(&[&["inbox"], command, &["--admin", &url]].concat()).output().unwrap();
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{command:?}: {message}");
        assert!(
            message.starts_with(&format!("blobgate: cannot connect to the inbox at {url}/: ")),
            "{message}"
        );
        assert!(
            message.ends_with(". Start it with `blobgate inbox serve`, or name its URL with --admin\n"),
            "{message}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_an_unexpected_answer() {
    let (service, url) = StandInService::start().await;
    for status in [200, 400, 404] {
        service.answer(status);
        let output = blobgate(&["inbox", "stats", "--admin", &url]).output().unwrap();
        let sentence = format!(
            "blobgate: unexpected answer ({status}) from {url}/: it is no admin listener, or has another version. Name the right one with --admin\n"
        );
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), sentence));
    }
}

/// A field is missing, or has an unknown value.
#[tokio::test(flavor = "multi_thread")]
async fn names_an_incompatible_version() {
    for answer in [
        r#"{"entries": [{"id": 1, "state": "waiting"}], "next": null}"#,
        r#"{"routes": [], "quarantined": {}, "states": {"kept": 1}, "bytes": 0, "tombstones": 0}"#,
    ] {
        let address = answers(answer).await;
        for command in [&["ls"][..], &["stats"], &["tail"], &["export"], &["show", "1"], &["release", "1"]] {
            let output = blobgate(&[&["inbox"], command, &["--admin", &address]].concat()).output().unwrap();
            let sentence = format!(
                "blobgate: unexpected answer (200) from {address}/: it is no admin listener, or has another version. Name the right one with --admin\n"
            );
            assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), sentence), "{command:?}");
        }
    }
}

/// InitAnswers every request with this.
async fn answers(body: &'static str) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let routes = axum::Router::new().fallback(async move || body);
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    address
}

#[needs(Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn reports_an_unreachable_store() {
    let cluster = Cluster::alone();
    let inbox = RunningInbox::start(TestStore::of(&cluster)).await;
    assert!(inbox.lines(&["ls"]).is_empty());
    drop(cluster);
    for command in COMMANDS.iter().filter(|command| command[0] != "stats") {
        let message = inbox.refused(command, 1);
        assert!(message.starts_with("blobgate: the store failed: "), "{command:?}: {message}");
        assert_eq!(message.lines().count(), 1, "{message}");
    }
    // Stats report a known fault without the store.
    until("stats show the fault", async || {
        let output = inbox.command(&["stats"]);
        text(&output.stdout).contains("\nnot ready       store-failing since ")
    })
    .await;
}

#[test]
fn requires_ids_or_filters() {
    for command in ["drop", "replay", "retry", "release"] {
        for (args, sentence) in [
            (&[][..], "error: no entry is named. Name entries by ids, or by a filter such as --state\n"),
            (
                &["1", "--state", "dead"],
                "error: ids and filters exclude each other. Name entries by one of them\n",
            ),
            (&["0"], "error: invalid value '0' for '[ID]...': it is no id of an entry."),
            (&["--state", "lost"], "error: invalid value 'lost' for '--state <STATE>'\n"),
        ] {
            let output = blobgate(&[&["inbox", command], args].concat()).output().unwrap();
            let message = text(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{message}");
            assert!(message.starts_with(sentence), "{message}");
            let is_usage = message.contains(&format!("Usage: blobgate inbox {command} "));
            assert!(is_usage || message.contains("invalid value"), "{message}");
        }
    }
}

#[test]
fn prints_help_with_examples_and_exit_codes() {
    for command in COMMANDS.iter().map(|command| command[0]).chain(["serve"]) {
        let output = blobgate(&["inbox", command, "--help"]).output().unwrap();
        let message = text(&output.stdout);
        let examples = format!("Examples:\n  blobgate inbox {command}");
        // The examples of `release` begin with `show`.
        assert!(message.contains(&examples) || command == "release", "{message}");
        assert!(
            message.contains(&format!("  blobgate inbox {command} "))
                || message.contains(&format!("  blobgate inbox {command}\n")),
            "{message}"
        );
        assert!(message.contains("Exit code: 0 when "), "{message}");
    }
    let message = text(&blobgate(&["inbox", "--help"]).output().unwrap().stdout);
    for command in COMMANDS.iter().map(|command| command[0]) {
        assert!(message.contains(&format!("\n  {command} ")), "{command}: {message}");
    }
}
