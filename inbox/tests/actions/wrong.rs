//! Requests that no view of the page makes: a clear answer, and nothing changed.

use super::site::{ActionSite, generation};

#[tokio::test]
async fn refuses_wrong_requests_and_changes_nothing() {
    let site = ActionSite::sqlite().await;
    site.quarantined(&generation(1), "token-expired").await;
    let many: Vec<String> = (1..=501).map(|id| id.to_string()).collect();
    let many = many.join(",");
    let rows: &[(&str, crate::FieldRow<'_>, u16, &str)] = &[
        ("release", &[], 400, "no entry is selected"),
        ("release", &[("ids", "")], 400, "no entry is selected"),
        ("release", &[("state", ""), ("hook", "")], 400, "no entry is selected"),
        ("release", &[("ids", "one")], 400, "invalid id \"one\""),
        ("release", &[("ids", "1,")], 400, "invalid id \"\""),
        ("release", &[("ids", "-1")], 400, "invalid id \"-1\""),
        ("release", &[("ids", "99999999999999999999")], 400, "invalid id"),
        ("release", &[("ids", "<script>alert(1)</script>")], 400, "invalid id \"<script>alert(1)</script>\""),
        ("release", &[("ids", &many)], 400, "1 to 500 ids"),
        ("release", &[("ids", "1"), ("state", "quarantined")], 400, "exactly one of them"),
        ("release", &[("state", "lost")], 400, "unknown state \"lost\""),
        ("release", &[("state", "quarantined"), ("state", "dead")], 400, "state occurs twice"),
        ("release", &[("hook", "\u{1b}[2J")], 400, "invalid hook"),
        ("release", &[("generation", "\u{202e}")], 400, "invalid generation"),
        ("release", &[("job", "a' OR 1=1 --")], 400, "invalid job"),
        ("release", &[("colour", "red")], 400, "unknown filter \"colour\""),
        ("release", &[("dry_run", "true"), ("ids", "1")], 400, "unknown filter"),
        ("purge", &[("state", "dropped")], 400, "a purge needs a job or a generation"),
        ("explode", &[("ids", "1")], 404, "no such action"),
        ("%00", &[("ids", "1")], 404, "no such action"),
        ("release-as", &[("ids", "1,2"), ("as", "completed")], 400, "an event belongs to one entry"),
        ("release-as", &[("ids", "1"), ("as", "started")], 400, "unknown event \"started\""),
        ("release-as", &[("ids", "99"), ("as", "completed")], 404, "no entry 99"),
        ("pause", &[("hook", "Veo 3")], 400, "invalid hook"),
        ("pause", &[("event", "started")], 400, "unknown event"),
        ("resume", &[("hook", "other"), ("job", "1")], 400, "unknown field \"job\""),
    ];
    for (action, pairs, status, text) in rows {
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(*pairs).finish();
        site.get(&format!("/page/actions/{action}?{query}")).await.shows(*status, &[text]);
        site.submit(&format!("/page/actions/{action}"), pairs).await.shows(*status, &[text]);
    }
    for (action, pairs, status, text) in [
        ("release", &[("ids", "1"), ("until", "2")][..], 400, "after and until need a filter"),
        ("release", &[("state", "quarantined"), ("until", "x")], 400, "invalid until"),
        ("release", &[("state", "quarantined"), ("audit", "7")], 404, "no action 7 to continue"),
        ("release-as", &[("ids", "1")], 400, "the event is missing"),
        ("pause", &[], 400, "a pause needs a hook or an event"),
        ("resume", &[("hook", "other")], 404, "no pause of hook other"),
    ] {
        site.submit(&format!("/page/actions/{action}"), pairs).await.shows(status, &[text]);
    }
    assert_eq!(site.state(1).await, "quarantined");
    assert_eq!(site.audit().await, []);
}

#[tokio::test]
async fn an_outcome_shows_facts_of_the_store_alone() {
    let site = ActionSite::sqlite().await;
    site.quarantined(&generation(1), "token-expired").await;
    let drop = site.get("/page/actions/drop?ids=1").await;
    let done = site.post("/page/actions/drop", &drop.fields("/page/actions/drop")).await;
    let location = done.location.unwrap();
    site.get(&location).await.shows(200, &["1 entry dropped"]);
    // A row of another action, no row, and texts in the address.
    let forged = location.replace("/drop/", "/release/");
    site.get(&forged).await.shows(404, &["no such row"]);
    site.get("/page/actions/drop/outcome?audit=9223372036854775807").await.shows(404, &["no such row"]);
    site.get("/page/actions/drop/outcome?stopped=%3Cb%3Ehacked%3C/b%3E").await.lacks("hacked");
    site.get("/page/actions/drop/outcome?text=hacked").await.shows(400, &["unknown field \"text\""]);
    site.get("/page/actions/explode/outcome").await.shows(404, &["no such action"]);
    let refused = site.get("/page/actions/drop/outcome?refused=1").await;
    refused.shows(200, &["Nothing changed", "1 entry: it is dropped already"]);
}
