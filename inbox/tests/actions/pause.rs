//! Pauses on the page.

use super::needs;
use super::site::ActionSite;
use axum::http::Method;
use serde_json::{Value, json};

const PAUSE: &str = "/page/actions/pause";
const RESUME: &str = "/page/actions/resume";

on_both_stores! { pauses_and_resumes }

async fn pauses_and_resumes(site: ActionSite) {
    site.accepted(&super::generation(1)).await;
    let view = site.get(PAUSE).await;
    view.shows(200, &["Pause deliveries", "hook veo3, since", "every event completed failed timeout"]);
    let asked = site.get(&format!("{PAUSE}?hook=veo3&event=failed")).await;
    asked.shows(200, &["Pause hook veo3, event failed?", "starts no new attempt"]);
    asked.lacks("No route has this hook");
    let done = site.press(&asked, PAUSE).await;
    done.shows(200, &["Paused: hook veo3, event failed", "Running attempts finish"]);
    let (_, pauses) = site.api(Method::GET, "/pauses", &Value::Null).await;
    assert_eq!((pauses.as_array().unwrap().len(), &pauses[1]["event"]), (2, &json!("failed")));
    // The same pause again.
    site.press(&asked, PAUSE).await.shows(200, &["Pause hook veo3, event failed?", "It is paused since"]);
    site.get(&format!("{PAUSE}?hook=other&event="))
        .await
        .shows(200, &["Pause hook other?", "No route has this hook"]);
    site.get(&format!("{PAUSE}?event=timeout")).await.shows(200, &["Pause event timeout?"]);
    let asked = site.get(&format!("{RESUME}?hook=veo3&event=failed")).await;
    asked.shows(200, &["Resume hook veo3, event failed?"]);
    site.press(&asked, RESUME).await.shows(200, &["Resumed: hook veo3, event failed"]);
    let (_, pauses) = site.api(Method::GET, "/pauses", &Value::Null).await;
    assert_eq!(pauses.as_array().unwrap().len(), 1);
    site.get(&format!("{RESUME}?hook=veo3&event=failed")).await.shows(200, &["It is not paused"]);
    site.submit(RESUME, &[("hook", "veo3"), ("event", "failed")]).await.shows(404, &["no pause of"]);
    let (_, audit) = site.api(Method::GET, "/audit", &Value::Null).await;
    let rows = audit["actions"].as_array().unwrap().iter();
    let rows: Vec<_> =
        rows.map(|row| (row["action"].as_str().unwrap(), row["target"].as_str().unwrap())).collect();
    assert_eq!(rows, [("resume", "hook veo3, event failed"), ("pause", "hook veo3, event failed")]);
}
