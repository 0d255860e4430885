//! SIGHUP ends what SIGTERM ends, except under `nohup`.

use crate::inbox::TestStore;
use crate::running::{RunningTool, blobgate, client, text};
use std::process::{Command, Stdio};

/// The arguments of a program that listens on free ports.
fn serving(store: &TestStore) -> Vec<String> {
    let args =
        ["inbox", "serve", "--store", store.url(), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    args.map(str::to_owned).to_vec()
}

#[test]
fn ends_an_inbox_by_each_signal() {
    for signal in ["TERM", "INT", "HUP"] {
        let store = TestStore::sqlite();
        let args = serving(&store);
        let mut command = blobgate(&args.iter().map(String::as_str).collect::<Vec<_>>());
        let inbox = RunningTool::start({
            command.env("RUST_LOG", "info").stderr(Stdio::piped());
            command
        });
        inbox.first_line_after("inbox listens on ");
        let message = inbox.ended_by(signal);
        assert!(message.contains("ending: the inbox finishes its attempts"), "{signal}: {message}");
    }
}

#[tokio::test]
async fn survives_a_hangup_under_nohup() {
    let mut command = Command::new("nohup");
    command.arg(env!("CARGO_BIN_EXE_blobgate")).args(["receiver", "--listen", "127.0.0.1:0"]);
    let receiver = RunningTool::start({
        command.stdin(Stdio::null()).stderr(Stdio::null());
        command
    });
    let url = receiver.first_line_after("receiver listens on ");
    for _ in 0..3 {
        receiver.signal("HUP");
        let answer = client().get(format!("{url}/healthz")).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
    let (status, _) = receiver.end_by("TERM");
    assert_eq!(status.code(), Some(0));
}

/// A signal ends an export and a backup without a file, also without the unfinished one.
#[test]
fn leaves_no_file_of_an_interrupted_export() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("all.ndjson");
    // It accepts the connection and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = silent.local_addr().unwrap().to_string();
    for signal in ["TERM", "INT", "HUP", "KILL"] {
        let arguments = ["inbox", "export", "--out", out.to_str().unwrap(), "--admin", &admin];
        let export = blobgate(&arguments).stderr(Stdio::piped()).spawn().unwrap();
        let _page = answer_first_page(&silent);
        let kill = format!("kill -{signal} {}", export.id());
        assert!(Command::new("bash").args(["-c", &kill]).status().unwrap().success());
        let output = export.wait_with_output().unwrap();
        let names: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|it| it.unwrap().file_name().into_string().unwrap())
            .collect();
        if signal == "KILL" {
            assert!(
                matches!(&names[..], [name] if name.starts_with(".all.ndjson.") && name.ends_with(".part")),
                "{names:?}"
            );
        } else {
            let name = if signal == "INT" { "Ctrl-C".to_owned() } else { format!("SIG{signal}") };
            let sentence = format!("blobgate: {name} ended the command. Run it again\n");
            assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), sentence));
            assert!(names.is_empty(), "{signal}: {names:?}");
        }
    }
}

/// InitAnswers the request for the newest cursor, and reads the next request, which stays without an answer. Each has a connection
/// of its own, because the client may open one before it reuses the first.
fn answer_first_page(silent: &std::net::TcpListener) -> std::net::TcpStream {
    use std::io::{Read, Write};
    let mut head = [0; 4096];
    let (mut page, _) = silent.accept().unwrap();
    assert!(page.read(&mut head).unwrap() > 0);
    let body = r#"{"entries":[],"next":"9.9"}"#;
    write!(
        page,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let (mut next, _) = silent.accept().unwrap();
    assert!(next.read(&mut head).unwrap() > 0);
    next
}
