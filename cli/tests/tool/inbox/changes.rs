//! `replay`, `release` and `drop`.

use super::{ForwardedDelivery, RunningInbox, TestStore, generation, on_each_store, until};
use crate::running::{blobgate, text};
use blobgate::contract::{Kind, Verdict, header};
use serde_json::json;
use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Output, Stdio};

on_each_store! {
    releases_a_quarantined_event_in_two_commands
    refuses_to_replay_a_quarantined_entry
    refuses_to_release_other_entries
    counts_what_a_release_would_do
    replays_once
    refuses_to_release_what_claims_no_event
    what_is_superseded_is_not_lost
    replays_hundreds_by_filter
    drops_waiting_and_quarantined_entries
    does_not_drop_what_is_under_way_or_done
    tells_what_was_done_in_json
}

async fn releases_a_quarantined_event_in_two_commands(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    let kept = ForwardedDelivery::quarantined(1);
    inbox.store(&kept).await;

    let lines = inbox.lines(&["ls", "--state", "quarantined"]);
    let [_, line] = &lines[..] else { panic!("{lines:?}") };
    let cells: Vec<_> = line.split_whitespace().collect();
    let [id, _age, "quarantined", "completed", "veo3", its, "0", "-", "token-expired"] = cells[..] else {
        panic!("{line}")
    };
    assert_eq!(its, generation(1));
    assert!(inbox.service.came().is_empty());
    assert_eq!(inbox.lines(&["release", id]), ["1 entry released"]);

    let came = &inbox.service.wait_for(1).await[0];
    assert_eq!(came.path, "/hooks/veo3");
    assert_eq!(came.body, kept.body);
    for (name, value) in [
        (header::OVERRIDE, Some("token-expired")),
        (header::REDELIVERY, Some("1")),
        (header::ATTEMPT, Some("1")),
        (header::VERDICT, Some(Verdict::Accepted.name())),
        (header::EVENT, Some(Kind::Completed.name())),
        (header::IDEMPOTENCY_KEY, Some(kept.key().as_str())),
        (header::REASON, None),
        (header::CLAIMED_EVENT, None),
    ] {
        assert_eq!(came.header(name), value, "{name}");
    }
    inbox.wait_for(id.parse().unwrap(), "delivered").await;

    // The same once more is a repeat of it, and the genuine event is still a new one.
    inbox.store(&kept).await;
    let entries = inbox.entries("").await;
    assert_eq!((entries.len(), &entries[0]["seen"]), (1, &2.into()));
    inbox.store(&ForwardedDelivery::completed(1)).await;
    let came = &inbox.service.wait_for(2).await[1];
    assert_eq!((came.header(header::REDELIVERY), came.header(header::OVERRIDE)), (None, None));
}

async fn refuses_to_replay_a_quarantined_entry(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    let id = inbox.stored(&ForwardedDelivery::quarantined(1)).await.to_string();
    let sentence = "it is quarantined: `blobgate inbox release ID` delivers it";
    assert_eq!(inbox.refused(&["replay", &id], 1), format!("1 entry not replayed: {sentence} ({id})\n"));
    let said = inbox.refused(&["replay", "--state", "quarantined", "--yes"], 1);
    assert_eq!(said, format!("1 entry cannot be replayed: {sentence}\nno entry to replay\n"));
    let (_, said) = inbox.ask(reqwest::Method::POST, "/replay", &json!({"filter": {"hook": "veo3"}})).await;
    assert_eq!(said, json!({"changed": [], "refused": [], "next": null}), "a filter leaves it out");
    assert_eq!(inbox.entries("state=quarantined").await.len(), 1);
    // Given up by a person, it is like any dropped entry.
    assert_eq!(inbox.lines(&["drop", &id, "--yes"]), ["1 entry dropped"]);
    assert_eq!(inbox.lines(&["replay", &id]), ["1 entry replayed"]);
    let came = &inbox.service.wait_for(1).await[0];
    assert_eq!(came.header(header::OVERRIDE), Some("token-expired"));
}

async fn refuses_to_release_other_entries(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    let delivered = inbox.stored(&ForwardedDelivery::completed(1)).await;
    inbox.wait_for(delivered, "delivered").await;
    let dropped = inbox.stored(&ForwardedDelivery::quarantined(2)).await;
    inbox.lines(&["drop", &dropped.to_string(), "--yes"]);
    for id in [delivered, dropped] {
        let sentence = "it is not quarantined: `blobgate inbox replay ID` delivers it again";
        let said = inbox.refused(&["release", &id.to_string()], 1);
        assert_eq!(said, format!("1 entry not released: {sentence} ({id})\n"));
    }
    let said = inbox.refused(&["release", "999999"], 1);
    assert_eq!(said, "1 entry not released: there is no such entry (999999)\n");
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
        let said = inbox.refused(&[&["release"], args].concat(), 2);
        assert!(said.starts_with(sentence), "{args:?}: {said}");
    }
    assert_eq!(inbox.service.came().len(), 1);
}

