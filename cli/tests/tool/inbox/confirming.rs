//! The inbox delivers a quarantined entry once the provider confirms it.

use super::reconciling::{ProviderStandIn, webhook};
use super::reevaluating::with_trust;
use super::{ForwardedDelivery, RunningInbox, TestStore, on_each_store, until};
use blobgate::contract::{Kind, Verdict, header};
use reqwest::Method;
use serde_json::{Value, json};

on_each_store! {
    confirms_quarantined_entries
    confirms_reevaluated_entries
}

async fn confirms_quarantined_entries(place: TestStore) {
    let provider = ProviderStandIn::start().await;
    let inbox = RunningInbox::reconciling(place, &provider).await;
    let quarantined = |id: &str, body: &Value| ForwardedDelivery {
        verdict: Verdict::Quarantined,
        reason: Some("confirm-unavailable"),
        job: Some("order-17"),
        token: Some("token-17"),
        ..webhook(id, body)
    };
    let (own, forged) = (provider.generated("completed").await, provider.generated("completed").await);
    provider.sandbox.set_faults(&["status:503"]).await;
    let own_body = provider_body(&own);
    let mut forged_body = provider_body(&forged);
    forged_body["video_url"] = json!("https://cdn.runblob.io/forged.mp4");
    let released = inbox.stored(&quarantined(&own, &own_body)).await;
    let left = inbox.stored(&quarantined(&forged, &forged_body)).await;
    until("a status call has failed", async || {
        inbox.call(Method::POST, "/reconcile", &json!({})).await;
        inbox.question(&own).await.is_some_and(|question| question["answer"] == "status")
    })
    .await;
    assert_eq!(inbox.question(&own).await.unwrap()["job"], Value::Null);
    assert!(inbox.service.deliveries().is_empty());
    provider.sandbox.set_faults(&[]).await;
    inbox.lines(&["reconcile"]);
    let request = inbox.service.wait_for(1).await.remove(0);
    assert_eq!(serde_json::from_slice::<Value>(&request.body).unwrap(), own_body, "the body is unchanged");
    for (name, value) in [
        (header::VERDICT, Some(Verdict::Accepted.name())),
        (header::EVENT, Some(Kind::Completed.name())),
        (header::PROOFS, Some("token,confirmed")),
        (header::JOB, Some("order-17")),
        (header::REASON, None),
        (header::CLAIMED_EVENT, None),
        (header::OVERRIDE, None),
        (header::SOURCE, None),
    ] {
        assert_eq!(request.header(name), value, "{name}");
    }
    inbox.wait_for(released, "superseded").await;
    until("the other has its status call", async || inbox.question(&forged).await.is_none()).await;
    assert_eq!(inbox.get(&format!("/entries/{left}")).await["state"], "quarantined");
    inbox.until_metric("reconciliations_total{outcome=\"contradicted\"} 1").await;
    assert_eq!(inbox.service.deliveries().len(), 1);
}

/// The provider contradicted these events, or did not know them yet. A reevaluation calls it again.
async fn confirms_reevaluated_entries(place: TestStore) {
    let provider = ProviderStandIn::start().await;
    let inbox = RunningInbox::reconciling(place, &provider).await;
    let quarantined = |id: &str, reason, body: &Value| ForwardedDelivery {
        verdict: Verdict::Quarantined,
        reason: Some(reason),
        job: Some("order-17"),
        token: Some(Box::leak(format!("token-{id}").into_boxed_str())),
        ..webhook(id, body)
    };
    let (own, forged) = (provider.generated("completed").await, provider.generated("completed").await);
    let elsewhere = provider.generated("completed").await;
    let mut forged_body = provider_body(&forged);
    forged_body["video_url"] = json!("https://cdn.runblob.io/forged.mp4");
    let mut elsewhere_body = provider_body(&elsewhere);
    elsewhere_body["video_url"] = json!("https://cdn.example.com/a.mp4");
    let released = inbox.stored(&quarantined(&own, "not-confirmed", &provider_body(&own))).await;
    let left = inbox.stored(&quarantined(&forged, "not-confirmed", &forged_body)).await;
    let denied = inbox.stored(&quarantined(&elsewhere, "result-url-denied", &elsewhere_body)).await;

    let config = with_trust("{all_of: [token, confirmed]}", "\"*.runblob.io\"");
    let config = config.path().to_str().unwrap();
    let judge = ["reevaluate", "--config", config, "--state", "quarantined"];
    // The test makes status calls too.
    let before = [provider.calls(&own).await, provider.calls(&elsewhere).await];
    let would = inbox.lines(&[&judge[..], &["--dry-run"]].concat());
    assert_eq!(would, ["2 entries would pass once the provider confirms them", "0 entries would pass"]);
    assert!(inbox.question(&own).await.is_none(), "a dry run makes no call");
    assert_eq!(provider.calls(&own).await, before[0]);

    let output = inbox.command(&[&judge[..], &["--yes", "--json"]].concat());
    let done: Value = serde_json::from_slice(&output.stdout).unwrap();
    let detail = "video_url: host is none of 1 allowed hosts, expected a host of result_url";
    let why = json!([{"id": denied, "why": format!("result-url-denied: {detail}")}]);
    assert_eq!(done, json!({"changed": [], "to_confirm": [released, left], "refused": why}));
    assert_eq!(output.status.code(), Some(1), "one stays");
    let request = inbox.service.wait_for(1).await.remove(0);
    for (name, value) in [
        (header::VERDICT, Some(Verdict::Accepted.name())),
        (header::EVENT, Some(Kind::Completed.name())),
        (header::GENERATION_ID, Some(own.as_str())),
        (header::PROOFS, Some("token,confirmed")),
        (header::JOB, Some("order-17")),
        (header::REASON, None),
        (header::OVERRIDE, None),
        (header::SOURCE, None),
    ] {
        assert_eq!(request.header(name), value, "{name}");
    }
    inbox.wait_for(released, "superseded").await;
    inbox.until_metric("reconciliations_total{outcome=\"contradicted\"} 1").await;
    assert_eq!(inbox.get(&format!("/entries/{left}")).await["state"], "quarantined");
    assert_eq!((provider.calls(&elsewhere).await, inbox.service.deliveries().len()), (before[1], 1));

    // A second reevaluation calls again for a contradicted entry.
    let asked = provider.calls(&forged).await;
    let again = inbox.lines(&["reevaluate", "--config", config, &left.to_string()]);
    assert_eq!(
        again,
        [
            "1 entry quarantined until the provider confirms them. `blobgate inbox reconcile --dry-run` lists the calls",
            "0 entries released"
        ]
    );
    until("one more status call", async || provider.calls(&forged).await > asked).await;
    inbox.until_metric("reconciliations_total{outcome=\"contradicted\"} 2").await;

    // An inbox without a provider refuses.
    let alone = RunningInbox::start(TestStore::sqlite()).await;
    let id = alone.stored(&quarantined(&own, "not-confirmed", &provider_body(&own))).await.to_string();
    let message = alone.refused(&["reevaluate", "--config", config, &id], 1);
    assert!(message.contains("this inbox runs without a status API: start it with --provider"), "{message}");
}

/// The compared fields of the sandbox's callback.
fn provider_body(id: &str) -> Value {
    json!({"generation_id": id, "status": "completed", "video_url": format!("https://cdn.runblob.io/videos/{id}.mp4?late=1")})
}
