//! Names from clients and texts from services: control characters never reach a terminal.

use crate::{PROGRAM, on_each_store};
use blobgate_testkit::inbox::blobgate;
use blobgate_testkit::{Connector, H1, InboxProcess, Reply, TestDelivery, Upstream};
use serde_json::{Value, json};
use std::process::{Command, Output};

on_each_store! { refuses_names_with_control_characters }

/// Clears the screen, sets a title, reverses text, ends lines with Unicode separators, hides text.
const HOSTILE: &str = "\u{1b}[2J\u{1b}]0;x\u{7}\u{9b}31m\u{7f}\r\n\u{85}\u{202e}\u{2066}\u{2028}\u{2029}\u{200b}\u{ad}\u{feff}\u{e0041}";

fn refuses_names_with_control_characters(store: &str) {
    let service = Upstream::start();
    let inbox = InboxProcess::start(PROGRAM, store, service.port, &[]).ready();
    let put = |body: &Value| {
        let put = TestDelivery::json(body).method("PUT").path("/pauses").header("host", "127.0.0.1");
        let answer = Connector::plaintext(inbox.admin, H1).open().send(&put);
        (answer.status, serde_json::from_slice::<Value>(&answer.body).unwrap())
    };
    for name in
        [HOSTILE, "\u{1b}[2J", "VEO3", "veo 3", "véo3", "veo3\u{202e}", "v\u{435}o3", "", &"a".repeat(33)]
    {
        assert_eq!(put(&json!({"hook": name})).0, 400, "{name:?}");
        assert_eq!(put(&json!({"event": name})).0, 400, "{name:?}");
        let generation = "ffd473d5-5bef-4e14-bf22-8d559be3c19f";
        let expect = json!({"hook": name, "generation_id": generation, "job": "a"});
        assert_eq!(inbox.post("/expect", &expect).status, 400, "{name:?}");
        assert_eq!(inbox.post("/drop", &json!({"filter": {"hook": name}})).status, 400, "{name:?}");
        // `resume` accepts any name, since older stores have such pauses.
        let by_tool = inbox.command(&["resume", &format!("--hook={name}")]);
        assert!(!by_tool.status.success());
        check_visible("resume", &by_tool);
        check_visible("pause", &inbox.command(&["pause", &format!("--hook={name}")]));
        check_visible("ls", &inbox.command(&["ls", &format!("--hook={name}")]));
        check_visible("ls", &inbox.command(&["ls", &format!("--job={name}")]));
    }
    let list = inbox.get("/pauses").unwrap();
    assert_eq!(String::from_utf8(list.body).unwrap(), "[]");

    // An unknown but valid name is paused, with a note.
    let (status, done) = put(&json!({"hook": "veo-three"}));
    assert_eq!((status, &done["changed"]), (200, &json!(true)));
    assert!(done["note"].as_str().unwrap().contains("has hook veo-three"), "{done}");
    let by_tool = inbox.command(&["pause", "--hook", "veo-four"]);
    assert!(by_tool.status.success());
    assert!(String::from_utf8_lossy(&by_tool.stderr).contains("has hook veo-four"), "{by_tool:?}");
    inbox.post(
        "/expect",
        &json!({"hook": "veo3", "generation_id": "ffd473d5-5bef-4e14-bf22-8d559be3c19f", "job": "a"}),
    );
    assert_eq!(put(&json!({"hook": "veo3"})).1, json!({"changed": true, "action": 3}), "without a note");
}

/// The text fields of an entry.
const TEXTS: [&str; 21] = [
    "hook",
    "generation",
    "reason",
    "detail",
    "token_id",
    "request_id",
    "traceparent",
    "redelivered_at",
    "job",
    "route",
    "supersedes",
    "override",
    "received_at",
    "seen_at",
    "due_at",
    "ended_at",
    "answer",
    "lease_until",
    "digest",
    "path",
    "body",
];

