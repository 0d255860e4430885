//! The ids of a request and the record of its attempts, from the delivery to each request of the service.

use super::*;
use blobgate::contract::is_request_id;

on_each_store! {
    each_attempt_has_the_ids_of_the_first_delivery
    shows_the_attempts_of_an_entry
    a_release_keeps_the_ids
    hostile_ids_fail_no_delivery
}

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const DETAIL: &str = "source: address is in none of 2 ranges, expected an allowed address";

fn with(delivery: ForwardedDelivery, request_id: &str) -> ForwardedDelivery {
    let more = [(header::REQUEST_ID, request_id), (header::TRACEPARENT, PARENT), (header::DETAIL, DETAIL)];
    ForwardedDelivery { more: more.map(|(name, value)| (name, value.to_owned())).to_vec(), ..delivery }
}

fn ids(delivery: &ServiceDelivery) -> [Option<&str>; 2] {
    assert!(delivery.headers.get_all(header::REQUEST_ID).iter().count() == 1, "{delivery:?}");
    [delivery.header(header::REQUEST_ID), delivery.header(header::TRACEPARENT)]
}

async fn each_attempt_has_the_ids_of_the_first_delivery(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    inbox.service.answer(500);
    let id = inbox.stored(&with(ForwardedDelivery::completed(1), "r-1")).await;
    inbox.store(&with(ForwardedDelivery::completed(1), "r-2")).await;
    until("a failure", async || inbox.get(&format!("/entries/{id}")).await["status"] == 500).await;
    inbox.service.answer(200);
    inbox.wait_for(id, "delivered").await;
    inbox.lines(&["replay", &id.to_string(), "--yes"]);
    until("a replay", async || {
        let shown = inbox.get(&format!("/entries/{id}")).await;
        (&shown["redelivery"], &shown["state"]) == (&1.into(), &"delivered".into())
    })
    .await;
    let deliveries = inbox.service.deliveries();
    assert!(deliveries.len() >= 3, "{deliveries:?}");
    for delivery in &deliveries {
        assert_eq!(ids(delivery), [Some("r-1"), Some(PARENT)]);
        assert_eq!(delivery.header(header::DETAIL), None);
    }
    let shown = inbox.get(&format!("/entries/{id}")).await;
    assert_eq!((&shown["request_id"], &shown["traceparent"]), (&"r-1".into(), &PARENT.into()));
    let stored = shown["headers"].as_array().unwrap().iter().map(|line| line["name"].as_str().unwrap());
    let stored: Vec<_> = stored.collect();
    assert!(stored.contains(&header::HOOK), "{stored:?}");
    assert!(
        !stored.iter().any(|name| [header::REQUEST_ID, header::TRACEPARENT, header::DETAIL].contains(name))
    );
    // A copy for a developer has them too.
    let page = inbox.get("/tail?after=0.0&with=delivery").await;
    let headers = page["entries"][0]["headers"].as_array().unwrap().clone();
    let value =
        |name: &str| headers.iter().find(|line| line["name"] == name).map(|line| line["value"].clone());
    assert_eq!(
        (value(header::REQUEST_ID), value(header::TRACEPARENT)),
        (Some("r-1".into()), Some(PARENT.into()))
    );
}

async fn shows_the_attempts_of_an_entry(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    let at_once = inbox.stored(&ForwardedDelivery::completed(1)).await;
    inbox.wait_for(at_once, "delivered").await;
    assert_eq!(inbox.get(&format!("/entries/{at_once}")).await["attempt_log"], json!([]));
    inbox.service.answer(500);
    let id = inbox.stored(&ForwardedDelivery::failed(2)).await;
    until("a failure", async || inbox.get(&format!("/entries/{id}")).await["status"] == 500).await;
    inbox.service.answer(200);
    inbox.wait_for(id, "delivered").await;
    let shown = inbox.get(&format!("/entries/{id}")).await;
    let log = shown["attempt_log"].as_array().unwrap();
    let last = log.last().unwrap();
    assert_eq!((&last["status"], &last["answer"]), (&200.into(), &"scripted".into()));
    for (number, attempt) in (1..).zip(log) {
        assert_eq!(attempt["number"], number);
        assert_eq!(attempt["status"], if number < log.len() { 500 } else { 200 });
        assert!(attempt["duration_ms"].as_i64().unwrap() >= 0, "{attempt}");
        assert!(attempt["at"].as_str().unwrap() >= shown["received_at"].as_str().unwrap(), "{attempt}");
    }
    assert_eq!(shown["attempts"], log.len());
    inbox.lines(&["purge", "--generation", &generation(2), "--yes"]);
    let shown = inbox.get(&format!("/entries/{id}")).await;
    assert_eq!((&shown["attempt_log"], &shown["request_id"]), (&json!([]), &Value::Null));
}

async fn a_release_keeps_the_ids(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    let claimed = with(ForwardedDelivery::quarantined(1), "r-1");
    let id = inbox.stored(&claimed).await;
    // Without a readable event it becomes a new entry.
    let unread = ForwardedDelivery { event: None, generation: None, ..ForwardedDelivery::quarantined(2) };
    let named = inbox.stored(&with(unread, "r-2")).await;
    assert_eq!(inbox.get(&format!("/entries/{id}")).await["detail"], DETAIL);
    inbox.lines(&["release", &id.to_string(), "--yes"]);
    inbox.service.wait_for(1).await;
    let generation = generation(2);
    inbox.lines(&["release", &named.to_string(), "--as", "completed", "--generation", &generation, "--yes"]);
    let deliveries = inbox.service.wait_for(2).await;
    assert_eq!(ids(&deliveries[0]), [Some("r-1"), Some(PARENT)]);
    assert_eq!(ids(&deliveries[1]), [Some("r-2"), Some(PARENT)]);
    inbox.wait_for(id, "delivered").await;
    // A person's release is no first attempt.
    let log = inbox.get(&format!("/entries/{id}")).await["attempt_log"].clone();
    assert_eq!((&log[0]["number"], &log[0]["status"], &log[1]), (&1.into(), &200.into(), &Value::Null));
}

async fn hostile_ids_fail_no_delivery(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    let long = "a".repeat(20_000);
    for (number, hostile) in
        [r#"a" entry=9 is dead"#, "", r"..\..\etc\passwd", long.as_str()].into_iter().enumerate()
    {
        let more = [header::REQUEST_ID, header::TRACEPARENT, header::DETAIL, header::REQUEST_ID];
        let more = more.map(|name| (name, hostile.to_owned())).to_vec();
        let delivery = ForwardedDelivery { more, ..ForwardedDelivery::quarantined(number) };
        let id = inbox.stored(&delivery).await;
        let shown = inbox.get(&format!("/entries/{id}")).await;
        assert_eq!((&shown["detail"], &shown["traceparent"]), (&Value::Null, &Value::Null), "{hostile:.20}");
        assert!(is_request_id(shown["request_id"].as_str().unwrap()), "{shown:.200}");
        assert_eq!(shown["state"], "quarantined");
    }
}
