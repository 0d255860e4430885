//! `--notify`: a real inbox calls a real receiver about each kind of incident.

use crate::{PROGRAM, on_each_store};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use blobgate::contract::{Kind, Verdict, header};
use blobgate_testkit::inbox::{blobgate, forwarded, fresh_generation};
use blobgate_testkit::tls::{Certificate, TlsFront};
use blobgate_testkit::{
    InboxProcess, Reply, ServiceRequest, SqliteFile, TestDelivery, Upstream, eventually, needs, pause, sql,
};
use serde_json::{Value, json};
use standardwebhooks::Webhook;
use std::process::Command;
use std::time::Duration;

const KEY: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const GATE_KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const WORST_SECRET: &str = "T0SECRET0B0";

on_each_store! { needs (Sqlite3): notifies_of_each_kind_once_an_hour notifies_of_remaining_entries_after_a_restart }

/// Starts an inbox that notifies `receiver`, by a URL with a secret.
fn start(store: &str, service: u16, receiver: &Upstream, more: &[&str]) -> InboxProcess {
    let mut command = Command::new(PROGRAM);
    let url = format!("http://127.0.0.1:{}/services/{WORST_SECRET}", receiver.port);
    command.env("NOTIFY_KEY", KEY).env("BLOBGATE_NOTIFY_URL", url).env("RUST_LOG", "trace");
    let more = [&["--notify-key-env", "NOTIFY_KEY"], more].concat();
    InboxProcess::spawn(command, PROGRAM, store, service, &more).ready()
}

/// The body of a notification. Checks its signature by the official library.
#[track_caller]
fn verified(call: &ServiceRequest) -> Value {
    let headers: HeaderMap = call
        .headers
        .iter()
        .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value).unwrap()))
        .collect();
    Webhook::new(KEY).unwrap().verify(&call.body, &headers).unwrap();
    assert!(
        Webhook::new(GATE_KEY).unwrap().verify(&call.body, &headers).is_err(),
        "the other key verifies nothing"
    );
    assert_eq!((&*call.method, call.header("content-type").as_deref()), ("POST", Some("application/json")));
    serde_json::from_slice(&call.body).unwrap()
}

/// Waits for the first notification of a kind, and returns its data.
#[track_caller]
fn first(receiver: &Upstream, kind: &str) -> Value {
    let body = eventually(kind, || {
        let bodies = receiver.arrivals().into_iter().map(|call| verified(&call));
        bodies.into_iter().find(|body| body["type"] == format!("blobgate.{kind}"))
    });
    for time in [&body["timestamp"], &body["data"]["since"]] {
        let time = time.as_str().unwrap();
        assert!(time.len() == 20 && time.starts_with("20") && time.ends_with('Z'), "{time}");
    }
    body["data"].clone()
}

/// Its data, without the time.
#[track_caller]
fn is(mut data: Value, count: u64, counts: &str, by: Value, page: &str) {
    data.as_object_mut().unwrap().remove("since").unwrap();
    let runbook = format!("https://docs.blobgate.example/operate/runbooks/blobgate-{page}.html");
    assert_eq!(data, json!({"count": count, counts: by, "runbook": runbook}));
}

fn kinds(receiver: &Upstream) -> Vec<String> {
    let bodies = receiver.arrivals().into_iter().map(|call| verified(&call));
    let mut kinds: Vec<_> = bodies.map(|body| body["type"].as_str().unwrap().to_owned()).collect();
    kinds.sort();
    kinds
}

fn quarantined(reason: &str) -> TestDelivery {
    let generation = fresh_generation();
    forwarded(&generation)
        .without_header(header::EVENT)
        .without_header(header::PROOFS)
        .without_header(header::VERDICT)
        .header(header::VERDICT, Verdict::Quarantined.name())
        .header(header::REASON, reason)
        .header(header::CLAIMED_EVENT, Kind::Completed.name())
}

#[track_caller]
fn store(inbox: &InboxProcess, delivery: &TestDelivery) {
    assert_eq!(inbox.receive(delivery).unwrap().status, 200);
}

