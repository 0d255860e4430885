//! The buttons of an entry: each action that applies, and no other.

use super::needs;
use super::site::{ActionSite, generation};
use axum::http::Method;
use serde_json::json;

const CHANGES: [&str; 5] = ["replay", "retry", "release", "drop", "purge"];

on_both_stores! { an_entry_has_a_button_for_each_action_that_applies }

async fn an_entry_has_a_button_for_each_action_that_applies(site: ActionSite) {
    // Entries of every state and lane, with and without event, body and answer.
    for number in 1..=7 {
        site.accepted(&generation(number)).await;
    }
    for number in 8..=12 {
        site.quarantined(&generation(number), "token-expired").await;
    }
    for number in 13..=16 {
        site.without_event(&generation(number)).await;
    }
    for statement in [
        "UPDATE entry SET state = 'in_flight', lease_until = 4102444800000000 WHERE id = 2",
        "UPDATE entry SET state = 'delivered', ended_at = due_at, answer = 'ok' WHERE id = 3",
        "UPDATE entry SET state = 'dead', ended_at = due_at WHERE id = 4",
        "UPDATE entry SET state = 'superseded', ended_at = due_at WHERE id IN (5, 9)",
        "UPDATE entry SET state = 'dropped', ended_at = due_at WHERE id IN (6, 10, 14)",
        "UPDATE entry SET state = 'dropped', size = 0, ended_at = due_at WHERE id IN (7, 11, 15)",
        "UPDATE entry SET state = 'delivered', size = 0, answer = NULL, ended_at = due_at WHERE id = 12",
        "UPDATE entry SET size = 0 WHERE id = 16",
    ] {
        site.sql(statement).await;
    }
    let mut shown = 0;
    for id in 1..=16 {
        let view = site.get(&format!("/page/entries/{id}")).await;
        view.shows(200, &[&format!("Entry {id}")]);
        for change in CHANGES {
            let request = json!({"ids": [id], "dry_run": true});
            let (_, preview) = site.api(Method::POST, &format!("/{change}"), &request).await;
            let applies = !preview["would_change"].as_array().unwrap().is_empty();
            let button = format!("href=\"/page/actions/{change}?ids={id}\"");
            assert_eq!(view.text.contains(&button), applies, "{change} of entry {id}: {preview}");
            shown += i32::from(applies);
        }
        let is_judged = view.text.contains(&format!("href=\"/page/actions/reevaluate?ids={id}\""));
        assert_eq!(is_judged, [8, 13].contains(&id), "reevaluate of entry {id}");
        let is_named = view.text.contains(&format!("href=\"/page/actions/release-as?ids={id}\""));
        assert_eq!(is_named, [8, 13].contains(&id), "release-as of entry {id}");
    }
    assert!(shown > 15, "{shown}");
}
