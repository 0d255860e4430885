//! A running part and its output.

use super::Error;
use super::plan::{Role, StartPlan};
use crate::output::print_line;
use futures_util::future::{join_all, select_all};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The folder of the logs.
pub(super) const LOGS: &str = "target/run";

/// The inbox finishes its attempts. After this, the kernel kills the parts.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// A longer line is split. Envoy's access log has the longest: a few header values of at most 32 KiB.
const MAX_LINE: u64 = 64 * 1024;

/// The bytes of a log that can have its last lines.
const TAIL: i64 = 8 * 1024;
const LAST_LINES: usize = 10;

pub(super) struct Part {
    role: Role,
    child: Child,
    /// Ends with the part's output.
    output: JoinHandle<()>,
    since: Instant,
}

/// The running parts.
#[derive(Default)]
pub(super) struct Parts(Vec<Part>);

pub(super) fn log(role: Role) -> String {
    format!("{LOGS}/{role}.log")
}

impl Part {
    /// Call this on the main thread: the kernel ends the part with the thread that starts it.
    pub(super) fn start(role: Role, plan: &StartPlan) -> Result<Self, Error> {
        let not_started = |why| Error::NotStarted { role, why };
        let (program, arguments, secrets) = plan.command(role);
        let (reader, writer) = io::pipe().map_err(not_started)?;
        let log = OpenOptions::new().create(true).append(true).open(log(role)).map_err(not_started)?;
        let child = Command::new(plan.tool())
            .arg("end-with")
            .arg(std::process::id().to_string())
            .arg(program)
            .args(arguments)
            .envs(secrets.iter().map(|(name, value)| (name, value)))
            // Envoy logs the local time, the other parts UTC.
            .env("TZ", "UTC")
            .stdin(std::process::Stdio::null())
            .stdout(writer.try_clone().map_err(not_started)?)
            .stderr(writer)
            // Ctrl-C reaches this program only, which then ends the parts.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(not_started)?;
        let reader = pipe::Receiver::from_owned_fd(reader.into()).map_err(not_started)?;
        let output = tokio::spawn(show(role, reader, log));
        Ok(Self { role, child, output, since: Instant::now() })
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

    /// Shows the rest of its output. Returns the time that it ran.
    pub(super) async fn remove(&mut self, role: Role) -> Duration {
        let Some(at) = self.0.iter().position(|part| part.role == role) else { return Duration::ZERO };
        let part = self.0.remove(at);
        let ran = part.since.elapsed();
        let _still_open = timeout(END_TIMEOUT, part.output).await;
        ran
    }

    /// Terminates all parts, kills them after a timeout, and shows the rest of their output.
    pub(super) async fn stop(&mut self) {
        self.0.iter().for_each(Part::terminate);
        let all = join_all(self.0.iter_mut().map(Part::ended));
        if timeout(END_TIMEOUT, all).await.is_err() {
            for part in &mut self.0 {
                let _ended_meanwhile = part.child.kill().await;
            }
        }
        let output = join_all(self.0.drain(..).map(|part| part.output));
        let _still_open = timeout(END_TIMEOUT, output).await;
    }
}

/// Writes every line to the log, and readable lines to the terminal.
async fn show(role: Role, reader: pipe::Receiver, mut log: File) {
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut reader).take(MAX_LINE).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => (),
        }
        // A full disk stops the log only.
        let _written = log.write_all(&line);
        if let Some(line) = readable(role, String::from_utf8_lossy(&line).trim_end()) {
            print_line(format_args!("{line}"));
        }
    }
}

/// The line for a person: without Envoy's access log, and without Envoy's prefix of the module's lines.
fn readable(role: Role, line: &str) -> Option<String> {
    if role != Role::Gate {
        return Some(line.to_owned());
    }
    if line.starts_with('{') || line.contains(" caught ENVOY_SIG") {
        return None;
    }
    Some(module_line(line).unwrap_or_else(|| line.to_owned()))
}

/// `10:00:00  gate     warning: wasm log blobgate edge: blobgate refused` is `10:00:00  gate     refused`.
fn module_line(line: &str) -> Option<String> {
    let (before, rest) = line.split_once(": wasm log blobgate")?;
    let (filter, text) = rest.split_once(": blobgate ")?;
    let is_name = filter.chars().all(|it| it == ' ' || it.is_ascii_lowercase());
    is_name.then(|| format!("{}{text}", before.trim_end_matches(|it: char| it.is_ascii_lowercase())))
}

/// Returns none for an unreadable log.
pub(super) fn last_lines(role: Role, log: &Path) -> Vec<String> {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let length = i64::try_from(file.metadata()?.len()).unwrap_or(i64::MAX);
        file.seek(SeekFrom::End(length.min(TAIL).saturating_neg()))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let mut lines: Vec<String> =
        text.lines().rev().filter_map(|line| readable(role, line)).take(LAST_LINES).collect();
    lines.reverse();
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn shows(role: Role, line: &str, expected: Option<&str>) {
        assert_eq!(readable(role, line).as_deref(), expected);
    }

    #[test]
    fn shows_readable_lines() {
        let access = r#"{"time":"2025-12-06T21:43:03Z","status":200}"#;
        shows(Role::Gate, access, None);
        shows(Role::Video, access, Some(access));
        shows(Role::Gate, "10:00:00  gate     warning: caught ENVOY_SIGTERM", None);
        shows(
            Role::Gate,
            "10:00:00  gate     warning: wasm log blobgate edge: blobgate refused a delivery",
            Some("10:00:00  gate     refused a delivery"),
        );
        shows(
            Role::Gate,
            "10:00:00  gate     info: wasm log blobgate: blobgate 0.1.0 starts",
            Some("10:00:00  gate     0.1.0 starts"),
        );
        shows(
            Role::Gate,
            "10:00:00  gate     error: wasm log other: blobgate x",
            Some("10:00:00  gate     error: wasm log other: blobgate x"),
        );
    }

    #[test]
    fn returns_the_last_lines() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("gate.log");
        let lines: Vec<String> = (0..2000).map(|number| format!("line {number}\n{{}}\n")).collect();
        std::fs::write(&log, lines.concat()).unwrap();
        let expected: Vec<String> = (1990..2000).map(|number| format!("line {number}")).collect();
        assert_eq!(last_lines(Role::Gate, &log), expected);
        assert_eq!(last_lines(Role::Gate, &folder.path().join("none")), Vec::<String>::new());
    }
}
