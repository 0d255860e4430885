//! The provider's own API.

use super::{FAST, ID, PROMPT, RunningSandbox, documented};
use crate::webhook::Webhook;
use reqwest::Method;
use serde_json::{Value, json};
use std::net::TcpListener;
use std::ops::Range;
use std::time::Instant;

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("{field} in {value}"))
}

/// Asserts the form `2025-12-06T21:43:03.374000`.
#[track_caller]
fn assert_time(text: &str) {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000000");
}

#[tokio::test(flavor = "multi_thread")]
async fn repeats_a_callback_until_200() {
    let webhook = Webhook::start(&[500, 302, 204]).await;
    let sandbox = RunningSandbox::trusting(&webhook, &FAST);
    let answer = sandbox.order(&json!({"prompt": PROMPT, "seed": 7, "callback_url": webhook.url})).await;
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["content-type"]),
        (201, &"application/json".parse().unwrap())
    );
    let accepted = answer.text().await.unwrap();
    let id = text(&serde_json::from_str(&accepted).unwrap(), "generation_id").to_owned();
    let expected = format!(r#"{{"generation_id":"{id}","status":"pending","seed":7,"price":"0.2500"}}"#);
    assert_eq!(accepted, expected);

    let lines = sandbox.lines_until("attempt 4 of 5: 200");
    let expected = [
        format!("sandbox  generated  {id}  pending, ends in 40.0ms, callback to 127.0.0.1"),
        format!("sandbox  ended      {id}  completed"),
        format!("sandbox  callback   {id}  completed, attempt 1 of 5: 500"),
        format!("sandbox  callback   {id}  completed, attempt 2 of 5: 302"),
        format!("sandbox  callback   {id}  completed, attempt 3 of 5: 204"),
        format!("sandbox  callback   {id}  completed, attempt 4 of 5: 200"),
    ];
    assert_eq!(lines, expected);

    let (status, known) = sandbox.status_text(&id).await;
    let event: Value = serde_json::from_str(&known).unwrap();
    let (created, completed) = (text(&event, "created_at"), text(&event, "completed_at"));
    assert_time(created);
    assert_time(completed);
    let url = format!(r#""https://cdn.runblob.io/videos/{id}.mp4""#);
    let expected = documented(&id, "completed", &url, (created, &format!("{completed:?}")), "null");
    assert_eq!((status, &known), (200, &expected));
    let calls = webhook.calls();
    assert_eq!(webhook.bodies(), vec![expected; 4]);
    assert!(calls.iter().all(|call| call.path == "/webhook?token=1"), "a redirect was followed");
    assert!(calls.iter().all(|call| call.content_type == "application/json"));
}

#[tokio::test(flavor = "multi_thread")]
async fn gives_a_callback_up_after_five_attempts() {
    let webhook = Webhook::start(&[500, 200, 503, 503, 503, 503, 503]).await;
    let sandbox = RunningSandbox::trusting(&webhook, &FAST);
    let first = sandbox.generate(&webhook, json!({})).await;
    sandbox.lines_until("attempt 2 of 5: 200");
    let second = sandbox.generate(&webhook, json!({"outcome": "UNSAFE_CONTENT"})).await;
    let lines = sandbox.lines_until("given up");
    assert_eq!(
        lines[lines.len() - 2..],
        [
            format!("sandbox  callback   {second}  UNSAFE_CONTENT, attempt 5 of 5: 503"),
            format!("sandbox  callback   {second}  UNSAFE_CONTENT, given up"),
        ]
    );
    // During a third generation, no more attempts of the first two come.
    let third = sandbox.generate(&webhook, json!({"faults": ["twice"]})).await;
    sandbox.lines_until("attempt 1 of 5: 200");
    sandbox.lines_until("attempt 1 of 5: 200");

    let calls = sandbox.calls().await;
    let attempts: Vec<_> = calls["callbacks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|call| {
            assert_time(text(call, "time"));
            assert_eq!(call["error"], Value::Null);
            (
                text(call, "generation_id"),
                text(call, "event"),
                call["attempt"].as_u64().unwrap(),
                call["status"].as_u64().unwrap(),
            )
        })
        .collect();
    let (first, second, third) = (&*first, &*second, &*third);
    assert_eq!(
        attempts,
        [
            (first, "completed", 1, 500),
            (first, "completed", 2, 200),
            (second, "UNSAFE_CONTENT", 1, 503),
            (second, "UNSAFE_CONTENT", 2, 503),
            (second, "UNSAFE_CONTENT", 3, 503),
            (second, "UNSAFE_CONTENT", 4, 503),
            (second, "UNSAFE_CONTENT", 5, 503),
            (third, "completed", 1, 200),
            (third, "completed", 1, 200),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_a_failed_callback_after_30_s() {
    let (webhook, another) = (Webhook::start(&[]).await, Webhook::start(&[]).await);
    let sandbox = RunningSandbox::trusting(&another, &["--speed", "300"]);
    sandbox.generate(&webhook, json!({})).await;
    sandbox.lines_until("given up");
    let calls = sandbox.calls().await;
    let calls = calls["callbacks"].as_array().unwrap();
    // The certificate has the trusted name and another key.
    let why = json!("invalid peer certificate: BadSignature");
    let results: Vec<_> = calls.iter().map(|call| (&call["status"], &call["error"])).collect();
    assert_eq!(results, [(&Value::Null, &why); 5]);
    assert_eq!(webhook.bodies(), [""; 0]);

    let times: Vec<_> = calls.iter().map(|call| millis_of_day(text(call, "time"))).collect();
    for pair in times.windows(2) {
        let between = (pair[1] + DAY - pair[0]) % DAY;
        assert!((100..5_000).contains(&between), "{between} ms, not the 300th part of 30 s");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_connect_timeout_at_any_speed() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap(); // It never accepts.
    let url = format!("https://{}/webhook", silent.local_addr().unwrap());
    let sandbox = RunningSandbox::start(&FAST);
    assert_eq!(sandbox.order(&json!({"prompt": PROMPT, "callback_url": url})).await.status(), 201);
    sandbox.lines_until("  completed");
    let start = Instant::now();
    let lines = sandbox.lines_until("completed, attempt 1 of 5: operation timed out");
    assert_eq!(lines.len(), 1);
    assert!((9..15).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}

const DAY: u64 = 86_400_000;

/// Parses `2025-12-06T21:43:03.374000`.
fn millis_of_day(time: &str) -> u64 {
    let part = |range: Range<usize>| time.get(range).unwrap().parse::<u64>().unwrap();
    ((part(11..13) * 60 + part(14..16)) * 60 + part(17..19)) * 1000 + part(20..23)
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_with_the_chosen_outcome() {
    let webhook = Webhook::start(&[]).await;
    let sandbox = RunningSandbox::trusting(&webhook, &FAST);
    for (outcome, code) in
        [("UNSAFE_CONTENT", "UNSAFE_CONTENT"), ("timeout", "TIMEOUT"), ("TIMEOUT", "TIMEOUT")]
    {
        let before = webhook.bodies().len();
        let id = sandbox.generate(&webhook, json!({ "outcome": outcome })).await;
        sandbox.lines_until("attempt 1 of 5: 200");
        let (_, known) = sandbox.status_text(&id).await;
        let event: Value = serde_json::from_str(&known).unwrap();
        let times = (text(&event, "created_at"), &*format!("{:?}", text(&event, "completed_at")));
        let error = format!(r#"{{"message":"{code}","details":{{}}}}"#);
        assert_eq!(known, documented(&id, "failed", "null", times, &error));
        assert_eq!(webhook.bodies()[before..], [known]);
    }

    // An order overrides the outcome for all orders.
    let (status, _) =
        sandbox.admin(Method::PUT, "/sandbox/faults", json!({"outcome": "GOOGLE_DECLINED"})).await;
    assert_eq!(status, 200);
    for (script, event) in [(json!({}), "GOOGLE_DECLINED"), (json!({"outcome": "completed"}), "completed")] {
        sandbox.generate(&webhook, script).await;
        let lines = sandbox.lines_until("attempt 1 of 5: 200");
        assert!(lines.iter().any(|line| line.ends_with(&format!("  {event}"))), "{lines:?}");
    }
}

#[tokio::test]
async fn passes_through_pending_and_processing() {
    let sandbox = RunningSandbox::start(&["--generation-time", "599s", "--speed", "120"]);
    let accepted: Value = sandbox.order(&json!({"prompt": PROMPT, "seed": 7})).await.json().await.unwrap();
    let id = text(&accepted, "generation_id");
    let mut seen: Vec<String> = Vec::new();
    while seen.last().is_none_or(|last| !last.contains(r#""status":"completed""#)) {
        let (status, known) = sandbox.status_text(id).await;
        assert_eq!(status, 200);
        if seen.last() != Some(&known) {
            seen.push(known);
        }
    }
    let event: Value = serde_json::from_str(&seen[0]).unwrap();
    let created = text(&event, "created_at");
    assert_eq!(seen.len(), 3, "{seen:?}");
    assert_eq!(seen[0], documented(id, "pending", "null", (created, "null"), "null"));
    assert_eq!(seen[1], documented(id, "processing", "null", (created, "null"), "null"));
}

#[tokio::test]
async fn times_out_after_ten_minutes() {
    let sandbox = RunningSandbox::start(&["--generation-time", "10m", "--speed", "6000"]);
    assert_eq!(sandbox.order(&json!({"prompt": PROMPT})).await.status(), 201);
    let lines = sandbox.lines_until("TIMEOUT");
    assert!(lines[0].ends_with("pending, ends in 100.0ms, callback to no URL"), "{lines:?}");
}

#[tokio::test]
async fn answers_404_and_400_for_unknown_ids() {
    let sandbox = RunningSandbox::start(&[]);
    for (id, status, detail) in [
        (ID, 404, "TASK_NOT_FOUND"),
        ("ffd473d5", 400, "INVALID_TASK_ID"),
        ("ffd473d55bef4e14bf228d559be3c19f", 400, "INVALID_TASK_ID"),
        ("a%0Ab", 400, "INVALID_TASK_ID"),
    ] {
        assert_eq!(sandbox.status_text(id).await, (status, format!(r#"{{"detail":"{detail}"}}"#)), "{id}");
    }
    assert_eq!(sandbox.lines_until("unknown").len(), 1);
    for (method, path, status, detail) in [
        (Method::GET, "/v1/veo/generate", 405, "Method Not Allowed"),
        (Method::GET, "/v1/sora/generate", 404, "Not Found"),
        (Method::POST, "/sandbox/calls", 405, "Method Not Allowed"),
    ] {
        assert_eq!(
            sandbox.admin(method, path, Value::Null).await,
            (status, json!({ "detail": detail })),
            "{path}"
        );
    }
}

#[tokio::test]
async fn accepts_documented_orders() {
    let sandbox = RunningSandbox::start(&[]);
    let (jpeg, png) = ("/9j/4AAQ", "iVBORw0KGgoAAAA=");
    for fields in [
        json!({"prompt": "p".repeat(10), "model": "veo-3-quality", "aspect_ratio": "9:16", "seed": 1_000_000_000}),
        json!({"prompt": "é".repeat(4000), "model_type": "veo-3-fast", "filter_text": "translate", "seed": 0}),
        json!({"prompt": PROMPT, "seed": null, "callback_url": null, "watermark_text": "abc", "unknown": 1}),
        json!({"prompt": PROMPT, "bytes_image": jpeg}),
        json!({"prompt": PROMPT, "start_frame": jpeg, "end_frame": png}),
        json!({"prompt": PROMPT, "reference_images": [jpeg, png, "UklGRg=="]}),
    ] {
        let answer = sandbox.order(&fields).await;
        assert_eq!(answer.status(), 201, "{fields}");
        let seed = answer.json::<Value>().await.unwrap()["seed"].as_u64().unwrap();
        assert_eq!(seed, fields["seed"].as_u64().unwrap_or(seed));
        assert!(seed <= 1_000_000_000);
    }
}

#[tokio::test]
async fn refuses_undocumented_orders() {
    let sandbox = RunningSandbox::start(&[]);
    let with = |field: &str, value: Value| json!({"prompt": PROMPT, field: value});
    for (order, field, kind) in [
        (json!({}), "prompt", "missing"),
        (json!({"prompt": null}), "prompt", "missing"),
        (json!({"prompt": "p".repeat(9)}), "prompt", "string_too_short"),
        (json!({"prompt": "p".repeat(4001)}), "prompt", "string_too_long"),
        (json!({"prompt": 1}), "prompt", "string_type"),
        (with("seed", json!(1_000_000_001)), "seed", "int_range"),
        (with("seed", json!(-1)), "seed", "int_range"),
        (with("seed", json!("7")), "seed", "int_range"),
        (with("model", json!("veo-2")), "model", "enum"),
        (with("aspect_ratio", json!("1:1")), "aspect_ratio", "enum"),
        (with("watermark_text", json!("ab")), "watermark_text", "string_too_short"),
        (with("callback_url", json!("http://127.0.0.1/webhook")), "callback_url", "url_parsing"),
        (with("callback_url", json!("webhook")), "callback_url", "url_parsing"),
        (with("sandbox", json!({"outcome": "lost"})), "sandbox", "value_error"),
        (with("sandbox", json!({"faults": ["status:99"]})), "sandbox", "value_error"),
        (with("sandbox", json!({"faults": ["slow"]})), "sandbox", "value_error"),
        (with("sandbox", json!({"fault": []})), "sandbox", "value_error"),
    ] {
        let answer = sandbox.order(&order).await;
        assert_eq!(answer.status(), 422, "{order}");
        let message: Value = answer.json().await.unwrap();
        let list = message["detail"].as_array().unwrap();
        assert_eq!((list.len(), &list[0]["loc"], text(&list[0], "type")), (1, &json!(["body", field]), kind));
    }
    for (order, detail) in [
        (with("bytes_image", json!("R0lGODlh")), "UNSUPPORTED_IMAGE_FORMAT"),
        (with("bytes_image", json!("no base64")), "INVALID_IMAGE"),
        (with("bytes_image", json!("/9j/".repeat(7_000_000))), "IMAGE_TOO_LARGE"),
        (with("start_frame", json!("/9j/")), "Both start_frame and end_frame are required"),
        (with("reference_images", json!([])), "reference_images takes 1 to 3 images"),
        (
            json!({"prompt": PROMPT, "bytes_image": "/9j/", "reference_images": ["/9j/"]}),
            "Only one of bytes_image, start_frame with end_frame, and reference_images can be provided",
        ),
        (
            json!({"prompt": PROMPT, "model": "veo-3-quality", "reference_images": ["/9j/"]}),
            "reference_images is for veo-3-fast only",
        ),
    ] {
        let answer = sandbox.order(&order).await;
        assert_eq!(answer.status(), 400, "{detail}");
        assert_eq!(answer.json::<Value>().await.unwrap(), json!({ "detail": detail }));
    }
    let (_, known) = sandbox.admin(Method::GET, "/sandbox/generations", Value::Null).await;
    assert_eq!(known, json!([]));
}
