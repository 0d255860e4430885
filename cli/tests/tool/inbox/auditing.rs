//! `audit`, and the pieces of one action.

use super::{ForwardedDelivery, RunningInbox, TestStore, on_each_store};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

on_each_store! {
    lists_each_action_of_an_operator
    writes_all_pieces_of_a_command_as_one_action
    continues_an_action_of_the_same_kind_and_filter_only
    pages_through_actions
    refuses_wrong_audit_requests
}

impl RunningInbox {
    /// The actions, the newest first.
    async fn audit(&self, query: &str) -> Vec<Value> {
        self.get(&format!("/audit{query}")).await["actions"].as_array().unwrap().clone()
    }
}

fn facts(action: &Value) -> Value {
    let Value::Object(mut facts) = action.clone() else { panic!("{action}") };
    assert!(facts.remove("id").unwrap().is_i64());
    assert!(facts.remove("at").unwrap().as_str().unwrap().ends_with('Z'));
    assert_eq!(facts.remove("who"), Some(Value::Null), "the inbox has no tokens");
    facts.into()
}

async fn lists_each_action_of_an_operator(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    assert_eq!(inbox.command(&["audit"]).stderr, b"no action matches\n");
    let one = inbox.stored(&ForwardedDelivery::quarantined(1)).await;
    let no_event = ForwardedDelivery { event: None, ..ForwardedDelivery::quarantined(2) };
    let other = inbox.stored(&no_event).await;
    inbox.lines(&["drop", &one.to_string(), "--yes"]);
    inbox.lines(&["release", &other.to_string(), "--as", "completed", "--yes"]);
    inbox.lines(&["pause", "--hook", "veo3", "--event", "failed"]);
    inbox.lines(&["pause", "--hook", "veo3", "--event", "failed"]);
    inbox.lines(&["resume", "--hook", "veo3", "--event", "failed"]);
    inbox.lines(&["replay", "--state", "dropped", "--hook", "veo3", "--yes"]);
    // Previews and refusals are no actions.
    inbox.lines(&["release", "--hook", "veo3", "--dry-run"]);
    inbox.refused(&["drop", "1000000", "--yes"], 1);
    let row = |action: &str, filter: Value, target: Value, ids: &[i64]| json!({"action": action, "filter": filter, "target": target, "entries": ids.len(), "ids": ids, "note": null});
    let expected = [
        row("replay", json!({"state": "dropped", "hook": "veo3"}), Value::Null, &[one]),
        row("resume", Value::Null, json!("hook veo3, event failed"), &[]),
        row("pause", Value::Null, json!("hook veo3, event failed"), &[]),
        row("release-as", Value::Null, json!("completed"), &[other]),
        row("drop", Value::Null, Value::Null, &[one]),
    ];
    let actions = inbox.audit("").await;
    assert_eq!(actions.iter().map(facts).collect::<Vec<_>>(), expected);
    let on_one = inbox.audit(&format!("?entry={one}")).await;
    assert_eq!(on_one, [actions[0].clone(), actions[4].clone()]);
    let json = inbox.lines(&["audit", "--json"]);
    assert_eq!(
        json.iter().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>(),
        actions
    );
    let text = inbox.lines(&["audit", "--entry", &one.to_string()]);
    let words: Vec<Vec<_>> = text.iter().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[0], ["ID", "AGE", "WHO", "ACTION", "ENTRIES", "SELECTION", "NOTE"]);
    assert_eq!(words[1][2..], ["-", "replay", "1", "state=dropped", "hook=veo3", "-"]);
    assert_eq!(words[2][2..], ["-", "drop", "1", &one.to_string(), "-"]);
    assert_eq!(words.len(), 3);
}

