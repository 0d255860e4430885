//! The reevaluation on the page, by a configuration from a file or a text.

use super::needs;
use super::site::{ActionSite, PageResponse, generation, unescape};

const REEVALUATE: &str = "/page/actions/reevaluate";
const BOUNDARY: &str = "----the-boundary-of-a-form";
const SECRET: &str = "c2VjcmV0LWtleS1tYXRlcmlhbC1vZi10aGUtZ2F0ZQ";

on_both_stores! { lists_what_would_change_and_changes_it }

/// The filter's configuration, as JSON.
fn config(source: &str) -> String {
    format!(
        r#"{{"version":1,"environment":"test","hooks":[{{"name":"veo3","path":"/webhook","dialect":"veo3",
            "source":{source},"trust":"open","result_url":"any","quarantine":"none"}}]}}"#
    )
}

fn multipart(fields: &[(String, String)]) -> Vec<u8> {
    let mut body = String::new();
    for (name, value) in fields {
        let file = if name == "file" { "; filename=\"envoy.yaml\"\r\ncontent-type: text/plain" } else { "" };
        body += &format!(
            "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{name}\"{file}\r\n\r\n{value}\r\n"
        );
    }
    body += &format!("--{BOUNDARY}--\r\n");
    body.into_bytes()
}

impl ActionSite {
    async fn upload(&self, fields: &[(String, String)]) -> PageResponse {
        let kind = format!("multipart/form-data; boundary={BOUNDARY}");
        self.post_as(REEVALUATE, &kind, multipart(fields)).await
    }

    /// Fills the form of the question, and presses its button.
    async fn list(&self, selection: &str, more: &[(&str, &str)]) -> PageResponse {
        let asked = self.get(&format!("{REEVALUATE}?{selection}")).await;
        asked.shows(200, &["Reevaluate entries", "token-expired", "The inbox does not store it"]);
        let mut fields = asked.fields(REEVALUATE);
        // A browser sends the empty one too.
        let is_given = |name| more.iter().any(|(given, _)| *given == name);
        for name in ["file", "config"] {
            if !is_given(name) {
                fields.push((name.to_owned(), String::new()));
            }
        }
        fields.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        self.upload(&fields).await
    }

    /// Presses the button of the list.
    async fn apply(&self, list: &PageResponse) -> PageResponse {
        let mut fields = list.fields(REEVALUATE);
        let form = list.form(REEVALUATE, 0);
        let text = form.split("<textarea name=\"config\" hidden>").nth(1).unwrap();
        fields.push(("config".to_owned(), unescape(text.split("</textarea>").next().unwrap())));
        let sent = self.upload(&fields).await;
        assert_eq!(sent.status, 303, "{}", sent.text);
        self.get(sent.location.as_deref().unwrap()).await
    }
}

async fn lists_what_would_change_and_changes_it(site: ActionSite) {
    site.quarantined(&generation(1), "result-url-denied").await;
    site.quarantined(&generation(2), "source-denied").await;
    site.quarantined(&generation(3), "result-url-denied").await;
    site.without_event(&generation(4)).await;
    let list =
        site.list("state=quarantined&reason=result-url-denied", &[("config", &config("\"any\""))]).await;
    list.shows(
        200,
        &[
            "Release 2 entries?",
            "Released 2 entries",
            "Stay quarantined 0 entries",
            "1 is released",
            "3 is released",
        ],
    );
    assert_eq!(site.state(1).await, "quarantined", "a list changes nothing");
    // An entry that arrives behind the list stays.
    site.quarantined(&generation(5), "result-url-denied").await;
    let later = site.id_of(&generation(5)).await;
    let done = site.apply(&list).await;
    done.shows(200, &["2 entries passed", "Entries 1, 3"]);
    done.lacks("More entries match");
    for (id, state) in [(1, "superseded"), (2, "quarantined"), (3, "superseded"), (later, "quarantined")] {
        assert_eq!(site.state(id).await, state, "{id}");
    }
    assert_eq!(site.audit().await, [("reevaluate".to_owned(), 2, vec![1, 3])]);
    // The button again: both have left the quarantine.
    site.apply(&list).await.shows(200, &["Nothing changed"]);
    assert_eq!(site.audit().await.len(), 1);
    // Chosen entries, a file with an envoy.yaml, and a waived reason.
    let envoy = format!(
        "static_resources:\n  filters:\n  - configuration: {{value: {}}}\n",
        config("[\"203.0.113.0/24\"]")
    );
    let list = site.list("ids=2", &[("file", &envoy)]).await;
    list.shows(200, &["No entry passes", "2 stays source-denied"]);
    list.lacks("is released");
    let list = site.list("ids=2", &[("file", &envoy), ("waive", "source-denied")]).await;
    list.shows(200, &["Release 1 entry?", "2 is released"]);
    site.apply(&list).await.shows(200, &["1 entry passed"]);
    let audit = site.audit().await;
    assert_eq!((audit.len(), &audit[0]), (2, &("reevaluate".to_owned(), 1, vec![2])));
}

