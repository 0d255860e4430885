//! Runs the book's code that announces a generation, with another address.

use super::{RunningInbox, TestStore, generation};
use crate::running::text;
use blobgate_testkit::book::block;
use blobgate_testkit::needs;
use reqwest::Method;
use serde_json::{Value, json};
use std::process::{Command, Output, Stdio};

/// The admin listener in the book's code.
const ADMIN: &str = "http://127.0.0.1:9085";

#[track_caller]
fn run(program: &str, args: &[&str]) -> Output {
    let mut command = Command::new(program);
    let run = command.args(args).env("NO_PROXY", "127.0.0.1").stdin(Stdio::null()).output();
    run.unwrap_or_else(|error| panic!("{program}: {error}"))
}

impl RunningInbox {
    /// The job of an expected generation.
    async fn job(&self, id: &str) -> Value {
        let listed = self.call(Method::POST, "/reconcile", &json!({"dry_run": true})).await.1;
        let questions = listed["questions"].as_array().unwrap();
        let question = questions.iter().find(|question| question["generation_id"] == id);
        question.map_or(Value::Null, |question| json!([question["hook"], question["job"]]))
    }
}

/// `answer` defines the provider's answer in the application's language.
async fn announces(lines: &str, program: &str, args: &[&str], answer: fn(&Value) -> String) {
    let inbox = RunningInbox::start(TestStore::sqlite()).await;
    assert!(lines.contains(ADMIN), "{lines}");
    let say = |number| {
        let answer = answer(&json!({"generation_id": generation(number), "status": "pending"}));
        let lines = format!("{answer}\n{}", lines.replace(ADMIN, &inbox.admin));
        tokio::task::block_in_place(|| run(program, &[args, &[&lines]].concat()))
    };
    let end = say(1);
    assert!(end.status.success(), "{}", text(&end.stderr));
    assert_eq!(inbox.job(&generation(1)).await, json!(["veo3", "order-17"]));

    // The code reports a refusal.
    let other = json!({"hook": "veo3", "generation_id": generation(2), "job": "order-9"});
    assert_eq!(inbox.call(Method::POST, "/expect", &other).await.0, 200);
    let end = say(2);
    assert!(!end.status.success(), "{}", text(&end.stdout));
    assert_eq!(inbox.job(&generation(2)).await, json!(["veo3", "order-9"]));
}

#[needs(Python3)]
#[tokio::test(flavor = "multi_thread")]
async fn announces_in_python() {
    announces(&block("expect-python"), "python3", &["-B", "-c"], |answer| format!("answer = {answer}")).await;
}

#[needs(Node)]
#[tokio::test(flavor = "multi_thread")]
async fn announces_in_javascript() {
    let args = ["--input-type=module", "--eval"];
    announces(&block("expect-js"), "node", &args, |answer| format!("const answer = {answer};")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn announces_in_shell() {
    let inbox = RunningInbox::start(TestStore::sqlite()).await;
    let lines = block("expect-shell");
    let curl = lines.split("\nblobgate ").next().unwrap();
    let command = format!("{} --fail", curl.replace(ADMIN, &inbox.admin));
    let end = tokio::task::block_in_place(|| run("bash", &["-c", &command]));
    assert!(end.status.success(), "{command}: {}", text(&end.stderr));
    let message: Value = serde_json::from_slice(&end.stdout).unwrap();
    let id = message["generation_id"].as_str().unwrap();
    assert_eq!((inbox.job(id).await, &message["state"]), (json!(["veo3", "order-17"]), &json!("expected")));
}
