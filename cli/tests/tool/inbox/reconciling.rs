//! `reconcile`, with the sandbox as provider behind a proxy that adds its key.

use super::{ForwardedDelivery, RunningInbox, ServiceDelivery, TestStore, on_each_store, until};
use crate::running::client;
use crate::sandbox::{FAST, KEY, RunningSandbox};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use blobgate::contract::{EventSource, Proof, Verdict, header};
use blobgate_testkit::needs;
use futures_util::stream::try_unfold;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use uuid::Uuid;

on_each_store! {
    delivers_a_missing_completion
    delivers_a_missing_failure
    stops_after_three_unknown_answers
    calls_again_until_the_end
}

/// The sandbox, behind a proxy that adds the key, as Envoy does.
pub(super) struct ProviderStandIn {
    pub(super) sandbox: RunningSandbox,
    url: String,
}

impl ProviderStandIn {
    pub(super) async fn start() -> Self {
        let sandbox = RunningSandbox::start(&FAST);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let routes = Router::new().fallback(forward).with_state((client(), sandbox.base.clone()));
        tokio::spawn(async { axum::serve(listener, routes).await });
        Self { sandbox, url }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Orders a generation without a callback, and waits for its end. Returns its id.
    pub(super) async fn generated(&self, outcome: &str) -> String {
        let script = json!({"outcome": outcome, "faults": ["never"]});
        let order = json!({"prompt": "A cat playing with a ball", "callback_url": "https://127.0.0.1:1/", "sandbox": script});
        let message: Value = self.sandbox.order(&order).await.json().await.unwrap();
        let id = message["generation_id"].as_str().unwrap().to_owned();
        until("it has ended", async || !self.status(&id).await["completed_at"].is_null()).await;
        id
    }

    pub(super) async fn status(&self, id: &str) -> Value {
        serde_json::from_str(&self.sandbox.status_text(id).await.1).unwrap()
    }

    /// The number of status calls for a generation.
    pub(super) async fn calls(&self, id: &str) -> u64 {
        self.sandbox.calls().await["status_calls"]["by_id"][id]["count"].as_u64().unwrap_or(0)
    }
}

async fn forward(State((client, base)): State<(reqwest::Client, String)>, uri: Uri) -> Response {
    let answer = client.get(format!("{base}{}", uri.path())).bearer_auth(KEY).send().await.unwrap();
    let status = answer.status();
    // A broken answer stays broken.
    let parts = try_unfold(answer, async |mut answer| {
        Ok::<_, reqwest::Error>(answer.chunk().await?.map(|part| (part, answer)))
    });
    (status, Body::from_stream(parts)).into_response()
}

impl RunningInbox {
    /// An inbox that calls at once, and again after 0.2 s.
    pub(super) async fn reconciling(place: TestStore, provider: &ProviderStandIn) -> Self {
        let again =
            ["--reconcile-after", "1ms", "--reconcile-again", "200ms", "--reconcile-per-minute", "1000"];
        Self::with(place, &[&["--provider", &provider.url], &again[..]].concat()).await
    }

    pub(super) async fn expects(&self, id: &str) {
        let what = json!({"hook": "veo3", "generation_id": id, "job": "order-17"});
        let (status, message) = self.call(Method::POST, "/expect", &what).await;
        assert_eq!((status, &message["state"]), (200, &json!("expected")), "{message}");
    }

    pub(super) async fn until_metric(&self, line: &str) {
        until(line, async || {
            let metrics = self.client.get(format!("{}/metrics", self.admin)).send().await.unwrap();
            metrics
                .text()
                .await
                .unwrap()
                .lines()
                .any(|found| found.strip_prefix("blobgate_inbox_") == Some(line))
        })
        .await;
    }

