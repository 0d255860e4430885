//! `blobgate inbox serve` as a process of its own, and the deliveries that a gate would send to it.

use super::{Answer, Connect, Delivery, H1, eventually};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use tempfile::TempDir;

/// A running inbox. Killed on drop; then a failed test prints the end of its log.
pub struct Inbox {
    /// Where the gate sends to.
    pub receive: u16,
    /// Where operators ask.
    pub admin: u16,
    child: Child,
    program: PathBuf,
    folder: TempDir,
}

/// Runs `blobgate` with these arguments to its end.
pub fn blobgate(program: &str, args: &[&str]) -> Output {
    Command::new(program).args(args).stdin(Stdio::null()).output().unwrap()
}

/// Makes the tables of a store.
#[track_caller]
pub fn migrate(program: &str, store: &str) {
    let done = blobgate(program, &["inbox", "migrate", "--store", store]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

impl Inbox {
    /// Starts it on free ports, and waits until it listens. `deliver_to` is the port of the service routes.
    #[track_caller]
    pub fn start(program: &str, store: &str, deliver_to: u16, more: &[&str]) -> Self {
        Self::spawn(Command::new(program), program, store, deliver_to, more)
    }

    /// The same, by a command that runs the program it is given, such as `faketime` or `prlimit`, or sets variables.
    #[track_caller]
    pub fn spawn(command: Command, program: &str, store: &str, deliver_to: u16, more: &[&str]) -> Self {
        Self::spawn_at(0, command, program, store, deliver_to, more)
    }

    /// The same, receiving at this port: an inbox that is started again has its gate's address.
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

    /// The same. At port 0 it picks a free one.
    ///
    /// # Errors
    /// It has ended instead: how, and its log.
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
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(File::create(folder.path().join("stderr")).unwrap());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
        let ports: Vec<u16> = said
            .split("http://127.0.0.1:")
            .skip(1)
            .filter_map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok())
            .collect();
        let [receive, admin] = ports[..] else {
            let status = child.wait().unwrap();
            return Err((status, format!("{said}{}", log_in(folder.path()))));
        };
        Ok(Self { receive, admin, child, program: program.into(), folder })
    }

    /// Waits until it takes events.
    #[track_caller]
    pub fn ready(self) -> Self {
        eventually("ready inbox", || (self.get("/readyz").ok()?.status == 200).then_some(()));
        self
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        log_in(self.folder.path())
    }

    /// Asks the admin listener.
    ///
    /// # Errors
    /// No whole answer came.
    pub fn get(&self, path: &str) -> Result<Answer, String> {
        let ask = Delivery::without_body().method("GET").path(path).header("host", "127.0.0.1");
        Connect::plaintext(self.admin, H1).try_open()?.try_send(&ask)
    }

    /// Asks the admin listener for a change.
    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        let ask = Delivery::json(body).path(path).header("host", "127.0.0.1");
        Connect::plaintext(self.admin, H1).open().send(&ask)
    }

    /// Sends a delivery to the receive listener.
    ///
    /// # Errors
    /// No whole answer came.
    pub fn receive(&self, delivery: &Delivery) -> Result<Answer, String> {
        Connect::plaintext(self.receive, H1).try_open()?.try_send(delivery)
    }

    /// Runs a command of an operator against it: `["stats"]`.
    pub fn command(&self, args: &[&str]) -> Output {
        let admin = format!("http://127.0.0.1:{}", self.admin);
        let mut command = Command::new(&self.program);
        command.arg("inbox").args(args).args(["--admin", &admin]).stdin(Stdio::null());
        command.output().unwrap()
    }

    /// A signal by its name, such as `TERM`.
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

    /// How it has ended, once it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let from = log.lines().count().saturating_sub(30);
            println!("the end of the inbox's log:");
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

/// What a gate forwards: `completed` of this generation, accepted, on the hook `veo3`. Not signed.
pub fn marked(generation: &str) -> Delivery {
    let body = json!({
        "generation_id": generation,
        "status": "completed",
        "prompt": "A cat",
        "video_url": format!("https://cdn.runblob.io/{generation}.mp4"),
    });
    Delivery::json(&body)
        .path("/hooks/veo3")
        .header("blobgate-contract", "1")
        .header("blobgate-verdict", "accepted")
        .header("blobgate-hook", "veo3")
        .header("blobgate-dialect", "veo3")
        .header("blobgate-event", "completed")
        .header("blobgate-generation-id", generation)
        .header("blobgate-proofs", "token")
        .header("idempotency-key", format!("veo3:{generation}:completed"))
}
