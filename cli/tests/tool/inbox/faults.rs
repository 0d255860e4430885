//! Faults of the provider during reconciliation.

use super::reconciling::{ProviderStandIn, is_reconciled, webhook};
use super::{ForwardedDelivery, RunningInbox, TestStore, on_each_store, until};
use blobgate::contract::header;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

on_each_store! {
    retries_after_each_fault
    delivers_the_provider_s_answer
    aborts_a_call_at_its_end
}

/// An outage, a wrong path or an answer about another generation decides nothing.
async fn retries_after_each_fault(place: TestStore) {
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
    assert!(inbox.service.deliveries().is_empty());
    // A slow answer is in time.
    provider.sandbox.set_faults(&["slow:300"]).await;
    inbox.lines(&["reconcile"]);
    is_reconciled(&inbox.service.wait_for(1).await[0], &id, "completed");
}

/// The provider is the only source. A later webhook follows the usual rules: a completion replaces a failure, and another
/// video URL is a conflict.
async fn delivers_the_provider_s_answer(place: TestStore) {
    let provider = ProviderStandIn::start().await;
    let inbox = RunningInbox::reconciling(place, &provider).await;
    let mut count = 0;
    let mut reconcile = async |id: &str, fault: &str| {
        provider.sandbox.set_faults(&[fault]).await;
        inbox.expects(id).await;
        count += 1;
        let reconciled = inbox.service.wait_for(count).await.remove(count - 1);
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
    let quarantined = inbox.entries("state=quarantined").await;
    assert_eq!(
        (quarantined.len(), &quarantined[0]["reason"], &quarantined[0]["generation"]),
        (1, &json!("event-conflict"), &json!(url))
    );
    assert_eq!(inbox.entries(&format!("generation={url}&lane=deliver")).await[0]["seen"], 2);
    inbox.store(&ForwardedDelivery::completed(9)).await;
    assert_eq!(inbox.service.wait_for(5).await.len(), 5, "no other delivery");
}

async fn aborts_a_call_at_its_end(place: TestStore) {
    let provider = ProviderStandIn::start().await;
    let inbox = RunningInbox::reconciling(place, &provider).await;
    let id = provider.generated("completed").await;
    provider.sandbox.set_faults(&["hang"]).await;
    let before = provider.calls(&id).await;
    inbox.expects(&id).await;
    until("its status call runs", async || provider.calls(&id).await > before).await;
    let ending = Instant::now();
    let (status, _) = inbox._running.end_by("TERM");
    assert!(status.success());
    assert!(ending.elapsed() < CALL_TIMEOUT, "{:?}", ending.elapsed());
    provider.sandbox.set_faults(&[]).await;
    let again = RunningInbox::reconciling(inbox._place, &provider).await;
    is_reconciled(&again.service.wait_for(1).await[0], &id, "completed");
}

/// The timeout of a status call.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
