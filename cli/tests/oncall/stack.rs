//! A gate, an inbox, services and a status API as in `envoy.yaml`, on ports of their own, and a Prometheus with the shipped rules.

use crate::PROGRAM;
use crate::traffic::{TestEvent, Traffic};
use blobgate::contract::header;
use blobgate_testkit::envoy::{API_KEY, SIGNING_KEY, TOKEN_KEY, replace};
use blobgate_testkit::prometheus::{ActiveAlert, PrometheusProcess};
use blobgate_testkit::tls::Certificate;
use blobgate_testkit::{
    Connector, H1, TestDelivery, Upstream, free_port, inbox, module, pause, repository, versions,
};
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// After this time a wait fails. A dozen stacks start at once.
const MAX_START: Duration = Duration::from_secs(120);

/// Envoy requires the name `localhost` of the status API, and the tests' clients require the other name of the gate.
static CERTIFICATE: LazyLock<Certificate> = LazyLock::new(|| Certificate::of(["localhost", "gate.test"]));

/// The ports of a stack, in place of the shipped ones.
#[derive(Clone, Debug)]
pub(crate) struct Ports(Vec<(u16, u16)>);

/// Everything that an operator runs, in a folder like a clone of the repository.
pub(crate) struct Stack {
    /// Started last.
    prometheus: Option<PrometheusProcess>,
    pub(crate) traffic: Traffic,
    pub(crate) envoy: Option<StackProcess>,
    pub(crate) inbox: Option<StackProcess>,
    pub(crate) sandbox: Option<StackProcess>,
    /// Gets `completed` events.
    pub(crate) video: Upstream,
    pub(crate) ports: Ports,
    /// The folder of the store.
    pub(crate) store: PathBuf,
    /// Whether the store has a disk of its own.
    has_disk: bool,
    folder: TempDir,
    _failure: Upstream,
    _quarantine: Upstream,
}

/// A program of a stack. Killed on drop. A failed test prints the end of its log.
pub(crate) struct StackProcess {
    child: Child,
    log: PathBuf,
}

impl Ports {
    fn new(services: [&Upstream; 3]) -> Self {
        let [video, failure, quarantine] = services.map(|service| service.port);
        let mut all = vec![(9081, video), (9082, failure), (9083, quarantine)];
        all.extend([8443, 8080, 8090, 9901, 9084, 9085, 9087, 9443].map(|shipped| (shipped, free_port())));
        Self(all)
    }

    /// The port in the place of a shipped one.
    #[track_caller]
    pub(crate) fn of(&self, shipped: u16) -> u16 {
        self.0.iter().find(|(port, _)| *port == shipped).expect("a port of envoy.yaml").1
    }

    /// A text with this stack's ports.
    pub(crate) fn replace_in(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (shipped, port)| {
            text.replace(&format!("127.0.0.1:{shipped}"), &format!("127.0.0.1:{port}"))
                .replace(&format!("port_value: {shipped}}}"), &format!("port_value: {port}}}"))
        })
    }
}

impl Stack {
    /// Starts one, and waits until an event reaches its service and Prometheus has scraped both targets.
    #[track_caller]
    pub(crate) fn start(event: TestEvent) -> Self {
        Self::with(event, str::to_owned, None)
    }

    /// Like [`Self::start`], with changes of `envoy.yaml`, and with the store in this folder.
    #[track_caller]
    pub(crate) fn with(event: TestEvent, change: impl Fn(&str) -> String, store: Option<PathBuf>) -> Self {
        let folder = tempfile::Builder::new().prefix("blobgate-oncall-").tempdir().unwrap();
        let (video, failure, quarantine) = (Upstream::start(), Upstream::start(), Upstream::off());
        let ports = Ports::new([&video, &failure, &quarantine]);
        lay_out(folder.path(), &ports, change);
        let has_disk = store.is_some();
        let store = store.unwrap_or_else(|| folder.path().to_owned());
        inbox::migrate(PROGRAM, &format!("sqlite:{}", store.join("inbox.db").display()));
        let gate = Connector::tls_of(ports.of(8443), H1, &CERTIFICATE, rustls::ALL_VERSIONS);
        let provider = Connector::tls_of(ports.of(9443), H1, &CERTIFICATE, rustls::ALL_VERSIONS);
        let traffic = Traffic::new(gate, provider, event);
        let mut stack = Self {
            prometheus: None,
            traffic,
            envoy: None,
            inbox: None,
            sandbox: None,
            video,
            ports,
            store,
            has_disk,
            folder,
            _failure: failure,
            _quarantine: quarantine,
        };
        stack.start_sandbox("secrets/runblob-key");
        stack.start_inbox(SIGNING_KEY.1);
        stack.start_envoy();
        until("sandbox", || stack.traffic.is_known_to_provider());
        stack.traffic.begin();
        stack.delivers();
        stack.prometheus = Some(PrometheusProcess::start(&scrape_config(&stack.ports)));
        let both = r#"sum(up{job=~"blobgate-.*"}) + sum(min_over_time(up[10s])) == 4"#;
        until("scrape of both targets", || {
            stack.prometheus().query(both).is_ok_and(|found| !found.is_empty())
        });
        assert_eq!(stack.alerts(), [], "before the fault");
        stack
    }