fn notifies_of_each_kind_once_an_hour(at: &str) {
    let (mut service, receiver) = (Upstream::start(), Upstream::start());
    let inbox = start(at, service.port, &receiver, &["--reconcile-after", "1s", "--limit", "1MB"]);
    store(&inbox, &forwarded(&fresh_generation()));

    for reason in ["token-expired", "source-denied", "token-expired"] {
        store(&inbox, &quarantined(reason));
    }
    let reasons = json!({"source-denied": 1, "token-expired": 2});
    is(first(&receiver, "quarantined"), 3, "reasons", reasons, "quarantined");

    // Any client of the port can cause this refusal, which must not use up the hour.
    let unreadable = TestDelivery::of("{}").path("/hooks/veo3");
    assert_eq!(inbox.receive(&unreadable).unwrap().status, 503);
    // A tenth of the limit is for the quarantine.
    let large = || {
        let body = TestDelivery::of(fresh_generation().repeat(1_000)).path("/hooks/veo3");
        quarantined("token-expired")
            .headers()
            .iter()
            .fold(body, |delivery, (name, value)| delivery.without_header(name).header(name, value))
    };
    let answers = (0..50).map(|_| inbox.receive(&large()).unwrap().status);
    assert_eq!(answers.into_iter().find(|status| *status != 200), Some(503));
    is(first(&receiver, "refused"), 1, "reasons", json!({"full": 1}), "inbox-refuses");

    for _ in 0..2 {
        let announced =
            inbox.command(&["expect", "--hook", "veo3", "--generation", &fresh_generation(), "--job", "j"]);
        assert!(announced.status.success(), "{announced:?}");
    }
    let overdue = first(&receiver, "overdue");
    assert!(["1", "2"].contains(&&*overdue["count"].to_string()), "{overdue}");
    let count = overdue["count"].as_u64().unwrap();
    is(overdue, count, "reasons", json!({"no-event": count}), "overdue");

    // An entry fails for 72 h, while others of its route succeed.
    service
        .reply_by(|call| String::from_utf8_lossy(&call.body).contains("poison").then(|| Reply::status(500)));
    let poison = fresh_generation();
    let body = json!({"generation_id": poison, "status": "completed", "prompt": "poison", "video_url": "https://a.example"});
    store(&inbox, &forwarded_body(&poison, &body));
    eventually("an attempt", || {
        (sql(at, "SELECT count(*) FROM entry WHERE state = 'waiting' AND attempts > 0") == "1").then_some(())
    });
    sql(at, "UPDATE entry SET tried = 300000000000, attempts = attempts + 10 WHERE state = 'waiting'");
    eventually("a dead entry", || {
        store(&inbox, &forwarded(&fresh_generation()));
        sql(at, "UPDATE entry SET due_at = 0 WHERE state = 'waiting'");
        pause(Duration::from_millis(200));
        (sql(at, "SELECT count(*) FROM entry WHERE state = 'dead'") == "1").then_some(())
    });
    is(first(&receiver, "dead"), 1, "routes", json!({"veo3/completed": 1}), "dead");

    service.stop();
    for _ in 0..8 {
        store(&inbox, &forwarded(&fresh_generation()));
    }
    let down = first(&receiver, "down");
    let count = down["count"].as_u64().unwrap();
    assert!(count >= 5, "{down}");
    is(down, count, "routes", json!({"veo3/completed": count}), "route-down");

    // More of each kind wait for the next hour.
    let all = ["dead", "down", "overdue", "quarantined", "refused"].map(|kind| format!("blobgate.{kind}"));
    assert_eq!(kinds(&receiver), all);
    // The large ones are further quarantined deliveries.
    assert_eq!(inbox.receive(&large()).unwrap().status, 503);
    store(&inbox, &forwarded(&fresh_generation()));
    pause(Duration::from_secs(6));
    assert_eq!(kinds(&receiver), all);

    tells_no_secret(&inbox, &receiver);
}

fn forwarded_body(generation: &str, body: &Value) -> TestDelivery {
    let mut delivery = TestDelivery::json(body).path("/hooks/veo3");
    for (name, value) in forwarded(generation)
        .headers()
        .iter()
        .filter(|(name, _)| name.starts_with(header::PREFIX) || name == header::IDEMPOTENCY_KEY)
    {
        delivery = delivery.header(name, value);
    }
    delivery
}

/// The receiver gets neither bodies nor ids, and the log has neither the URL's path nor the key.
#[track_caller]
fn tells_no_secret(inbox: &InboxProcess, receiver: &Upstream) {
    let log = eventually("the positive control", || {
        Some(inbox.log()).filter(|log| log.contains("notified kind=quarantined"))
    });
    for secret in [WORST_SECRET, KEY, "/services/"] {
        assert!(!log.contains(secret), "{secret} is in {log}");
    }
    for call in receiver.arrivals() {
        // The call itself has the secret: the search finds it where it is.
        assert!(call.path.contains(WORST_SECRET));
        let body = String::from_utf8(call.body).unwrap();
        for text in ["A cat", "poison", "cdn.runblob.io", "5f1c8c1e-7c0c", WORST_SECRET] {
            assert!(!body.contains(text), "{body}");
        }
    }
}

