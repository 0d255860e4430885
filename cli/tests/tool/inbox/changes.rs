//! `replay`, `retry`, `release` and `drop`.

use super::{ForwardedDelivery, RunningInbox, TestStore, generation, on_each_store, until};
use crate::running::text;
use blobgate::contract::{Kind, Verdict, header};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Output, Stdio};

on_each_store! {
    releases_a_quarantined_event_in_two_commands
    refuses_to_replay_a_quarantined_entry
    refuses_to_release_other_entries
    previews_a_release
    replays_once
    retries_waiting_entries
    refuses_to_release_an_entry_without_an_event
    replays_a_superseded_entry
    replays_hundreds_by_filter
    drops_waiting_and_quarantined_entries
    refuses_to_drop_in_flight_and_delivered_entries
    prints_changes_in_json
}

async fn releases_a_quarantined_event_in_two_commands(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    let quarantined = ForwardedDelivery::quarantined(1);
    inbox.store(&quarantined).await;

    let lines = inbox.lines(&["ls", "--state", "quarantined"]);
    let [_, line] = &lines[..] else { panic!("{lines:?}") };
    let cells: Vec<_> = line.split_whitespace().collect();
    let [id, _age, "quarantined", "completed", "veo3", its, "0", "-", "token-expired"] = cells[..] else {
        panic!("{line}")
    };
    assert_eq!(its, generation(1));
    assert!(inbox.service.deliveries().is_empty());
    assert_eq!(inbox.lines(&["release", id]), ["1 entry released"]);

    let request = &inbox.service.wait_for(1).await[0];
    assert_eq!(request.path, "/hooks/veo3");
    assert_eq!(request.body, quarantined.body);
    for (name, value) in [
        (header::OVERRIDE, Some("token-expired")),
        (header::REDELIVERY, Some("1")),
        (header::ATTEMPT, Some("1")),
        (header::VERDICT, Some(Verdict::Accepted.name())),
        (header::EVENT, Some(Kind::Completed.name())),
        (header::IDEMPOTENCY_KEY, Some(quarantined.key().as_str())),
        (header::REASON, None),
        (header::CLAIMED_EVENT, None),
    ] {
        assert_eq!(request.header(name), value, "{name}");
    }
    inbox.wait_for(id.parse().unwrap(), "delivered").await;

    // The same delivery is a repeat. The accepted event is new.
    inbox.store(&quarantined).await;
    let entries = inbox.entries("").await;
    assert_eq!((entries.len(), &entries[0]["seen"]), (1, &2.into()));
    inbox.store(&ForwardedDelivery::completed(1)).await;
    let request = &inbox.service.wait_for(2).await[1];
    assert_eq!((request.header(header::REDELIVERY), request.header(header::OVERRIDE)), (None, None));
}

async fn refuses_to_replay_a_quarantined_entry(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    let id = inbox.stored(&ForwardedDelivery::quarantined(1)).await.to_string();
    let sentence = "it is quarantined: `blobgate inbox release ID` delivers it";
    assert_eq!(inbox.refused(&["replay", &id], 1), format!("1 entry not replayed: {sentence} ({id})\n"));
    let message = inbox.refused(&["replay", "--state", "quarantined", "--yes"], 1);
    assert_eq!(message, format!("1 entry cannot be replayed: {sentence}\nno entry to replay\n"));
    let (_, message) =
        inbox.call(reqwest::Method::POST, "/replay", &json!({"filter": {"hook": "veo3"}})).await;
    assert_eq!(
        message,
        json!({"changed": [], "refused": [], "action": null, "next": null}),
        "a filter skips it"
    );
    assert_eq!(inbox.entries("state=quarantined").await.len(), 1);
    // Once dropped, it can be replayed.
    assert_eq!(inbox.lines(&["drop", &id, "--yes"]), ["1 entry dropped"]);
    assert_eq!(inbox.lines(&["replay", &id]), ["1 entry replayed"]);
    let request = &inbox.service.wait_for(1).await[0];
    assert_eq!(request.header(header::OVERRIDE), Some("token-expired"));
}