    pub(crate) fn prometheus(&self) -> &PrometheusProcess {
        self.prometheus.as_ref().expect("it has started")
    }

    /// The alerts now, pending or firing. The disk of this machine is no part of the stack.
    #[track_caller]
    pub(crate) fn alerts(&self) -> Vec<ActiveAlert> {
        let is_of_stack = |alert: &ActiveAlert| self.has_disk || alert.name != "BlobgateDiskFills";
        self.prometheus().alerts().into_iter().filter(is_of_stack).collect()
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn start_envoy(&mut self) {
        let binary = fs::canonicalize(versions().pop().unwrap().binary).unwrap();
        let mut command = Command::new(binary);
        command.args([
            "-c",
            "envoy.yaml",
            "--concurrency",
            "1",
            "--disable-hot-restart",
            "--log-level",
            "warn",
        ]);
        command.args(["--file-flush-interval-msec", "20"]);
        command.env(TOKEN_KEY.0, TOKEN_KEY.1).env(SIGNING_KEY.0, SIGNING_KEY.1);
        self.envoy = Some(self.spawn(command, "envoy.log"));
        self.until_answered("Envoy", 9901, "/ready");
    }

    pub(crate) fn start_inbox(&mut self, signing_key: &str) {
        let listen = self.ports.replace_in(
            "--listen 127.0.0.1:9084 --admin 127.0.0.1:9085 --access-log 127.0.0.1:9087 --deliver-to http://127.0.0.1:8090 --provider http://127.0.0.1:8090",
        );
        let store = format!("sqlite:{}", self.store.join("inbox.db").display());
        let mut command = Command::new(PROGRAM);
        command.args(["inbox", "serve", "--store", &store, "--signing-key-env", SIGNING_KEY.0]);
        command.args(listen.split(' ')).env(SIGNING_KEY.0, signing_key);
        self.inbox = Some(self.spawn(command, "inbox.log"));
        self.until_answered("the inbox", 9085, "/livez");
    }

    /// Starts the status API, which takes the API key in this file.
    pub(crate) fn start_sandbox(&mut self, key_file: &str) {
        let listen = self.ports.replace_in("127.0.0.1:9443");
        let mut command = Command::new(PROGRAM);
        command.args(["sandbox", "--listen", &listen, "--api-key-file", key_file]);
        command.args(["--tls-cert", "certs/edge.pem", "--tls-key", "certs/edge-key.pem"]);
        self.sandbox = None;
        self.sandbox = Some(self.spawn(command, "sandbox.log"));
    }

    fn spawn(&self, mut command: Command, log: &str) -> StackProcess {
        let log = self.path(log);
        let out = File::options().create(true).append(true).open(&log).unwrap();
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command.stdout(out.try_clone().unwrap()).stderr(out);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        StackProcess { child, log }
    }

    fn until_answered(&self, what: &str, shipped: u16, path: &str) {
        let request = TestDelivery::without_body().method("GET").path(path).header("host", "127.0.0.1");
        let port = Connector::plaintext(self.ports.of(shipped), H1);
        until(what, || {
            port.try_open()
                .and_then(|mut open| open.try_send(&request))
                .is_ok_and(|answer| answer.status == 200)
        });
    }

    /// Waits until a new event reaches its service.
    #[track_caller]
    pub(crate) fn delivers(&self) {
        until("delivered event", || {
            let generation = self.traffic.send_next();
            pause(Duration::from_millis(500));
            self.video
                .take()
                .iter()
                .any(|request| request.header(header::GENERATION_ID).is_some_and(|id| Some(id) == generation))
        });
    }

    /// Runs a block of a runbook in a shell, as an operator copies it. Returns everything that it prints.
    #[track_caller]
    pub(crate) fn run(&self, block: &str, replaced: &[(&str, &str)]) -> String {
        let script = replaced.iter().fold(block.to_owned(), |text, (from, to)| text.replace(from, to));
        let script = self.ports.replace_in(&script);
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("bash");
        command.args(["-c", &script]).current_dir(self.folder.path()).env("PATH", path);
        command.stdin(Stdio::null());
        let done = command.output().unwrap();
        let text =
            [done.stdout, done.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        println!("$ {}\n{}", script.trim_end(), text.trim_end());
        text
    }
}

impl StackProcess {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for StackProcess {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _status = self.child.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            let from = log.lines().count().saturating_sub(15);
            println!("The last 15 lines of {}:", self.log.display());
            log.lines().skip(from).for_each(|line| println!("  {line}"));
        }
    }
}

/// A text with one part replaced, which it must have.
#[track_caller]
pub(crate) fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "no {from} in {text}");
    text.replace(from, to)
}

