//! What goes wrong with the provider while it is asked for what never came.

use super::reconciling::{ProviderStandIn, is_reconciled, webhook};
use super::{ForwardedDelivery, RunningInbox, TestStore, on_each_store, until};
use blobgate::contract::header;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

on_each_store! {
    brings_what_the_provider_says_and_no_fault_of_it
    takes_the_provider_at_its_word
    gives_a_call_up_when_it_ends
}

/// An outage says nothing about a generation, nor does a path that is not served, nor what is about another one.
async fn brings_what_the_provider_says_and_no_fault_of_it(place: TestStore) {
    let provider = ProviderStandIn::start().await;
    let inbox = RunningInbox::reconciling(place, &provider).await;
    let id = provider.generated("completed").await;
    let faults = [
        ("status:503", "status"),
        ("status:404", "status"),
        ("status:401", "unauthorized"),
        ("status:429", "limited"),
        ("bad-json", "unreadable"),
        ("cut", "no-answer"),
        ("huge", "no-answer"),
        ("still-processing", "still-working"),
        ("lie:id", "contradicted"),
        ("hang", "no-answer"),
    ];
    provider.sandbox.set_faults(&[faults[0].0]).await;
    inbox.expects(&id).await;
    for (fault, answer) in faults {
        provider.sandbox.set_faults(&[fault]).await;
        let before = provider.calls(&id).await;
        until(fault, async || {
            inbox.lines(&["reconcile"]);
            provider.calls(&id).await > before
        })
        .await;
        until(answer, async || inbox.question(&id).await.unwrap()["answer"] == answer).await;
    }
    assert!(inbox.service.came().is_empty());
    // Late, and in time.
    provider.sandbox.set_faults(&["slow:300"]).await;
    inbox.lines(&["reconcile"]);
    is_reconciled(&inbox.service.wait_for(1).await[0], &id, "completed");
}

/// There is nobody else to ask. A webhook that says otherwise afterwards is judged as any is: a completion takes the place of a
/// failure, and where a video is was said already.
async fn takes_the_provider_at_its_word(place: TestStore) {
    let provider = ProviderStandIn::start().await;
    let inbox = RunningInbox::reconciling(place, &provider).await;
    let mut came = 0;
    let mut reconcile = async |id: &str, fault: &str| {
        provider.sandbox.set_faults(&[fault]).await;
        inbox.expects(id).await;
        came += 1;
        let reconciled = inbox.service.wait_for(came).await.remove(came - 1);
        provider.sandbox.set_faults(&[]).await;
        reconciled
    };
    let [status, url] = [provider.generated("completed").await, provider.generated("completed").await];
    let code = provider.generated("UNSAFE_CONTENT").await;
    is_reconciled(&reconcile(&status, "lie:status").await, &status, "failed");
    let reconciled = reconcile(&url, "lie:url").await;
    is_reconciled(&reconciled, &url, "completed");
    let true_url = provider.status(&url).await["video_url"].clone();
    assert_ne!(serde_json::from_slice::<Value>(&reconciled.body).unwrap()["video_url"], true_url);
    let reconciled = reconcile(&code, "lie:code").await;
    is_reconciled(&reconciled, &code, "timeout");

    inbox.store(&webhook(&status, &provider.status(&status).await)).await;
    let late = inbox.service.wait_for(4).await.remove(3);
    assert_eq!(
        (late.header(header::EVENT), late.header(header::SUPERSEDES)),
        (Some("completed"), Some("failed"))
    );
    inbox.store(&webhook(&url, &provider.status(&url).await)).await;
    let failure = ForwardedDelivery { event: Some("failed"), ..webhook(&url, &provider.status(&code).await) };
    inbox.store(&failure).await;
    let kept = inbox.entries("state=quarantined").await;
    assert_eq!(
        (kept.len(), &kept[0]["reason"], &kept[0]["generation"]),
        (1, &json!("event-conflict"), &json!(url))
    );
    assert_eq!(inbox.entries(&format!("generation={url}&lane=deliver")).await[0]["seen"], 2);
    inbox.store(&ForwardedDelivery::completed(9)).await;
    assert_eq!(inbox.service.wait_for(5).await.len(), 5, "and nothing else");
}

async fn gives_a_call_up_when_it_ends(place: TestStore) {
    let provider = ProviderStandIn::start().await;
    let inbox = RunningInbox::reconciling(place, &provider).await;
    let id = provider.generated("completed").await;
    provider.sandbox.set_faults(&["hang"]).await;
    let before = provider.calls(&id).await;
    inbox.expects(&id).await;
    until("it is asked about", async || provider.calls(&id).await > before).await;
    let ending = Instant::now();
    let (status, _) = inbox._running.end_by("TERM");
    assert!(status.success());
    assert!(ending.elapsed() < CALL, "{:?}", ending.elapsed());
    provider.sandbox.set_faults(&[]).await;
    let again = RunningInbox::reconciling(inbox._place, &provider).await;
    is_reconciled(&again.service.wait_for(1).await[0], &id, "completed");
}

/// A call that has no answer takes so long.
const CALL: Duration = Duration::from_secs(5);
