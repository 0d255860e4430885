//! `pause` and `resume`.

use super::{ForwardedDelivery, RunningInbox, TestStore, on_each_store};

on_each_store! {
    stops_a_hook_until_it_is_resumed
    stops_an_event_of_a_hook
    pauses_and_resumes_once
}

async fn stops_a_hook_until_it_is_resumed(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    inbox.store(&ForwardedDelivery::completed(1)).await;
    inbox.service.wait_for(1).await;
    assert_eq!(inbox.lines(&["pause", "--hook", "veo3"]), ["hook veo3 is paused"]);
    inbox.wait_for_pause("veo3/completed", true).await;

    let paused = inbox.stored(&ForwardedDelivery::completed(2)).await;
    let other = inbox.stored(&ForwardedDelivery { hook: "other", ..ForwardedDelivery::completed(3) }).await;
    inbox.wait_for(other, "delivered").await;
    assert_eq!(inbox.get(&format!("/entries/{paused}")).await["state"], "waiting");
    assert_eq!(inbox.service.deliveries().len(), 2);

    assert_eq!(inbox.lines(&["resume", "--hook", "veo3"]), ["hook veo3 is resumed"]);
    inbox.wait_for(paused, "delivered").await;
    assert_eq!(inbox.service.deliveries().len(), 3);
}

async fn stops_an_event_of_a_hook(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    inbox.store(&ForwardedDelivery::failed(1)).await;
    inbox.service.wait_for(1).await;
    let pause = ["--hook", "veo3", "--event", "failed"];
    assert_eq!(inbox.lines(&[&["pause"], &pause[..]].concat()), ["failed of hook veo3 is paused"]);
    inbox.wait_for_pause("veo3/failed", true).await;
    let paused = inbox.stored(&ForwardedDelivery::failed(2)).await;
    let other = inbox.stored(&ForwardedDelivery::completed(3)).await;
    inbox.wait_for(other, "delivered").await;
    assert_eq!(inbox.get(&format!("/entries/{paused}")).await["state"], "waiting");
    assert_eq!(inbox.lines(&[&["resume"], &pause[..]].concat()), ["failed of hook veo3 is resumed"]);
    inbox.wait_for(paused, "delivered").await;
}

async fn pauses_and_resumes_once(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    assert_eq!(inbox.lines(&["pause", "--event", "timeout"]), ["timeout of every hook is paused"]);
    assert_eq!(inbox.lines(&["pause", "--event", "timeout"]), ["timeout of every hook is already paused"]);
    let pauses = inbox.get("/pauses").await;
    assert_eq!(pauses.as_array().unwrap().len(), 1);
    assert_eq!((&pauses[0]["hook"], &pauses[0]["event"]), (&serde_json::Value::Null, &"timeout".into()));

    let unknown = |name: &str| {
        format!(
            "blobgate: no pause of {name}: pass the same hook and event as when it was set; GET /pauses lists the pauses\n"
        )
    };
    assert_eq!(inbox.refused(&["resume", "--hook", "veo3"], 1), unknown("hook veo3"));
    let narrower = ["resume", "--hook", "veo3", "--event", "timeout"];
    assert_eq!(inbox.refused(&narrower, 1), unknown("hook veo3, event timeout"));
    inbox.lines(&["resume", "--event", "timeout"]);
    assert_eq!(inbox.refused(&["resume", "--event", "timeout"], 1), unknown("event timeout"));

    for command in ["pause", "resume"] {
        let message = inbox.refused(&[command], 2);
        assert!(message.contains("<--hook <HOOK>|--event <EVENT>>"), "{message}");
        let message = inbox.refused(&[command, "--event", "begun"], 2);
        assert!(message.contains("[possible values: completed, failed, timeout]"), "{message}");
    }
}
