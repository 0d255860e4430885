//! `blobgate inbox serve` as a process that the tests kill, stop and end.

use crate::log::Log;
use crate::log::now;
use crate::receiver::LoggingReceiver;
use crate::store::StoreUnderTest;
use crate::tool::{eventually, signal, within};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The lease in tests, instead of 30 s.
pub(crate) const LEASE: Duration = Duration::from_secs(3);

const MAX_WAIT: Duration = Duration::from_secs(30);

/// Starts inboxes.
pub(crate) struct Starter<'a> {
    pub(crate) program: &'a Path,
    pub(crate) folder: &'a Path,
    pub(crate) receiver: &'a LoggingReceiver,
    pub(crate) faults: &'a Log,
    /// A deliberate breakage, for `FAILPOINTS`.
    pub(crate) broken: Option<&'a str>,
    pub(crate) options: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
}

pub(crate) struct KillableInbox<'a> {
    pub(crate) run: u64,
    child: Child,
    pub(crate) receive: SocketAddr,
    admin: SocketAddr,
    log: PathBuf,
    faults: &'a Log,
}

impl<'a> Starter<'a> {
    pub(crate) fn start(&self, store: &StoreUnderTest) -> KillableInbox<'a> {
        self.start_failing(store, None)
    }

    /// Starts one with a failpoint: `NAME=20*off->return`.
    pub(crate) fn start_failing(&self, store: &StoreUnderTest, failpoint: Option<&str>) -> KillableInbox<'a> {
        static RUNS: AtomicU64 = AtomicU64::new(1);
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let services = self.receiver.listen(run);
        let log = self.folder.join(format!("inbox-{run}.log"));
        // The inbox ends when this program does.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(self.program).args(["inbox", "serve"]);
        command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--drain-rate", "5000"]);
        command.args(["--store", &store.url(), "--deliver-to", &format!("http://{services}")]);
        command.args(&self.options);
        let lease = format!("lease=return({})", LEASE.as_secs());
        let failpoints: Vec<_> = self.broken.into_iter().chain(failpoint).chain([lease.as_str()]).collect();
        command
            .env("FAILPOINTS", failpoints.join(";"))
            .env("RUST_LOG", "warn")
            .env("BLOBGATE_LOG_FORMAT", "text");
        command.envs(self.env.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(fs::File::create(&log).unwrap());
        self.faults.line(format_args!("start\t{run}"));
        let mut child = command.spawn().unwrap();
        let mut first_line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first_line).unwrap();
        let mut addresses = first_line.split("http://").skip(1).map(|rest| {
            rest.trim_end_matches(|c: char| !c.is_ascii_digit())
                .split([',', ' '])
                .next()
                .unwrap()
                .parse()
                .unwrap()
        });
        let (Some(receive), Some(admin)) = (addresses.next(), addresses.next()) else {
            panic!("the inbox does not start: {first_line}{}", fs::read_to_string(&log).unwrap())
        };
        KillableInbox { run, child, receive, admin, log, faults: self.faults }
    }
}

impl KillableInbox<'_> {
    /// Waits until the inbox is ready or has died at a failpoint.
    pub(crate) fn ready(mut self) -> Self {
        eventually("the inbox is ready", MAX_WAIT, || {
            self.has_ended() || self.get("/readyz").starts_with("HTTP/1.1 200")
        });
        self
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// `kill -9`. Returns the time.
    pub(crate) fn kill(&mut self) -> u64 {
        let before = now();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.faults.line(format_args!("died\t{}\t{before}", self.run));
        before
    }

    /// Waits until the inbox dies at its failpoint. Returns whether it did.
    pub(crate) fn dies_at(&mut self, name: &str, timeout: Duration) -> bool {
        let died = within(timeout, || self.has_ended());
        // It died at most one turn of the loop ago.
        self.kill();
        died && self.log().contains(&format!("failpoint {name}"))
    }

    /// Stops the process for a time, like a machine that sleeps.
    pub(crate) fn pause(&self, time: Duration) {
        let from = now();
        signal("STOP", self.pid());
        std::thread::sleep(time);
        self.faults.line(format_args!("stopped\t{}\t{from}", self.run));
        signal("CONT", self.pid());
    }

    /// Sends SIGTERM, and waits until the inbox has finished its attempts and ended.
    pub(crate) fn end(mut self) {
        signal("TERM", self.pid());
        eventually("the inbox ends", MAX_WAIT, || self.has_ended());
        self.faults.line(format_args!("ended\t{}", self.run));
    }

    /// Sends a request without gate headers, which the inbox refuses. Returns the response.
    pub(crate) fn refused(&self) -> String {
        let exchange = || {
            let mut stream = TcpStream::connect(self.receive)?;
            stream.write_all(
                b"POST / HTTP/1.1\r\nhost: inbox\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
            )?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).map(|_| answer)
        };
        exchange().unwrap_or_default()
    }

    pub(crate) fn get(&self, path: &str) -> String {
        let exchange = || {
            let mut stream = TcpStream::connect(self.admin)?;
            stream.set_read_timeout(Some(MAX_WAIT))?;
            write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).map(|_| answer)
        };
        exchange().unwrap_or_default()
    }
}

impl Drop for KillableInbox<'_> {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}
