//! How it starts, listens and ends.

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
async fn speaks_tls() {
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
async fn a_handshake_that_hangs_holds_nobody_up() {
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

/// An address of this machine that is not a loopback one. Nothing is sent.
fn elsewhere() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("192.0.2.1:9").expect("a machine with a network");
    socket.local_addr().unwrap().ip()
}

#[tokio::test]
async fn other_machines_see_the_api_only() {
    for (flags, status) in [(&[][..], 404), (&["--open-admin"], 200)] {
        let sandbox = RunningSandbox::start(&[&["--listen", "0.0.0.0:0"], flags].concat());
        let port = sandbox.base.strip_prefix("http://0.0.0.0:").unwrap();
        let get = |host: String, path: &str| {
            client().get(format!("http://{host}:{port}{path}")).bearer_auth(KEY).send()
        };
        let api = format!("/v1/veo/generations/{ID}");
        let known = get(elsewhere().to_string(), &api).await.unwrap();
        assert_eq!(known.json::<Value>().await.unwrap(), json!({"detail": "TASK_NOT_FOUND"}));
        for path in ["/sandbox/calls", "/sandbox/faults", "/sandbox/generations"] {
            assert_eq!(get(elsewhere().to_string(), path).await.unwrap().status(), status, "{path}");
            assert_eq!(get("127.0.0.1".to_owned(), path).await.unwrap().status(), 200, "{path}");
        }
    }
}

#[tokio::test]
async fn takes_its_key_from_a_file_before_the_environment() {
    let key = file("rb-of-a-file\n");
    let sandbox = RunningSandbox::start(&["--api-key-file", path(&key)]);
    for (key, status) in [("rb-of-a-file", 404), (KEY, 401)] {
        let request = sandbox.request(Method::GET, &format!("/v1/veo/generations/{ID}"));
        assert_eq!(request.bearer_auth(key).send().await.unwrap().status(), status, "{key}");
    }
}

#[tokio::test]
async fn ends_at_once_even_with_an_answer_that_hangs() {
    for signal in ["TERM", "INT"] {
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

/// Runs it to its end, with a key in the environment or without.
fn ended(key: Option<&str>, args: &[&str]) -> Output {
    let mut command = on_a_free_port(args);
    command.env_remove("RUNBLOB_API_KEY");
    if let Some(key) = key {
        command.env("RUNBLOB_API_KEY", key);
    }
    command.output().unwrap()
}

#[test]
fn what_keeps_it_from_starting_is_one_sentence() {
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
            "there is no API key to ask for: set RUNBLOB_API_KEY, or name a file with --api-key-file"
                .to_owned(),
        ),
        (
            Some("two words"),
            &[],
            "RUNBLOB_API_KEY holds no API key: a key is one word of visible ASCII".to_owned(),
        ),
        (
            None,
            &["--api-key-file", nothing],
            format!("{nothing} holds no API key: a key is one word of visible ASCII"),
        ),
        (
            None,
            &["--api-key-file", "/nowhere"],
            "the API key cannot be read from /nowhere: No such file or directory (os error 2)".to_owned(),
        ),
        (
            Some(KEY),
            &["--callback-ca", "/nowhere"],
            "the certificate /nowhere cannot be read: No such file or directory (os error 2)".to_owned(),
        ),
        (Some(KEY), &["--callback-ca", nothing], format!("{nothing} is no certificate in PEM")),
        (
            Some(KEY),
            &["--tls-cert", shown, "--tls-key", nothing],
            format!("no private key in PEM can be read from {nothing}: no items found"),
        ),
        (
            Some(KEY),
            &["--tls-cert", shown, "--tls-key", another],
            format!(
                "{shown} and {another} do not make a certificate with its key: keys may not be consistent: KeyMismatch"
            ),
        ),
        (
            Some(KEY),
            &["--listen", &address.to_string()],
            format!(
                "port {} of 127.0.0.1 is taken by another program: end it, or choose another with --listen",
                address.port()
            ),
        ),
    ] {
        let end = ended(key, args);
        assert_eq!(
            (end.status.code(), text(&end.stdout), text(&end.stderr)),
            (Some(1), String::new(), format!("blobgate: {why}\n"))
        );
    }
}

#[test]
fn wrong_usage_ends_with_2() {
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
fn help_does_not_show_the_key() {
    let end = ended(Some(KEY), &["--help"]);
    let said = text(&end.stdout);
    assert!(said.contains("RUNBLOB_API_KEY of the environment") && !said.contains(KEY), "{said}");
}
