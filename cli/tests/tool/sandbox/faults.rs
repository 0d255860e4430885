//! Injected faults, and the endpoints for tests.

use super::{FAST, ID, KEY, PROMPT, RunningSandbox, documented};
use crate::webhook::Webhook;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const TIMES: (&str, &str) = ("2025-12-06T21:43:03.374000", r#""2025-12-06T21:44:06.143000""#);
/// A part of [`KEY`] that no output may contain.
const PART_OF_KEY: &str = "a-key-of-a-test";
const URL: &str = r#""https://cdn.runblob.io/videos/your-video.mp4""#;

fn completed() -> String {
    documented(ID, "completed", URL, TIMES, "null")
}

fn failed(code: &str) -> String {
    documented(ID, "failed", "null", TIMES, &error(code))
}

fn error(code: &str) -> String {
    format!(r#"{{"message":"{code}","details":{{}}}}"#)
}

/// A sandbox with one registered generation.
async fn with_generation(state: &str) -> RunningSandbox {
    let sandbox = RunningSandbox::start(&[]);
    sandbox.register(ID, serde_json::from_str(state).unwrap()).await;
    sandbox
}

#[tokio::test]
async fn returns_a_registered_generation_exactly() {
    for state in [
        completed(),
        failed("UNSAFE_CONTENT"),
        documented(ID, "processing", "null", (TIMES.0, "null"), "null"),
    ] {
        let sandbox = with_generation(&state).await;
        assert_eq!(sandbox.status_text(ID).await, (200, state.clone()));
        assert_eq!(sandbox.status_text(&ID.to_uppercase()).await, (200, state.clone()));
        let mut known: Value = serde_json::from_str(&state).unwrap();
        known["callback_url"] = Value::Null;
        known["sandbox"] = json!({"outcome": null, "faults": []});
        let (_, all) = sandbox.admin(Method::GET, "/sandbox/generations", Value::Null).await;
        assert_eq!(all, json!([known]));
    }
}

#[tokio::test]
async fn requires_a_status_only_and_replaces_a_generation() {
    let sandbox = with_generation(&completed()).await;
    sandbox.register(ID, json!({"status": "failed", "error": {"message": "TIMEOUT"}, "created_at": TIMES.0, "completed_at": "x"})).await;
    let expected = format!(
        r#"{{"generation_id":"{ID}","status":"failed","prompt":"{PROMPT}","video_url":null,"created_at":"{}","completed_at":"x","seed":0,"error":{}}}"#,
        TIMES.0,
        error("TIMEOUT")
    );
    assert_eq!(sandbox.status_text(ID).await, (200, expected));
    for (id, state, why) in [
        (
            "ffd473d5",
            json!({"status": "failed"}),
            "the id in the path is no UUID. Write it in the 8-4-4-4-12 form",
        ),
        (ID, json!({}), "missing field `status` at line 1 column 2"),
        (
            ID,
            json!({"status": "lost"}),
            "unknown variant `lost`, expected one of `pending`, `processing`, `completed`, `failed` at line 1 column 16",
        ),
        (
            ID,
            json!({"status": "failed", "generation_id": "x"}),
            "generation_id differs from the id in the path. Leave it out",
        ),
    ] {
        let refused = sandbox.admin(Method::PUT, &format!("/sandbox/generations/{id}"), state).await;
        assert_eq!(refused, (422, json!({ "detail": why })));
    }
}

#[tokio::test]
async fn applies_a_fault_until_it_is_removed() {
    let sandbox = with_generation(&completed()).await;
    let half = completed();
    let (half, _) = half.split_at(half.len() / 2);
    let ours = r#""https://cdn.runblob.io/videos/another.mp4""#;
    for (fault, status, body) in [
        ("lie:status", 200, failed("TASK_FAILED")),
        ("lie:url", 200, documented(ID, "completed", ours, TIMES, "null")),
        ("lie:code", 200, documented(ID, "completed", URL, TIMES, &error("TIMEOUT"))),
        ("still-processing", 200, documented(ID, "processing", "null", (TIMES.0, "null"), "null")),
        ("bad-json", 200, half.to_owned()),
        ("status:503", 503, r#"{"detail":"Service Unavailable"}"#.to_owned()),
        ("status:401", 401, r#"{"detail":"Unauthorized"}"#.to_owned()),
        ("status:302", 302, r#"{"detail":"Found"}"#.to_owned()),
        ("status:299", 299, r#"{"detail":"Unknown"}"#.to_owned()),
        ("status:204", 204, String::new()),
    ] {
        sandbox.set_faults(&[fault]).await;
        assert_eq!(sandbox.status_text(ID).await, (status, body), "{fault}");
        let (status, _) = sandbox.admin(Method::DELETE, "/sandbox/faults", Value::Null).await;
        assert_eq!((status, sandbox.status_text(ID).await), (204, (200, completed())), "after {fault}");
    }
}

#[tokio::test]
async fn lies_about_a_failure_too() {
    let sandbox = with_generation(&failed("UNSAFE_CONTENT")).await;
    let url = format!(r#""https://cdn.runblob.io/videos/{ID}.mp4""#);
    for (fault, body) in
        [("lie:status", documented(ID, "completed", &url, TIMES, "null")), ("lie:code", failed("TIMEOUT"))]
    {
        sandbox.set_faults(&[fault]).await;
        assert_eq!(sandbox.status_text(ID).await, (200, body), "{fault}");
    }
    sandbox.register(ID, serde_json::from_str(&failed("TIMEOUT")).unwrap()).await;
    assert_eq!(sandbox.status_text(ID).await, (200, failed("GOOGLE_DECLINED")));

    sandbox.set_faults(&["lie:id"]).await;
    let (_, body) = sandbox.status_text(ID).await;
    let another = serde_json::from_str::<Value>(&body).unwrap()["generation_id"].as_str().unwrap().to_owned();
    assert_ne!(another, ID);
    assert_eq!(body.replace(&another, ID), failed("TIMEOUT"));

    let (status, message) = sandbox.admin(Method::PUT, "/sandbox/faults", json!({"faults": ["lie"]})).await;
    assert_eq!((status, message), (200, json!({"outcome": null, "faults": ["lie:status"]})));
}

#[tokio::test]
async fn hangs_and_delays() {
    let sandbox = with_generation(&completed()).await;
    let answer = |patience| sandbox.status(ID).timeout(Duration::from_millis(patience)).send();
    assert_eq!(answer(20_000).await.unwrap().status(), 200);
    sandbox.set_faults(&["hang"]).await;
    assert!(answer(500).await.unwrap_err().is_timeout());

    let start = Instant::now();
    sandbox.set_faults(&["slow:300", "status:500"]).await;
    assert_eq!(answer(20_000).await.unwrap().status(), 500);
    assert!(start.elapsed() >= Duration::from_millis(300), "{:?}", start.elapsed());
}

#[tokio::test]
async fn sends_a_huge_answer() {
    let sandbox = with_generation(&completed()).await;
    sandbox.set_faults(&["huge"]).await;
    let (status, text) = sandbox.status_text(ID).await;
    let truth = completed();
    let start = format!(r#"{},"padding":""#, truth.strip_suffix('}').unwrap());
    let padding = text.strip_prefix(&start).and_then(|rest| rest.strip_suffix(r#""}"#)).unwrap();
    assert_eq!((status, padding.len()), (200, 32 << 20));
}

#[tokio::test]
async fn cuts_the_answer_after_its_headers() {
    let sandbox = with_generation(&completed()).await;
    sandbox.set_faults(&["cut"]).await;
    let answer = sandbox.status(ID).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.content_length()), (200, Some(400)));
    let error = answer.bytes().await.unwrap_err();
    assert!(error.is_decode() || error.is_body(), "{error:?}");
}

#[tokio::test]
async fn limits_a_fault_to_its_generation() {
    let sandbox = with_generation(&completed()).await;
    let another = "00000000-0000-4000-8000-000000000001";
    sandbox.register(another, json!({"status": "failed", "sandbox": {"faults": ["status:500"]}})).await;
    assert_eq!(sandbox.status_text(another).await.0, 500);
    assert_eq!(sandbox.status_text(ID).await, (200, completed()));
    sandbox.set_faults(&["status:503"]).await; // The generation's own come first.
    assert_eq!((sandbox.status_text(another).await.0, sandbox.status_text(ID).await.0), (500, 503));
    assert_eq!(sandbox.status_text("00000000-0000-4000-8000-000000000002").await.0, 503);
}

#[tokio::test]
async fn counts_status_calls() {
    let sandbox = with_generation(&completed()).await;
    let unknown = "00000000-0000-4000-8000-000000000002";
    for id in [ID, unknown, ID, "x", ID] {
        sandbox.status(id).send().await.unwrap();
    }
    let path = format!("/v1/veo/generations/{ID}");
    assert_eq!(sandbox.request(Method::GET, &path).send().await.unwrap().status(), 401);
    let calls = sandbox.calls().await;
    let by_id = &calls["status_calls"]["by_id"];
    let counts: Vec<_> = by_id
        .as_object()
        .unwrap()
        .iter()
        .map(|(id, calls)| {
            assert_eq!(json!(calls["times"].as_array().unwrap().len()), calls["count"]);
            (id.as_str(), calls["count"].as_u64().unwrap())
        })
        .collect();
    assert_eq!(counts, [(unknown, 1), (ID, 3), ("x", 1)]);
    assert_eq!((&calls["status_calls"]["total"], &calls["callbacks"]), (&json!(5), &json!([])));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_back_never_twice_or_contradicting() {
    let webhook = Webhook::start(&[]).await;
    let sandbox = RunningSandbox::trusting(&webhook, &FAST);
    let never = sandbox.generate(&webhook, json!({"faults": ["never"]})).await;
    let lines = sandbox.lines_until("never (chosen fault)");
    assert_eq!(lines[2], format!("sandbox  callback   {never}  never (chosen fault)"));

    sandbox.generate(&webhook, json!({"faults": ["twice"]})).await;
    sandbox.lines_until("attempt 1 of 5: 200");
    sandbox.lines_until("attempt 1 of 5: 200");
    let bodies = webhook.bodies();
    assert_eq!((bodies.len(), &bodies[0]), (2, &bodies[1]));

    // A fault for all orders works the same.
    sandbox.set_faults(&["contradict"]).await;
    let id = sandbox.generate(&webhook, json!({})).await;
    sandbox.lines_until("completed, attempt 1 of 5: 200");
    sandbox.lines_until("TASK_FAILED, attempt 1 of 5: 200");
    let (_, truth) = sandbox.status_text(&id).await;
    let url = format!(r#""https://cdn.runblob.io/videos/{id}.mp4""#);
    let against = truth
        .replace(r#""completed","#, r#""failed","#)
        .replace(&url, "null")
        .replace(r#""error":null"#, &format!(r#""error":{}"#, error("TASK_FAILED")));
    assert_eq!(webhook.bodies()[2..], [truth, against]);
}

#[tokio::test]
async fn requires_the_key_and_never_prints_it() {
    let sandbox = with_generation(&completed()).await;
    assert!(KEY.ends_with(PART_OF_KEY));
    let path = format!("/v1/veo/generations/{ID}");
    for (header, message) in [
        (None, "Authorization header required"),
        (Some(KEY.to_owned()), "Invalid authorization format. Use: Bearer YOUR_API_KEY"),
        (Some(format!("Basic {KEY}")), "Invalid authorization format. Use: Bearer YOUR_API_KEY"),
        (Some(format!("Bearer r{PART_OF_KEY}")), "Invalid API key"),
        (Some(format!("Bearer {KEY}x")), "Invalid API key"),
        (Some("Bearer".to_owned()), "Invalid authorization format. Use: Bearer YOUR_API_KEY"),
    ] {
        for (method, path) in [(Method::GET, &*path), (Method::POST, "/v1/veo/generate")] {
            let request = sandbox.request(method, path);
            let request =
                if let Some(value) = &header { request.header("authorization", value) } else { request };
            let answer = request.send().await.unwrap();
            let expected = format!(r#"{{"error":"Unauthorized","message":"{message}"}}"#);
            assert_eq!((answer.status().as_u16(), answer.text().await.unwrap()), (401, expected));
        }
    }
    assert_eq!(sandbox.status_text(ID).await, (200, completed()));
    let lines = sandbox.lines_until("  completed").into_iter().chain(sandbox.lines_until("  completed"));
    let message = lines.collect::<Vec<_>>().join("\n");
    assert_eq!(message.matches("401 ").count(), 12, "{message}");
    assert!(!message.contains(PART_OF_KEY), "{message}");
}