#[test]
fn escapes_control_characters_in_output() {
    let mut entry = json!({
        "id": 1, "authenticated": true, "size": 1, "redelivery": 1, "seen": 2, "attempts": 1, "status": 500, "cursor": "0.1",
        "headers": [{"name": HOSTILE, "value": HOSTILE}], "body_encoding": "text",
        "attempt_log": [{"number": 2, "at": HOSTILE, "duration_ms": 1, "status": 500, "answer": HOSTILE}],
        "state": "waiting", "lane": "deliver", "event": "completed",
    });
    for name in TEXTS {
        entry[name] = json!(HOSTILE);
    }
    entry["expectation"] = json!({
        "hook": HOSTILE, "generation_id": HOSTILE, "job": HOSTILE, "state": "expected", "expected_at": HOSTILE,
        "calls": 1, "answer": HOSTILE, "job_mismatch": {"entry": 1, "job": HOSTILE}, "released": [], "reconciles": true,
    });
    let stats = json!({
        "routes": [{
            "route": HOSTILE, "waiting": 1, "in_flight": 0, "delivered_last_day": 0, "dead": 0, "paused": true,
            "down": true, "failing": {"outcome": HOSTILE, "since": HOSTILE},
        }],
        "quarantined": {HOSTILE: 1}, "states": {}, "oldest_waiting_seconds": 1, "bytes": 1, "tombstones": 0,
        "pauses": [{"hook": HOSTILE, "event": null, "since": HOSTILE}],
        "faults": [{"reason": HOSTILE, "since": HOSTILE, "detail": HOSTILE, "partial": true}],
        "overdue": 1, "refused": {"reason": HOSTILE, "at": HOSTILE},
        "rescued": [HOSTILE], "space": {"bytes": 1, "limit": 2, "disk_free": 3},
        "provider": {"used": 1, "per_minute": 10},
    });
    let refusal = json!({"at": HOSTILE, "status": 401, "client": HOSTILE, "method": HOSTILE, "detail": HOSTILE,
        "request_id": HOSTILE, "generation": HOSTILE, "job": HOSTILE, "gate": HOSTILE});
    let refusals = json!({"receives": true, "since": HOSTILE, "dropped": 1, "groups": [{"hook": HOSTILE, "reason": HOSTILE,
        "meaning": HOSTILE, "remedy": HOSTILE, "count": 2, "first": [refusal], "last": [refusal]}]});
    let list = json!({"entries": [entry], "next": null});
    let page = json!({"entries": [entry], "next": "0.1"});
    let expect = entry["expectation"].clone();
    let reconciled = json!({"questions": [{"due": true, "why": HOSTILE, "hook": HOSTILE, "generation_id": HOSTILE,
        "job": HOSTILE, "state": "expected", "expected_at": HOSTILE, "calls": 1, "answer": HOSTILE}],
        "more": true, "per_minute": null});
    let change = json!({"changed": [], "refused": [{"id": 1, "why": HOSTILE}], "next": null, "until": 1,
        "would_change": [{"state": "waiting", "count": 1}], "would_refuse": [{"why": HOSTILE, "count": 1}]});
    let released = json!({"id": 1, "hook": HOSTILE, "generation": HOSTILE, "event": "completed", "outcome": "waiting",
        "route": HOSTILE, "override": HOSTILE, "detail": HOSTILE, "size": 1});
    let next = json!([{"why": HOSTILE, "command": HOSTILE}]);
    let story = json!({"now": HOSTILE, "more": 1, "next": [], "stories": [{
        "hook": HOSTILE, "generation": HOSTILE, "job": HOSTILE, "state": HOSTILE, "more_entries": 1, "next": next,
        "lines": [{"at": HOSTILE, "what": "quarantined", "entry": 1, "text": HOSTILE, "remedy": HOSTILE}]}],
        "status_api": {"called": true, "outcome": HOSTILE, "event": null, "text": HOSTILE,
            "compared": [{"entry": 1, "verdict": "contradicted"}]}});
    let generation = ["--hook", "a", "--generation", "ffd473d5-5bef-4e14-bf22-8d559be3c19f", "--job", "a"];
    for (args, answer) in [
        (&["stats"][..], &stats),
        (&["stats", "--json"], &stats),
        (&["refusals"], &refusals),
        (&["refusals", "--json"], &refusals),
        (&["ls"], &list),
        (&["ls", "--json"], &list),
        (&["show", "1"], &entry),
        (&["show", "1", "--json"], &entry),
        (&["why", "--job", "a"], &story),
        (&["why", "--job", "a", "--ask"], &story),
        (&["why", "--job", "a", "--json"], &story),
        (&["export"], &page),
        (&["export", "--bodies"], &page),
        (&[&["expect"], &generation[..]].concat(), &expect),
        (&[&["expect", "--json"], &generation[..]].concat(), &expect),
        (&["reconcile", "--dry-run"], &reconciled),
        (&["reconcile", "--dry-run", "--json"], &reconciled),
        (&["drop", "1", "--yes"], &change),
        (&["drop", "1", "--yes", "--json"], &change),
        (&["purge", "--job", "a", "--dry-run"], &change),
        (&["purge", "--job", "a", "--dry-run", "--json"], &change),
        (&["drop", "--hook", "a", "--yes"], &change),
        (&["replay", "1", "--yes"], &change),
        (&["purge", "--job", "a", "--yes"], &change),
        (&["release", "1", "--as", "completed", "--yes"], &released),
        (&["release", "1", "--as", "completed", "--yes", "--json"], &released),
    ] {
        let output = output_for(200, answer, args);
        check_visible(&format!("{args:?}"), &output);
        assert!(!output.stdout.is_empty(), "{args:?}: {output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        // These commands print the text on stderr or not at all.
        let is_short = ["drop", "replay", "purge"].contains(&args[0]);
        if args.contains(&"--json") || args[0] == "export" {
            let shown: Value =
                serde_json::from_str(&text).unwrap_or_else(|error| panic!("{args:?}: {error}"));
            assert!(text.contains("\\u202e") || is_short, "{args:?}: {text}");
            assert!(contains(&shown, HOSTILE), "{args:?}: the value is the same");
        } else {
            assert!(text.contains("\\u{1b}[2J") || is_short, "{args:?}: {text}");
        }
    }
    for status in [400, 404, 409, 503, 500] {
        let wrong =
            json!({"type": HOSTILE, "title": HOSTILE, "status": status, "code": HOSTILE, "detail": HOSTILE});
        for args in [&["stats"][..], &["show", "1"], &["pause", "--hook", "a"], &["tail"], &["drop", "1"]] {
            let output = output_for(status, &wrong, args);
            check_visible(&format!("{status} {args:?}"), &output);
            assert!(!output.status.success() && !output.stderr.is_empty(), "{status} {args:?}: {output:?}");
        }
    }
    check_body(&entry);
}

/// A pipe gets the body unchanged, a terminal gets it escaped.
fn check_body(entry: &Value) {
    let piped = output_for(200, entry, &["show", "1", "--body"]);
    assert_eq!(piped.stdout, HOSTILE.as_bytes());
    let admin = Upstream::start();
    admin.reply(Reply::status(200).header("content-type", "application/json").body(entry.to_string()));
    let line = format!("{PROGRAM} inbox show 1 --body --admin http://127.0.0.1:{}", admin.port);
    let on_terminal = Command::new("script").args(["-qec", &line, "/dev/null"]).output().unwrap();
    let text = String::from_utf8(on_terminal.stdout).unwrap().replace("\r\n", "\n");
    assert!(text.contains("\\u{1b}[2J") && text.contains("escaped"), "{text:?}");
    assert_eq!(text.chars().find(|it| *it != '\n' && is_hidden(*it)), None, "{text:?}");
}

/// Runs a command against an admin listener with this answer.
fn output_for(status: u16, answer: &Value, args: &[&str]) -> Output {
    let admin = Upstream::start();
    admin.reply(Reply::status(status).header("content-type", "application/json").body(answer.to_string()));
    let address = format!("http://127.0.0.1:{}", admin.port);
    let group: &[&str] = if args.first() == Some(&"why") { &[] } else { &["inbox"] };
    blobgate(PROGRAM, &[group, args, &["--admin", &address]].concat())
}

#[track_caller]
fn check_visible(what: &str, output: &Output) {
    for bytes in [&output.stdout, &output.stderr] {
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert_eq!(text.chars().find(|it| *it != '\n' && is_hidden(*it)), None, "{what}: {text:?}");
    }
}

/// Whether a character is a control or format character.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(u32::from(character), 0xad | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x2069 | 0xfeff | 0xe0000..=0xe007f)
}

fn contains(value: &Value, text: &str) -> bool {
    match value {
        Value::String(it) => it == text,
        Value::Array(items) => items.iter().any(|it| contains(it, text)),
        Value::Object(fields) => fields.iter().any(|(key, it)| key == text || contains(it, text)),
        _ => false,
    }
}