    pub(super) async fn question(&self, id: &str) -> Option<Value> {
        let listed = self.call(Method::POST, "/reconcile", &json!({"dry_run": true})).await.1;
        listed["questions"]
            .as_array()
            .unwrap()
            .iter()
            .find(|question| question["generation_id"] == id)
            .cloned()
    }
}

pub(super) fn webhook(id: &str, body: &Value) -> ForwardedDelivery {
    ForwardedDelivery {
        generation: Some(id.to_owned()),
        body: body.to_string().into_bytes(),
        ..ForwardedDelivery::completed(0)
    }
}

#[track_caller]
pub(super) fn is_reconciled(request: &ServiceDelivery, id: &str, event: &str) {
    let key = format!("veo3:{id}:{event}");
    for (name, value) in [
        (header::SOURCE, EventSource::Reconcile.name()),
        (header::PROOFS, Proof::Confirmed.name()),
        (header::VERDICT, Verdict::Accepted.name()),
        (header::JOB, "order-17"),
        (header::EVENT, event),
        (header::GENERATION_ID, id),
        (header::IDEMPOTENCY_KEY, &key),
        ("content-type", "application/json"),
    ] {
        assert_eq!(request.header(name), Some(value), "{name}");
    }
}

async fn delivers_a_missing_completion(place: TestStore) {
    let provider = ProviderStandIn::start().await;
    let inbox = RunningInbox::reconciling(place, &provider).await;
    // An earlier webhook sets the path of the hook's events.
    inbox.store(&ForwardedDelivery::completed(1)).await;
    inbox.service.wait_for(1).await;
    let id = provider.generated("completed").await;
    inbox.expects(&id).await;
    let request = inbox.service.wait_for(2).await.remove(1);
    is_reconciled(&request, &id, "completed");
    assert_eq!(
        (request.path.as_str(), serde_json::from_slice::<Value>(&request.body).unwrap()),
        ("/hooks/veo3", provider.status(&id).await)
    );
    inbox.until_metric("reconciliations_total{outcome=\"reconciled\"} 1").await;

    // The late webhook comes twice, with another video URL.
    let mut late = provider.status(&id).await;
    late["video_url"] = json!("https://cdn.runblob.io/elsewhere.mp4?signed=1");
    inbox.store(&webhook(&id, &late)).await;
    inbox.store(&webhook(&id, &late)).await;
    let entries = inbox.entries(&format!("generation={id}")).await;
    assert_eq!((entries.len(), &entries[0]["seen"], &entries[0]["job"]), (1, &json!(3), &json!("order-17")));
    // A delivery of the late webhook would come before this one.
    inbox.store(&ForwardedDelivery::completed(3)).await;
    inbox.service.wait_for(3).await;
    assert!(inbox.question(&id).await.is_none());
}

async fn delivers_a_missing_failure(place: TestStore) {
    let provider = ProviderStandIn::start().await;
    let inbox = RunningInbox::reconciling(place, &provider).await;
    for (place, (outcome, event)) in
        [("timeout", "timeout"), ("UNSAFE_CONTENT", "failed")].into_iter().enumerate()
    {
        let id = provider.generated(outcome).await;
        inbox.expects(&id).await;
        let request = inbox.service.wait_for(place + 1).await.remove(place);
        is_reconciled(&request, &id, event);
        // The hook has had no webhook.
        assert_eq!(request.path, "/hooks/veo3");
        let code = if outcome == "timeout" { "TIMEOUT" } else { outcome };
        assert_eq!(request.header(header::ERROR_CODE), Some(code));
    }
}

async fn stops_after_three_unknown_answers(place: TestStore) {
    let provider = ProviderStandIn::start().await;
    let inbox = RunningInbox::reconciling(place, &provider).await;
    let none = Uuid::new_v4().to_string();
    inbox.expects(&none).await;
    inbox.until_metric("reconciliations_total{outcome=\"unknown\"} 3").await;
    until("it is unknown", async || inbox.question(&none).await.is_none()).await;
    let what = json!({"hook": "veo3", "generation_id": none, "job": "order-17"});
    let message = inbox.call(Method::POST, "/expect", &what).await.1;
    assert_eq!(
        (&message["state"], &message["calls"], &message["answer"]),
        (&json!("unknown"), &json!(3), &json!("unknown"))
    );
    inbox.until_metric("expected_unknown_total 1").await;
    // The inbox calls for others, and not for this one.
    let id = provider.generated("completed").await;
    inbox.expects(&id).await;
    inbox.service.wait_for(1).await;
    assert_eq!(provider.calls(&none).await, 3);
}

async fn calls_again_until_the_end(place: TestStore) {
    let provider = ProviderStandIn::start().await;
    let inbox = RunningInbox::reconciling(place, &provider).await;
    let id = Uuid::new_v4().to_string();
    provider.sandbox.register(&id, json!({"status": "processing"})).await;
    inbox.expects(&id).await;
    until("two status calls", async || provider.calls(&id).await >= 2).await;
    until("their answer is stored", async || inbox.question(&id).await.unwrap()["answer"] == "still-working")
        .await;
    let question = inbox.question(&id).await.unwrap();
    assert_eq!((&question["state"], &question["due"]), (&json!("expected"), &json!(true)));
    let lines = inbox.lines(&["reconcile", "--dry-run"]);
    assert!(
        lines[0].starts_with("AGE  DUE  HOOK  GENERATION") && lines[0].ends_with("CALLS  WHY"),
        "{lines:?}"
    );
    assert!(lines[1].contains(&format!("yes  veo3  {id}  order-17")), "{lines:?}");
    assert!(inbox.service.deliveries().is_empty());
    let ended = json!({"status": "completed", "video_url": "https://cdn.runblob.io/a.mp4"});
    provider.sandbox.register(&id, ended).await;
    assert_eq!(inbox.lines(&["reconcile"]), ["reconciling 1 generation now, at most 1000 a minute"]);
    is_reconciled(&inbox.service.wait_for(1).await[0], &id, "completed");
}

/// Two inboxes on one database share the limit of calls, and deliver each result once.
#[needs(Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn shares_the_call_limit_between_inboxes() {
    const PER_MINUTE: usize = 7;
    let (place, provider) = (TestStore::postgres(), ProviderStandIn::start().await);
    let (same, mut expected) = (TestStore::at(place.url.clone()), Vec::new());
    let args = ["--provider", &provider.url, "--reconcile-after", "1s", "--reconcile-per-minute", "7"];
    let (one, other) = (RunningInbox::with(place, &args).await, RunningInbox::with(same, &args).await);
    for _ in 0..PER_MINUTE * 3 {
        let id = Uuid::new_v4().to_string();
        let ended = json!({"status": "completed", "video_url": format!("https://cdn.runblob.io/{id}.mp4")});
        provider.sandbox.register(&id, ended).await;
        one.expects(&id).await;
        expected.push(id);
    }
    let total = async || provider.sandbox.calls().await["status_calls"]["total"].as_u64().unwrap();
    let delivered = || one.service.deliveries().len() + other.service.deliveries().len();
    until("the minute's calls are spent", async || delivered() == PER_MINUTE).await;
    for _ in 0..20 {
        // Each command triggers a look.
        one.lines(&["reconcile"]);
        other.lines(&["reconcile"]);
    }
    assert_eq!((usize::try_from(total().await).unwrap(), delivered()), (PER_MINUTE, PER_MINUTE));
    let first: Vec<_> = [one.service.deliveries(), other.service.deliveries()].concat();
    let mut first: Vec<_> =
        first.iter().map(|request| request.header(header::GENERATION_ID).unwrap()).collect();
    first.sort_by_key(|id| expected.iter().position(|expected| expected == id));
    assert_eq!(first, expected[..PER_MINUTE], "the oldest first, each once");
}
