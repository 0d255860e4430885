//! Start, listener and end.

use super::{ID, KEY, RunningSandbox, on_a_free_port};
use crate::running::{client, text};
use crate::webhook::certificate;
use reqwest::{Certificate, Client, Method, Version};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::process::Output;
use std::time::{Duration, Instant};
use tempfile::NamedTempFile;

fn file(content: &str) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), content).unwrap();
    file
}

fn path(file: &NamedTempFile) -> &str {
    file.path().to_str().unwrap()
}

#[tokio::test]
async fn serves_tls() {
    let (shown, made) = certificate();
    let key = file(&made.signing_key.serialize_pem());
    let sandbox = RunningSandbox::start(&["--tls-cert", path(&shown), "--tls-key", path(&key)]);
    assert!(sandbox.base.starts_with("https://127.0.0.1:"), "{}", sandbox.base);
    let unknown = sandbox.request(Method::GET, "/sandbox/calls").send().await.unwrap_err();
    assert!(unknown.is_connect(), "{unknown:?}");

    let root = Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
    let trusting = || Client::builder().no_proxy().tls_certs_only([root.clone()]);
    for (client, version) in [(trusting(), Version::HTTP_2), (trusting().http1_only(), Version::HTTP_11)] {
        let url = format!("{}/v1/veo/generations/{ID}", sandbox.base);
        let answer = client.build().unwrap().get(url).bearer_auth(KEY).send().await.unwrap();
        assert_eq!((answer.version(), answer.status().as_u16()), (version, 404));
        assert_eq!(answer.text().await.unwrap(), r#"{"detail":"TASK_NOT_FOUND"}"#);
    }
}

#[tokio::test]
async fn accepts_during_a_hanging_handshake() {
    let (shown, made) = certificate();
    let key = file(&made.signing_key.serialize_pem());
    let sandbox = RunningSandbox::start(&["--tls-cert", path(&shown), "--tls-key", path(&key)]);
    let address: SocketAddr = sandbox.base.strip_prefix("https://").unwrap().parse().unwrap();
    let _silent: Vec<_> = (0..5).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
    let root = Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
    let client = Client::builder().no_proxy().tls_certs_only([root]).timeout(Duration::from_secs(5));
    let answer = client.build().unwrap().get(format!("{}/sandbox/calls", sandbox.base)).send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

/// An address of this machine outside the loopback. `connect` sends nothing.
fn other_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("192.0.2.1:9").expect("a machine with a network");
    socket.local_addr().unwrap().ip()
}

#[tokio::test]
async fn serves_the_test_endpoints_to_this_machine_only() {
    for (flags, status) in [(&[][..], 404), (&["--open-admin"], 200)] {
        let sandbox = RunningSandbox::start(&[&["--listen", "0.0.0.0:0"], flags].concat());
        let port = sandbox.base.strip_prefix("http://0.0.0.0:").unwrap();
        let get = |host: String, path: &str| {
            client().get(format!("http://{host}:{port}{path}")).bearer_auth(KEY).send()
        };
        let api = format!("/v1/veo/generations/{ID}");
        let known = get(other_address().to_string(), &api).await.unwrap();
        assert_eq!(known.json::<Value>().await.unwrap(), json!({"detail": "TASK_NOT_FOUND"}));
        for path in ["/sandbox/calls", "/sandbox/faults", "/sandbox/generations"] {
            assert_eq!(get(other_address().to_string(), path).await.unwrap().status(), status, "{path}");
            assert_eq!(get("127.0.0.1".to_owned(), path).await.unwrap().status(), 200, "{path}");
        }
    }
}

#[tokio::test]
async fn prefers_the_key_file_to_the_environment() {
    let key = file("rb-of-a-file\n");
    let sandbox = RunningSandbox::start(&["--api-key-file", path(&key)]);
    for (key, status) in [("rb-of-a-file", 404), (KEY, 401)] {
        let request = sandbox.request(Method::GET, &format!("/v1/veo/generations/{ID}"));
        assert_eq!(request.bearer_auth(key).send().await.unwrap().status(), status, "{key}");
    }
}

#[tokio::test]
async fn ends_at_once_with_a_hanging_answer() {
    for signal in ["TERM", "INT", "HUP"] {
        let sandbox = RunningSandbox::start(&[]);
        sandbox.set_faults(&["hang"]).await;
        let waiting = tokio::spawn(sandbox.status(ID).send());
        while sandbox.calls().await["status_calls"]["total"] != 1 {
            tokio::task::yield_now().await;
        }
        let RunningSandbox { running, .. } = sandbox;
        let start = Instant::now();
        let (status, _) = running.end_by(signal);
        assert_eq!(status.code(), Some(0), "{signal}");
        assert!(start.elapsed() < Duration::from_secs(1), "{signal}: {:?}", start.elapsed());
        let error = waiting.await.unwrap().unwrap_err();
        assert!(error.is_request() && !error.is_timeout(), "{error:?}");
    }
}

/// The output of a run with this key in the environment.
fn ended(key: Option<&str>, args: &[&str]) -> Output {
    let mut command = on_a_free_port(args);
    command.env_remove("RUNBLOB_API_KEY");
    if let Some(key) = key {
        command.env("RUNBLOB_API_KEY", key);
    }
    command.output().unwrap()
}

#[test]
fn reports_a_failed_start() {
    let (shown, made) = certificate();
    let (another, nothing) = (file(&rcgen::KeyPair::generate().unwrap().serialize_pem()), file("\n"));
    drop(made);
    let (shown, another, nothing) = (path(&shown), path(&another), path(&nothing));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for (key, args, why) in [
        (
            None,
            &[][..],
            "no API key: RUNBLOB_API_KEY is not set. Set it, or name a file with --api-key-file"
                .to_owned(),
        ),
        (
            Some("two words"),
            &[],
            "cannot use RUNBLOB_API_KEY as API key: it is not one word of visible ASCII. Write such a key".to_owned(),
        ),
        (
            None,
            &["--api-key-file", nothing],
            format!("cannot use {nothing} as API key: it is not one word of visible ASCII. Write such a key"),
        ),
        (
            None,
            &["--api-key-file", "/nowhere"],
            "cannot read the API key from /nowhere: No such file or directory (os error 2). Name another file with --api-key-file".to_owned(),
        ),
        (
            Some(KEY),
            &["--callback-ca", "/nowhere"],
            "cannot read the certificate /nowhere: No such file or directory (os error 2). Name another with --callback-ca".to_owned(),
        ),
        (Some(KEY), &["--callback-ca", nothing], format!("cannot trust {nothing}: it has no certificate in PEM. Name another with --callback-ca")),
        (
            Some(KEY),
            &["--tls-cert", shown, "--tls-key", nothing],
            format!("cannot read a private key in PEM from {nothing}: no items found. Name another with --tls-key"),
        ),
        (
            Some(KEY),
            &["--tls-cert", shown, "--tls-key", another],
            format!(
                "the key in {another} does not fit the certificate in {shown}: keys may not be consistent: KeyMismatch. Name a matching pair"
            ),
        ),
        (
            Some(KEY),
            &["--listen", &address.to_string()],
            format!(
                "port {} of 127.0.0.1 is taken by another program. End it, or name another with --listen",
                address.port()
            ),
        ),
    ] {
        let end = ended(key, args);
        let code = if why.contains("RUNBLOB_API_KEY") { 2 } else { 1 };
        assert_eq!(
            (end.status.code(), text(&end.stdout), text(&end.stderr)),
            (Some(code), String::new(), format!("blobgate: {why}\n"))
        );
    }
}

#[test]
fn exits_with_2_on_wrong_usage() {
    for args in [
        &["--speed", "0"][..],
        &["--speed", "NaN"],
        &["--generation-time", "120"],
        &["--generation-time", "s"],
        &["--tls-cert", "a.pem"],
        &["--tls-key", "a.pem"],
        &["--api-key", KEY],
    ] {
        let end = ended(Some(KEY), args);
        assert_eq!((end.status.code(), text(&end.stdout)), (Some(2), String::new()), "{args:?}");
    }
}

#[test]
fn hides_the_key_in_help() {
    let end = ended(Some(KEY), &["--help"]);
    let message = text(&end.stdout);
    assert!(message.contains("[default: RUNBLOB_API_KEY of") && !message.contains(KEY), "{message}");
}
