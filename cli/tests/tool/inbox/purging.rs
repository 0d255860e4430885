//! `purge`.

use super::{ForwardedDelivery, RunningInbox, TestStore, generation, on_each_store};
use crate::running::text;
use serde_json::{Value, json};

on_each_store! {
    purges_a_job_and_recognises_its_repeats
    refuses_undelivered_entries
    requires_a_job_or_a_generation
}

async fn purges_a_job_and_recognises_its_repeats(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    let job = |delivery: ForwardedDelivery| ForwardedDelivery { job: Some("order-7"), ..delivery };
    let (done, quarantined) = (job(ForwardedDelivery::completed(1)), job(ForwardedDelivery::quarantined(2)));
    let other =
        inbox.stored(&ForwardedDelivery { job: Some("order-8"), ..ForwardedDelivery::completed(3) }).await;
    let done_id = inbox.stored(&done).await;
    let quarantined_id = inbox.stored(&quarantined).await;
    for id in [other, done_id] {
        inbox.wait_for(id, "delivered").await;
    }
    let shown = async |id: i64| inbox.get(&format!("/entries/{id}")).await;
    assert_eq!(shown(done_id).await["answer"], "scripted");

    let dry = inbox.lines(&["purge", "--job", "order-7", "--dry-run"]);
    assert_eq!(dry, ["would purge 2 entries: 1 delivered, 1 quarantined"]);
    let message = inbox.refused(&["purge", "--job", "order-7"], 2);
    assert!(message.starts_with("This deletes bodies, headers and services' answers for good."), "{message}");
    assert!(message.contains("keeps for 400 days: hook,\ngeneration, event, job, token id"), "{message}");
    assert!(message.contains("The change does not reach logs (WAL), replicas, backups"), "{message}");
    assert!(message.ends_with(
        "this would purge 2 entries: 1 delivered, 1 quarantined. There is no terminal for the question: pass --yes\n"
    ));
    assert!(shown(done_id).await["body"].is_string(), "no purge without a yes");

    assert_eq!(inbox.lines(&["purge", "--job", "order-7", "--yes"]), ["2 entries purged"]);
    for (id, state) in [(done_id, "delivered"), (quarantined_id, "dropped")] {
        let entry = shown(id).await;
        assert_eq!((&entry["state"], &entry["size"]), (&json!(state), &json!(0)));
        assert_eq!(
            (&entry["body"], &entry["headers"], &entry["answer"]),
            (&Value::Null, &Value::Null, &Value::Null)
        );
        assert!(entry["digest"].as_str().unwrap().len() == 64 && entry["ended_at"].is_string(), "{entry}");
    }
    assert!(shown(other).await["body"].is_string(), "the other job");
    inbox.until_followed(3).await;
    let exported = inbox.command(&["export", "--bodies", "--job", "order-7"]).stdout;
    assert!(!text(&exported).contains("a cat that stays"));
    assert!(
        text(&inbox.command(&["export", "--bodies", "--job", "order-8"]).stdout).contains("a cat that stays")
    );

    // Repeats are recognised, and not delivered.
    for delivery in [&done, &quarantined] {
        inbox.store(delivery).await;
    }
    assert_eq!((&shown(done_id).await["seen"], &shown(quarantined_id).await["seen"]), (&json!(2), &json!(2)));
    assert_eq!(inbox.entries("").await.len(), 3);
    let message = inbox.refused(&["purge", "--job", "order-7", "--yes"], 1);
    assert_eq!(message, "2 entries cannot be purged: it is purged already\nno entry to purge\n");
    let message = inbox.refused(&["replay", &done_id.to_string()], 1);
    assert_eq!(message, format!("1 entry not replayed: its body is purged ({done_id})\n"));
    assert_eq!(inbox.service.deliveries().len(), 2);
}

async fn refuses_undelivered_entries(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    inbox.service.hang();
    let under_way =
        inbox.stored(&ForwardedDelivery { job: Some("order-7"), ..ForwardedDelivery::completed(1) }).await;
    inbox.service.wait_for(1).await;
    inbox.lines(&["pause", "--hook", "veo3"]);
    inbox.wait_for_pause("veo3/completed", true).await;
    // The pause applies to a new route too.
    let waits = ForwardedDelivery { job: Some("order-7"), ..ForwardedDelivery::failed(2) };
    let waits = inbox.stored(&waits).await;
    let message = inbox.refused(&["purge", "--job", "order-7", "--yes"], 1);
    let busy = "1 entry cannot be purged: it is in flight: wait for its end, or pause its route first\n";
    let waiting = "1 entry cannot be purged: it waits to be delivered: drop it first\n";
    assert_eq!(message, format!("{busy}{waiting}no entry to purge\n"));
    // With one purgeable entry, the report names the others.
    inbox.lines(&["drop", &waits.to_string(), "--yes"]);
    let message = inbox.refused(&["purge", "--job", "order-7", "--yes"], 1);
    assert!(
        message.contains(busy) && message.contains(&format!(" or pause its route first ({under_way})\n")),
        "{message}"
    );
    assert_eq!(inbox.get(&format!("/entries/{waits}")).await["size"], 0);
    assert!(inbox.get(&format!("/entries/{under_way}")).await["body"].is_string());
    inbox.service.unblock();
    inbox.wait_for(under_way, "delivered").await;
    let lines =
        inbox.lines(&["purge", "--generation", &generation(1).to_uppercase(), "--hook", "veo3", "--yes"]);
    assert_eq!(lines, ["1 entry purged"]);
}

async fn requires_a_job_or_a_generation(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    inbox.store(&ForwardedDelivery::quarantined(1)).await;
    assert!(inbox.refused(&["purge", "--hook", "veo3"], 2).contains("--job <JOB>"));
    let what = json!({"filter": {"hook": "veo3"}});
    let (status, problem) = inbox.call(reqwest::Method::POST, "/purge", &what).await;
    let sentence = json!("a purge needs a job or a generation: add one to the filter");
    assert_eq!((status, &problem["detail"]), (400, &sentence));
    let message = inbox.refused(&["purge", "--generation", "7", "--yes"], 2);
    assert!(message.contains("invalid generation \"7\": use a UUID in the 8-4-4-4-12 form\n"), "{message}");
    let output = inbox.command(&["purge", "--generation", &generation(1), "--yes", "--json"]);
    let message: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(message["changed"].as_array().unwrap().len(), 1);
    let waits = inbox.stored(&ForwardedDelivery::completed(2)).await;
    inbox.wait_for(waits, "delivered").await;
}
