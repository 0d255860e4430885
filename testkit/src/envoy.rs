//! A real Envoy on free ports. It is ready when `start` returns, and ends on drop.

use super::bootstrap::ADMIN_SOCKET;
use super::metrics::{self, Sample};
use super::{
    Bootstrap, ClientResponse, Connector, GateModule, Protocol, TestDelivery, Version, eventually, h1,
    repository, tls, within,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use tempfile::TempDir;
use tokio::net::UnixStream;

/// The variable of the shipped token key, and its value in tests.
pub const TOKEN_KEY: (&str, &str) = ("BLOBGATE_TOKEN_KEY", "the key of the tests, of 32 bytes.");
/// The variable of the shipped signing key, and its value in tests.
pub const SIGNING_KEY: (&str, &str) = ("BLOBGATE_SIGNING_KEY", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
/// The native module's log line about a panic that it has caught.
const PANICKED: &str = "blobgate: panicked";
/// The tests' key for the provider's API.
pub const API_KEY: &str = "the-key-of-the-providers-api";

/// An Envoy's start options.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The number of workers.
    pub concurrency: u32,
    /// Reads listeners from a file, which [`EnvoyProcess::replace_listeners`] replaces.
    pub listeners_by_file: bool,
    /// The seconds for which the connections of a replaced listener go on.
    pub drain_seconds: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { concurrency: 1, listeners_by_file: false, drain_seconds: 600 }
    }
}

/// A running Envoy.
pub struct EnvoyProcess {
    pub version: String,
    module: GateModule,
    process: Process,
    ports: BTreeMap<String, u16>,
}

/// The SDS resource with the provider's API key.
fn key_secret(key: &str) -> Value {
    json!({"resources": [{
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        "name": "runblob_key",
        "generic_secret": {"secret": {"inline_string": format!("Bearer {key}")}},
    }]})
}

/// Killed on drop.
struct Process {
    child: Child,
    folder: TempDir,
}

impl EnvoyProcess {
    #[track_caller]
    pub fn start(version: &Version, bootstrap: &Bootstrap, options: Options) -> Self {
        let mut process = Process::start(version, bootstrap, options);
        eventually("admin page", || {
            process.must_run();
            process.path("admin").is_file().then_some(())
        });
        let (version, module) = (version.name.clone(), bootstrap.module());
        let mut envoy = Self { version, module, process, ports: BTreeMap::new() };
        eventually("readiness", || {
            envoy.process.must_run();
            (envoy.admin("GET", "/ready").status == 200).then_some(())
        });
        envoy.ports = envoy.listening();
        envoy
    }

    /// Starts an Envoy that must fail to start, and returns its stderr.
    #[track_caller]
    pub fn refuses(version: &Version, bootstrap: &Bootstrap) -> String {
        let mut process = Process::start(version, bootstrap, Options::default());
        let status = eventually("exit", || process.exited());
        assert!(!status.success(), "Envoy ended with status 0");
        process.log()
    }

    /// Replaces the API key in the file that Envoy watches.
    pub fn replace_api_key(&self, key: &str) {
        replace(&self.process.path("key.json"), &key_secret(key).to_string());
    }

    /// The process's resident memory in bytes. Envoy's statistics do not include V8's memory.
    #[track_caller]
    pub fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// The port of a listener.
    #[track_caller]
    pub fn port(&self, listener: &str) -> u16 {
        let port = self.ports.get(listener);
        *port.unwrap_or_else(|| panic!("there is no listener {listener}, only {:?}", self.ports.keys()))
    }

    /// A client of the listener with TLS.
    #[track_caller]
    pub fn tls(&self, protocol: Protocol) -> Connector {
        Connector::tls(self.port("edge"), protocol)
    }

    /// A client of the listener without TLS.
    #[track_caller]
    pub fn plaintext(&self, protocol: Protocol) -> Connector {
        Connector::plaintext(self.port("plaintext"), protocol)
    }

    /// A client of the listener that routes the inbox's deliveries.
    #[track_caller]
    pub fn services(&self, protocol: Protocol) -> Connector {
        Connector::plaintext(self.port("services"), protocol)
    }

    /// Calls the admin page through its socket.
    #[track_caller]
    pub fn admin(&self, method: &str, path: &str) -> ClientResponse {
        let request = TestDelivery::without_body().method(method).path(path).without_header("content-type");
        let answer = within("response of the admin page", async {
            let socket = UnixStream::connect(self.admin_socket()).await.map_err(|error| error.to_string())?;
            h1::H1Connection::over(socket).send(&request).await
        });
        answer.unwrap_or_else(|error| panic!("no response of the admin page: {error}"))
    }

    pub fn admin_socket(&self) -> PathBuf {
        self.process.path(ADMIN_SOCKET)
    }

    pub fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// The statistics whose names match, without empty histograms.
    #[track_caller]
    pub fn stats(&self, regex: &str) -> BTreeMap<String, u64> {
        let text = self.admin("GET", &format!("/stats?filter={regex}")).text();
        let pairs = text.lines().filter_map(|line| line.split_once(": "));
        pairs.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
    }

