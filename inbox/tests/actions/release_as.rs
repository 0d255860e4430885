//! The release of an entry as an event that a person names.

use super::needs;
use super::site::{ActionSite, completed, generation};
use axum::http::Method;
use serde_json::Value;

const RELEASE_AS: &str = "/page/actions/release-as";

on_both_stores! { releases_an_entry_as_an_event }

async fn releases_an_entry_as_an_event(site: ActionSite) {
    site.without_event(&generation(1)).await;
    let form = site.get(&format!("{RELEASE_AS}?ids=1")).await;
    form.shows(
        200,
        &["Release entry 1 as an event", "quarantined for schema-invalid", "completed failed timeout"],
    );
    let asked = site.get(&format!("{RELEASE_AS}?ids=1&as=completed&generation_id=")).await;
    let named = format!("delivers the entry as completed of generation {} on hook veo3", generation(1));
    asked.shows(200, &["Release entry 1 as completed?", &named, "does not check the result URL"]);
    assert_eq!(site.state(1).await, "quarantined", "a question changes nothing");
    site.press(&asked, RELEASE_AS).await.shows(200, &["Entry released as completed"]);
    let released = site.audit().await;
    assert_eq!((released.len(), released[0].0.as_str()), (1, "release-as"));
    // A second press of the same button.
    let again = site.post(RELEASE_AS, &asked.fields(RELEASE_AS)).await;
    again.shows(409, &["entry 1 is already released"]);
    // The store has the event already, and then a contradiction.
    site.without_event_in(&completed(&generation(1)).replace("s=1", "s=2")).await;
    let (_, page) = site.api(Method::GET, "/entries?state=quarantined", &Value::Null).await;
    let (id, other) = (page["entries"][0]["id"].as_i64().unwrap(), generation(2));
    let repeat = site.get(&format!("{RELEASE_AS}?ids={id}&as=completed")).await;
    repeat.shows(200, &["The entry ends as a repeat, and the inbox delivers nothing"]);
    let wrong = site.get(&format!("{RELEASE_AS}?ids={id}&as=completed&generation_id={other}")).await;
    wrong.shows(409, &["is about generation"]);
    let failed = site.get(&format!("{RELEASE_AS}?ids={id}&as=failed")).await;
    failed.shows(409, &["stays in quarantine", "event-conflict"]);
    site.submit(RELEASE_AS, &[("ids", &id.to_string()), ("as", "failed")])
        .await
        .shows(409, &["event-conflict"]);
    assert_eq!(site.audit().await.len(), 1);
}