async fn refuses_to_release_other_entries(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    let delivered = inbox.stored(&ForwardedDelivery::completed(1)).await;
    inbox.wait_for(delivered, "delivered").await;
    let dropped = inbox.stored(&ForwardedDelivery::quarantined(2)).await;
    inbox.lines(&["drop", &dropped.to_string(), "--yes"]);
    for id in [delivered, dropped] {
        let sentence = "it is not quarantined: `blobgate inbox replay ID` delivers it again";
        let message = inbox.refused(&["release", &id.to_string()], 1);
        assert_eq!(message, format!("1 entry not released: {sentence} ({id})\n"));
    }
    let message = inbox.refused(&["release", "999999"], 1);
    assert_eq!(message, "1 entry not released: there is no such entry (999999)\n");
    let id = dropped.to_string();
    for (args, sentence) in [
        (&["--as", "completed"][..], "error: --as releases one entry. Name it by its id\n"),
        (&["--as", "completed", "1", "2"], "error: --as releases one entry. Name it by its id\n"),
        (
            &["--as", "completed", &id, "--hook", "veo3"],
            "error: --as releases one entry. Name it by its id, without filters\n",
        ),
        (
            &[&id, "--generation", &generation(2)],
            "error: ids and filters exclude each other. Name entries by one of them\n",
        ),
    ] {
        let message = inbox.refused(&[&["release"], args].concat(), 2);
        assert!(message.starts_with(sentence), "{args:?}: {message}");
    }
    assert_eq!(inbox.service.deliveries().len(), 1);
}

async fn previews_a_release(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    let id = inbox.stored(&ForwardedDelivery::quarantined(1)).await.to_string();
    let no_event = ForwardedDelivery {
        event: None,
        reason: Some("schema-invalid"),
        ..ForwardedDelivery::quarantined(2)
    };
    let no_event = inbox.stored(&no_event).await.to_string();
    let sentence =
        "it claims no event: name it with `blobgate inbox release ID --as completed`, or failed or timeout";
    let expected = [
        "would release 1 entry: 1 quarantined".to_owned(),
        format!("1 entry cannot be released: {sentence}"),
    ];
    assert_eq!(inbox.lines(&["release", &id, &no_event, "--dry-run"]), expected);
    assert_eq!(inbox.lines(&["release", "--state", "quarantined", "--dry-run"]), expected);
    let lines = inbox.lines(&["release", "--hook", "veo3", "--dry-run", "--json"]);
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&lines.concat()).unwrap(),
        json!({
            "would_change": [{"state": "quarantined", "count": 1}],
            "would_refuse": [{"why": sentence, "count": 1}],
        })
    );
    assert_eq!(inbox.entries("state=quarantined").await.len(), 2);
    // With a filter, the command asks.
    let message = inbox.refused(&["release", "--reason", "token-expired"], 2);
    let asks = "this would release 1 entry: 1 quarantined. There is no terminal for the question: pass --yes";
    assert_eq!(message, format!("blobgate: {asks}\n"));
    assert_eq!(inbox.lines(&["release", "--reason", "token-expired", "--yes"]), ["1 entry released"]);
    assert_eq!(inbox.service.wait_for(1).await[0].header(header::OVERRIDE), Some("token-expired"));
}

async fn replays_once(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    let delivery = ForwardedDelivery::completed(1);
    let id = inbox.stored(&delivery).await;
    inbox.wait_for(id, "delivered").await;
    inbox.lines(&["pause", "--hook", "veo3"]);
    inbox.wait_for_pause("veo3/completed", true).await;

    let id = id.to_string();
    assert_eq!(inbox.lines(&["replay", &id]), ["1 entry replayed"]);
    assert_eq!(
        inbox.refused(&["replay", &id], 1),
        format!("1 entry not replayed: it already waits: `blobgate inbox retry ID` attempts it now ({id})\n")
    );
    inbox.lines(&["resume", "--hook", "veo3"]);
    let requests = inbox.service.wait_for(2).await;
    assert_eq!(requests[0].header(header::REDELIVERY), None);
    assert_eq!(requests[1].header(header::REDELIVERY), Some("1"));
    assert_eq!(requests[1].header(header::ATTEMPT), Some("1"));
    assert_eq!(requests[1].header(header::IDEMPOTENCY_KEY), Some(delivery.key().as_str()));
    inbox.wait_for(id.parse().unwrap(), "delivered").await;

    inbox.service.hang();
    assert_eq!(inbox.lines(&["replay", &id]), ["1 entry replayed"]);
    assert_eq!(inbox.service.wait_for(3).await[2].header(header::REDELIVERY), Some("2"));
    assert_eq!(inbox.refused(&["replay", &id], 1), format!("1 entry not replayed: it is in flight ({id})\n"));
    inbox.service.unblock();
    inbox.wait_for(id.parse().unwrap(), "delivered").await;
    assert_eq!(inbox.service.deliveries().len(), 3);
}

