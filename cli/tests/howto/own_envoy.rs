//! docs/howto/own-envoy.md.

use crate::PROGRAM;
use crate::page_file::LISTED;
use blobgate::contract::header;
use blobgate_testkit::book::block;
use blobgate_testkit::envoy::TOKEN_KEY;
use blobgate_testkit::{
    Connector, H1, H2, ProductionFolder, TestDelivery, Upstream, Version, eventually, free_port,
    on_every_envoy,
};
use serde_json::Value;
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

const ALLOWED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// A block of the page, in a shell in the setup folder. Killed on drop, with its programs.
struct PageShell {
    child: Child,
    log: PathBuf,
}

impl PageShell {
    fn start(folder: &ProductionFolder, name: &str, commands: &str) -> Self {
        let log = folder.path().join(format!("{name}.log"));
        let path = format!("{}/bin:{}", folder.path().display(), std::env::var("PATH").unwrap());
        let output = File::create(&log).unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-ec", commands]).current_dir(folder.path()).env("PATH", path).process_group(0);
        shell.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        Self { child: shell.spawn().unwrap(), log }
    }

    #[track_caller]
    fn must_run(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("{status}: {}", fs::read_to_string(&self.log).unwrap());
        }
    }
}

impl Drop for PageShell {
    fn drop(&mut self) {
        let group = format!("-{}", self.child.id());
        let _gone_already = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _status = self.child.wait();
        if std::thread::panicking() {
            println!("{}", fs::read_to_string(&self.log).unwrap_or_default());
        }
    }
}

/// A rendered folder on free ports, whose `bin/` has the programs. Returns the edge's port.
fn rendered(version: &Version, service: u16) -> (ProductionFolder, u16) {
    let [edge, services, metrics, inbox, admin, access_log] = std::array::from_fn(|_| free_port());
    let ports = format!(
        "listen: 127.0.0.1:{edge}\n\
         ports: {{services: {services}, metrics: {metrics}, inbox: {inbox}, admin: {admin}, access_log: {access_log}}}\ninbox:"
    );
    let folder = ProductionFolder::edited(&[
        ("inbox:", &ports),
        ("source: any", &format!("source: [{LISTED}]")),
        // No test calls RunBlob.
        ("[token, confirmed]", "[token]"),
        ("127.0.0.1:5000", &format!("127.0.0.1:{service}")),
    ]);
    folder.render(PROGRAM);
    let bin = folder.path().join("bin");
    fs::create_dir(&bin).unwrap();
    symlink(PROGRAM, bin.join("blobgate")).unwrap();
    // Several Envoys run on this machine, and a hot restart allows one.
    let envoy = format!(
        "#!/bin/sh\nexec {} \"$@\" --disable-hot-restart --concurrency 1 --log-level warn\n",
        version.binary.display()
    );
    fs::write(bin.join("envoy"), envoy).unwrap();
    fs::set_permissions(bin.join("envoy"), fs::Permissions::from_mode(0o755)).unwrap();
    (folder, edge)
}

/// The path of a minted URL. `secrets/env` has the tests' token key in base64.
fn minted() -> String {
    let mut mint = Command::new(PROGRAM);
    mint.args(["mint", "--url", "https://hooks.example.com/webhook", "--aud", "production/veo3"]);
    mint.args(["--kid", "2026-11", "--key-env", TOKEN_KEY.0]).env(TOKEN_KEY.0, TOKEN_KEY.1);
    let minted = String::from_utf8(mint.output().unwrap().stdout).unwrap();
    minted.trim().strip_prefix("https://hooks.example.com").expect("a URL").to_owned()
}

#[test]
fn starts_and_answers_as_the_page_says() {
    on_every_envoy(|version| {
        let service = Upstream::start();
        let (folder, port) = rendered(version, service.port);
        let mut gate = PageShell::start(&folder, "gate", &block("own-envoy-start"));
        let mut inbox = PageShell::start(&folder, "inbox", &block("own-envoy-inbox"));
        let client = |protocol, from: Ipv4Addr| Connector::tls(port, protocol).from(from);
        let health = TestDelivery::without_body().method("GET").path("/healthz");
        eventually("Envoy", || {
            gate.must_run();
            inbox.must_run();
            let answer = client(H1, ALLOWED).try_open().and_then(|mut client| client.try_send(&health));
            (answer.ok()?.status == 200).then_some(())
        });
        let forged = TestDelivery::completed().path("/webhook").header("x-forwarded-for", LISTED);
        for protocol in [H1, H2] {
            client(protocol, Ipv4Addr::LOCALHOST).open().send(&forged).assert_refused(403, "source-denied");
        }
        // Envoy tries again until the inbox listens.
        let answer = client(H2, ALLOWED).open().send(&TestDelivery::completed().path(&minted()));
        assert_eq!((answer.status, answer.reason()), (200, None), "{answer:?}");
        let arrival = service.take_one();
        assert_eq!(arrival.path, "/webhook");
        assert!(arrival.header(header::WEBHOOK_SIGNATURE).is_some(), "{arrival:?}");
        assert!(arrival.header(header::ATTEMPT).is_some(), "the inbox delivers: {arrival:?}");
        let bypass = block("bypass-inbox");
        let done = Command::new("sh").args(["-ec", &bypass]).current_dir(folder.path()).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&done.stdout), "OK\n");
        assert_eq!(client(H2, ALLOWED).open().send(&TestDelivery::completed().path(&minted())).status, 200);
        let arrival = service.take_one();
        assert_eq!(arrival.header(header::ATTEMPT), None, "past the inbox: {arrival:?}");
        for (from, reason) in [("127.0.0.1", "403 source-denied"), (LISTED, "401 token-missing")] {
            assert_eq!(checked(&folder, port, from), reason);
        }
    });
}

/// The status and the reason that the page's `curl` prints.
fn checked(folder: &ProductionFolder, port: u16, from: &str) -> String {
    let options = format!(
        "curl -sS --interface {from} --cacert certs/edge.pem --resolve hooks.example.com:{port}:127.0.0.1"
    );
    let line = block("own-envoy-check").replace("curl", &options);
    let line = line.replace("https://hooks.example.com/", &format!("https://hooks.example.com:{port}/"));
    let done = Command::new("sh").args(["-ec", &line]).current_dir(folder.path()).output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    let status = text.split(' ').nth(1).unwrap_or("no status");
    assert!(done.status.success(), "{}: {text}{}", done.status, String::from_utf8_lossy(&done.stderr));
    let reason = text.lines().find_map(|line| line.strip_prefix("blobgate-reason: "));
    format!("{status} {}", reason.unwrap_or("-").trim())
}

#[test]
fn the_key_file_is_as_rendered() {
    let folder = ProductionFolder::new();
    folder.render(PROGRAM);
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    let parsed = |text: &str| serde_saphyr::from_str::<Value>(text).unwrap();
    let shown = block("own-envoy-key").replace("YOUR_API_KEY", read("secrets/runblob-key").trim());
    assert_eq!(parsed(&read("secrets/runblob-key.yaml")), parsed(&shown));
}
