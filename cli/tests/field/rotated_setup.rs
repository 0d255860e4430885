//! A setup folder that runs: the rendered Envoy and the inbox as a supervisor starts them, a provider, and a service that verifies.

use crate::PROGRAM;
use blobgate_testkit::tls::{Certificate, FIRST, TlsFront};
use blobgate_testkit::{
    Connector, H1, Reply, ServiceRequest, TestDelivery, Upstream, Version, eventually, free_port, module,
};
use serde_json::{Value, json};
use standardwebhooks::Webhook;
use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// The API key in a new folder.
pub(crate) const API_KEY: &str = "rb_4f1d6c0a9b7e42d8";

/// The setup file. The tests add the keys and the trust.
const SETUP: &str = r#"
host: gate.test
tls: {certificate: certs/edge.pem, key: certs/edge-key.pem}
environment: production
api_key_file: secrets/runblob-key
"#;

pub(crate) struct RotatedSetup {
    pub(crate) service: Upstream,
    pub(crate) provider: Upstream,
    /// The keys with which the service verifies.
    service_keys: Arc<Mutex<Vec<String>>>,
    /// Deliveries whose signature no key of the service made.
    unverified: Arc<Mutex<usize>>,
    front: TlsFront,
    version: Version,
    store: String,
    ports: [u16; 6],
    gate: Mutex<Option<Child>>,
    inbox: Mutex<Option<Child>>,
    folder: TempDir,
}

impl RotatedSetup {
    /// Starts gate and inbox. `setup` has the keys `hook`, `token_keys` and `signing_keys`.
    #[track_caller]
    pub(crate) fn start(version: &Version, setup: &str) -> Self {
        Self::with_store(version, setup, "sqlite:inbox.db", &[])
    }

    /// Like [`Self::start`], with this store and these further lines of secrets/env.
    #[track_caller]
    pub(crate) fn with_store(version: &Version, setup: &str, store: &str, secrets: &[&str]) -> Self {
        let (service, provider) = (Upstream::start(), Upstream::start());
        let certificate = Certificate::named("localhost");
        let folder = Self {
            front: TlsFront::start(&certificate, provider.port),
            service,
            provider,
            service_keys: Arc::default(),
            unverified: Arc::default(),
            version: version.clone(),
            store: store.to_owned(),
            ports: [(); 6].map(|()| free_port()),
            gate: Mutex::default(),
            inbox: Mutex::default(),
            folder: tempfile::Builder::new().prefix("blobgate-setup-").tempdir().unwrap(),
        };
        for name in ["certs", "secrets", "provider", "run"] {
            fs::DirBuilder::new().mode(0o700).create(folder.path(name)).unwrap();
        }
        FIRST.write_to(&folder.path("certs"));
        certificate.write_to(&folder.path("provider"));
        folder.secret("secrets/runblob-key", API_KEY);
        folder.secret("secrets/env", "");
        folder.add_secret("BLOBGATE_TOKEN_KEY=base64:$(openssl rand -base64 32)");
        folder.add_secret("BLOBGATE_SIGNING_KEY=whsec_$(openssl rand -base64 32)");
        secrets.iter().for_each(|line| folder.add_secret(line));
        folder.set_service_keys(&["BLOBGATE_SIGNING_KEY"]);
        folder.render(setup);
        let mut migrate = folder.tool();
        let done = migrate.envs(folder.variables("inbox.env")).args(["inbox", "migrate"]).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        folder.verify_at_service();
        folder.confirm_every_generation(&[API_KEY]);
        folder.restart_inbox();
        folder.restart_gate();
        folder
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn secret(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn add_secret(&self, line: &str) {
        self.run(&format!("echo \"{line}\" >> secrets/env"));
    }

    /// Runs a block of the page in the folder.
    #[track_caller]
    pub(crate) fn run(&self, block: &str) {
        self.run_with(block, "");
    }

    /// Like [`Self::run`], with this text on standard input.
    #[track_caller]
    pub(crate) fn run_with(&self, block: &str, input: &str) {
        let typed = self.path("typed");
        fs::write(&typed, input).unwrap();
        let program = PathBuf::from(PROGRAM);
        let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
        let mut shell = Command::new("sh");
        shell.args(["-euc", block]).current_dir(self.folder.path()).env("PATH", path);
        let done = shell.stdin(File::open(typed).unwrap()).output().unwrap();
        assert!(done.status.success(), "{block}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// The tool, in the folder, with the variables of secrets/env.
    pub(crate) fn tool(&self) -> Command {
        let mut command = Command::new(PROGRAM);
        command.current_dir(self.folder.path()).envs(self.variables("secrets/env")).stdin(Stdio::null());
        command
    }

    fn variables(&self, file: &str) -> Vec<(String, String)> {
        let text = fs::read_to_string(self.path(file)).unwrap();
        let pairs =
            text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned())).collect()
    }

    /// The value of a variable in secrets/env.
    #[track_caller]
    pub(crate) fn variable(&self, name: &str) -> String {
        let all = self.variables("secrets/env");
        all.into_iter().find(|(other, _)| other == name).unwrap_or_else(|| panic!("no {name}")).1
    }

    /// Writes the setup file, and renders it.
    #[track_caller]
    pub(crate) fn render(&self, setup: &str) {
        let [listen, services, metrics, inbox, admin, access_log] = self.ports;
        let service = format!("http://127.0.0.1:{}", self.service.port);
        let text = format!(
            "{SETUP}inbox: {{store: \"{}\"}}\nmodule_file: {}\nlisten: 127.0.0.1:{listen}\nservices: {{completed: \"{service}\", failed: \"{service}\"}}\n\
             ports: {{services: {services}, metrics: {metrics}, inbox: {inbox}, admin: {admin}, access_log: {access_log}}}\n{setup}",
            self.store,
            module().display()
        );
        fs::write(self.path("blobgate.yaml"), text).unwrap();
        let done = self.tool().arg("render").output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&[done.stdout, done.stderr].concat()));
        self.point_at_provider();
    }

