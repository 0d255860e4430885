//! The actions of the page over HTTP: what each asks, does, refuses, and leaves in the audit.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test may panic: that is how it fails"
)]

/// The fields of a form.
type FieldRow<'f> = &'f [(&'f str, &'f str)];

/// Runs a test on both stores.
macro_rules! on_both_stores {
    ($($name:ident)*) => {
        mod sqlite {
            $(#[tokio::test] async fn $name() { super::$name(super::ActionSite::sqlite().await).await; })*
        }
        mod postgres {
            use super::needs;
            $(#[needs(Postgres)] #[tokio::test] async fn $name() { super::$name(super::ActionSite::postgres().await).await; })*
        }
    };
}

mod buttons;
mod pause;
mod pieces;
mod reevaluate;
mod release_as;
mod role;
#[path = "../support/settings.rs"]
mod settings;
mod site;
mod wrong;

use blobgate::contract::header;
use blobgate_testkit::needs;
use site::{ActionSite, generation};

const RELEASE: &str = "/page/actions/release";
const REPLAY: &str = "/page/actions/replay";
const DROP: &str = "/page/actions/drop";

on_both_stores! {
    releases_one_entry
    changes_chosen_entries_and_explains_the_others
    changes_what_a_filter_matched_when_it_asked
    replays_retries_and_purges
}

async fn releases_one_entry(site: ActionSite) {
    site.quarantined(&generation(1), "token-expired").await;
    let asked = site.get(&format!("{RELEASE}?ids=1")).await;
    asked.shows(200, &["Release entry 1?", header::OVERRIDE, "quarantined 1", "cannot be taken back"]);
    assert_eq!(site.state(1).await, "quarantined", "a question changes nothing");
    assert_eq!(site.audit().await, []);
    let done = site.press(&asked, RELEASE).await;
    done.shows(200, &["1 entry released", "Entries 1"]);
    assert_eq!(site.state(1).await, "waiting");
    assert_eq!(site.entry(1).await["override"], "token-expired");
    assert_eq!(site.audit().await, [("release".to_owned(), 1, vec![1])]);
    // A second press of the same button.
    let again = site.press(&asked, RELEASE).await;
    again.shows(200, &["Nothing changed", "1 entry: it already waits", "Retry"]);
    assert_eq!(site.audit().await.len(), 1, "what changes nothing leaves no row");
    site.get(&format!("{RELEASE}?ids=1"))
        .await
        .shows(200, &["No selected entry would change", "it already waits"]);
}

async fn changes_chosen_entries_and_explains_the_others(site: ActionSite) {
    for number in 1..=3 {
        site.quarantined(&generation(number), "token-expired").await;
    }
    site.accepted(&generation(4)).await;
    site.without_event(&generation(5)).await;
    // Checkboxes repeat the name.
    let asked = site.get(&format!("{RELEASE}?ids=1&ids=2&ids=4,5&ids=99")).await;
    asked.shows(
        200,
        &[
            "Release 2 entries?",
            "quarantined 2",
            "1 entry: it already waits",
            "1 entry: it claims no event",
            "1 entry: there is no such entry",
        ],
    );
    let done = site.press(&asked, RELEASE).await;
    done.shows(
        200,
        &["2 entries released", "Entries 1, 2", "it claims no event", "there is no such entry", "entry 99"],
    );
    let mut states = Vec::new();
    for id in 1..=5 {
        states.push(site.state(id).await);
    }
    assert_eq!(states, ["waiting", "waiting", "quarantined", "waiting", "quarantined"]);
    let dropped = site.get(&format!("{DROP}?ids=3,4")).await;
    dropped.shows(200, &["Drop 2 entries?", "quarantined 1", "waiting 1", "deletes the body after 14 days"]);
    site.press(&dropped, DROP).await.shows(200, &["2 entries dropped"]);
    assert_eq!((site.state(3).await, site.state(4).await), ("dropped".to_owned(), "dropped".to_owned()));
    assert_eq!(
        site.audit().await,
        [("drop".to_owned(), 2, vec![3, 4]), ("release".to_owned(), 2, vec![1, 2])]
    );
}

async fn changes_what_a_filter_matched_when_it_asked(site: ActionSite) {
    for number in 1..=3 {
        site.quarantined(&generation(number), "token-expired").await;
    }
    site.quarantined(&generation(4), "source-denied").await;
    let asked = site.get(&format!("{RELEASE}?state=quarantined&reason=token-expired&hook=")).await;
    asked.shows(
        200,
        &["Release 3 entries?", "reason token-expired", "Entries that arrive later stay as they are"],
    );
    // One leaves, and one arrives, before the button.
    let drop = site.get(&format!("{DROP}?ids=2")).await;
    site.press(&drop, DROP).await.shows(200, &["1 entry dropped"]);
    site.quarantined(&generation(5), "token-expired").await;
    site.press(&asked, RELEASE).await.shows(200, &["2 entries released", "Entries 1, 3"]);
    let mut states = Vec::new();
    for id in 1..=5 {
        states.push(site.state(id).await);
    }
    assert_eq!(states, ["waiting", "dropped", "waiting", "quarantined", "quarantined"]);
    assert_eq!(site.audit().await[0], ("release".to_owned(), 2, vec![1, 3]));
}

async fn replays_retries_and_purges(site: ActionSite) {
    site.accepted(&generation(1)).await;
    let retry = "/page/actions/retry";
    let asked = site.get(&format!("{retry}?ids=1")).await;
    asked.shows(200, &["Retry entry 1?", "waiting 1"]);
    site.press(&asked, retry).await.shows(200, &["1 entry retried"]);
    site.get(&format!("{REPLAY}?ids=1")).await.shows(200, &["it already waits. Retry"]);
    let drop = site.get(&format!("{DROP}?ids=1")).await;
    site.press(&drop, DROP).await.shows(200, &["1 entry dropped"]);
    let asked = site.get(&format!("{REPLAY}?ids=1")).await;
    asked.shows(200, &["Replay entry 1?", "dropped 1", "may get the event a second time"]);
    site.press(&asked, REPLAY).await.shows(200, &["1 entry replayed"]);
    assert_eq!(site.entry(1).await["redelivery"], 1);
    let purge = "/page/actions/purge";
    site.get(&format!("{purge}?ids=1")).await.shows(200, &["it waits to be delivered: drop it first"]);
    let drop = site.get(&format!("{DROP}?ids=1")).await;
    site.press(&drop, DROP).await.shows(200, &["1 entry dropped"]);
    let asked = site.get(&format!("{purge}?generation={}", generation(1))).await;
    asked.shows(200, &["Purge 1 entry?", "The deletion is final"]);
    site.press(&asked, purge).await.shows(200, &["1 entry purged"]);
    assert_eq!(site.entry(1).await["size"], 0);
    let actions: Vec<_> = site.audit().await.into_iter().map(|(action, ..)| action).collect();
    assert_eq!(actions, ["purge", "drop", "replay", "drop", "retry"]);
    // A form that no view made.
    let sent = site.submit(purge, &[("state", "dropped")]).await;
    sent.shows(400, &["a purge needs a job or a generation"]);
}