    /// A statistic, or none if Envoy has none of this name.
    #[track_caller]
    pub fn stat(&self, name: &str) -> Option<u64> {
        self.stats(&format!("^{}$", name.replace('.', "\\."))).get(name).copied()
    }

    /// The number of crashes of the module so far. After one the Wasm module reloads, and the native one goes on.
    #[track_caller]
    pub fn crashes(&self) -> u64 {
        match self.module {
            GateModule::Wasm => {
                self.stat("wasm.blobgate.vm_reload_success").expect("the Wasm module's statistic")
            }
            GateModule::Native => self.log().matches(PANICKED).count().try_into().unwrap(),
        }
    }

    #[track_caller]
    pub fn prometheus(&self) -> Vec<Sample> {
        metrics::parse(&self.admin("GET", "/stats/prometheus").text())
    }

    /// The access log so far. Envoy writes a line up to 20 ms after the response.
    #[track_caller]
    pub fn access_log(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.process.path("stdout")).unwrap();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}")))
            .collect()
    }

    /// Envoy's log, with the module's lines.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// This Envoy's folder: its certificate and the files that it watches.
    pub fn folder(&self) -> &Path {
        self.process.folder.path()
    }

    /// Replaces the listeners that Envoy reads from a file.
    pub fn replace_listeners(&self, bootstrap: &Bootstrap) {
        let mut json = bootstrap.finish(self.folder());
        replace(&self.process.path("listeners.json"), &listeners(&mut json).to_string());
    }

    fn listening(&self) -> BTreeMap<String, u16> {
        let listeners = self.admin("GET", "/listeners?format=json").json();
        let statuses = listeners["listener_statuses"].as_array().cloned().unwrap_or_default();
        let pair = |status: &Value| {
            let port = status["local_address"]["socket_address"]["port_value"].as_u64();
            (status["name"].as_str().unwrap().to_owned(), u16::try_from(port.unwrap()).unwrap())
        };
        statuses.iter().map(pair).collect()
    }
}

impl Process {
    fn start(version: &Version, bootstrap: &Bootstrap, options: Options) -> Self {
        let folder = tempfile::Builder::new().prefix("blobgate-envoy-").tempdir().unwrap();
        let path = folder.path();
        tls::FIRST.write_to(path);
        replace(&path.join("sds.json"), &certificate_secret(path).to_string());
        replace(&path.join("key.json"), &key_secret(API_KEY).to_string());
        let mut json = bootstrap.finish(path);
        if options.listeners_by_file {
            replace(&path.join("listeners.json"), &listeners(&mut json).to_string());
            let source = json!({"path": path.join("listeners.json"), "watched_directory": {"path": path}});
            json["dynamic_resources"]["lds_config"] =
                json!({"resource_api_version": "V3", "path_config_source": source});
        }
        replace(&path.join("bootstrap.json"), &json.to_string());
        let child = Command::new(&version.binary)
            .arg("--config-path")
            .arg(path.join("bootstrap.json"))
            .arg("--admin-address-path")
            .arg(path.join("admin"))
            .args(["--concurrency", &options.concurrency.to_string()])
            .args(["--drain-time-s", &options.drain_seconds.to_string()])
            .args(["--log-level", "warn", "--disable-hot-restart", "--file-flush-interval-msec", "20"])
            .env(TOKEN_KEY.0, TOKEN_KEY.1)
            .env(SIGNING_KEY.0, SIGNING_KEY.1)
            .envs(bootstrap.variables())
            .current_dir(repository(""))
            .stdout(File::create(path.join("stdout")).unwrap())
            .stderr(File::create(path.join("stderr")).unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start: {error}", version.binary.display()));
        Self { child, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.path("stderr")).unwrap_or_default()).into_owned()
    }

    fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    #[track_caller]
    fn must_run(&mut self) {
        if let Some(status) = self.exited() {
            panic!("Envoy ended: {status}");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _status = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(30).collect();
            println!("The last 30 lines of Envoy's log:");
            tail.iter().rev().for_each(|line| println!("  {line}"));
        }
    }
}

/// Replaces a file by renaming: one step, and the event that Envoy watches for.
pub fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}

/// The content of `certs/sds.yaml` for another folder.
fn certificate_secret(folder: &Path) -> Value {
    json!({"resources": [{
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        "name": "edge",
        "tls_certificate": {
            "certificate_chain": {"filename": folder.join("edge.pem")},
            "private_key": {"filename": folder.join("edge-key.pem")},
            "watched_directory": {"path": folder},
        },
    }]})
}

/// Moves the listeners into a response of a listener discovery service.
fn listeners(json: &mut Value) -> Value {
    let listeners = json["static_resources"].as_object_mut().unwrap().remove("listeners").unwrap();
    let mut resources = listeners.as_array().unwrap().clone();
    for listener in &mut resources {
        listener["@type"] = json!("type.googleapis.com/envoy.config.listener.v3.Listener");
    }
    json!({"version_info": "1", "resources": resources})
}