    /// Writes gate.yaml: the rendered file, with the status API on this machine and without its limit of calls.
    fn point_at_provider(&self) {
        let text = fs::read_to_string(self.path("envoy.yaml")).unwrap();
        let mut bootstrap: Value = serde_saphyr::from_str(&text).unwrap();
        for cluster in bootstrap["static_resources"]["clusters"].as_array_mut().unwrap() {
            if cluster["name"] != "runblob_api" {
                continue;
            }
            cluster["type"] = json!("STATIC");
            let tls = &mut cluster["transport_socket"]["typed_config"];
            tls["sni"] = json!("localhost");
            tls["common_tls_context"]["validation_context"] = json!({
                "trusted_ca": {"filename": "./provider/edge.pem"},
                "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": "localhost"}}],
            });
            let address = json!({"address": "127.0.0.1", "port_value": self.front.port});
            cluster["load_assignment"]["endpoints"] =
                json!([{"lb_endpoints": [{"endpoint": {"address": {"socket_address": address}}}]}]);
        }
        let listeners = bootstrap["static_resources"]["listeners"].as_array_mut().unwrap();
        for chain in
            listeners.iter_mut().flat_map(|listener| listener["filter_chains"].as_array_mut().unwrap())
        {
            for filter in chain["filters"].as_array_mut().unwrap() {
                let filters = filter["typed_config"]["http_filters"].as_array_mut();
                for http in filters.into_iter().flatten().filter(|http| http["name"] == "blobgate") {
                    let gate = &mut http["typed_config"]["config"]["configuration"]["value"];
                    if let Some(confirm) = gate.get_mut("confirm") {
                        confirm["per_minute"] = json!(6000);
                    }
                }
            }
        }
        fs::write(self.path("gate.yaml"), bootstrap.to_string()).unwrap();
    }

    /// Ends the gate with SIGTERM, and starts it again.
    #[track_caller]
    pub(crate) fn restart_gate(&self) {
        let mut gate = self.gate.lock().unwrap();
        end(&mut gate);
        let mut command = Command::new(&self.version.binary);
        command.args(["-c", "gate.yaml", "--concurrency", "1", "--disable-hot-restart", "-l", "warn"]);
        command.envs(self.variables("secrets/env"));
        *gate = Some(self.spawn(command, "gate.log"));
        drop(gate);
        self.wait("ready gate", self.ports[2], "/ready");
    }

    /// Ends the inbox with SIGTERM, and starts it again.
    #[track_caller]
    pub(crate) fn restart_inbox(&self) {
        let mut inbox = self.inbox.lock().unwrap();
        end(&mut inbox);
        let mut command = self.tool();
        command.envs(self.variables("inbox.env")).args(["inbox", "serve"]);
        *inbox = Some(self.spawn(command, "inbox.log"));
        drop(inbox);
        self.wait("ready inbox", self.ports[4], "/readyz");
    }

    fn spawn(&self, mut command: Command, log: &str) -> Child {
        let log = File::options().append(true).create(true).open(self.path(log)).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        command.current_dir(self.folder.path()).spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    #[track_caller]
    fn wait(&self, what: &str, port: u16, path: &str) {
        let request = TestDelivery::without_body().method("GET").path(path).header("host", "127.0.0.1");
        eventually(what, || {
            let answer = Connector::plaintext(port, H1).try_open().ok()?.try_send(&request).ok()?;
            (answer.status == 200).then_some(())
        });
    }

    /// The port of the public listener.
    pub(crate) fn port(&self) -> u16 {
        self.ports[0]
    }

    /// Sets the variables whose keys the service verifies with.
    pub(crate) fn set_service_keys(&self, names: &[&str]) {
        *self.service_keys.lock().unwrap() = names.iter().map(|name| self.variable(name)).collect();
    }

    /// Lets the service answer 401 to a delivery that none of its keys signed.
    fn verify_at_service(&self) {
        let (keys, unverified) = (Arc::clone(&self.service_keys), Arc::clone(&self.unverified));
        self.service.reply_by(move |request| {
            if keys.lock().unwrap().iter().any(|key| verifies(key, request)) {
                return None;
            }
            *unverified.lock().unwrap() += 1;
            Some(Reply::status(401))
        });
    }

    pub(crate) fn unverified(&self) -> usize {
        *self.unverified.lock().unwrap()
    }

    /// Lets the status API confirm every generation, for calls with one of these keys. It answers 401 to others.
    pub(crate) fn confirm_every_generation(&self, keys: &[&str]) {
        let accepted: Vec<String> = keys.iter().map(|key| format!("Bearer {key}")).collect();
        self.provider.reply_by(move |request| {
            let sent = request.header("authorization").unwrap_or_default();
            if !accepted.contains(&sent) {
                return Some(Reply::status(401).body("{}"));
            }
            let generation = request.path.rsplit('/').next().unwrap();
            Some(
                Reply::status(200)
                    .body(completed(generation).body())
                    .header("content-type", "application/json"),
            )
        });
    }
}