/// A quarantined and a dead entry of the previous process, which could not reach the receiver.
fn notifies_of_remaining_entries_after_a_restart(at: &str) {
    let (service, mut receiver) = (Upstream::start(), Upstream::off());
    let mut inbox = start(at, service.port, &receiver, &[]);
    store(&inbox, &quarantined("token-expired"));
    eventually("a failed call", || inbox.log().contains("cannot notify kind=quarantined").then_some(()));
    inbox.kill();
    receiver.on();
    let mut inbox = start(at, service.port, &receiver, &[]);
    is(first(&receiver, "quarantined"), 1, "reasons", json!({"token-expired": 1}), "quarantined");
    inbox.kill();
    // It was told within the hour.
    let _inbox = start(at, service.port, &receiver, &[]);
    pause(Duration::from_secs(6));
    assert_eq!(kinds(&receiver), ["blobgate.quarantined"]);
}

/// Each fault of the receiver only delays the notification. Meanwhile the inbox stores and delivers.
#[needs(Sqlite3)]
#[test]
fn repeats_a_call_until_the_receiver_takes_it() {
    let faults: [(&str, Reply, &str); 6] = [
        ("500", Reply::status(500), "answered 500"),
        ("401", Reply::status(401), "answered 401"),
        ("redirect", Reply::status(302).header("location", "http://127.0.0.1:1/elsewhere"), "answered 302"),
        ("reset", Reply::Reset, "did not answer: "),
        ("a stall", Reply::Hang, "did not answer within 10 s"),
        ("100 MB", Reply::status(500).body(vec![b'a'; 100 << 20]), "answered 500"),
    ];
    let running: Vec<_> = faults
        .into_iter()
        .map(|(name, fault, log)| {
            std::thread::spawn(move || {
                let (service, receiver) = (Upstream::start(), Upstream::start());
                let file = SqliteFile::migrated(PROGRAM);
                receiver.reply(fault);
                let inbox = start(&file.url, service.port, &receiver, &[]);
                store(&inbox, &quarantined("token-expired"));
                eventually(name, || inbox.log().contains(log).then_some(()));
                store(&inbox, &quarantined("source-denied"));
                let generation = fresh_generation();
                store(&inbox, &forwarded(&generation));
                let delivered = service.take_one();
                assert_eq!(delivered.header(header::GENERATION_ID), Some(generation));
                receiver.reply(Reply::status(204));
                let id = |call: &ServiceRequest| call.header(header::WEBHOOK_ID).unwrap();
                let taken = eventually("a whole count", || {
                    receiver.arrivals().into_iter().rfind(|call| verified(call)["data"]["count"] == 2)
                });
                let of_one =
                    receiver.arrivals().into_iter().filter(|call| verified(call)["data"]["count"] == 1);
                let mut ids: Vec<_> = of_one.map(|call| id(&call)).collect();
                ids.dedup();
                assert_eq!(ids.len(), 1, "{name}: a repeated call has the id of the first");
                assert_ne!(ids[0], id(&taken), "{name}: a changed one has its own");
                tells_no_secret(&inbox, &receiver);
            })
        })
        .collect();
    running.into_iter().for_each(|one| one.join().unwrap());
}

/// 410: Standard Webhooks has a sender stop.
#[test]
fn stops_when_the_receiver_is_gone() {
    let (service, receiver) = (Upstream::start(), Upstream::start());
    let file = SqliteFile::migrated(PROGRAM);
    receiver.reply(Reply::status(410));
    let inbox = start(&file.url, service.port, &receiver, &[]);
    store(&inbox, &quarantined("token-expired"));
    eventually("the line", || inbox.log().contains("answered 410, so the inbox sends none").then_some(()));
    assert_eq!(inbox.receive(&TestDelivery::of("{}")).unwrap().status, 503);
    pause(Duration::from_secs(6));
    assert_eq!(receiver.arrivals().len(), 1);
    store(&inbox, &quarantined("source-denied"));
}

