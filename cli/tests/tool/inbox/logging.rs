//! The log of a running inbox.

use crate::running::text;
use blobgate::contract::{Kind, Verdict, header};
use blobgate_testkit::inbox::{InboxProcess, forwarded, fresh_generation, migrate};
use blobgate_testkit::{Reply, TestDelivery, Upstream, closed_port, eventually};
use serde_json::{Value, json};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_blobgate");

/// Visible characters, which a header may have, and which could end a string or a line of JSON.
const HOSTILE: &str = r#"veo"}{"level":"INFO"\u0022\"#;

fn store() -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("inbox.db").display());
    migrate(PROGRAM, &store);
    (folder, store)
}

fn delivery() -> TestDelivery {
    forwarded(&fresh_generation())
}

fn is_json(log: &str) -> bool {
    log.lines().all(|line| serde_json::from_str::<Value>(line).is_ok_and(|line| line.is_object()))
}

/// The lines with a field of this value.
fn with<'a>(lines: &'a [Value], field: &str, value: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line[field] == value).collect()
}

/// Waits for a line with this text. Returns all lines.
#[track_caller]
fn lines(inbox: &InboxProcess, text: &str) -> Vec<Value> {
    let log = eventually(text, || Some(inbox.log()).filter(|log| log.contains(text) && log.ends_with('\n')));
    log.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// An inbox that logs JSON, because its standard error is a file.
#[track_caller]
fn start(store: &str, service: u16, more: &[&str]) -> InboxProcess {
    InboxProcess::start(PROGRAM, store, service, &[&["--log-format", "auto"], more].concat())
}

#[test]
fn logs_json_without_a_terminal() {
    let (_folder, store) = store();
    let service = closed_port();
    let inbox = start(&store, service.address.port(), &[]);
    // Five failed attempts take the route down.
    for _ in 0..6 {
        assert_eq!(inbox.receive(&delivery()).unwrap().status, 200);
    }
    let refused = delivery().without_header(header::CONTRACT).header(header::REQUEST_ID, "r-17");
    assert_eq!(inbox.receive(&refused).unwrap().status, 503);
    lines(&inbox, "refused reason=");
    let lines = lines(&inbox, " is down");
    let [down] = with(&lines, "target", "blobgate_inbox::deliver::log")[..] else { panic!("{lines:?}") };
    let fields = ["level", "route", "hook", "event"].map(|field| down[field].as_str().unwrap());
    assert_eq!(fields, ["WARN", "veo3/completed", "veo3", "completed"]);
    let message = down["message"].as_str().unwrap();
    assert!(message.starts_with("route=veo3/completed is down: Connection refused"), "{message}");
    let (entry, id) = (down["entry"].as_i64().unwrap(), down["request_id"].as_str().unwrap());
    assert!(message.ends_with(&format!(" (entry={entry} request_id={id})")), "{message}");
    let [refused] = with(&lines, "reason", "not-ours")[..] else { panic!("{lines:?}") };
    let sentence = format!(
        "refused reason=not-ours request_id=r-17: the gate writes another version of the gate headers ({}). Upgrade the older of both",
        header::CONTRACT
    );
    assert_eq!((&refused["level"], &refused["message"]), (&"WARN".into(), &sentence.into()));
    assert_eq!(refused["request_id"], "r-17");
}

#[test]
fn logs_text_on_a_terminal() {
    let (folder, store) = store();
    let typescript = folder.path().join("typescript");
    for (format, json) in [(&[][..], false), (&["--log-format", "json"], true)] {
        let service = closed_port();
        let serve = [
            &["inbox", "serve", "--store", &store, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"][..],
            &["--deliver-to", &format!("http://{}", service.address)],
            format,
        ];
        // `script` runs the command on a terminal, and ends with it.
        let line = format!("echo pid $$ .; exec {PROGRAM} {}", serve.concat().join(" "));
        let mut command = Command::new("script");
        command
            .args(["-qefc", &line])
            .arg(&typescript)
            .env_remove("BLOBGATE_LOG_FORMAT")
            .env("NO_COLOR", "1");
        let mut running = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let pid = eventually("an inbox on a terminal", || {
            let text = std::fs::read_to_string(&typescript).ok()?;
            text.contains("inbox listens on ").then_some(())?;
            // The typescript begins with the command.
            text.split("pid ").find_map(|rest| rest.split(' ').next()?.parse::<u32>().ok())
        });
        assert!(Command::new("kill").args(["-TERM", &pid.to_string()]).status().unwrap().success());
        assert!(running.wait().unwrap().success());
        let text = std::fs::read_to_string(&typescript).unwrap();
        let ending = text.lines().find(|line| line.contains("ending: the inbox finishes"));
        let ending = ending.unwrap_or_else(|| panic!("{text}")).trim_end();
        assert_eq!((is_json(ending), ending.starts_with('[')), (json, !json), "{text}");
        std::fs::remove_file(&typescript).unwrap();
    }
}

/// Texts that no log may have: a body, a prompt, a query, a token, a header's value.
const SECRETS: [&str; 4] = ["a cat that stays private", "signed-query", "eyJhbGciOi", "hush-hush"];

#[test]
fn logs_no_answer_of_a_service() {
    let (_folder, store) = store();
    let service = Upstream::start();
    // A service in debug mode repeats what it gets.
    service.reply(Reply::status(503).header("x-debug", SECRETS[3]).body(SECRETS.join(" ")));
    let inbox = start(&store, service.port, &[]);
    let secret = || {
        let body = json!({"prompt": SECRETS[0], "video_url": format!("https://a/{}", SECRETS[1])});
        let marks = forwarded(&fresh_generation());
        TestDelivery { pieces: vec![body.to_string().into_bytes()], ..marks }.header("x-token", SECRETS[2])
    };
    for _ in 0..6 {
        assert_eq!(inbox.receive(&secret()).unwrap().status, 200);
    }
    let down = lines(&inbox, "is down: its service answers 503");
    service.reply(Reply::status(200).body(SECRETS.join(" ")));
    lines(&inbox, "is up again: its service answers 200");
    assert_eq!(with(&down, "hook", "veo3").len(), 1, "{down:?}");
    let log = inbox.log();
    for secret in SECRETS {
        assert!(!log.contains(secret), "{log}");
    }
    // The search finds them where they belong.
    let shown = inbox.command(&["show", "1", "--json"]);
    assert!(text(&shown.stdout).contains(SECRETS[0]), "{}", text(&shown.stdout));
}

#[test]
fn one_kind_of_line_hides_no_other() {
    let (_folder, store) = store();
    let service = closed_port();
    let inbox = start(&store, service.address.port(), &[]);
    let noisy = forwarded(&fresh_generation()).without_header(header::CONTRACT);
    let sent = 500_u64;
    for number in 0..sent {
        assert_eq!(inbox.receive(&noisy).unwrap().status, 503);
        if number == sent / 2 {
            assert_eq!(inbox.receive(&noisy.clone().method("PUT")).unwrap().status, 503);
        }
    }
    let lines = eventually("the count of omitted lines", || {
        let lines = lines(&inbox, "lines-left-out=");
        let omitted: u64 = with(&lines, "kind", "refused/not-ours")
            .iter()
            .map(|line| line["omitted"].as_u64().unwrap())
            .sum();
        let written = u64::try_from(with(&lines, "reason", "not-ours").len()).unwrap();
        (written + omitted == sent).then_some(lines)
    });
    assert!(with(&lines, "reason", "not-ours").len() >= 10, "{lines:?}");
    assert_eq!(with(&lines, "reason", "method").len(), 1, "{lines:?}");
    assert_eq!(with(&lines, "kind", "refused/method").len(), 0, "{lines:?}");
}

#[test]
fn logs_why_a_status_call_failed() {
    let generation = fresh_generation();
    let provider = Upstream::start();
    provider.reply(Reply::status(401).body(r#"{"detail":"hush-hush"}"#));
    let closed = closed_port();
    for (port, reason, cause) in [
        (provider.port, "unauthorized", "the status API answers 401. "),
        (closed.address.port(), "no-answer", "Connection refused (os error 111). "),
    ] {
        let (_folder, store) = store();
        let url = format!("http://127.0.0.1:{port}");
        let more = ["--provider", &url, "--reconcile-after", "1ms"];
        let inbox = start(&store, closed.address.port(), &more);
        expect(&inbox, &generation);
        let lines = lines(&inbox, "status call failed");
        let failed = with(&lines, "reason", reason);
        assert_eq!(failed[0]["hook"], "veo3", "{lines:?}");
        assert_eq!(failed[0]["generation"], generation.as_str(), "{lines:?}");
        assert!(failed[0]["message"].as_str().unwrap().contains(cause), "{lines:?}");
        assert!(!inbox.log().contains("hush-hush"), "{}", inbox.log());
    }
}

#[track_caller]
fn expect(inbox: &InboxProcess, generation: &str) -> Output {
    let end = inbox.command(&[
        "expect",
        "--hook",
        "veo3",
        "--generation",
        generation,
        "--job",
        "order-17",
        "--json",
    ]);
    assert!(end.status.success(), "{}", text(&end.stderr));
    end
}

#[test]
fn says_that_no_inbox_fetches_an_expected_event() {
    let (_folder, store) = store();
    let closed = closed_port();
    let inbox = start(&store, closed.address.port(), &[]);
    let sentence = "this inbox does not reconcile";
    for generation in [fresh_generation(), fresh_generation()] {
        let end = expect(&inbox, &generation);
        let answer: Value = serde_json::from_slice(&end.stdout).unwrap();
        assert_eq!((&answer["reconciles"], &answer["next_call_at"]), (&false.into(), &Value::Null));
        assert!(text(&end.stderr).starts_with(sentence), "{}", text(&end.stderr));
    }
    assert_eq!(inbox.log().matches(sentence).count(), 1, "{}", inbox.log());
    drop(inbox);

    let provider = format!("http://{}", closed.address);
    let inbox = start(&store, closed.address.port(), &["--provider", &provider]);
    let end = expect(&inbox, &fresh_generation());
    let answer: Value = serde_json::from_slice(&end.stdout).unwrap();
    assert_eq!((&answer["reconciles"], text(&end.stderr).as_str()), (&true.into(), ""));
    assert!(answer["next_call_at"].is_string(), "{answer}");
    assert!(!inbox.log().contains(sentence), "{}", inbox.log());
}

#[test]
fn logs_the_client_of_a_quarantined_delivery() {
    let (_folder, store) = store();
    let service = closed_port();
    let inbox = InboxProcess::start(PROGRAM, &store, service.address.port(), &["--log-format", "json"]);
    // Only a detail of the documented form is logged.
    let detail = |client: &str| match client {
        HOSTILE => format!("source: {HOSTILE}"),
        _ => "source: address is in none of 2 ranges, expected an allowed address".to_owned(),
    };
    let quarantined = |generation: &str, client: &str| {
        forwarded(generation)
            .without_header(header::VERDICT)
            .without_header(header::EVENT)
            .header(header::VERDICT, Verdict::Quarantined.name())
            .header(header::CLAIMED_EVENT, Kind::Completed.name())
            .header(header::REASON, "source-denied")
            .header(header::CLIENT, client)
            .header(header::REQUEST_ID, format!("r-{client}"))
            .header(header::DETAIL, detail(client))
    };
    let generations = [fresh_generation(), fresh_generation()];
    for (generation, client) in generations.iter().zip(["203.0.113.9", HOSTILE]) {
        assert_eq!(inbox.receive(&quarantined(generation, client)).unwrap().status, 200);
    }
    let lines: Vec<Value> = eventually("two lines", || {
        let log = inbox.log();
        let lines = log.lines().filter(|line| line.contains("quarantined reason="));
        let lines: Vec<_> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
        (lines.len() == 2).then_some(lines)
    });
    for ((line, generation), client) in lines.iter().zip(&generations).zip(["203.0.113.9", "-"]) {
        let fields = ["level", "reason", "hook", "event", "generation", "client"].map(|field| &line[field]);
        assert_eq!(fields, ["WARN", "source-denied", "veo3", "completed", generation, client]);
        let (request_id, detail) = (line["request_id"].as_str().unwrap(), line["detail"].as_str());
        assert_eq!(request_id == "r-203.0.113.9", client == "203.0.113.9", "an unsafe id is replaced");
        let expected = "source: address is in none of 2 ranges, expected an allowed address";
        assert_eq!(detail, (client == "203.0.113.9").then_some(expected));
        let detail = detail.map(|detail| format!(" detail=\"{detail}\"")).unwrap_or_default();
        let message = format!(
            "quarantined reason=source-denied hook=veo3 event=completed generation={generation} client={client} \
             request_id={request_id}{detail}"
        );
        assert_eq!(line["message"], message);
    }
}

#[test]
fn serves_without_a_writable_log() {
    let (_folder, store) = store();
    let service = closed_port();
    for format in ["text", "json"] {
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$0\" \"$@\" 2>/dev/full", PROGRAM]).env("BLOBGATE_LOG_FORMAT", format);
        let inbox = InboxProcess::spawn(command, PROGRAM, &store, service.address.port(), &[]);
        let refused = inbox.receive(&delivery().without_header(header::CONTRACT)).unwrap();
        assert_eq!(refused.status, 503, "{format}");
        assert_eq!(inbox.receive(&delivery()).unwrap().status, 200, "{format}");
    }
}
