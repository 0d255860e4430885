//! `blobgate receiver`.

use crate::running::{RunningReceiver, client, output, text};
use blobgate::contract::header::{
    DRIFT, EVENT, GENERATION_ID, IDEMPOTENCY_KEY, VERDICT, WEBHOOK_ID, WEBHOOK_SIGNATURE, WEBHOOK_TIMESTAMP,
};
use blobgate::contract::{Kind, Verdict};
use reqwest::Response;
use serde_json::{Value, json};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const ID: &str = "ffd473d5-5bef-4e14-bf22-8d559be3c19f";

async fn deliver(receiver: &RunningReceiver, body: &'static str) -> Response {
    let request = client()
        .post(receiver.url("/webhook"))
        .header(EVENT, Kind::Completed.name())
        .header(GENERATION_ID, ID)
        .header(VERDICT, Verdict::Accepted.name())
        .header(DRIFT, "seed")
        .header(DRIFT, "error")
        .header(WEBHOOK_ID, "msg_1")
        .header(WEBHOOK_TIMESTAMP, "1765057446")
        .header(WEBHOOK_SIGNATURE, "v1,c2lnbmF0dXJl")
        .header(IDEMPOTENCY_KEY, format!("veo3:{ID}:completed"))
        .header("content-type", "application/json")
        .header("authorization", "Bearer secret");
    request.body(body).send().await.unwrap()
}

async fn deliveries(receiver: &RunningReceiver) -> Vec<Value> {
    client().get(receiver.url("/deliveries")).send().await.unwrap().json().await.unwrap()
}

#[tokio::test]
async fn prints_and_lists_a_delivery() {
    let receiver = RunningReceiver::start("video");
    let answer = deliver(&receiver, "{}").await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/json");
    assert_eq!(answer.text().await.unwrap(), r#"{"status":"received"}"#);

    let line = receiver.next_line();
    let words: Vec<_> = line.split_whitespace().collect();
    let [time, words @ ..] = &words[..] else { panic!("an empty line") };
    assert_eq!(time.len(), "21:43:03".len(), "{line}");
    assert_eq!(words, ["video", "completed", ID, "accepted", "2", "bytes"]);

    let recorded = deliveries(&receiver).await;
    let expected = json!({
        (EVENT): "completed",
        (GENERATION_ID): ID,
        (VERDICT): "accepted",
        (DRIFT): "seed, error",
        (WEBHOOK_ID): "msg_1",
        (WEBHOOK_TIMESTAMP): "1765057446",
        (WEBHOOK_SIGNATURE): "v1,c2lnbmF0dXJl",
        (IDEMPOTENCY_KEY): format!("veo3:{ID}:completed"),
        "content-type": "application/json",
    });
    assert_eq!(recorded.len(), 1);
    assert_eq!(recorded[0]["headers"], expected);
    assert_eq!(recorded[0]["bytes"], 2);
    assert_eq!(recorded[0]["sha256"], "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
}

#[tokio::test]
async fn accepts_posts_at_any_path_only() {
    let receiver = RunningReceiver::start("video");
    for path in ["/", "/webhook", "/deliveries", "/healthz", "/a/b?c"] {
        let answer = client().post(receiver.url(path)).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        let line = receiver.next_line();
        assert_eq!(
            line.split_whitespace().skip(1).collect::<Vec<_>>(),
            ["video", "-", "-", "-", "0", "bytes"]
        );
    }
    assert_eq!(deliveries(&receiver).await.len(), 5);
    assert_eq!(client().get(receiver.url("/webhook")).send().await.unwrap().status(), 405);
    assert_eq!(client().get(receiver.url("/healthz")).send().await.unwrap().status(), 200);
    assert_eq!(deliveries(&receiver).await.len(), 5);
}

#[tokio::test]
async fn remembers_the_last_thousand() {
    let receiver = RunningReceiver::start("video");
    let (client, url) = (client(), receiver.url("/"));
    for n in 0..1001 {
        let key = format!("number {n}");
        let answer = client.post(&url).header(IDEMPOTENCY_KEY, key).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
    let recorded = deliveries(&receiver).await;
    assert_eq!(recorded.len(), 1000);
    assert_eq!(recorded[0]["headers"][IDEMPOTENCY_KEY], "number 1");
    assert_eq!(recorded[999]["headers"][IDEMPOTENCY_KEY], "number 1000");
}

/// The files in a directory, in the order of their names.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

#[tokio::test]
async fn writes_a_file_for_each_request_before_the_answer() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("quarantine");
    let receiver = RunningReceiver::with("quarantine", &["--keep", folder.to_str().unwrap()]);
    let body = "{\"prompt\":\"two\r\n\r\nlines\"}\n";
    assert_eq!(deliver(&receiver, body).await.status(), 200);
    let [file] = &files(&folder)[..] else { panic!("{:?}", files(&folder)) };
    assert!(file_name(file).contains(&format!("Z-{ID}-")), "{file:?}");
    let recorded = deliveries(&receiver).await;
    let time = recorded[0]["time"].as_str().unwrap();
    let expected = format!(
        "time: {time}\n{DRIFT}: seed, error\n{EVENT}: completed\n{GENERATION_ID}: {ID}\n{VERDICT}: accepted\n\
         content-type: application/json\n{IDEMPOTENCY_KEY}: veo3:{ID}:completed\n{WEBHOOK_ID}: msg_1\n\
         {WEBHOOK_SIGNATURE}: v1,c2lnbmF0dXJl\n{WEBHOOK_TIMESTAMP}: 1765057446\n\n{body}"
    );
    assert_eq!(std::fs::read_to_string(file).unwrap(), expected);
    for (path, mode) in [(file, 0o600), (&folder, 0o700)] {
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, mode, "{path:?}");
    }

    // Equal requests get one file each, even within a second.
    let again = tokio::join!(deliver(&receiver, body), deliver(&receiver, body), deliver(&receiver, body));
    assert_eq!([again.0.status(), again.1.status(), again.2.status()], [200, 200, 200]);
    assert_eq!(files(&folder).len(), 4);
}

#[tokio::test]
async fn names_a_file_by_the_body_without_a_generation() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = RunningReceiver::with("quarantine", &["--keep", directory.path().to_str().unwrap()]);
    for id in ["", "../../../etc/passwd", "video-42"] {
        let request = client().post(receiver.url("/")).header(GENERATION_ID, id);
        assert_eq!(request.body("{}").send().await.unwrap().status(), 200);
    }
    let files = files(directory.path());
    assert_eq!(files.len(), 3);
    for file in &files {
        assert!(file_name(file).contains("Z-44136fa355b3678a-"), "{file:?}");
    }
}

