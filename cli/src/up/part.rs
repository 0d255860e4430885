//! A running part and its output.

use super::Error;
use super::log::{LastLines, PartSink};
use super::plan::{PartCommand, Role, StartPlan};
use futures_util::future::{join_all, select_all};
use rustix::process::{Pid, Signal, kill_process};
use std::io;
use std::process::ExitStatus;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The time for the end of a part without work. After it, the kernel kills the part.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// A longer line is split. Envoy's access log has the longest: a few header values of at most 32 KiB.
const MAX_LINE: u64 = 64 * 1024;

/// Options of the inbox come from the setup alone, and not from this program's own environment.
const INBOX_OPTIONS: &str = "BLOBGATE_INBOX_";

pub(super) struct Part {
    role: Role,
    child: Child,
    /// Ends with the part's output.
    output: JoinHandle<()>,
    last: LastLines,
    since: Instant,
}

/// A part that has ended.
pub(super) struct EndedPart {
    pub(super) ran: Duration,
    /// Its last lines, as it wrote them.
    pub(super) lines: Vec<String>,
}

/// The running parts.
#[derive(Default)]
pub(super) struct Parts(Vec<Part>);

impl Part {
    /// Call this on the main thread: the kernel ends the part with the thread that starts it.
    pub(super) fn start(command: &PartCommand, plan: &StartPlan) -> Result<Self, Error> {
        let role = command.role;
        let not_started = |why| Error::NotStarted { role, why, log: plan.log.place(&role.to_string()) };
        let (reader, writer) = io::pipe().map_err(not_started)?;
        let last = LastLines::default();
        let sink = plan.log.sink(role, last.clone()).map_err(not_started)?;
        let child = process(command, plan)
            // Envoy logs the local time, the other parts UTC.
            .env("TZ", "UTC")
            .stdin(std::process::Stdio::null())
            .stdout(writer.try_clone().map_err(not_started)?)
            .stderr(writer)
            .spawn()
            .map_err(not_started)?;
        let reader = pipe::Receiver::from_owned_fd(reader.into()).map_err(not_started)?;
        let output = tokio::spawn(show(reader, sink));
        Ok(Self { role, child, output, last, since: Instant::now() })
    }

    fn terminate(&self) {
        // `None` after its end: the id may belong to another process.
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ended_meanwhile = kill_process(pid, Signal::TERM);
        }
    }

    async fn ended(&mut self) -> (Role, ExitStatus) {
        match self.child.wait().await {
            Ok(status) => (self.role, status),
            // Only a second wait for the child could fail.
            Err(_) => std::future::pending().await,
        }
    }

    /// Terminates it, and kills it after a timeout.
    async fn end(&mut self, limit: Duration) {
        self.terminate();
        if timeout(limit, self.ended()).await.is_err() {
            let _ended_meanwhile = self.child.kill().await;
        }
    }
}

impl Parts {
    pub(super) fn add(&mut self, part: Part) {
        self.0.push(part);
    }

    pub(super) fn has(&self, role: Role) -> bool {
        self.0.iter().any(|part| part.role == role)
    }

    pub(super) fn pid(&self, role: Role) -> Option<u32> {
        self.0.iter().find(|part| part.role == role)?.child.id()
    }

    /// The part stays here until it is removed.
    pub(super) async fn first_to_end(&mut self) -> (Role, ExitStatus) {
        if self.0.is_empty() {
            return std::future::pending().await;
        }
        select_all(self.0.iter_mut().map(|part| Box::pin(part.ended()))).await.0
    }

    /// Shows the rest of its output.
    pub(super) async fn remove(&mut self, role: Role) -> EndedPart {
        let Some(at) = self.0.iter().position(|part| part.role == role) else {
            return EndedPart { ran: Duration::ZERO, lines: Vec::new() };
        };
        let part = self.0.remove(at);
        let ran = part.since.elapsed();
        let _still_open = timeout(END_TIMEOUT, part.output).await;
        EndedPart { ran, lines: part.last.all() }
    }

    /// Ends one part.
    pub(super) async fn end(&mut self, role: Role, limit: Duration) {
        let ends = self.0.iter_mut().filter(|part| part.role == role).map(|part| part.end(limit));
        join_all(ends).await;
    }

    /// Ends all parts, and shows the rest of their output.
    pub(super) async fn end_all(&mut self) {
        join_all(self.0.iter_mut().map(|part| part.end(END_TIMEOUT))).await;
        self.show_rest().await;
    }

    pub(super) async fn kill_all(&mut self) {
        for part in &mut self.0 {
            let _ended_meanwhile = part.child.kill().await;
        }
        self.show_rest().await;
    }

    async fn show_rest(&mut self) {
        let output = join_all(self.0.drain(..).map(|part| part.output));
        let _still_open = timeout(END_TIMEOUT, output).await;
    }
}

/// The process of a part, which ends with this program. Call this on the main thread, as [`Part::start`].
pub(super) fn process(command: &PartCommand, plan: &StartPlan) -> Command {
    let mut process = Command::new(&plan.tool);
    process
        .arg("end-with")
        .arg(std::process::id().to_string())
        .arg(&command.program)
        .args(&command.arguments)
        .current_dir(&plan.folder)
        // Ctrl-C reaches this program only, which then ends the parts.
        .process_group(0)
        .kill_on_drop(true);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with(INBOX_OPTIONS)) {
            process.env_remove(name);
        }
    }
    process.envs(command.variables.iter().map(|(name, value)| (name, value)));
    process
}

/// Logs every line.
async fn show(reader: pipe::Receiver, mut sink: PartSink) {
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut reader).take(MAX_LINE).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => sink.take(&line),
        }
    }
}