#[tokio::test]
async fn names_what_is_wrong_with_a_configuration_and_shows_none_of_it() {
    let site = ActionSite::sqlite().await;
    site.quarantined(&generation(1), "result-url-denied").await;
    let good = config("\"any\"");
    let with_key = |text: &str| text.replace("KEY", SECRET);
    let rows: &[(crate::FieldRow<'_>, u16, &str)] = &[
        (&[], 400, "the configuration is missing"),
        (&[("config", " \r\n")], 400, "the configuration is missing"),
        (&[("config", &good), ("file", &good)], 400, "two configurations"),
        (&[("config", &with_key("{hooks: [KEY"))], 400, "not YAML or JSON at line 1"),
        (&[("config", &with_key("key: KEY"))], 400, "no configuration of the gate"),
        (
            &[("config", &with_key("- {version: 1, hooks: [{name: KEY}]}\n- {version: 1, hooks: []}"))],
            400,
            "several",
        ),
        (
            &[("config", &with_key("{version: 1, hooks: [], sign: {keys: [KEY]}}"))],
            400,
            "cannot load the gate",
        ),
        (
            &[("config", &with_key("{version: 1, environment: x, hooks: [{name: veo3, key: KEY}]}"))],
            400,
            "cannot load the gate",
        ),
        (&[("config", &good), ("waive", "json-invalid")], 400, "cannot waive \"json-invalid\""),
        (&[("config", &good), ("step", "both")], 400, "unknown step"),
        (&[("config", &good), ("colour", "red")], 400, "unknown filter \"colour\""),
    ];
    for (fields, status, text) in rows {
        let answer = site.list("ids=1", fields).await;
        answer.shows(*status, &[text]);
        assert!(!answer.text.contains(SECRET), "{}", answer.text);
    }
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    site.post_as(REEVALUATE, &kind, "no form").await.shows(415, &["the body is no form"]);
    for selection in ["", "ids=x", "colour=red", "ids=1&state=dead"] {
        site.get(&format!("{REEVALUATE}?{selection}")).await.shows(400, &[]);
    }
    assert_eq!(site.state(1).await, "quarantined");
    assert_eq!(site.audit().await, []);
}

#[tokio::test]
async fn takes_a_large_allowlist() {
    let site = ActionSite::sqlite().await;
    site.quarantined(&generation(1), "source-denied").await;
    let ranges: Vec<String> = (0..150_000_u32)
        .map(|number| {
            let [_, a, b, c] = (number * 2).to_be_bytes();
            format!("\"10.{a}.{b}.{c}/32\"")
        })
        .collect();
    let large = config(&format!("[{}]", ranges.join(",")));
    assert!(large.len() > 2 << 20);
    let list = site.list("ids=1", &[("file", &large), ("waive", "source-denied")]).await;
    assert_eq!(list.status, 200);
    site.apply(&list).await.shows(200, &["1 entry passed"]);
    let huge = " ".repeat((64 << 20) + 1);
    let refused = site.upload(&[("ids".to_owned(), "1".to_owned()), ("config".to_owned(), huge)]).await;
    refused.shows(413, &["larger than the page takes"]);
}