async fn retries_waiting_entries(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    let delivered = inbox.stored(&ForwardedDelivery::completed(1)).await;
    inbox.wait_for(delivered, "delivered").await;
    let quarantined = inbox.stored(&ForwardedDelivery::quarantined(2)).await;
    inbox.lines(&["pause", "--hook", "veo3"]);
    inbox.wait_for_pause("veo3/completed", true).await;
    let waits = inbox.stored(&ForwardedDelivery::completed(3)).await;

    for (id, why) in [
        (delivered, "it does not wait: `blobgate inbox replay ID` delivers it again"),
        (quarantined, "it is quarantined: `blobgate inbox release ID` delivers it"),
        (999_999, "there is no such entry"),
    ] {
        let refused = inbox.refused(&["retry", &id.to_string()], 1);
        assert_eq!(refused, format!("1 entry not retried: {why} ({id})\n"));
    }
    assert_eq!(inbox.lines(&["retry", "--hook", "veo3", "--dry-run"]), ["would retry 1 entry: 1 waiting"]);
    assert_eq!(inbox.lines(&["retry", "--hook", "other", "--dry-run"]), ["would retry 0 entries"]);
    let asks = inbox.refused(&["retry", "--event", "completed"], 2);
    assert!(asks.contains("this would retry 1 entry: 1 waiting. There is no terminal"), "{asks}");
    assert_eq!(inbox.lines(&["retry", &waits.to_string()]), ["1 entry retried"]);
    let json: Value =
        serde_json::from_str(&inbox.lines(&["retry", &waits.to_string(), "--json"])[0]).unwrap();
    assert_eq!(json, json!({"changed": [waits], "refused": []}));
    // The pause stays, and the other entries do not change.
    assert_eq!(inbox.service.deliveries().len(), 1);
    inbox.lines(&["resume", "--hook", "veo3"]);
    inbox.wait_for(waits, "delivered").await;
    assert_eq!(inbox.service.deliveries().len(), 2);
}

async fn refuses_to_release_an_entry_without_an_event(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    let no_event = ForwardedDelivery {
        event: None,
        reason: Some("schema-invalid"),
        detail: Some("video_url: is missing, expected an https URL"),
        ..ForwardedDelivery::quarantined(1)
    };
    let no_event = inbox.stored(&no_event).await.to_string();
    let no_generation = ForwardedDelivery {
        generation: None,
        reason: Some("generation-id-invalid"),
        detail: Some("generation_id: is missing, expected a UUID"),
        ..ForwardedDelivery::quarantined(2)
    };
    let no_generation = inbox.stored(&no_generation).await.to_string();
    let event = format!(
        "1 entry not released: video_url: is missing, expected an https URL; it claims no event: \
         name it with `blobgate inbox release ID --as completed`, or failed or timeout ({no_event})\n"
    );
    assert_eq!(inbox.refused(&["release", &no_event], 1), event);
    let both = inbox.refused(&["release", &no_event, &no_generation, "999999"], 1);
    assert!(both.contains(&event), "{both}");
    let sentence =
        "; it names no generation: name it with `blobgate inbox release ID --as EVENT --generation UUID`";
    assert!(both.contains(&format!("{sentence} ({no_generation})\n")), "{both}");
    assert!(both.contains("1 entry not released: there is no such entry (999999)\n"), "{both}");
    assert_eq!(inbox.entries("state=quarantined").await.len(), 2);

    // A filter that matches only refused entries asks nothing.
    let message = inbox.refused(&["release", "--state", "quarantined"], 1);
    assert!(
        message.contains("1 entry cannot be released: it claims no event: name it with `blobgate inbox release ID --as completed`, or failed or timeout\n")
    );
    assert!(message.ends_with("no entry to release\n"), "{message}");
    // With one releasable entry, the report names each refused one.
    inbox.store(&ForwardedDelivery::quarantined(3)).await;
    let message = inbox.refused(&["release", "--state", "quarantined", "--yes"], 1);
    assert!(message.contains(&event), "{message}");
    assert_eq!(inbox.service.wait_for(1).await[0].header(header::REDELIVERY), Some("1"));

    // Each of many has its detail.
    let mut ids = Vec::new();
    for number in 10..32 {
        let detail = Some("status: is missing, expected completed, failed or timeout");
        let delivery = ForwardedDelivery {
            event: None,
            reason: Some("schema-invalid"),
            detail,
            ..ForwardedDelivery::quarantined(number)
        };
        ids.push(inbox.stored(&delivery).await.to_string());
    }
    let arguments: Vec<_> = ["release"].into_iter().chain(ids.iter().map(String::as_str)).collect();
    let message = inbox.refused(&arguments, 1);
    assert!(message.starts_with("22 entries not released: status: is missing, "), "{message}");
}