async fn writes_all_pieces_of_a_command_as_one_action(place: TestStore) {
    const ENTRIES: usize = 502;
    let inbox = RunningInbox::start(place).await;
    let deliveries: Vec<_> = (0..ENTRIES).map(ForwardedDelivery::quarantined).collect();
    for deliveries in deliveries.chunks(50) {
        join_all(deliveries.iter().map(|delivery| inbox.store(delivery))).await;
    }
    let dropped = inbox.lines(&["drop", "--state", "quarantined", "--yes", "--json"]);
    let dropped: Value = serde_json::from_str(&dropped.concat()).unwrap();
    let mut ids: Vec<_> =
        dropped["changed"].as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids.len(), ENTRIES);
    let expected = json!({"action": "drop", "filter": {"state": "quarantined"}, "target": null, "entries": ENTRIES,
        "ids": ids[..500], "note": null});
    let actions = inbox.audit("").await;
    assert_eq!(actions.iter().map(facts).collect::<Vec<_>>(), [expected]);
    let last = inbox.audit(&format!("?entry={}", ids[ENTRIES - 1])).await;
    assert_eq!(last, actions, "the audit finds each entry of an action");
    // The same by ids: the command splits them.
    let names: Vec<_> = ids.iter().map(i64::to_string).collect();
    let args: Vec<_> = ["purge", "--job", "none", "--yes"].to_vec();
    inbox.lines(&args);
    let replay: Vec<_> = ["replay"].into_iter().chain(names.iter().map(String::as_str)).collect();
    inbox.lines(&replay);
    let actions = inbox.audit("").await;
    let kinds: Vec<_> = actions.iter().map(|action| (&action["action"], &action["entries"])).collect();
    assert_eq!(kinds, [(&json!("replay"), &json!(ENTRIES)), (&json!("drop"), &json!(ENTRIES))]);
}

async fn continues_an_action_of_the_same_kind_and_filter_only(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    for number in 0..4 {
        inbox.stored(&ForwardedDelivery::quarantined(number)).await;
    }
    let call = async |path, filter: Value, action: Value| {
        let what = json!({"filter": filter, "limit": 1, "action": action});
        inbox.call(Method::POST, path, &what).await
    };
    let of_hook = || json!({"hook": "veo3", "state": "quarantined"});
    let (status, first) = call("/drop", of_hook(), Value::Null).await;
    assert_eq!(status, 200, "{first}");
    let action = first["action"].clone();
    let number = action.as_i64().unwrap();
    for (path, filter, action) in [
        ("/release", of_hook(), number),
        ("/drop", json!({"state": "quarantined"}), number),
        ("/drop", of_hook(), number + 1),
        ("/drop", of_hook(), -1),
    ] {
        let (status, message) = call(path, filter, json!(action)).await;
        assert_eq!((status, &message["code"]), (404, &json!("action-unknown")), "{path} {action}");
        let sentence = format!(
            "no action {action} to continue: the caller has begun none with this number, kind, filter and target in the last 12 hours. Leave action out to begin a new one"
        );
        assert_eq!(message["detail"], sentence.as_str());
    }
    assert_eq!(inbox.entries("state=quarantined").await.len(), 3, "a refused piece changes nothing");
    let (status, second) = call("/drop", of_hook(), action.clone()).await;
    assert_eq!((status, &second["action"]), (200, &action));
    let (_, other) = call("/drop", of_hook(), Value::Null).await;
    assert_ne!(other["action"], action);
    let entries: Vec<_> = inbox.audit("").await.iter().map(|action| action["entries"].clone()).collect();
    assert_eq!(entries, [json!(1), json!(2)]);
}

async fn pages_through_actions(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    for _ in 0..3 {
        inbox.lines(&["pause", "--hook", "veo3"]);
        inbox.lines(&["resume", "--hook", "veo3"]);
    }
    let all = inbox.audit("").await;
    let page = inbox.get("/audit?limit=4").await;
    assert_eq!((page["actions"].as_array().unwrap(), &page["next"]), (&all[..4].to_vec(), &all[3]["id"]));
    let rest = inbox.get(&format!("/audit?limit=4&before={}", page["next"])).await;
    assert_eq!((rest["actions"].as_array().unwrap(), &rest["next"]), (&all[4..].to_vec(), &Value::Null));
    let output = inbox.command(&["audit", "--limit", "2"]);
    let note = format!("more actions match. Pass --before {}, or a higher --limit\n", all[1]["id"]);
    assert_eq!(crate::running::text(&output.stderr), note);
}

async fn refuses_wrong_audit_requests(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    for (query, sentence) in [
        ("limit=101", "invalid limit \"101\": use a number from 1 to 100"),
        ("limit=0", "invalid limit \"0\": use a number from 1 to 100"),
        ("entry=x", "invalid entry \"x\": use a number above 0"),
        ("before=1&before=2", "before occurs twice: pass it once"),
        ("who=anna", "unknown parameter \"who\": use entry, limit or before"),
    ] {
        let (status, message) = inbox.call(Method::GET, &format!("/audit?{query}"), &Value::Null).await;
        assert_eq!((status, &message["detail"]), (400, &json!(sentence)), "{query}");
    }
    assert_eq!(inbox.audit("?entry=77").await, Vec::<Value>::new());
}
