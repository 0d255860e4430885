//! Changes that take several pieces, and several requests.

use super::site::{ActionSite, connect, generation};
use super::{RELEASE, needs};
use blobgate_inbox::store::Place;
use futures_util::future::join_all;
use sqlx::raw_sql;
use std::time::{Duration, Instant};

on_both_stores! {
    changes_a_filter_in_one_audit_row
    continues_an_action
}

async fn fill(site: &ActionSite, count: i64) {
    let numbers: Vec<i64> = (1..=count).collect();
    for some in numbers.chunks(100) {
        let some: Vec<String> = some.iter().map(|number| generation(*number)).collect();
        join_all(some.iter().map(|generation| site.quarantined(generation, "token-expired"))).await;
    }
}

async fn changes_a_filter_in_one_audit_row(site: ActionSite) {
    fill(&site, 1_201).await;
    let asked = site.get(&format!("{RELEASE}?state=quarantined")).await;
    asked.shows(200, &["Release 1201 entries?"]);
    let done = site.press(&asked, RELEASE).await;
    done.shows(200, &["1201 entries released", "and 1151 more"]);
    done.lacks("More entries match");
    let audit = site.audit().await;
    assert_eq!((audit.len(), audit[0].1, audit[0].2.len()), (1, 1_201, 500));
    site.get(&format!("{RELEASE}?state=quarantined")).await.shows(200, &["No selected entry would change"]);
}

async fn continues_an_action(site: ActionSite) {
    fill(&site, 12).await;
    let first = site.submit(RELEASE, &[("state", "quarantined"), ("until", "5")]).await;
    let done = site.get(first.location.as_deref().unwrap()).await;
    done.shows(200, &["5 entries released"]);
    // What the outcome shows after some seconds of pieces.
    let stopped = format!("{}&after=5&until=10&state=quarantined", first.location.unwrap());
    let stopped = site.get(&stopped).await;
    stopped.shows(200, &["5 entries released", "More entries match", "Continue"]);
    site.press(&stopped, RELEASE).await.shows(200, &["10 entries released"]);
    let audit = site.audit().await;
    assert_eq!(audit, [("release".to_owned(), 10, (1..=10).collect())]);
    assert_eq!(
        (site.state(10).await, site.state(11).await),
        ("waiting".to_owned(), "quarantined".to_owned())
    );
    // Another filter does not belong to the action.
    let other = [("hook", "veo3"), ("audit", "1"), ("after", "10")];
    site.submit(RELEASE, &other).await.shows(404, &["no action 1 to continue"]);
    assert_eq!(site.state(11).await, "quarantined");
}

/// A lock on an entry of the second piece lasts longer than a request starts pieces.
#[needs(Postgres)]
#[tokio::test]
async fn a_slow_change_answers_in_time_and_offers_to_continue() {
    let site = ActionSite::postgres().await;
    fill(&site, 1_001).await;
    let Place::Postgres(url) = &site.place else { panic!("no PostgreSQL") };
    let asked = site.get(&format!("{RELEASE}?state=quarantined")).await;
    let mut connection = connect(url).await;
    raw_sql("BEGIN; SELECT id FROM entry WHERE id = 700 FOR UPDATE").execute(&mut connection).await.unwrap();
    let began = Instant::now();
    let unlock = async {
        tokio::time::sleep(Duration::from_millis(5_500)).await;
        raw_sql("ROLLBACK").execute(&mut connection).await.unwrap();
    };
    let (done, ()) = tokio::join!(site.press(&asked, RELEASE), unlock);
    assert!(began.elapsed() >= Duration::from_secs(5));
    done.shows(200, &["1000 entries released", "More entries match", "Continue"]);
    assert_eq!(site.state(1_001).await, "quarantined");
    let done = site.press(&done, RELEASE).await;
    done.shows(200, &["1001 entries released"]);
    done.lacks("Continue");
    let audit = site.audit().await;
    assert_eq!((audit.len(), audit[0].1), (1, 1_001));
}
