//! `why`: the story of a generation.

use super::reconciling::{ProviderStandIn, webhook};
use super::{ForwardedDelivery, RunningInbox, TestStore, generation, on_each_store, until};
use crate::running::{blobgate, text};
use blobgate::contract::Verdict;
use blobgate_inbox::service::StoryEvent;
use blobgate_testkit_book::block;
use reqwest::Method;
use serde_json::{Value, json};
use std::process::Output;
use uuid::Uuid;

on_each_store! {
    tells_of_a_late_quarantined_released_and_delivered_event
    tells_of_an_event_that_never_came
    tells_of_conflicts_repeats_and_releases
    tells_of_pauses_drops_and_purges
    tells_of_failed_attempts
    tells_of_reconciled_events
    compares_with_the_status_api
    keeps_the_story_of_a_job_short
    refuses_wrong_subjects
}

impl RunningInbox {
    /// Runs `why` against this inbox.
    fn why(&self, args: &[&str]) -> Output {
        blobgate(&[&["why"], args, &["--admin", &self.admin]].concat()).env("NO_COLOR", "1").output().unwrap()
    }

    /// The answer of a run with this exit code, and its text for a person.
    #[track_caller]
    fn told(&self, args: &[&str], code: i32) -> (Value, String) {
        let output = self.why(&[args, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", text(&output.stderr));
        let shown = self.why(args);
        assert_eq!(shown.status.code(), Some(code), "{args:?}: {}", text(&shown.stderr));
        (serde_json::from_slice(&output.stdout).unwrap(), text(&shown.stdout))
    }

    async fn announce(&self, generation: &str, job: &str) -> Value {
        let what = json!({"hook": "veo3", "generation_id": generation, "job": job});
        let (status, answer) = self.call(Method::POST, "/expect", &what).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }
}

/// Pairs of kind and text, in order.
fn lines(story: &Value) -> Vec<(String, String)> {
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    story["lines"].as_array().unwrap().iter().map(|line| (word(&line["what"]), word(&line["text"]))).collect()
}

fn kinds(story: &Value) -> Vec<String> {
    lines(story).into_iter().map(|(what, _)| what).collect()
}

fn commands(next: &Value) -> Vec<String> {
    let commands = next.as_array().unwrap().iter().filter_map(|step| step["command"].as_str());
    commands.map(str::to_owned).collect()
}

/// Each line has a time that is not before the one above it.
#[track_caller]
fn is_in_order(story: &Value) {
    let times: Vec<_> =
        story["lines"].as_array().unwrap().iter().filter_map(|line| line["at"].as_str()).collect();
    assert!(times.is_sorted(), "{times:?}");
}

async fn tells_of_a_late_quarantined_released_and_delivered_event(place: TestStore) {
    let inbox = RunningInbox::with(place, &["--reconcile-after", "50ms"]).await;
    let id = generation(1);
    inbox.announce(&id, "order-17").await;
    until("it is overdue", async || inbox.told(&[&id], 0).0["stories"][0]["state"] == "overdue").await;
    let (overdue, shown) = inbox.told(&[&id], 0);
    assert_eq!(kinds(&overdue["stories"][0]), ["expected", "overdue"]);
    assert!(shown.contains(&format!("grep -e {id} -e token- LOG | blobgate explain --line -\n")), "{shown}");

    let late = ForwardedDelivery { job: Some("order-17"), ..ForwardedDelivery::quarantined(1) };
    let entry = inbox.stored(&late).await;
    let (held, shown) = inbox.told(&[&id.to_uppercase()], 0);
    let held = &held["stories"][0];
    assert_eq!(kinds(held), ["expected", "overdue", "quarantined"]);
    assert_eq!(held["state"], "quarantined, overdue");
    let command = format!("blobgate inbox release {entry}");
    assert!(commands(&held["next"]).contains(&command), "{held}");
    // Ready to paste.
    assert!(shown.contains(&format!("    {command} --admin {}\n", inbox.admin)), "{shown}");
    assert!(shown.contains("Release genuine entries."), "the remedy: {shown}");
    assert!(!shown.contains(" LOG "), "the event is here: {shown}");

    inbox.service.answer(503);
    inbox.lines(&["release", &entry.to_string(), "--yes"]);
    inbox.service.wait_for(1).await;
    inbox.service.answer(200);
    until("the failure is stored", async || inbox.get(&format!("/entries/{entry}")).await["status"] == 503)
        .await;
    inbox.lines(&["retry", &entry.to_string()]);
    inbox.wait_for(entry, "delivered").await;

    let (told, shown) = inbox.told(&[&id], 0);
    let story = &told["stories"][0];
    assert_eq!(kinds(story), ["expected", "overdue", "quarantined", "released", "attempt", "delivered"]);
    is_in_order(story);
    let lines = lines(story);
    assert_eq!(lines[0].1, "announced with job order-17");
    assert!(lines[1].1.starts_with("overdue: no event was accepted within 50ms"), "{lines:?}");
    let quarantined = format!("completed received from 2001:db8::9 and quarantined: entry {entry}");
    assert!(lines[2].1.starts_with(&quarantined) && lines[2].1.contains("token-expired: "), "{lines:?}");
    let released = format!("entry {entry} released by a person, as the event that it claims: completed");
    assert_eq!(lines[3].1, released);
    assert!(lines[4].1.starts_with(&format!("attempt 1 of entry {entry}: 503 after ")), "{lines:?}");
    assert!(
        lines[5].1.starts_with(&format!("attempt 2 of entry {entry}: delivered, 200 after ")),
        "{lines:?}"
    );
    for (_, line) in &lines {
        assert!(shown.contains(line), "{shown}");
    }
    // The same story by each of its names.
    let request = inbox.get(&format!("/entries/{entry}")).await["request_id"].as_str().unwrap().to_owned();
    for args in [&["--job", "order-17"][..], &["--entry", &entry.to_string()], &["--request-id", &request]] {
        assert_eq!(inbox.told(args, 0).0["stories"][0]["lines"], story["lines"], "{args:?}");
    }
    // `show` has the same attempts.
    let shown = inbox.lines(&["show", &entry.to_string()]).join("\n");
    assert!(shown.contains(&format!("  request id  {request}\n")), "{shown}");
    let log: Vec<_> = shown.lines().filter(|line| line.starts_with("  attempt ")).collect();
    assert!(log.len() == 2 && log[0].contains("  503 after ") && log[1].contains("  200 after "), "{shown}");
}

async fn tells_of_an_event_that_never_came(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    let id = generation(2);
    let (nothing, shown) = inbox.told(&[&id], 1);
    assert_eq!((&nothing["stories"], &nothing["more"]), (&json!([]), &json!(0)));
    assert!(shown.starts_with(&format!("generation {id} is not in the inbox\n\nnext\n")), "{shown}");
    let commands = commands(&nothing["next"]);
    assert_eq!(commands[0], format!("grep -e {id} -e token- LOG | blobgate explain --line -"));
    // There is no status API.
    let (asked, shown) = inbox.told(&[&id, "--ask"], 1);
    assert_eq!(
        (&asked["status_api"]["called"], &asked["status_api"]["outcome"]),
        (&json!(false), &json!("no-provider"))
    );
    assert!(shown.contains("Start it with `blobgate inbox serve --provider`"), "{shown}");

    inbox.announce(&id, "order-2").await;
    let (told, _) = inbox.told(&["--job", "order-2", "--hook", "veo3"], 0);
    assert_eq!(
        (kinds(&told["stories"][0]), &told["stories"][0]["state"]),
        (vec!["expected".to_owned()], &json!("expected"))
    );
    let (other, shown) = inbox.told(&["--job", "order-2", "--hook", "other"], 1);
    assert_eq!(other["stories"], json!([]));
    assert!(
        shown.contains(&format!("    blobgate why --job=order-2 --hook veo3 --admin {}\n", inbox.admin)),
        "{shown}"
    );
    assert_eq!(inbox.told(&["--request-id", "never-seen"], 1).0["stories"], json!([]));
    let message = text(&inbox.why(&["--entry", "4711"]).stderr);
    assert!(message.contains("no entry 4711"), "{message}");
}

async fn tells_of_conflicts_repeats_and_releases(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    let id = generation(3);
    let first = inbox.stored(&ForwardedDelivery::completed(3)).await;
    inbox.wait_for(first, "delivered").await;
    inbox.store(&ForwardedDelivery::completed(3)).await;
    inbox.store(&ForwardedDelivery::completed(3)).await;
    let conflict = inbox.stored(&ForwardedDelivery::failed(3)).await;
    let (told, _) = inbox.told(&[&id], 0);
    let story = &told["stories"][0];
    assert_eq!(kinds(story), ["received", "delivered", "repeated", "quarantined"]);
    assert_eq!(story["state"], "delivered, quarantined");
    is_in_order(story);
    let told = lines(story);
    assert!(told[2].1.starts_with(&format!("entry {first}: 2 more deliveries ")), "{told:?}");
    assert!(told[3].1.contains("event-conflict: The generation has another event already"), "{told:?}");
    assert!(commands(&story["next"]).contains(&format!("blobgate inbox drop {conflict}")), "{story}");
    inbox.lines(&["drop", &conflict.to_string(), "--yes"]);

    // A timeout, then its completion; and an entry without a generation, which a person releases.
    let other = generation(4);
    inbox.lines(&["pause", "--hook", "veo3"]);
    inbox.wait_for_pause("veo3/completed", true).await;
    let timeout =
        inbox.stored(&ForwardedDelivery { event: Some("timeout"), ..ForwardedDelivery::failed(4) }).await;
    let completed = inbox.stored(&ForwardedDelivery::completed(4)).await;
    let (told, _) = inbox.told(&[&other], 0);
    let story = &told["stories"][0];
    let superseded = ("superseded".to_owned(), format!("entry {timeout} superseded by entry {completed}"));
    assert!(lines(story).contains(&superseded), "{story}");
    assert_eq!(inbox.get(&format!("/entries/{timeout}")).await["superseded_by"], completed);

    let unnamed = ForwardedDelivery {
        event: None,
        generation: None,
        reason: Some("json-invalid"),
        body: b"{".to_vec(),
        ..ForwardedDelivery::quarantined(5)
    };
    let unnamed = inbox.stored(&unnamed).await;
    let (told, shown) = inbox.told(&["--entry", &unnamed.to_string()], 0);
    assert_eq!(told["stories"][0]["generation"], Value::Null);
    let head = format!("entry {unnamed} of hook veo3, without a generation: quarantined\n");
    assert!(shown.starts_with(&head), "{shown}");
    assert!(
        shown.contains(&format!("blobgate inbox release {unnamed} --as completed --generation ID")),
        "{shown}"
    );
    let named = generation(5);
    inbox.lines(&["release", &unnamed.to_string(), "--as", "completed", "--generation", &named, "--yes"]);
    let made = inbox.entries(&format!("generation={named}")).await[0]["id"].as_i64().unwrap();
    let released = format!("entry {unnamed} released: a person named its event. Its event is entry {made}");
    for args in [&[named.as_str()][..], &["--entry", &unnamed.to_string()]] {
        let (told, _) = inbox.told(args, 0);
        assert_eq!(told["stories"][0]["generation"], named, "{args:?}");
        assert_eq!(kinds(&told["stories"][0])[..2], ["quarantined", "released"], "{args:?}");
        assert_eq!(lines(&told["stories"][0])[1].1, released, "{args:?}");
    }
}

async fn tells_of_pauses_drops_and_purges(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    let id = generation(6);
    let before = inbox.stored(&ForwardedDelivery::completed(60)).await;
    inbox.wait_for(before, "delivered").await;
    inbox.lines(&["pause", "--hook", "veo3", "--event", "completed"]);
    inbox.wait_for_pause("veo3/completed", true).await;
    let entry =
        inbox.stored(&ForwardedDelivery { job: Some("order-6"), ..ForwardedDelivery::completed(6) }).await;
    let name = entry.to_string();
    let (told, shown) = inbox.told(&[&id], 0);
    let story = &told["stories"][0];
    assert_eq!(kinds(story), ["received", "paused"], "a pause has no end yet");
    assert_eq!(commands(&story["next"]), ["blobgate inbox resume --hook veo3 --event completed"]);
    assert!(shown.contains("deliveries of veo3/completed are paused, since 20"), "{shown}");

    inbox.lines(&["drop", &name, "--yes"]);
    let (told, _) = inbox.told(&[&id], 0);
    assert_eq!(kinds(&told["stories"][0]), ["received", "dropped"]);
    assert_eq!(commands(&told["stories"][0]["next"]), [format!("blobgate inbox replay {entry}")]);

    inbox.lines(&["resume", "--hook", "veo3", "--event", "completed"]);
    inbox.lines(&["replay", &name, "--yes"]);
    inbox.wait_for(entry, "delivered").await;
    let (told, shown) = inbox.told(&[&id], 0);
    assert_eq!(kinds(&told["stories"][0]), ["received", "replayed", "delivered"]);
    let replay = format!("blobgate inbox replay {entry}");
    assert_eq!(commands(&told["stories"][0]["next"]), [replay.as_str()]);
    // Of this inbox, and no other one.
    assert!(shown.contains(&format!("    {replay} --admin {}", inbox.admin)), "{shown}");

    inbox.lines(&["purge", "--job", "order-6", "--yes"]);
    let (told, shown) = inbox.told(&[&id], 0);
    assert_eq!(kinds(&told["stories"][0]), ["received", "replayed", "delivered", "purged"]);
    assert!(shown.ends_with(&format!("\nnext\n  nothing: entry {entry} is delivered\n")), "{shown}");
}

async fn tells_of_failed_attempts(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    inbox.service.answer(500);
    let entry = inbox.stored(&ForwardedDelivery::completed(7)).await;
    until("the failure is stored", async || inbox.get(&format!("/entries/{entry}")).await["status"] == 500)
        .await;
    let (told, shown) = inbox.told(&[&generation(7)], 0);
    let story = &told["stories"][0];
    let kinds = kinds(story);
    assert_eq!((kinds[0].as_str(), kinds.last().unwrap().as_str()), ("received", "due"));
    let lines = lines(story);
    let (_, attempt) = lines.iter().find(|(what, _)| what == "attempt").unwrap();
    assert!(attempt.contains(": 500 after ") && attempt.ends_with(": scripted"), "{attempt}");
    let (_, route) = lines.iter().find(|(what, _)| what == "route_fails").unwrap();
    assert!(route.starts_with("route veo3/completed fails: its attempts get 5xx, since 20"), "{route}");
    assert_eq!(commands(&story["next"]), [format!("blobgate inbox retry {entry}")]);
    // A line that is to come is later than the answer.
    assert!(
        story["lines"].as_array().unwrap().last().unwrap()["at"].as_str() > told["now"].as_str(),
        "{shown}"
    );
}

async fn tells_of_reconciled_events(place: TestStore) {
    let provider = ProviderStandIn::start().await;
    let inbox = RunningInbox::reconciling(place, &provider).await;
    let id = provider.generated("completed").await;
    inbox.expects(&id).await;
    inbox.service.wait_for(1).await;
    let entry = inbox.entries(&format!("generation={id}")).await[0]["id"].as_i64().unwrap();
    inbox.wait_for(entry, "delivered").await;
    until("the call's answer is stored", async || {
        let (told, _) = inbox.told(&[&id], 0);
        lines(&told["stories"][0])
            .contains(&("status_call".to_owned(), "status call 1: the generation is completed".to_owned()))
    })
    .await;
    let (told, _) = inbox.told(&[&id], 0);
    assert_eq!(kinds(&told["stories"][0]), ["expected", "overdue", "status_call", "reconciled", "delivered"]);
    is_in_order(&told["stories"][0]);
    // The headers, which tell it too, end with the body.
    inbox.lines(&["purge", "--generation", &id, "--yes"]);
    let (told, _) = inbox.told(&[&id], 0);
    assert_eq!(
        kinds(&told["stories"][0]),
        ["expected", "overdue", "status_call", "reconciled", "delivered", "purged"]
    );
}

async fn compares_with_the_status_api(place: TestStore) {
    let provider = ProviderStandIn::start().await;
    let more = ["--provider", provider.url(), "--reconcile-per-minute", "3"];
    let inbox = RunningInbox::with(place, &more).await;
    let (own, forged) = (provider.generated("completed").await, provider.generated("completed").await);
    let mut body = provider.status(&own).await;
    let entry = inbox.stored(&webhook(&own, &body)).await;
    inbox.wait_for(entry, "delivered").await;
    let verdict = |told: &Value| told["status_api"]["compared"].clone();
    // The text and the JSON would be two calls.
    let asked = |args: &[&str]| -> (i32, Value) {
        let output = inbox.why(&[args, &["--ask", "--json"]].concat());
        (output.status.code().unwrap(), serde_json::from_slice(&output.stdout).unwrap())
    };
    let before = provider.calls(&own).await;
    let (code, told) = asked(&[&own]);
    assert_eq!((code, verdict(&told)), (0, json!([{"entry": entry, "verdict": "confirmed"}])));
    let status = &told["status_api"];
    assert_eq!((&status["outcome"], &status["event"]), (&json!("completed"), &json!("completed")));
    assert_eq!(provider.calls(&own).await, before + 1);

    // Another video: the entry is forged.
    body["generation_id"] = json!(forged);
    body["video_url"] = json!("https://cdn.runblob.io/forged.mp4");
    let quarantined = ForwardedDelivery {
        verdict: Verdict::Quarantined,
        reason: Some("not-confirmed"),
        ..webhook(&forged, &body)
    };
    let held = inbox.stored(&quarantined).await;
    let (code, told) = asked(&["--entry", &held.to_string()]);
    assert_eq!((code, verdict(&told)), (0, json!([{"entry": held, "verdict": "contradicted"}])));
    assert_eq!(commands(&told["stories"][0]["next"])[0], format!("blobgate inbox drop {held}"));

    // Never seen here, and unknown there.
    let none = Uuid::new_v4().to_string();
    let (code, told) = asked(&[&none]);
    assert_eq!(
        (code, &told["status_api"]["outcome"], &told["status_api"]["called"]),
        (1, &json!("unknown"), &json!(true))
    );
    let why = told["next"][0]["why"].as_str().unwrap();
    assert!(why.starts_with("the status API has no such generation. Compare the id"), "{told}");
    assert!(!commands(&told["next"]).iter().any(|command| command.contains("--ask")), "{told}");

    // The three calls of this minute are used up.
    let (code, told) = asked(&[&own]);
    assert_eq!(
        (code, &told["status_api"]["outcome"], &told["status_api"]["called"]),
        (1, &json!("budget"), &json!(false))
    );
    assert_eq!(told["stories"][0]["state"], "delivered");
    assert_eq!(provider.calls(&own).await, before + 1);
}

async fn keeps_the_story_of_a_job_short(place: TestStore) {
    let inbox = RunningInbox::start(place).await;
    inbox.lines(&["pause", "--hook", "veo3"]);
    for number in 0..120 {
        inbox
            .store(&ForwardedDelivery {
                job: Some("a.b~c_D-1"),
                ..ForwardedDelivery::completed(100 + number)
            })
            .await;
    }
    let (told, shown) = inbox.told(&["--job", "a.b~c_D-1"], 0);
    assert_eq!((told["stories"].as_array().unwrap().len(), &told["more"]), (10, &json!(110)));
    assert_eq!(told["stories"][0]["generation"], generation(219), "the newest first");
    let more =
        format!("and 110 more that match: `blobgate inbox ls --admin {}` lists entries\n", inbox.admin);
    assert!(shown.ends_with(&more), "{shown}");
    // Which one, is not clear.
    let (asked, _) = inbox.told(&["--job", "a.b~c_D-1", "--ask"], 1);
    assert_eq!(asked["status_api"]["outcome"], "ambiguous");
}

async fn refuses_wrong_subjects(place: TestStore) {
    let inbox = RunningInbox::with(place, &["--admin-token", "ops:operate:TOKEN"]).await;
    let id = generation(1);
    for (args, sentence) in [
        (&[][..], "the following required arguments were not provided"),
        (&[&id, "--job", "a"], "cannot be used with"),
        (&["{5f1c8c1e}"], "use a UUID in the 8-4-4-4-12 form"),
        (&["\u{1b}[2J"], "use a UUID in the 8-4-4-4-12 form"),
        (&["--job", "a b"], "use 1 to 64 of"),
        (&["--request-id", "a\nb"], "use 1 to 64 of"),
        (&["--entry", "0"], "it is no id of an entry"),
        (&["--hook", "VEO3", &id], "use 1 to 32 of a-z 0-9 -"),
    ] {
        let output = inbox.why(args);
        let message = text(&output.stderr);
        assert_eq!(
            (output.status.code(), message.contains(sentence)),
            (Some(2), true),
            "{args:?}: {message}"
        );
        assert!(!message.contains('\u{1b}'), "{message:?}");
    }
    let message = text(&inbox.why(&[&id]).stderr);
    assert!(message.contains("refuses the request without its token"), "{message}");

    let url = |query: &str| format!("{}/why{query}", inbox.admin);
    let answer = inbox.client.get(url(&format!("?generation={id}"))).send().await.unwrap();
    assert_eq!(answer.status(), 401);
    let post = inbox.client.post(url("")).json(&json!({"generation": id})).send().await.unwrap();
    assert_eq!(post.status(), 401);
    for (query, detail) in [
        ("", "the request needs one of generation, job, request_id and entry: pass exactly one of them"),
        ("?colour=red", "unknown parameter \"colour\": use generation, job, request_id, entry or hook"),
        ("?job=a&job=b", "job occurs twice: pass it once"),
        ("?generation=%1b%5b2J", "invalid generation \"\\u{1b}[2J\": use a UUID in the 8-4-4-4-12 form"),
    ] {
        let answer =
            inbox.client.get(url(query)).bearer_auth("an-admin-token-of-a-test").send().await.unwrap();
        assert_eq!(answer.status(), 400, "{query}");
        let problem: Value = answer.json().await.unwrap();
        assert_eq!((&problem["code"], &problem["detail"]), (&json!("request-invalid"), &json!(detail)));
    }
    let wrong = inbox
        .client
        .post(url(""))
        .bearer_auth("an-admin-token-of-a-test")
        .json(&json!({"id": 1}))
        .send()
        .await
        .unwrap();
    assert_eq!(wrong.status(), 400);
}

/// Runs each line of a block of the book against this inbox.
fn run_block(commands: &str, inbox: &RunningInbox) -> String {
    let mut printed = String::new();
    for line in commands.lines() {
        let command = line.split(" # ").next().unwrap_or_default().trim_end();
        let words = command.strip_prefix("blobgate why ").unwrap_or_else(|| panic!("{line}"));
        let output = inbox.why(&words.split(' ').collect::<Vec<_>>());
        assert!(output.status.success(), "{line}: {}", text(&output.stderr));
        printed.push_str(&text(&output.stdout));
    }
    printed
}

/// The page `find-a-video` works as it stands.
#[tokio::test(flavor = "multi_thread")]
async fn runs_the_blocks_of_the_book() {
    let provider = ProviderStandIn::start().await;
    let inbox = RunningInbox::with(TestStore::sqlite(), &["--provider", provider.url()]).await;
    let id = generation(1);
    for number in 100..116 {
        inbox.store(&ForwardedDelivery::quarantined(number)).await;
    }
    let delivery = ForwardedDelivery { job: Some("order-17"), ..ForwardedDelivery::completed(1) };
    let entry = inbox.stored_with_request_id(&delivery, "5f1c-order-17").await;
    assert_eq!(entry, 17, "the entry of the page");
    inbox.wait_for(entry, "delivered").await;
    let printed = run_block(&block("why"), &inbox);
    assert_eq!(
        printed.matches(&format!("{id} of hook veo3, job order-17: delivered\n")).count(),
        4,
        "{printed}"
    );
    let printed = run_block(&block("why-ask"), &inbox);
    assert!(printed.contains("status API now\n  the status API has no such generation\n"), "{printed}");
    let printed: Value = serde_json::from_str(&run_block(&block("why-json"), &inbox)).unwrap();
    assert_eq!(kinds(&printed["stories"][0]), ["received", "delivered"]);
}

/// The page names each kind of line.
#[test]
fn the_page_has_each_kind_of_line() {
    let page = include_str!("../../../../docs/howto/find-a-video.md");
    for what in StoryEvent::ALL {
        let word = serde_json::to_value(what).unwrap();
        assert!(page.contains(&format!("`{}`", word.as_str().unwrap())), "{what:?}");
    }
}