/// The provider's sample for a generation.
pub(crate) fn completed(generation: &str) -> TestDelivery {
    let mut payload: Value = serde_json::from_slice(&TestDelivery::completed().body()).unwrap();
    payload["generation_id"] = json!(generation);
    TestDelivery::json(&payload)
}

/// Whether a key made a signature of this request, by the official library.
pub(crate) fn verifies(key: &str, request: &ServiceRequest) -> bool {
    let headers = request.headers.iter().filter_map(|(name, value)| {
        Some((name.parse::<axum::http::HeaderName>().ok()?, axum::http::HeaderValue::from_bytes(value).ok()?))
    });
    Webhook::new(key).unwrap().verify(&request.body, &headers.collect::<axum::http::HeaderMap>()).is_ok()
}

fn end(child: &mut Option<Child>) {
    let Some(mut child) = child.take() else { return };
    let sent = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    assert!(sent.unwrap().success());
    eventually("end", || child.try_wait().unwrap());
}

impl Drop for RotatedSetup {
    fn drop(&mut self) {
        for child in [&self.gate, &self.inbox] {
            let Ok(mut child) = child.lock() else { continue };
            if let Some(child) = child.as_mut() {
                let _gone_already = child.kill();
                let _status = child.wait();
            }
        }
        if std::thread::panicking() {
            for log in ["gate.log", "inbox.log"] {
                let text = fs::read_to_string(self.path(log)).unwrap_or_default();
                let from = text.lines().count().saturating_sub(20);
                println!("The last 20 lines of {log}:");
                text.lines().skip(from).for_each(|line| println!("  {line}"));
            }
        }
    }
}
