//! The admin listener over HTTP.

use super::{ForwardedDelivery, RunningInbox, TestStore, generation, on_each_store};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

on_each_store! {
    refuses_wrong_requests
    changes_in_chunks
    previews_without_a_change
    changes_an_entry_once_for_parallel_requests
}

async fn refuses_wrong_requests(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    let get = |path| (Method::GET, path, Value::Null);
    let post = |path, body| (Method::POST, path, body);
    for ((method, path, body), status, sentence) in [
        (
            get("/entries?colour=red"),
            400,
            "unknown filter \"colour\": use state, lane, hook, event, reason, generation, job, request_id or since",
        ),
        (get("/entries?lane=left"), 400, "unknown lane \"left\": use one of deliver, quarantine, observed"),
        (get("/entries?hook="), 400, "invalid hook \"\": use 1 to 32 of a-z 0-9 -"),
        (get("/entries?hook=a&hook=b"), 400, "hook occurs twice: pass it once"),
        (get("/entries?limit=501"), 400, "invalid limit \"501\": use a number from 1 to 500"),
        (get("/entries?before=0"), 400, "invalid before \"0\": use a number above 0"),
        (
            get("/entries?state=lost"),
            400,
            "unknown state \"lost\": use one of waiting, in_flight, delivered, dead, superseded, quarantined, dropped",
        ),
        (get("/entries/x"), 400, "invalid id \"x\": use a number above 0"),
        (get("/entries/77"), 404, "no entry 77: `blobgate inbox ls` lists the entries"),
        (get("/nothing"), 404, "no endpoint has this path: see the inbox API's page"),
        (
            (Method::PUT, "/pauses", json!({})),
            400,
            "a pause needs a hook or an event: pass at least one of them",
        ),
        ((Method::PUT, "/pauses", json!({"hook": ""})), 400, "invalid hook \"\": use 1 to 32 of a-z 0-9 -"),
        (
            (Method::PUT, "/pauses", json!({"event": "begun"})),
            400,
            "the body is wrong: unknown event \"begun\": use one of completed, failed, timeout at line 1 column 17",
        ),
        (
            (Method::DELETE, "/pauses", json!({"route": "a"})),
            400,
            "the body is wrong: unknown field `route`, expected `hook` or `event` at line 1 column 8",
        ),
        (
            post("/release", json!({"id": 1})),
            400,
            "the body is wrong: unknown field `id`, expected one of `ids`, `filter`, `after`, `until`, `limit`, `action`, `dry_run` at line 1 column 5",
        ),
        (
            post("/release", json!({"as": "completed", "ids": [1]})),
            400,
            "the body is wrong: unknown field `ids`, expected one of `id`, `as`, `generation_id`, `dry_run` at line 1 column 23",
        ),
        (post("/unknown", json!({"ids": [1]})), 404, "no endpoint has this path: see the inbox API's page"),
        (post("/replay", json!({})), 400, "the request needs ids or a filter: pass exactly one of them"),
        (
            post("/replay", json!({"ids": [1], "filter": {"state": "dead"}})),
            400,
            "the request needs ids or a filter: pass exactly one of them",
        ),
        (post("/drop", json!({"filter": {}})), 400, "an empty filter matches every entry: add a condition"),
        (
            post("/drop", json!({"filter": {"state": "lost"}})),
            400,
            "the body is wrong: unknown variant `lost`, expected one of `waiting`, `in_flight`, `delivered`, `dead`, `superseded`, `quarantined`, `dropped` at line 1 column 25",
        ),
        (post("/drop", json!({"ids": []})), 400, "the request needs 1 to 500 ids: split a longer list"),
        (
            post("/drop", json!({"ids": (1..=501).collect::<Vec<_>>()})),
            400,
            "the request needs 1 to 500 ids: split a longer list",
        ),
        (
            post("/drop", json!({"ids": [1], "after": 1})),
            400,
            "after and until need a filter: leave them out, or pass a filter instead of ids",
        ),
        (
            post("/drop", json!({"filter": {"state": "dead"}, "limit": 501})),
            400,
            "invalid limit 501: use a number from 1 to 500",
        ),
    ] {
        let (is, message) = inbox.call(method, path, &body).await;
        assert_eq!((is, &message["detail"]), (status, &json!(sentence)), "{path} {body}");
    }
    let (status, message) = inbox.call(Method::POST, "/replay", &json!({"ids": ["1"]})).await;
    assert_eq!(status, 400);
    assert!(message["detail"].as_str().unwrap().starts_with("the body is wrong: invalid type: string"));
}

