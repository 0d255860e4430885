//! The printed lines for a shell, as they stand, on a real gate and inbox. tests/trust/run runs those in Python and JavaScript.

use super::{init, secret, succeeds};
use crate::running::{RunningReceiver, RunningTool, blobgate, text};
use blobgate::contract::header;
use blobgate_testkit::{eventually, free_port, module, versions};
use serde_json::Value;
use standardwebhooks::Webhook;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// A request that `blobgate receiver --keep` has written: headers and body.
fn kept(folder: &Path) -> Option<(axum::http::HeaderMap, Vec<u8>)> {
    let file = fs::read_dir(folder)
        .ok()?
        .map(|entry| entry.unwrap().path())
        .find(|path| !path.file_name().unwrap().to_str().unwrap().starts_with('.'))?;
    let request = fs::read(file).unwrap();
    let end = request.windows(2).position(|two| two == b"\n\n").unwrap();
    let head = String::from_utf8(request[..end].to_vec()).unwrap();
    let headers = head.lines().map(|line| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.parse::<axum::http::HeaderName>().unwrap(), value.parse::<axum::http::HeaderValue>().unwrap())
    });
    Some((headers.collect(), request[end + 2..].to_vec()))
}

#[test]
fn curl_gives_a_first_signed_event() {
    // The second name has no address: the lines tell curl where it is.
    for host in ["localhost", "hooks.example.com"] {
        let work = tempfile::tempdir().unwrap();
        let received = work.path().join("received");
        let app = RunningReceiver::with("app", &["--keep", received.to_str().unwrap()]);
        let listen = format!("127.0.0.1:{}", free_port());
        let service = format!("http://{}", app.address);
        let made = ["my gate", "--host", host, "--listen", &listen, "--service", &service];
        succeeds(&init(work.path(), &[made.as_slice(), &["--api-key-file", "none"]].concat()));
        let setup = work.path().join("my gate/blobgate.yaml");
        let [services, metrics, inbox, admin] = [(); 4].map(|()| free_port());
        let mut file = OpenOptions::new().append(true).open(&setup).unwrap();
        writeln!(
            file,
            "module: {}\nports: {{services: {services}, metrics: {metrics}, inbox: {inbox}, admin: {admin}}}",
            fs::canonicalize(module()).unwrap().display(),
        )
        .unwrap();
        let envoy = fs::canonicalize(versions().pop().unwrap().binary).unwrap();
        let mut up =
            blobgate(&["up", "--setup", setup.to_str().unwrap(), "--envoy", envoy.to_str().unwrap()]);
        up.current_dir(work.path()).stderr(Stdio::inherit());
        let up = RunningTool::start(up);
        while !up.next_line().contains("Blobgate runs on Envoy ") {}

        let print = ["init", "--print", "curl", "--setup", "my gate/blobgate.yaml"];
        let lines = succeeds(&blobgate(&print).current_dir(work.path()).output().unwrap());
        let mut shell = Command::new("bash");
        shell.args(["-euc", &lines]).current_dir(work.path()).env("NO_PROXY", "*").stdin(Stdio::null());
        let end = shell.output().unwrap();
        let answers = text(&end.stdout);
        assert!(end.status.success(), "{lines}\n{answers}\n{}", text(&end.stderr));
        assert!(answers.starts_with("HTTP/2 200"), "{answers}");
        assert!(answers.contains("\"job\":\"order-1\""), "{answers}");

        let (headers, body) = eventually("the event", || kept(&received));
        let key = secret(&work.path().join("my gate"), "BLOBGATE_SIGNING_KEY");
        Webhook::new(&key).unwrap().verify(&body, &headers).unwrap();
        assert_eq!(headers[header::JOB], "order-1");
        let event: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(event["status"], "completed");
        up.end_by("TERM");
    }
}