/// A service that answers each event 404 does not take them.
#[test]
fn notifies_of_a_service_that_answers_404() {
    let (service, receiver) = (Upstream::start(), Upstream::start());
    let file = SqliteFile::migrated(PROGRAM);
    service.reply(Reply::status(404));
    let inbox = start(&file.url, service.port, &receiver, &[]);
    for _ in 0..6 {
        store(&inbox, &forwarded(&fresh_generation()));
    }
    let down = first(&receiver, "down");
    let count = down["count"].as_u64().unwrap();
    is(down, count, "routes", json!({"veo3/completed": count}), "service-fails");
}

/// Over TLS by this machine's roots, and by no certificate that they do not have.
#[test]
fn verifies_the_receiver_s_certificate() {
    let (receiver, certificate, other) =
        (Upstream::start(), Certificate::named("localhost"), Certificate::named("localhost"));
    let front = TlsFront::start(&certificate, receiver.port);
    let folder = tempfile::tempdir().unwrap();
    let test = |trusted: &Certificate, name: &str| {
        let roots = folder.path().join("roots.pem");
        std::fs::write(&roots, &trusted.pem).unwrap();
        let url = format!("https://{name}:{}/services/{WORST_SECRET}", front.port);
        let mut command = Command::new(PROGRAM);
        command.args(["inbox", "test-notify", "--notify", &url, "--notify-key-env", "NOTIFY_KEY"]);
        let done = command.env("NOTIFY_KEY", KEY).env("SSL_CERT_FILE", roots).output().unwrap();
        let text =
            format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(!text.contains(WORST_SECRET), "{text}");
        (done.status.code(), text)
    };
    assert_eq!(
        test(&certificate, "localhost"),
        (Some(0), "the receiver took the test notification\n".to_owned())
    );
    let body = verified(&receiver.take_one());
    assert_eq!(body["type"], "blobgate.test");
    for (status, text) in [test(&other, "localhost"), test(&certificate, "127.0.0.1")] {
        assert!(
            status == Some(1)
                && text.contains("blobgate: the receiver did not answer: invalid peer certificate"),
            "{text}"
        );
    }
    receiver.reply(Reply::status(500));
    assert_eq!(
        test(&certificate, "localhost"),
        (Some(1), "blobgate: the receiver answered 500\n".to_owned())
    );
}

#[test]
fn refuses_a_key_that_forges_and_a_url_that_leaks() {
    let run = |url: &str, more: &[&str]| {
        let args = [
            "inbox",
            "serve",
            "--store",
            "sqlite:missing.db",
            "--listen",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
        ];
        let mut command = Command::new(PROGRAM);
        command.args(args).args(["--notify", url]).args(more);
        command.env("KEY", KEY).env("GATE_KEY", GATE_KEY).env("TEXT", "a word");
        let done = command.output().unwrap();
        let text = String::from_utf8(done.stderr).unwrap();
        assert!(done.status.code() == Some(2) && !text.contains("secret") && !text.contains(KEY), "{text}");
        text
    };
    const URL: &str = "https://hooks.example/secret";
    const NOTIFY_KEY: &[&str] = &["--notify-key-env", "KEY"];
    for (url, more, expected) in [
        (URL, &[][..], "--notify signs each call. Name the variable with its key with --notify-key-env"),
        (URL, &["--notify-key-env", "UNSET"], "the environment variable UNSET is unset or empty. Set it"),
        (URL, &["--notify-key-env", "TEXT"], "the variable TEXT has no key of Standard Webhooks"),
        (
            URL,
            &["--notify-key-env", "KEY", "--signing-key-env", "GATE_KEY", "--signing-key-env", "KEY"],
            "KEY has the gate's signing key: the receiver of notifications could forge events",
        ),
        (
            URL,
            &["--notify-key-env", "KEY", "--admin-token", "ops:operate:KEY"],
            "the key of notifications is an admin token",
        ),
        (
            "http://hooks.example/secret",
            NOTIFY_KEY,
            "cannot use the URL of --notify: it is an http URL of another machine",
        ),
        (
            "https://user:secret@hooks.example",
            NOTIFY_KEY,
            "cannot use the URL of --notify: it has a user name or a password",
        ),
        ("hooks.example/secret", NOTIFY_KEY, "cannot use the URL of --notify: it is no https URL"),
        ("", NOTIFY_KEY, "cannot use the URL of --notify: it is no https URL"),
    ] {
        let text = run(url, more);
        assert!(text.starts_with(&format!("blobgate: {expected}")), "{url} {more:?}: {text}");
    }
    let without = blobgate(PROGRAM, &["inbox", "test-notify"]);
    assert_eq!(without.status.code(), Some(2), "{without:?}");
}