async fn counts_what_a_release_would_do(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    let id = inbox.stored(&ForwardedDelivery::quarantined(1)).await.to_string();
    let no_event = ForwardedDelivery {
        event: None,
        reason: Some("schema-invalid"),
        ..ForwardedDelivery::quarantined(2)
    };
    let no_event = inbox.stored(&no_event).await.to_string();
    let sentence = "it claims no event: `blobgate inbox release ID --as completed`, or failed or timeout, says which it is";
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
    // By a filter it asks.
    let said = inbox.refused(&["release", "--reason", "token-expired"], 2);
    let asks = "this would release 1 entry: 1 quarantined. There is no terminal for the question: pass --yes";
    assert_eq!(said, format!("blobgate: {asks}\n"));
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
        format!("1 entry not replayed: it already waits ({id})\n")
    );
    inbox.lines(&["resume", "--hook", "veo3"]);
    let came = inbox.service.wait_for(2).await;
    assert_eq!(came[0].header(header::REDELIVERY), None);
    assert_eq!(came[1].header(header::REDELIVERY), Some("1"));
    assert_eq!(came[1].header(header::ATTEMPT), Some("1"));
    assert_eq!(came[1].header(header::IDEMPOTENCY_KEY), Some(delivery.key().as_str()));
    inbox.wait_for(id.parse().unwrap(), "delivered").await;

    inbox.service.hang();
    assert_eq!(inbox.lines(&["replay", &id]), ["1 entry replayed"]);
    assert_eq!(inbox.service.wait_for(3).await[2].header(header::REDELIVERY), Some("2"));
    assert_eq!(inbox.refused(&["replay", &id], 1), format!("1 entry not replayed: it is under way ({id})\n"));
    inbox.service.go_on();
    inbox.wait_for(id.parse().unwrap(), "delivered").await;
    assert_eq!(inbox.service.came().len(), 3);
}

async fn refuses_to_release_what_claims_no_event(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    let no_event = ForwardedDelivery {
        event: None,
        reason: Some("schema-invalid"),
        ..ForwardedDelivery::quarantined(1)
    };
    let no_event = inbox.stored(&no_event).await.to_string();
    let no_generation = ForwardedDelivery {
        generation: None,
        reason: Some("generation-id-invalid"),
        ..ForwardedDelivery::quarantined(2)
    };
    let no_generation = inbox.stored(&no_generation).await.to_string();
    let event = format!(
        "1 entry not released: field `video_url` is missing, expected a URL that begins with https://; it claims no event: \
         `blobgate inbox release ID --as completed`, or failed or timeout, says which it is ({no_event})\n"
    );
    assert_eq!(inbox.refused(&["release", &no_event], 1), event);
    let both = inbox.refused(&["release", &no_event, &no_generation, "999999"], 1);
    assert!(both.contains(&event), "{both}");
    let sentence = "; it names no generation: `blobgate inbox release ID --as EVENT --generation UUID` says which it is about";
    assert!(both.contains(&format!("{sentence} ({no_generation})\n")), "{both}");
    assert!(both.contains("1 entry not released: there is no such entry (999999)\n"), "{both}");
    assert_eq!(inbox.entries("state=quarantined").await.len(), 2);

    // By a filter they are counted before, and there is nothing left to ask about.
    let said = inbox.refused(&["release", "--state", "quarantined"], 1);
    assert!(
        said.contains("1 entry cannot be released: it claims no event: `blobgate inbox release ID --as completed`, or failed or timeout, says which it is\n")
    );
    assert!(said.ends_with("no entry to release\n"), "{said}");
    // With one among them that can be, they are refused one by one.
    inbox.store(&ForwardedDelivery::quarantined(3)).await;
    let said = inbox.refused(&["release", "--state", "quarantined", "--yes"], 1);
    assert!(said.contains(&event), "{said}");
    assert_eq!(inbox.service.wait_for(1).await[0].header(header::REDELIVERY), Some("1"));
}

async fn what_is_superseded_is_not_lost(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    inbox.store(&ForwardedDelivery::completed(9)).await;
    inbox.service.wait_for(1).await;
    inbox.lines(&["pause", "--hook", "veo3"]);
    inbox.wait_for_pause("veo3/completed", true).await;
    // The first of its route: that is paused from the start.
    let failed = inbox.stored(&ForwardedDelivery::failed(1)).await;
    inbox.store(&ForwardedDelivery::completed(1)).await;
    inbox.wait_for(failed, "superseded").await;
    assert_eq!(inbox.lines(&["replay", &failed.to_string()]), ["1 entry replayed"]);
    inbox.lines(&["resume", "--hook", "veo3"]);
    inbox.wait_for(failed, "delivered").await;
    let events: Vec<_> = inbox.service.wait_for(3).await;
    let failures = events.iter().filter(|came| came.header(header::EVENT) == Some(Kind::Failed.name()));
    assert_eq!(failures.count(), 1);
}

