//! A PostgreSQL for tests, in a temporary folder, with fsync on. It listens on a socket there, and by TLS on a port if a test
//! asks for one.

use super::free_port;
use super::tls::Certificate;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A running cluster. It ends on drop and with the process.
pub struct Cluster {
    /// The port in the name of its socket, and of TLS.
    pub port: u16,
    bin: PathBuf,
    directory: TempDir,
    pid: u32,
    ended: Mutex<mpsc::Receiver<()>>,
    databases: AtomicU32,
}

/// One cluster for all tests that run at the same time.
static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());

impl Cluster {
    /// The cluster that all tests of a program share. A test that calls this has `#[needs(Postgres)]`.
    ///
    /// # Panics
    /// PostgreSQL is not installed.
    #[track_caller]
    pub fn shared() -> Arc<Self> {
        let bin = binaries();
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let cluster = shared.upgrade().unwrap_or_else(|| Arc::new(Self::start(bin, None)));
        *shared = Arc::downgrade(&cluster);
        cluster
    }

    /// A cluster that a test may end.
    ///
    /// # Panics
    /// PostgreSQL is not installed.
    #[track_caller]
    pub fn alone() -> Self {
        Self::start(binaries(), None)
    }

    /// Like [`Self::alone`], which also listens on a port of loopback: with TLS and a password alone.
    ///
    /// # Panics
    /// PostgreSQL is not installed.
    #[track_caller]
    pub fn with_tls(certificate: &Certificate) -> Self {
        Self::start(binaries(), Some(certificate))
    }

    fn start(bin: PathBuf, certificate: Option<&Certificate>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        give_to_postgres(directory.path());
        let data = directory.path().join("data");
        let initdb = ["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale", "C", "--no-sync", "-D"];
        run(as_postgres(&bin.join("initdb")).args(initdb).arg(&data));
        let port = certificate.map_or(5432, |_| free_port());
        let mut server = as_postgres(&bin.join("postgres"));
        server.arg("-D").arg(&data).arg("-k").arg(directory.path()).args(["-p", &port.to_string()]);
        match certificate {
            Some(certificate) => {
                take_tls_alone(&data, certificate);
                server.args(["-c", "listen_addresses=127.0.0.1", "-c", "ssl=on"]);
            }
            None => drop(server.args(["-c", "listen_addresses="])),
        }
        server.args(["-c", "max_connections=200"]).stdout(Stdio::null()).stderr(Stdio::null());
        // `--pdeathsig` fires when the thread that started the child ends: this thread stays.
        let (pid, started) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        std::thread::spawn(move || {
            let mut child: Child = server.spawn().unwrap();
            pid.send(child.id()).unwrap();
            child.wait().unwrap();
            let _gone = end.send(());
        });
        let pid = started.recv().unwrap();
        let cluster =
            Self { port, bin, directory, pid, ended: Mutex::new(ended), databases: AtomicU32::new(0) };
        cluster.wait_until_ready();
        cluster
    }

    fn wait_until_ready(&self) {
        let started = Instant::now();
        while !self.client("pg_isready").stdout(Stdio::null()).status().unwrap().success() {
            assert!(started.elapsed() < START_TIMEOUT, "no PostgreSQL after {START_TIMEOUT:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The URL of a new and empty database.
    pub fn database(&self) -> String {
        self.named(&format!("inbox_{}", self.databases.fetch_add(1, Ordering::Relaxed)))
    }

    /// Like [`Self::database`], with this name.
    pub fn named(&self, name: &str) -> String {
        run(self.client("createdb").args(["-U", "postgres", name]));
        let folder = self.directory.path().display();
        format!("postgres://postgres@localhost/{name}?host={folder}&port={}", self.port)
    }

    /// A shell whose `psql`, `pg_dump` and `pg_restore` use this cluster.
    pub fn shell(&self) -> Command {
        let path = std::env::var("PATH").unwrap();
        let mut command = Command::new("bash");
        command.env("PATH", format!("{}:{path}", self.bin.display()));
        command
            .env("PGHOST", self.directory.path())
            .env("PGUSER", "postgres")
            .env("PGPORT", self.port.to_string());
        command
    }

    /// The folder of its socket.
    pub fn socket_folder(&self) -> &Path {
        self.directory.path()
    }

    /// Runs statements as superuser, and returns their output without headings.
    #[track_caller]
    pub fn sql(&self, database: &str, statements: &str) -> String {
        let mut psql = self.client("psql");
        psql.args(["-U", "postgres", "-d", database, "-XqAt", "-v", "ON_ERROR_STOP=1", "-c", statements]);
        let output = psql.output().unwrap();
        assert!(output.status.success(), "{statements}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    fn client(&self, name: &str) -> Command {
        let mut command = Command::new(self.bin.join(name));
        command.arg("-h").arg(self.directory.path()).args(["-p", &self.port.to_string()]);
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // INT is a fast shutdown, which closes connections. After QUIT the children would outlive the postmaster.
        let _ended = Command::new("kill").args(["-INT", &self.pid.to_string()]).status();
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let _late = ended.recv_timeout(START_TIMEOUT);
    }
}

/// Sockets need nothing, and the port needs TLS and a password.
fn take_tls_alone(data: &Path, certificate: &Certificate) {
    const RULES: &str = "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n";
    for (name, text) in
        [("server.crt", &*certificate.pem), ("server.key", &certificate.key), ("pg_hba.conf", RULES)]
    {
        let path = data.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    give_to_postgres(data);
}

/// The programs of the newest installed version.
#[track_caller]
fn binaries() -> PathBuf {
    newest().expect(
        "cannot start PostgreSQL: /usr/lib/postgresql has no version. Install the package postgresql.",
    )
}

fn newest() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let number = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let mut versions: Vec<_> = versions.filter_map(|version| Some(version.ok()?.path())).collect();
    versions.sort_by_key(|path| number(path));
    versions.into_iter().rev().map(|version| version.join("bin")).find(|bin| bin.join("initdb").exists())
}

/// As root: gives the folder to the user postgres, which must own its files.
pub(crate) fn give_to_postgres(path: &Path) {
    if is_root() {
        run(Command::new("chown").args(["-R", "postgres:postgres"]).arg(path));
    }
}

/// PostgreSQL and pgbouncer refuse to run as root.
pub(crate) fn as_postgres(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    if is_root() {
        command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]);
    }
    command.args(["--pdeathsig", "INT"]).arg(program).current_dir("/");
    command
}

pub(crate) fn is_root() -> bool {
    Command::new("id").arg("-u").output().unwrap().stdout == b"0\n"
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