async fn replays_a_superseded_entry(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    inbox.store(&ForwardedDelivery::completed(9)).await;
    inbox.service.wait_for(1).await;
    inbox.lines(&["pause", "--hook", "veo3"]);
    inbox.wait_for_pause("veo3/completed", true).await;
    // The pause applies to a new route too.
    let failed = inbox.stored(&ForwardedDelivery::failed(1)).await;
    inbox.store(&ForwardedDelivery::completed(1)).await;
    inbox.wait_for(failed, "superseded").await;
    assert_eq!(inbox.lines(&["replay", &failed.to_string()]), ["1 entry replayed"]);
    inbox.lines(&["resume", "--hook", "veo3"]);
    inbox.wait_for(failed, "delivered").await;
    let events: Vec<_> = inbox.service.wait_for(3).await;
    let failures = events.iter().filter(|request| request.header(header::EVENT) == Some(Kind::Failed.name()));
    assert_eq!(failures.count(), 1);
}

async fn replays_hundreds_by_filter(place: TestStore) {
    const MANY: usize = 1_200;
    let inbox = RunningInbox::start(place).await;
    for numbers in (0..MANY).collect::<Vec<_>>().chunks(100) {
        let deliveries: Vec<_> = numbers.iter().map(|number| ForwardedDelivery::completed(*number)).collect();
        for stored in futures_util::future::join_all(deliveries.iter().map(|it| inbox.forward(it))).await {
            assert_eq!(stored.status(), 200);
        }
    }
    until("all are delivered", async || inbox.get("/stats").await["states"]["delivered"] == MANY).await;
    inbox.lines(&["pause", "--event", "completed"]);
    inbox.wait_for_pause("veo3/completed", true).await;

    let filter = ["--state", "delivered", "--event", "completed"];
    let asks = inbox.refused(&[&["replay"], &filter[..]].concat(), 2);
    let sentence =
        "this would replay 1200 entries: 1200 delivered. There is no terminal for the question: pass --yes";
    assert_eq!(asks, format!("blobgate: {sentence}\n"));
    assert!(inbox.entries("state=waiting").await.is_empty());
    let output = on_a_terminal(&inbox, &[&["replay"], &filter[..]].concat(), "y\n");
    let message = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{message}");
    for expected in [
        "This will replay 1200 entries: 1200 delivered. Continue? [y/N]",
        "\r500 of 1200 replayed\r1000 of 1200 replayed\r1200 of 1200 replayed",
        "1200 entries replayed",
    ] {
        assert!(message.contains(expected), "{message:?}");
    }
    // The second run matches none.
    let output = inbox.command(&[&["replay", "--yes"], &filter[..]].concat());
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), "no entry to replay\n"));

    inbox.lines(&["resume", "--event", "completed"]);
    let requests = inbox.service.wait_for(2 * MANY).await;
    let again: BTreeSet<_> = requests
        .iter()
        .filter(|request| request.header(header::REDELIVERY) == Some("1"))
        .map(|request| request.header(header::IDEMPOTENCY_KEY).unwrap().to_owned())
        .collect();
    assert_eq!(again.len(), MANY);
}