async fn replays_hundreds_by_filter(place: TestStore) {
    const MANY: usize = 1_200;
    let inbox = RunningInbox::start(place).await;
    for numbers in (0..MANY).collect::<Vec<_>>().chunks(100) {
        let deliveries: Vec<_> = numbers.iter().map(|number| ForwardedDelivery::completed(*number)).collect();
        for stored in futures_util::future::join_all(deliveries.iter().map(|it| inbox.hand_over(it))).await {
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
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
    for expected in [
        "This will replay 1200 entries: 1200 delivered. Continue? [y/N]",
        "\r500 of 1200 replayed\r1000 of 1200 replayed\r1200 of 1200 replayed",
        "1200 entries replayed",
    ] {
        assert!(said.contains(expected), "{said:?}");
    }
    // A second time there are none.
    let output = inbox.command(&[&["replay", "--yes"], &filter[..]].concat());
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), "no entry to replay\n"));

    inbox.lines(&["resume", "--event", "completed"]);
    let came = inbox.service.wait_for(2 * MANY).await;
    let again: BTreeSet<_> = came
        .iter()
        .filter(|came| came.header(header::REDELIVERY) == Some("1"))
        .map(|came| came.header(header::IDEMPOTENCY_KEY).unwrap().to_owned())
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
    let kept = inbox.stored(&ForwardedDelivery::quarantined(2)).await.to_string();

    // Without a terminal it asks nobody, and does nothing.
    let said = inbox.refused(&["drop", &waits, &kept, "999999"], 2);
    let sentence = "this would drop 2 entries: 1 waiting, 1 quarantined. There is no terminal for the question: pass --yes";
    assert_eq!(said, format!("1 entry cannot be dropped: there is no such entry\nblobgate: {sentence}\n"));
    // On one it does what it is told.
    let output = on_a_terminal(&inbox, &["drop", &waits, &kept], "n\n");
    let said = text(&output.stdout);
    assert!(said.contains("This will drop 2 entries: 1 waiting, 1 quarantined. Continue? [y/N]"), "{said}");
    assert!(said.contains("no entry dropped"), "{said}");
    assert_eq!(output.status.code(), Some(1));
    assert!(inbox.entries("state=dropped").await.is_empty());
    let output = on_a_terminal(&inbox, &["drop", &waits], "y\n");
    assert!(text(&output.stdout).contains("1 entry dropped"), "{}", text(&output.stdout));
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(inbox.lines(&["drop", "--reason", "token-expired", "--yes"]), ["1 entry dropped"]);
    assert_eq!(inbox.entries("state=dropped").await.len(), 2);
    assert_eq!(
        inbox.refused(&["drop", &kept, "--yes"], 1),
        format!("1 entry not dropped: it is dropped already ({kept})\n")
    );

    // It is not delivered, nor when it comes once more; what waits beside it is.
    inbox.store(&ForwardedDelivery::completed(1)).await;
    let beside = inbox.stored(&ForwardedDelivery::completed(3)).await;
    inbox.lines(&["resume", "--hook", "veo3"]);
    inbox.wait_for(beside, "delivered").await;
    let keys: Vec<_> = inbox
        .service
        .came()
        .iter()
        .map(|came| came.header(header::IDEMPOTENCY_KEY).unwrap().to_owned())
        .collect();
    assert_eq!(keys, [ForwardedDelivery::completed(9).key(), ForwardedDelivery::completed(3).key()]);
    // Until somebody changes their mind.
    assert_eq!(inbox.lines(&["replay", &waits]), ["1 entry replayed"]);
    inbox.wait_for(waits.parse().unwrap(), "delivered").await;
}

/// Runs it on a terminal of its own, on which somebody types.
fn on_a_terminal(inbox: &RunningInbox, args: &[&str], typed: &str) -> Output {
    let command = blobgate(&[]);
    let words = [&["inbox"], args, &["--admin", &inbox.admin]].concat().join(" ");
    let line = format!("{} {words}", command.get_program().display());
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(typed.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

async fn does_not_drop_what_is_under_way_or_done(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    inbox.service.hang();
    let id = inbox.stored(&ForwardedDelivery::completed(1)).await;
    inbox.service.wait_for(1).await;
    let number = id.to_string();
    assert_eq!(
        inbox.refused(&["drop", &number, "--yes"], 1),
        format!("1 entry not dropped: it is under way: pause its route first ({number})\n")
    );
    inbox.service.go_on();
    inbox.wait_for(id, "delivered").await;
    assert_eq!(
        inbox.refused(&["drop", &number, "--yes"], 1),
        format!("1 entry not dropped: it is delivered ({number})\n")
    );
    let said = inbox.refused(&["drop", "--generation", &generation(1)], 1);
    assert_eq!(said, "1 entry cannot be dropped: it is delivered\nno entry to drop\n");
    inbox.wait_for(id, "delivered").await;
}

async fn tells_what_was_done_in_json(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    let id = inbox.stored(&ForwardedDelivery::quarantined(1)).await;
    let output = inbox.command(&["drop", &id.to_string(), "999999", "--yes", "--json"]);
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let refused = serde_json::json!([{"id": 999_999, "why": "there is no such entry"}]);
    assert_eq!(said, serde_json::json!({"changed": [id], "refused": refused}));
    assert_eq!(output.status.code(), Some(1));
}