async fn changes_in_chunks(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    let mut stored = Vec::new();
    for number in 0..5 {
        stored.push(inbox.stored(&ForwardedDelivery::quarantined(number)).await);
    }
    let drop = async |after: Option<i64>, until: Option<i64>, action: &Value| {
        let what = json!({"filter": {"state": "quarantined"}, "after": after, "until": until, "limit": 2, "action": action});
        inbox.call(Method::POST, "/drop", &what).await.1
    };
    let first = drop(None, Some(stored[3]), &Value::Null).await;
    let action = &first["action"];
    assert_eq!(first, json!({"changed": stored[..2], "refused": [], "next": stored[1], "action": action}));
    let second = drop(Some(stored[1]), Some(stored[3]), action).await;
    assert_eq!(second, json!({"changed": stored[2..4], "refused": [], "next": stored[3], "action": action}));
    let last = drop(Some(stored[3]), Some(stored[3]), action).await;
    assert_eq!(last, json!({"changed": [], "refused": [], "next": null, "action": action}));
    let (_, audit) = inbox.call(Method::GET, "/audit", &Value::Null).await;
    let row = &audit["actions"][0];
    assert_eq!((&row["id"], &row["entries"], &row["ids"]), (action, &json!(4), &json!(stored[..4])));
    assert_eq!(audit["actions"].as_array().unwrap().len(), 1, "{audit}");
    assert_eq!(inbox.entries("state=quarantined").await.len(), 1);
}

async fn previews_without_a_change(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    let id = inbox.stored(&ForwardedDelivery::quarantined(1)).await;
    let no_event = ForwardedDelivery {
        event: None,
        generation: Some(generation(2)),
        ..ForwardedDelivery::quarantined(2)
    };
    let newest = inbox.stored(&no_event).await;
    let expected = json!({
        "would_change": [{"state": "quarantined", "count": 1}],
        "would_refuse": [{"why": "it claims no event: name it with `blobgate inbox release ID --as completed`, or failed or timeout", "count": 1}],
        "until": newest,
        "next": null,
    });
    let what = json!({"filter": {"hook": "veo3"}, "dry_run": true});
    assert_eq!(inbox.call(Method::POST, "/release", &what).await, (200, expected.clone()));
    let what = json!({"ids": [id, newest], "dry_run": true});
    assert_eq!(inbox.call(Method::POST, "/release", &what).await, (200, expected));
    assert_eq!(inbox.entries("state=quarantined").await.len(), 2);
    assert!(inbox.service.deliveries().is_empty());
}

async fn changes_an_entry_once_for_parallel_requests(place: TestStore) {
    const OPERATORS: usize = 20;
    let inbox = RunningInbox::start(place).await;
    inbox.store(&ForwardedDelivery::completed(99)).await;
    inbox.service.wait_for(1).await;
    inbox.lines(&["pause", "--hook", "veo3"]);
    inbox.wait_for_pause("veo3/completed", true).await;
    let mut ids = Vec::new();
    for number in 0..10 {
        ids.push(inbox.stored(&ForwardedDelivery::quarantined(number)).await);
    }
    let what = json!({"ids": ids});
    let answers = join_all((0..OPERATORS).map(|_| inbox.call(Method::POST, "/release", &what))).await;
    let changed = answers.iter().flat_map(|(status, message)| {
        assert_eq!(*status, 200, "{message}");
        message["changed"].as_array().unwrap().iter().map(|id| id.as_i64().unwrap())
    });
    let mut changed: Vec<_> = changed.collect();
    changed.sort_unstable();
    assert_eq!(changed, ids);
    inbox.lines(&["resume", "--hook", "veo3"]);
    for id in &ids {
        inbox.wait_for(*id, "delivered").await;
    }
    assert_eq!(inbox.service.deliveries().len(), 1 + ids.len());
}