async fn drops_waiting_and_quarantined_entries(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    inbox.store(&ForwardedDelivery::completed(9)).await;
    inbox.service.wait_for(1).await;
    inbox.lines(&["pause", "--hook", "veo3"]);
    inbox.wait_for_pause("veo3/completed", true).await;
    let waits = inbox.stored(&ForwardedDelivery::completed(1)).await.to_string();
    let quarantined = inbox.stored(&ForwardedDelivery::quarantined(2)).await.to_string();

    // Without a terminal it drops nothing.
    let message = inbox.refused(&["drop", &waits, &quarantined, "999999"], 2);
    let sentence = "this would drop 2 entries: 1 waiting, 1 quarantined. There is no terminal for the question: pass --yes";
    assert_eq!(message, format!("1 entry cannot be dropped: there is no such entry\nblobgate: {sentence}\n"));
    // On a terminal it follows the answer.
    let output = on_a_terminal(&inbox, &["drop", &waits, &quarantined], "n\n");
    let message = text(&output.stdout);
    assert!(
        message.contains("This will drop 2 entries: 1 waiting, 1 quarantined. Continue? [y/N]"),
        "{message}"
    );
    assert!(message.contains("no entry dropped"), "{message}");
    assert_eq!(output.status.code(), Some(1));
    assert!(inbox.entries("state=dropped").await.is_empty());
    let output = on_a_terminal(&inbox, &["drop", &waits], "y\n");
    assert!(text(&output.stdout).contains("1 entry dropped"), "{}", text(&output.stdout));
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(inbox.lines(&["drop", "--reason", "token-expired", "--yes"]), ["1 entry dropped"]);
    assert_eq!(inbox.entries("state=dropped").await.len(), 2);
    assert_eq!(
        inbox.refused(&["drop", &quarantined, "--yes"], 1),
        format!("1 entry not dropped: it is dropped already ({quarantined})\n")
    );

    // Neither the dropped entry nor its repeat is delivered. Another entry is.
    inbox.store(&ForwardedDelivery::completed(1)).await;
    let beside = inbox.stored(&ForwardedDelivery::completed(3)).await;
    inbox.lines(&["resume", "--hook", "veo3"]);
    inbox.wait_for(beside, "delivered").await;
    let keys: Vec<_> = inbox
        .service
        .deliveries()
        .iter()
        .map(|request| request.header(header::IDEMPOTENCY_KEY).unwrap().to_owned())
        .collect();
    assert_eq!(keys, [ForwardedDelivery::completed(9).key(), ForwardedDelivery::completed(3).key()]);
    // A replay delivers it.
    assert_eq!(inbox.lines(&["replay", &waits]), ["1 entry replayed"]);
    inbox.wait_for(waits.parse().unwrap(), "delivered").await;
    // Without an event it stays dropped.
    let no_event = ForwardedDelivery {
        event: None,
        reason: Some("schema-invalid"),
        ..ForwardedDelivery::quarantined(4)
    };
    let no_event = inbox.stored(&no_event).await.to_string();
    assert_eq!(inbox.lines(&["drop", &no_event, "--yes"]), ["1 entry dropped"]);
    assert_eq!(
        inbox.refused(&["replay", &no_event], 1),
        format!(
            "1 entry not replayed: it is dropped, and has no route because it claims no event of a generation ({no_event})\n"
        )
    );
}

/// Runs a command on a terminal, with this input.
fn on_a_terminal(inbox: &RunningInbox, args: &[&str], typed: &str) -> Output {
    let words = [&["inbox"], args, &["--admin", &inbox.admin]].concat().join(" ");
    let line = format!("{} {words}", env!("CARGO_BIN_EXE_blobgate"));
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(typed.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

async fn refuses_to_drop_in_flight_and_delivered_entries(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    inbox.service.hang();
    let id = inbox.stored(&ForwardedDelivery::completed(1)).await;
    inbox.service.wait_for(1).await;
    let number = id.to_string();
    assert_eq!(
        inbox.refused(&["drop", &number, "--yes"], 1),
        format!("1 entry not dropped: it is in flight: pause its route first ({number})\n")
    );
    inbox.service.unblock();
    inbox.wait_for(id, "delivered").await;
    assert_eq!(
        inbox.refused(&["drop", &number, "--yes"], 1),
        format!("1 entry not dropped: it is delivered ({number})\n")
    );
    let message = inbox.refused(&["drop", "--generation", &generation(1)], 1);
    assert_eq!(message, "1 entry cannot be dropped: it is delivered\nno entry to drop\n");
    inbox.wait_for(id, "delivered").await;
}

async fn prints_changes_in_json(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    let id = inbox.stored(&ForwardedDelivery::quarantined(1)).await;
    let output = inbox.command(&["drop", &id.to_string(), "999999", "--yes", "--json"]);
    let message: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let refused = serde_json::json!([{"id": 999_999, "why": "there is no such entry"}]);
    assert_eq!(message, serde_json::json!({"changed": [id], "refused": refused}));
    assert_eq!(output.status.code(), Some(1));
}
