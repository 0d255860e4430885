//! A PostgreSQL cluster on a disk, whose processes the tests kill.

use crate::pooler::Pooler;
use crate::tool::{self, eventually, signal};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

pub(crate) struct KillableCluster {
    folder: TempDir,
    /// The folder of its log, which is not on its disk.
    beside: TempDir,
    programs: PathBuf,
    port: u16,
    postmaster: Option<Child>,
    env: Vec<(String, String)>,
    /// The pooler between it and the inboxes.
    pooler: Option<Pooler>,
}

const MAX_WAIT: Duration = Duration::from_secs(30);

/// Debian's folder of the newest version.
pub(crate) fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<_> = versions
        .map(|version| version.path().join("bin"))
        .filter(|bin| bin.join("postgres").exists())
        .collect();
    found.sort();
    found.pop()
}

impl KillableCluster {
    pub(crate) fn start() -> Self {
        Self::start_with(|_| Vec::new())
    }

    /// Starts one with variables that may contain the cluster's folder.
    pub(crate) fn start_with(env: impl FnOnce(&Path) -> Vec<(String, String)>) -> Self {
        Self::start_in(tool::folder("postgres"), env)
    }

    /// Starts one behind pgbouncer.
    pub(crate) fn start_pooled() -> Self {
        let mut this = Self::start();
        this.pooler = Some(Pooler::start(this.port));
        this
    }

    /// Starts one on this disk.
    pub(crate) fn start_on(disk: &Path) -> Self {
        Self::start_in(tempfile::tempdir_in(disk).unwrap(), |_| Vec::new())
    }

    fn start_in(folder: TempDir, env: impl FnOnce(&Path) -> Vec<(String, String)>) -> Self {
        let programs = programs().unwrap();
        let port = blobgate_testkit::free_port();
        if is_root() {
            tool::run(Command::new("chown").arg("postgres").arg(folder.path()));
        }
        let mut this = Self {
            programs,
            port,
            postmaster: None,
            pooler: None,
            env: env(folder.path()),
            folder,
            beside: tool::folder("log"),
        };
        let mut initdb = this.command("initdb");
        initdb.args(["--username=blobgate", "--auth=trust", "--no-locale", "--encoding=UTF8", "--no-sync"]);
        tool::run(initdb.arg(this.data()));
        this.start_postmaster();
        this
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.beside.path().join("log")
    }

    /// PostgreSQL refuses to run as root.
    fn command(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]);
            command
        } else {
            Command::new("setpriv")
        };
        // PostgreSQL ends when this program does.
        command.args(["--pdeathsig", "QUIT", "env"]);
        // Only for PostgreSQL: with setpriv, libfaketime would create files that belong to root.
        command.args(self.env.iter().map(|(name, value)| format!("{name}={value}"))).arg(program);
        command.current_dir(self.folder.path());
        command
    }

    pub(crate) fn start_postmaster(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.log());
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).args(["-c", "listen_addresses=127.0.0.1"]);
        command.arg("-c").arg(format!("port={}", self.port));
        command.arg("-c").arg(format!("unix_socket_directories={}", self.folder.path().display()));
        // The tests need the fsync of every commit.
        command.args(["-c", "fsync=on", "-c", "wal_sync_method=fdatasync", "-c", "max_connections=80"]);
        let started = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.unwrap()).spawn();
        self.postmaster = Some(started.unwrap());
        eventually("PostgreSQL accepts connections", MAX_WAIT, || self.try_query("SELECT 1").is_some());
    }

    pub(crate) fn postmaster(&self) -> u32 {
        self.postmaster.as_ref().unwrap().id()
    }

    /// `kill -9`, and waits for the end of its children: a new postmaster does not start beside them.
    pub(crate) fn kill_postmaster(&mut self) {
        let mut postmaster = self.postmaster.take().unwrap();
        let children = children(postmaster.id());
        postmaster.kill().unwrap();
        postmaster.wait().unwrap();
        eventually("the children of the postmaster end", MAX_WAIT, || {
            children.iter().all(|child| !Path::new("/proc").join(child).exists())
        });
    }

    /// `kill -9` of one backend of an inbox. The postmaster then ends all others and restarts.
    pub(crate) fn kill_backend(&self, which: u64) {
        let pids = self.query("SELECT pid FROM pg_stat_activity WHERE application_name = 'blobgate-inbox'");
        if !pids.is_empty() {
            let which = usize::try_from(which).unwrap() % pids.len();
            let pid = pids[which][0].parse().unwrap();
            signal("KILL", pid);
            eventually("the backend ends", MAX_WAIT, || !Path::new("/proc").join(pid.to_string()).exists());
        }
        eventually("PostgreSQL is back", MAX_WAIT, || self.try_query("SELECT 1").is_some());
    }

    /// Writes to the write-ahead log until the disk has no space for it.
    pub(crate) fn fill_log(&self) {
        const MESSAGES: usize = 200;
        // A message needs no space in a table. One file of the log is 16 MiB.
        let message = "SELECT pg_logical_emit_message(true, 'fills', repeat('x', 1000000))";
        let is_full = (0..MESSAGES).any(|_| self.try_query(message).is_none());
        assert!(is_full, "the log still has space");
    }

    /// Waits until PostgreSQL has recovered. Starts it if the recovery itself ended for lack of space.
    pub(crate) fn revive(&mut self) {
        let mut has_ended = false;
        eventually("PostgreSQL is back, or has ended", MAX_WAIT, || {
            has_ended = self.postmaster.as_mut().unwrap().try_wait().unwrap().is_some();
            has_ended || self.try_query("SELECT 1").is_some()
        });
        if has_ended {
            self.start_postmaster();
        }
    }

    pub(crate) fn log_text(&self) -> String {
        fs::read_to_string(self.log()).unwrap()
    }

    pub(crate) fn url(&self) -> String {
        self.pooler.as_ref().map_or_else(|| self.own_url(), Pooler::url)
    }

    fn own_url(&self) -> String {
        format!("postgres://blobgate@127.0.0.1:{}/postgres", self.port)
    }

    pub(crate) fn query(&self, sql: &str) -> Vec<Vec<String>> {
        let mut answer = None;
        eventually("PostgreSQL answers", MAX_WAIT, || {
            answer = self.try_query(sql);
            answer.is_some()
        });
        answer.unwrap()
    }

    fn try_query(&self, sql: &str) -> Option<Vec<Vec<String>>> {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["--no-psqlrc", "--no-align", "--tuples-only", "--quiet", "--field-separator=\t"]);
        psql.args(["-v", "ON_ERROR_STOP=1", "-c", sql]).arg(self.own_url());
        psql.env("PGOPTIONS", "-c search_path=blobgate_inbox").env("PGCONNECT_TIMEOUT", "5");
        let done = psql.stdin(Stdio::null()).output().unwrap();
        done.status.success().then(|| tool::table(&done.stdout))
    }
}

impl Drop for KillableCluster {
    fn drop(&mut self) {
        // `kill -9`: it does not end while it recovers, and nothing needs its data.
        if self.postmaster.is_some() {
            self.kill_postmaster();
        }
    }
}

fn children(pid: u32) -> Vec<String> {
    let listed = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    listed.split_whitespace().map(str::to_owned).collect()
}

pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}
