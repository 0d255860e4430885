//! A real Envoy on free ports, ended with the test.

use super::{Bootstrap, Version, eventually, tls};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// How to start an Envoy.
#[derive(Clone, Debug)]
pub struct Options {
    pub concurrency: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { concurrency: 1 }
    }
}

/// A running Envoy.
pub struct Envoy {
    child: Child,
    folder: TempDir,
    admin: u16,
    ports: Vec<(String, u16)>,
    name: String,
}

/// A folder with the certificate and the SDS file that the shipped configuration watches.
pub fn folder() -> TempDir {
    let folder = TempDir::with_prefix("blobgate-").unwrap();
    tls::FIRST.write_to(folder.path());
    let sds = fs::read_to_string(super::repository("certs/sds.yaml")).unwrap();
    fs::write(
        folder.path().join("sds.yaml"),
        sds.replace("./certs", folder.path().to_str().unwrap()),
    )
    .unwrap();
    folder
}

/// Writes a file in one step, so that what watches it sees the old or the new one.
pub fn replace(path: &Path, text: &str) {
    let aside = path.with_extension("new");
    fs::write(&aside, text).unwrap();
    fs::rename(aside, path).unwrap();
}

impl Envoy {
    /// Starts and waits until it is ready.
    #[track_caller]
    pub fn start(version: &Version, folder: TempDir, bootstrap: &Bootstrap, options: &Options) -> Self {
        let mut envoy = Self::spawn(version, folder, bootstrap, options);
        let address = envoy.folder.path().join("admin");
        let ready = eventually("ready Envoy", || {
            if envoy.child.try_wait().unwrap().is_some() {
                return Some(false);
            }
            let text = fs::read_to_string(&address).ok()?;
            envoy.admin = text.trim().rsplit_once(':')?.1.parse().ok()?;
            (envoy.try_admin("GET", "/ready")?.0 == 200).then_some(true)
        });
        assert!(ready, "Envoy {} did not start: {}", version.name, envoy.log());
        let listeners: Value = serde_json::from_str(&envoy.admin("GET", "/listeners?format=json")).unwrap();
        for listener in listeners["listener_statuses"].as_array().unwrap() {
            let port = &listener["local_address"]["socket_address"]["port_value"];
            let name = listener["name"].as_str().unwrap().to_owned();
            envoy
                .ports
                .push((name, u16::try_from(port.as_u64().unwrap()).unwrap()));
        }
        envoy
    }

    /// Starts what is not expected to come up, and returns what it said.
    #[track_caller]
    pub fn fails_to_start(version: &Version, folder: TempDir, bootstrap: &Bootstrap) -> String {
        let mut envoy = Self::spawn(version, folder, bootstrap, &Options::default());
        let status = eventually("end of Envoy", || envoy.child.try_wait().unwrap());
        assert!(!status.success(), "Envoy {} ended well", version.name);
        envoy.log()
    }

    fn spawn(version: &Version, folder: TempDir, bootstrap: &Bootstrap, options: &Options) -> Self {
        let at = |name: &str| folder.path().join(name);
        fs::write(at("envoy.json"), bootstrap.0.to_string()).unwrap();
        let child = Command::new(&version.binary)
            .args(["--disable-hot-restart", "--log-level", "info", "--concurrency"])
            .arg(options.concurrency.to_string())
            .args(["--file-flush-interval-msec", "50"])
            .arg("-c")
            .arg(at("envoy.json"))
            .arg("--admin-address-path")
            .arg(at("admin"))
            .stdin(Stdio::null())
            .stdout(File::create(at("out")).unwrap())
            .stderr(File::create(at("err")).unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not run: {error}", version.binary.display()));
        Self {
            child,
            folder,
            admin: 0,
            ports: Vec::new(),
            name: version.name.clone(),
        }
    }

    /// The port of a listener.
    #[track_caller]
    pub fn port(&self, listener: &str) -> u16 {
        let found = self.ports.iter().find(|(name, _)| name == listener);
        found
            .unwrap_or_else(|| panic!("no listener {listener}: {:?}", self.ports))
            .1
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Everything that Envoy and the module logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("err")).unwrap_or_default()
    }

    /// The access log so far, as text.
    pub fn access_log(&self) -> String {
        fs::read_to_string(self.folder.path().join("out")).unwrap_or_default()
    }

    /// The line of the access log that `is_it` names, once it is written.
    #[track_caller]
    pub fn access_line(&self, is_it: impl Fn(&Value) -> bool) -> Value {
        eventually("line in the access log", || {
            let log = self.access_log();
            log.lines()
                .filter_map(|line| serde_json::from_str(line).ok())
                .find(|line| is_it(line))
        })
    }

    /// Calls the admin port.
    #[track_caller]
    pub fn admin(&self, method: &str, path: &str) -> String {
        self.try_admin(method, path)
            .unwrap_or_else(|| panic!("Envoy {} has no admin port", self.name))
            .1
    }

    /// A statistic, 0 where it does not exist yet.
    #[track_caller]
    pub fn stat(&self, name: &str) -> u64 {
        let stats = self.admin("GET", "/stats");
        let value = stats
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        value.map_or(0, |value| value.trim().parse().unwrap())
    }

    /// Sum of the statistics `cluster.*.upstream_rq_total`: requests that Envoy began to send to services.
    pub fn sent_upstream(&self) -> u64 {
        let stats = self.admin("GET", "/stats?filter=upstream_rq_total");
        stats
            .lines()
            .filter_map(|line| line.rsplit_once(": ")?.1.trim().parse::<u64>().ok())
            .sum()
    }

    /// What Prometheus reads.
    pub fn prometheus(&self) -> String {
        self.admin("GET", "/stats/prometheus")
    }

    fn try_admin(&self, method: &str, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.admin)).ok()?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).ok()?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let body = if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
            unchunk(body)?
        } else {
            body.to_owned()
        };
        Some((status, body))
    }
}

fn unchunk(mut text: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (size, rest) = text.split_once("\r\n")?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.push_str(rest.get(..size)?);
        text = rest.get(size + 2..)?;
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!("--- Envoy {} said last:", self.name);
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}
