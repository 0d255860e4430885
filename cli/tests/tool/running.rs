//! Starts `blobgate`, and clients for it.

use reqwest::Client;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver as Lines};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) fn blobgate(args: &[&str]) -> Command {
    // Also where these tests run under `nohup`.
    let mut command = Command::new("env");
    command.args(["--default-signal=HUP", env!("CARGO_BIN_EXE_blobgate")]).args(args).stdin(Stdio::null());
    command
}

/// The output of a run, in a directory without `certs`.
pub(crate) fn output(args: &[&str]) -> Output {
    blobgate(args).current_dir(env!("CARGO_TARGET_TMPDIR")).output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub(crate) fn client() -> Client {
    let _first = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().tls_certs_only([]).timeout(DEADLINE).build().unwrap()
}

/// A running `blobgate`. Ends when dropped.
pub(crate) struct RunningTool {
    child: Child,
    /// A thread reads standard output, because a full pipe would block the program.
    lines: Lines<String>,
}

impl RunningTool {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || stdout.lines().try_for_each(|line| sender.send(line.unwrap())));
        Self { child, lines }
    }

    /// The rest of the first line after this prefix.
    #[track_caller]
    pub(crate) fn first_line_after(&self, prefix: &str) -> String {
        let line = self.next_line();
        line.strip_prefix(prefix).unwrap_or_else(|| panic!("the first line is {line:?}")).to_owned()
    }

    #[track_caller]
    pub(crate) fn next_line(&self) -> String {
        self.lines.recv_timeout(DEADLINE).expect("a line in time")
    }

    /// Waits for a line with this text.
    #[track_caller]
    pub(crate) fn line_with(&self, words: &str) -> String {
        let mut before = Vec::new();
        loop {
            if before.len() > 500 {
                panic!("no {words:?} in {before:#?}");
            }
            let line = self.next_line();
            if line.contains(words) {
                return line;
            }
            before.push(line);
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Takes a line, if there is one.
    pub(crate) fn has_line(&self) -> bool {
        self.lines.try_recv().is_ok()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let kill = format!("kill -{signal} {}", self.child.id());
        assert!(Command::new("bash").args(["-c", &kill]).status().unwrap().success());
    }

    /// Ends it by SIGINT. Returns its standard error, which has to be a pipe.
    #[track_caller]
    pub(crate) fn interrupted(self) -> String {
        self.ended_by("INT")
    }

    /// Ends it by a signal. Returns its standard error, which has to be a pipe.
    #[track_caller]
    pub(crate) fn ended_by(mut self, signal: &str) -> String {
        let mut stderr = self.child.stderr.take().unwrap();
        let (status, _) = self.end_by(signal);
        assert!(status.success());
        let mut message = String::new();
        stderr.read_to_string(&mut message).unwrap();
        message
    }

    /// Sends a signal, and waits for the end. Returns the unread lines.
    #[track_caller]
    pub(crate) fn end_by(mut self, signal: &str) -> (ExitStatus, Vec<String>) {
        self.signal(signal);
        let until = Instant::now() + DEADLINE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < until, "still running {DEADLINE:?} after {signal}");
            std::thread::sleep(Duration::from_millis(10));
        };
        (status, self.lines.iter().collect())
    }
}

impl Drop for RunningTool {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        self.child.wait().unwrap();
    }
}

/// A running `blobgate receiver`. Ends when dropped.
pub(crate) struct RunningReceiver {
    running: RunningTool,
    pub(crate) address: SocketAddr,
}

impl RunningReceiver {
    pub(crate) fn start(name: &str) -> Self {
        Self::with(name, &[])
    }

    pub(crate) fn with(name: &str, more: &[&str]) -> Self {
        let args = [&["receiver", "--name", name, "--listen", "127.0.0.1:0"], more].concat();
        let running = RunningTool::start(blobgate(&args));
        let address = running.first_line_after(&format!("{name} listens on http://"));
        Self { running, address: address.parse().unwrap() }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    #[track_caller]
    pub(crate) fn next_line(&self) -> String {
        self.running.next_line()
    }

    #[track_caller]
    pub(crate) fn end_by(self, signal: &str) -> (ExitStatus, Vec<String>) {
        self.running.end_by(signal)
    }
}

/// Every process that runs in this folder, with its command line.
pub(crate) fn processes_in(folder: &Path) -> Vec<(u32, String)> {
    let entries = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let entry = entry.unwrap();
        let pid = entry.file_name().to_str()?.parse().ok()?;
        // An ended process has no such link.
        let place = fs::read_link(entry.path().join("cwd")).ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        (place == folder).then(|| (pid, text(&line).replace('\0', " ")))
    });
    entries.collect()
}

pub(crate) fn kill(signal: &str, pid: u32) {
    let killed = Command::new("bash").args(["-c", &format!("kill -{signal} {pid}")]).status().unwrap();
    assert!(killed.success(), "kill -{signal} {pid}");
}
