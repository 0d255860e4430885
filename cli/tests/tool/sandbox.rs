//! `blobgate sandbox`.

mod api;
mod faults;
mod server;

use crate::running::{RunningTool, blobgate, client};
use crate::webhook::Webhook;
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use std::process::Command;

pub(crate) const KEY: &str = "rb-a-key-of-a-test";
const ID: &str = "ffd473d5-5bef-4e14-bf22-8d559be3c19f";
const PROMPT: &str = "A cat playing with a ball in a sunny room";

/// Generations take 40 ms, and callbacks are 10 ms apart.
pub(crate) const FAST: [&str; 2] = ["--speed", "3000"];

/// A running sandbox that has [`KEY`]. Ends when dropped.
pub(crate) struct RunningSandbox {
    running: RunningTool,
    client: Client,
    pub(crate) base: String,
}

impl RunningSandbox {
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut command = on_a_free_port(args);
        command.env("RUNBLOB_API_KEY", KEY);
        let running = RunningTool::start(command);
        let base = running.first_line_after("sandbox listens on ");
        Self { running, client: client(), base }
    }

    /// A sandbox that trusts the webhook.
    fn trusting(webhook: &Webhook, args: &[&str]) -> Self {
        let trust = ["--callback-ca", webhook.certificate.path().to_str().unwrap()];
        Self::start(&[&trust, args].concat())
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    pub(crate) async fn order(&self, order: &Value) -> Response {
        self.request(Method::POST, "/v1/veo/generate").bearer_auth(KEY).json(order).send().await.unwrap()
    }

    /// Orders a generation that calls back. Returns its id.
    async fn generate(&self, webhook: &Webhook, script: Value) -> String {
        let order = json!({"prompt": PROMPT, "seed": 7, "callback_url": webhook.url, "sandbox": script});
        let answer = self.order(&order).await;
        assert_eq!(answer.status(), 201);
        let accepted: Value = answer.json().await.unwrap();
        accepted["generation_id"].as_str().unwrap().to_owned()
    }

    fn status(&self, id: &str) -> RequestBuilder {
        self.request(Method::GET, &format!("/v1/veo/generations/{id}")).bearer_auth(KEY)
    }

    /// The HTTP status and body of a status call.
    pub(crate) async fn status_text(&self, id: &str) -> (u16, String) {
        let answer = self.status(id).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    pub(crate) async fn admin(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let answer = self.request(method, path).body(body.to_string()).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default())
    }

    pub(crate) async fn register(&self, id: &str, state: Value) {
        let (status, message) = self.admin(Method::PUT, &format!("/sandbox/generations/{id}"), state).await;
        assert_eq!(status, 200, "{message}");
    }

    pub(crate) async fn set_faults(&self, faults: &[&str]) {
        let (status, message) = self.admin(Method::PUT, "/sandbox/faults", json!({ "faults": faults })).await;
        assert_eq!((status, message), (200, json!({ "outcome": null, "faults": faults })));
    }

    pub(crate) async fn calls(&self) -> Value {
        self.admin(Method::GET, "/sandbox/calls", Value::Null).await.1
    }

    /// Waits for a line with this end. Returns the lines up to it, without their times.
    #[track_caller]
    fn lines_until(&self, end: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.running.next_line();
            let (time, what) = line.split_once("  ").unwrap_or_else(|| panic!("{line:?} has no time"));
            let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
            assert_eq!(shape, "00:00:00", "{line}");
            lines.push(what.to_owned());
            if line.ends_with(end) {
                return lines;
            }
        }
    }
}

/// Picks a free port, unless the arguments have one.
fn on_a_free_port(args: &[&str]) -> Command {
    let mut command = blobgate(&["sandbox"]);
    command.args(args);
    if !args.contains(&"--listen") {
        command.args(["--listen", "127.0.0.1:0"]);
    }
    command
}

/// The exact documented object.
fn documented(id: &str, status: &str, url: &str, times: (&str, &str), error: &str) -> String {
    let (created, completed) = times;
    format!(
        r#"{{"generation_id":"{id}","status":"{status}","prompt":"{PROMPT}","video_url":{url},"created_at":"{created}","completed_at":{completed},"seed":7,"error":{error}}}"#
    )
}
