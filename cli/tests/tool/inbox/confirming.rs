//! What is kept for want of the provider's word is asked about, and goes on as soon as the provider says the same.

use super::reconciling::{ProviderStandIn, webhook};
use super::reevaluating::with_trust;
use super::{ForwardedDelivery, RunningInbox, TestStore, on_each_store, until};
use blobgate::contract::{Kind, Verdict, header};
use reqwest::Method;
use serde_json::{Value, json};

on_each_store! {
    confirms_what_was_kept
    asks_about_what_is_judged_again
}

async fn confirms_what_was_kept(place: TestStore) {
    let provider = ProviderStandIn::start().await;
    let inbox = RunningInbox::reconciling(place, &provider).await;
    let kept = |id: &str, body: &Value| ForwardedDelivery {
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
    let released = inbox.stored(&kept(&own, &own_body)).await;
    let left = inbox.stored(&kept(&forged, &forged_body)).await;
    until("it was asked for in vain", async || {
        inbox.ask(Method::POST, "/reconcile", &json!({})).await;
        inbox.question(&own).await.is_some_and(|question| question["answer"] == "status")
    })
    .await;
    assert_eq!(inbox.question(&own).await.unwrap()["job"], Value::Null);
    assert!(inbox.service.came().is_empty());
    provider.sandbox.set_faults(&[]).await;
    inbox.lines(&["reconcile"]);
    let came = inbox.service.wait_for(1).await.remove(0);
    assert_eq!(serde_json::from_slice::<Value>(&came.body).unwrap(), own_body, "as it came");
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
        assert_eq!(came.header(name), value, "{name}");
    }
    inbox.wait_for(released, "superseded").await;
    until("the other is asked about", async || inbox.question(&forged).await.is_none()).await;
    assert_eq!(inbox.get(&format!("/entries/{left}")).await["state"], "quarantined");
    inbox.until_metric("reconciliations_total{outcome=\"contradicted\"} 1").await;
    assert_eq!(inbox.service.came().len(), 1);
}

/// The provider said something else when it came, or knew nothing yet. Judged again, it is asked.
async fn asks_about_what_is_judged_again(place: TestStore) {
    let provider = ProviderStandIn::start().await;
    let inbox = RunningInbox::reconciling(place, &provider).await;
    let kept = |id: &str, reason, body: &Value| ForwardedDelivery {
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
    let released = inbox.stored(&kept(&own, "not-confirmed", &provider_body(&own))).await;
    let left = inbox.stored(&kept(&forged, "not-confirmed", &forged_body)).await;
    let denied = inbox.stored(&kept(&elsewhere, "result-url-denied", &elsewhere_body)).await;

    let config = with_trust("{all_of: [token, confirmed]}", "\"*.runblob.io\"");
    let config = config.path().to_str().unwrap();
    let judge = ["reevaluate", "--config", config, "--state", "quarantined"];
    // The test has asked too.
    let before = [provider.calls(&own).await, provider.calls(&elsewhere).await];
    let would = inbox.lines(&[&judge[..], &["--dry-run"]].concat());
    assert_eq!(would, ["2 entries would pass once the provider confirms them", "0 entries would pass"]);
    assert!(inbox.question(&own).await.is_none(), "a dry run asks nobody");
    assert_eq!(provider.calls(&own).await, before[0]);

    let output = inbox.command(&[&judge[..], &["--yes", "--json"]].concat());
    let done: Value = serde_json::from_slice(&output.stdout).unwrap();
    let why = json!([{"id": denied, "why": "result-url-denied"}]);
    assert_eq!(done, json!({"changed": [], "asked": [released, left], "refused": why}));
    assert_eq!(output.status.code(), Some(1), "one stays");
    let came = inbox.service.wait_for(1).await.remove(0);
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
        assert_eq!(came.header(name), value, "{name}");
    }
    inbox.wait_for(released, "superseded").await;
    inbox.until_metric("reconciliations_total{outcome=\"contradicted\"} 1").await;
    assert_eq!(inbox.get(&format!("/entries/{left}")).await["state"], "quarantined");
    assert_eq!((provider.calls(&elsewhere).await, inbox.service.came().len()), (before[1], 1));

    // What the provider has contradicted is asked about again, where somebody wants that.
    let asked = provider.calls(&forged).await;
    let again = inbox.lines(&["reevaluate", "--config", config, &left.to_string()]);
    assert_eq!(
        again,
        [
            "1 entry quarantined until the provider confirms them. `blobgate inbox reconcile --dry-run` lists the calls",
            "0 entries released"
        ]
    );
    until("it was asked about once more", async || provider.calls(&forged).await > asked).await;
    inbox.until_metric("reconciliations_total{outcome=\"contradicted\"} 2").await;

    // Where nobody is asked, that is said.
    let alone = RunningInbox::start(TestStore::sqlite()).await;
    let id = alone.stored(&kept(&own, "not-confirmed", &provider_body(&own))).await.to_string();
    let said = alone.refused(&["reevaluate", "--config", config, &id], 1);
    assert!(said.contains("this inbox runs without a status API: start it with --provider"), "{said}");
}

/// What the sandbox would have called back with, as far as it is compared.
fn provider_body(id: &str) -> Value {
    json!({"generation_id": id, "status": "completed", "video_url": format!("https://cdn.runblob.io/videos/{id}.mp4?late=1")})
}
