//! Visitors who may only read: no question, no change.

use super::site::{ActionSite, generation};
use blobgate_inbox::{AccessRole, AccessToken};

const OPERATOR: &str = "operator-0123456789";
const READER: &str = "reader-0123456789";
const ACTIONS: [(&str, &str); 9] = [
    ("replay", "ids=1"),
    ("retry", "ids=1"),
    ("release", "ids=1"),
    ("drop", "state=quarantined"),
    ("purge", "ids=1"),
    ("pause", "hook=veo3"),
    ("resume", "hook=veo3"),
    ("release-as", "ids=1&as=completed"),
    ("reevaluate", "ids=1"),
];

#[tokio::test]
async fn a_reader_neither_asks_nor_acts() {
    let token = |name, role, text| AccessToken::new(name, role, text).unwrap();
    let tokens =
        vec![token("ops", AccessRole::Operate, OPERATOR), token("grafana", AccessRole::Read, READER)];
    let mut site = ActionSite::sqlite_with(tokens, Some(OPERATOR)).await;
    site.quarantined(&generation(1), "token-expired").await;
    site.get("/page/actions/release?ids=1").await.shows(303, &[]);
    site.sign_in(OPERATOR).await;
    let asked = site.get("/page/actions/release?ids=1").await;
    asked.shows(200, &["Release entry 1?"]);
    let operators_form = asked.fields("/page/actions/release");
    site.sign_in(READER).await;
    // The reader's own proof, from the form of the sign-out.
    let csrf = site.get("/page/").await.fields("/page/sign-out").remove(0);
    assert_eq!(csrf.0, "csrf");
    for (action, query) in ACTIONS {
        let path = format!("/page/actions/{action}");
        site.get(&format!("{path}?{query}")).await.shows(403, &["role operate"]);
        site.get(&format!("{path}/outcome?audit=1")).await.shows(403, &["role operate"]);
        let pairs = url::form_urlencoded::parse(query.as_bytes()).into_owned();
        let pairs: Vec<_> = [csrf.clone()].into_iter().chain(pairs).collect();
        site.post(&path, &pairs).await.shows(403, &["role operate"]);
    }
    site.post("/page/actions/release", &operators_form).await.shows(403, &["nothing changed"]);
    assert_eq!(site.state(1).await, "quarantined");
    assert_eq!(site.audit().await, []);
    // The control: the operator's form still works, and the audit has its name.
    site.sign_in(OPERATOR).await;
    let asked = site.get("/page/actions/release?ids=1").await;
    site.press(&asked, "/page/actions/release").await.shows(200, &["1 entry released", "By ops"]);
    site.post("/page/actions/release", &[("ids".to_owned(), "1".to_owned())])
        .await
        .shows(403, &["nothing changed"]);
    assert_eq!(site.audit().await.len(), 1);
}