#[tokio::test]
async fn answers_503_without_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("quarantine");
    let receiver = RunningReceiver::with("quarantine", &["--keep", folder.to_str().unwrap()]);
    std::fs::remove_dir(&folder).unwrap(); // Root ignores a mode.
    assert_eq!(deliver(&receiver, "{}").await.status(), 503);
    assert!(receiver.next_line().contains(", 503: cannot write its file: "));
    assert!(deliveries(&receiver).await.is_empty());
    std::fs::create_dir(&folder).unwrap();
    assert_eq!(deliver(&receiver, "{}").await.status(), 200);
    assert_eq!(files(&folder).len(), 1);
}

#[test]
fn reports_a_directory_that_it_cannot_create() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let below = file.path().join("quarantine");
    let end = output(&["receiver", "--keep", below.to_str().unwrap()]);
    let message = text(&end.stderr);
    assert_eq!((end.status.code(), text(&end.stdout)), (Some(1), String::new()), "{message}");
    assert!(message.starts_with(&format!("blobgate: cannot create {}: ", below.display())), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
}

#[tokio::test]
async fn ends_by_signal_with_an_open_connection() {
    for signal in ["TERM", "INT", "HUP"] {
        let receiver = RunningReceiver::start("video");
        let client = client(); // Keeps its connection until it is dropped.
        assert_eq!(client.get(receiver.url("/healthz")).send().await.unwrap().status(), 200);
        let (status, rest) = receiver.end_by(signal);
        assert_eq!((status.code(), rest), (Some(0), Vec::new()), "{signal}");
    }
}

#[test]
fn reports_a_taken_port() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let end = output(&["receiver", "--listen", &address.to_string()]);
    let expected = format!(
        "blobgate: port {} of 127.0.0.1 is taken by another program. End it, or name another with --listen\n",
        address.port()
    );
    assert_eq!((end.status.code(), text(&end.stdout), text(&end.stderr)), (Some(1), String::new(), expected));
}