/// Calls `probe` until it is true.
#[track_caller]
pub(crate) fn until(what: &str, mut probe: impl FnMut() -> bool) {
    let end = Instant::now() + MAX_START;
    while !probe() {
        assert!(Instant::now() < end, "no {what} within {MAX_START:?}");
        pause(Duration::from_millis(100));
    }
}

/// The files that a clone of the repository has after `make run`.
fn lay_out(folder: &Path, ports: &Ports, change: impl Fn(&str) -> String) {
    for name in ["certs", "secrets", "run", "bin", "target"] {
        fs::create_dir(folder.join(name)).unwrap();
    }
    let built = fs::canonicalize(module().parent().unwrap().parent().unwrap()).unwrap();
    symlink(built, folder.join("target/wasm32-wasip1")).unwrap();
    fs::copy(repository("certs/sds.yaml"), folder.join("certs/sds.yaml")).unwrap();
    CERTIFICATE.write_to(&folder.join("certs"));
    fs::write(folder.join("secrets/runblob-key"), API_KEY).unwrap();
    replace(&folder.join("secrets/runblob-key.yaml"), &key_secret(API_KEY));
    let config = fs::read_to_string(repository("envoy.yaml")).unwrap();
    fs::write(folder.join("envoy.yaml"), ports.replace_in(&change(&config))).unwrap();
    // The admin listener has another port than the default of --admin.
    let admin = ports.replace_in("http://127.0.0.1:9085");
    let wrapper = format!(
        "#!/bin/sh\nif [ \"$1\" = inbox ]; then exec '{PROGRAM}' \"$@\" --admin {admin}; fi\nexec '{PROGRAM}' \"$@\"\n"
    );
    fs::write(folder.join("bin/blobgate"), wrapper).unwrap();
    fs::set_permissions(folder.join("bin/blobgate"), fs::Permissions::from_mode(0o755)).unwrap();
}

/// `secrets/runblob-key.yaml` with this key.
pub(crate) fn key_secret(key: &str) -> String {
    format!(
        "resources:\n- \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret\n  \
         name: runblob_key\n  generic_secret: {{secret: {{inline_string: \"Bearer {key}\"}}}}\n"
    )
}

/// The shipped configuration with the ports and the path of the rules.
fn scrape_config(ports: &Ports) -> String {
    let shipped = fs::read_to_string(repository("deploy/prometheus/prometheus.yaml")).unwrap();
    let rules = fs::canonicalize(repository("deploy/prometheus/rules.yaml")).unwrap();
    let (name, path) = ("rule_files: [rules.yaml]", format!("rule_files: [{}]", rules.display()));
    assert!(shipped.contains(name), "prometheus.yaml has no {name}");
    ports.replace_in(&shipped.replace(name, &path))
}

/// Shared by the traffic's threads.
pub(crate) type Shared<T> = Arc<std::sync::Mutex<T>>;
