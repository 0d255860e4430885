//! `blobgate inbox serve` as a process, and deliveries with the headers of a gate.

use super::{ClientResponse, Connector, H1, TestDelivery, eventually};
use blobgate::contract::{self, Kind, Proof, Verdict, header};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use tempfile::TempDir;

/// A running inbox. Killed on drop. A failed test prints the end of its log.
pub struct InboxProcess {
    /// The port for the gate's deliveries.
    pub receive: u16,
    /// The port for operators.
    pub admin: u16,
    /// The port for scrapers, with `--metrics 127.0.0.1:0`.
    pub metrics: Option<u16>,
    /// The port for Envoy's access log, with `--access-log 127.0.0.1:0`.
    pub access_log: Option<u16>,
    child: Child,
    program: PathBuf,
    folder: TempDir,
}

/// Runs `blobgate` with these arguments.
pub fn blobgate(program: &str, args: &[&str]) -> Output {
    Command::new(program).args(args).stdin(Stdio::null()).output().unwrap()
}

/// Makes the tables of a store.
#[track_caller]
pub fn migrate(program: &str, store: &str) {
    let done = blobgate(program, &["inbox", "migrate", "--store", store]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

impl InboxProcess {
    /// Starts an inbox on free ports, and waits until it listens. `deliver_to` is the port of the service routes.
    #[track_caller]
    pub fn start(program: &str, store: &str, deliver_to: u16, more: &[&str]) -> Self {
        Self::spawn(Command::new(program), program, store, deliver_to, more)
    }

    /// Like [`Self::start`], by a command such as `faketime` or `prlimit` that runs the program.
    #[track_caller]
    pub fn spawn(command: Command, program: &str, store: &str, deliver_to: u16, more: &[&str]) -> Self {
        Self::spawn_at(0, command, program, store, deliver_to, more)
    }

    /// Like [`Self::spawn`], with this receive port: after a restart the gate's address stays.
    #[track_caller]
    pub fn spawn_at(
        receive: u16,
        command: Command,
        program: &str,
        store: &str,
        deliver_to: u16,
        more: &[&str],
    ) -> Self {
        let started = Self::try_spawn(receive, command, program, store, deliver_to, more);
        started.unwrap_or_else(|(status, log)| panic!("the inbox does not start: {status}, {log}"))
    }

    /// Like [`Self::spawn_at`]. Port 0 picks a free port.
    ///
    /// # Errors
    /// The inbox ended: its status and its log.
    pub fn try_spawn(
        receive: u16,
        mut command: Command,
        program: &str,
        store: &str,
        deliver_to: u16,
        more: &[&str],
    ) -> Result<Self, (ExitStatus, String)> {
        let folder = tempfile::Builder::new().prefix("blobgate-inbox-").tempdir().unwrap();
        command.args([
            "inbox",
            "serve",
            "--store",
            store,
            "--listen",
            &format!("127.0.0.1:{receive}"),
            "--admin",
            "127.0.0.1:0",
        ]);
        command.args(["--deliver-to", &format!("http://127.0.0.1:{deliver_to}")]).args(more);
        // Tests read lines for a person.
        let is_set = command.get_envs().any(|(name, _)| name == "BLOBGATE_LOG_FORMAT");
        if !is_set {
            command.env("BLOBGATE_LOG_FORMAT", "text");
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(File::create(folder.path().join("stderr")).unwrap());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut first_line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first_line).unwrap();
        let port = |before: &str| -> Option<u16> {
            let (_, rest) = first_line.split_once(&format!("{before} http://127.0.0.1:"))?;
            rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
        };
        let (Some(receive), Some(admin)) = (port("listens on"), port("admin")) else {
            let status = child.wait().unwrap();
            return Err((status, format!("{first_line}{}", log_in(folder.path()))));
        };
        let (metrics, access_log) = (port("metrics"), port("access log"));
        Ok(Self { receive, admin, metrics, access_log, child, program: program.into(), folder })
    }

    /// Waits until the inbox is ready.
    #[track_caller]
    pub fn ready(self) -> Self {
        eventually("ready inbox", || (self.get("/readyz").ok()?.status == 200).then_some(()));
        self
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        log_in(self.folder.path())
    }

    /// Calls the admin listener with GET.
    ///
    /// # Errors
    /// No whole response came.
    pub fn get(&self, path: &str) -> Result<ClientResponse, String> {
        let request = TestDelivery::without_body().method("GET").path(path).header("host", "127.0.0.1");
        Connector::plaintext(self.admin, H1).try_open()?.try_send(&request)
    }

    /// Calls the admin listener with POST.
    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> ClientResponse {
        let request = TestDelivery::json(body).path(path).header("host", "127.0.0.1");
        Connector::plaintext(self.admin, H1).open().send(&request)
    }

    /// Sends a delivery to the receive listener.
    ///
    /// # Errors
    /// No whole response came.
    pub fn receive(&self, delivery: &TestDelivery) -> Result<ClientResponse, String> {
        Connector::plaintext(self.receive, H1).try_open()?.try_send(delivery)
    }

    /// Runs an operator's command: `["stats"]`.
    pub fn command(&self, args: &[&str]) -> Output {
        let admin = format!("http://127.0.0.1:{}", self.admin);
        let mut command = Command::new(&self.program);
        command.arg("inbox").args(args).args(["--admin", &admin]).stdin(Stdio::null());
        command.output().unwrap()
    }

    /// Sends a signal by its name, such as `TERM`.
    #[track_caller]
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.pid().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let _gone_already = self.child.kill();
        let _status = self.child.wait();
    }

    /// Its exit status, if it has ended.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }
}

impl Drop for InboxProcess {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let from = log.lines().count().saturating_sub(30);
            println!("The last 30 lines of the inbox's log:");
            log.lines().skip(from).for_each(|line| println!("  {line}"));
        }
    }
}

fn log_in(folder: &Path) -> String {
    String::from_utf8_lossy(&fs::read(folder.join("stderr")).unwrap_or_default()).into_owned()
}

/// A generation id that no other call returns in this process.
pub fn fresh_generation() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("5f1c8c1e-7c0c-4b0a-9a5e-{:012x}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A delivery as the gate forwards it: `completed` of this generation, accepted, hook `veo3`, unsigned.
pub fn forwarded(generation: &str) -> TestDelivery {
    let body = json!({
        "generation_id": generation,
        "status": "completed",
        "prompt": "A cat",
        "video_url": format!("https://cdn.runblob.io/{generation}.mp4"),
    });
    TestDelivery::json(&body)
        .path("/hooks/veo3")
        .header(header::CONTRACT, contract::VERSION)
        .header(header::VERDICT, Verdict::Accepted.name())
        .header(header::HOOK, "veo3")
        .header(header::DIALECT, "veo3")
        .header(header::EVENT, Kind::Completed.name())
        .header(header::GENERATION_ID, generation)
        .header(header::PROOFS, Proof::Token.name())
        .header(header::IDEMPOTENCY_KEY, format!("veo3:{generation}:completed"))
}
