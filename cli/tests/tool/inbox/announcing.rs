//! The book's lines that announce a generation, run as they stand there but for the address.

use super::{RunningInbox, TestStore, generation};
use crate::running::text;
use blobgate_testkit::book::block;
use blobgate_testkit::needs;
use reqwest::Method;
use serde_json::{Value, json};
use std::process::{Command, Output, Stdio};

/// The address of the admin listener in them.
const ADMIN: &str = "http://127.0.0.1:9085";

#[track_caller]
fn run(program: &str, args: &[&str]) -> Output {
    let mut command = Command::new(program);
    let run = command.args(args).env("NO_PROXY", "127.0.0.1").stdin(Stdio::null()).output();
    run.unwrap_or_else(|error| panic!("{program}: {error}"))
}

impl RunningInbox {
    /// The job of which a generation is expected.
    async fn job(&self, id: &str) -> Value {
        let listed = self.ask(Method::POST, "/reconcile", &json!({"dry_run": true})).await.1;
        let questions = listed["questions"].as_array().unwrap();
        let question = questions.iter().find(|question| question["generation_id"] == id);
        question.map_or(Value::Null, |question| json!([question["hook"], question["job"]]))
    }
}

/// `answer` is what the application has of the provider.
async fn says_what_it_expects(lines: &str, program: &str, args: &[&str], answer: fn(&Value) -> String) {
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

    // What is refused is not passed over.
    let other = json!({"hook": "veo3", "generation_id": generation(2), "job": "order-9"});
    assert_eq!(inbox.ask(Method::POST, "/expect", &other).await.0, 200);
    let end = say(2);
    assert!(!end.status.success(), "{}", text(&end.stdout));
    assert_eq!(inbox.job(&generation(2)).await, json!(["veo3", "order-9"]));
}

#[needs(Python3)]
#[tokio::test(flavor = "multi_thread")]
async fn in_python() {
    says_what_it_expects(&block("expect-python"), "python3", &["-B", "-c"], |answer| {
        format!("answer = {answer}")
    })
    .await;
}

#[needs(Node)]
#[tokio::test(flavor = "multi_thread")]
async fn in_javascript() {
    let args = ["--input-type=module", "--eval"];
    says_what_it_expects(&block("expect-js"), "node", &args, |answer| format!("const answer = {answer};"))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_hand() {
    let inbox = RunningInbox::start(TestStore::sqlite()).await;
    let lines = block("expect-shell");
    let curl = lines.split("\nblobgate ").next().unwrap();
    let command = format!("{} --fail", curl.replace(ADMIN, &inbox.admin));
    let end = tokio::task::block_in_place(|| run("bash", &["-c", &command]));
    assert!(end.status.success(), "{command}: {}", text(&end.stderr));
    let said: Value = serde_json::from_slice(&end.stdout).unwrap();
    let id = said["generation_id"].as_str().unwrap();
    assert_eq!((inbox.job(id).await, &said["state"]), (json!(["veo3", "order-17"]), &json!("expected")));
}
