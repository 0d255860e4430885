//! A real pgbouncer before a [`Cluster`].

use super::{Cluster, eventually, free_port};
use std::fs::{self, File};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};
use tempfile::TempDir;

/// A running pgbouncer. Killed on drop.
pub struct Pgbouncer {
    pub port: u16,
    child: Child,
    _folder: TempDir,
}

impl Pgbouncer {
    /// `mode` is `session`, `transaction` or `statement`; `settings` are further lines of its `[pgbouncer]` section.
    #[track_caller]
    pub fn start(cluster: &Cluster, mode: &str, settings: &str) -> Self {
        let port = free_port();
        // `auth_type = any` uses the user in the database line.
        let text = format!(
            "[databases]\n* = host={} port={} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             auth_type = any\nunix_socket_dir =\npool_mode = {mode}\nmax_client_conn = 200\ndefault_pool_size = 50\n{settings}\n",
            cluster.socket_folder().display(),
            cluster.port,
        );
        Self::of_files(port, |_| vec![("pgbouncer.ini", text)])
    }

    /// Starts one with files for its folder. `pgbouncer.ini` has this port.
    #[track_caller]
    pub fn of_files(port: u16, files: impl FnOnce(&Path) -> Vec<(&'static str, String)>) -> Self {
        let folder = tempfile::Builder::new().prefix("blobgate-pgbouncer-").tempdir().unwrap();
        let path = folder.path();
        for (name, text) in files(path) {
            fs::write(path.join(name), text).unwrap();
        }
        super::postgres::give_to_postgres(path);
        let program = program();
        let program =
            program.expect("cannot start pgbouncer: it is not installed. Install the package pgbouncer.");
        let mut command = super::postgres::as_postgres(Path::new(&program));
        command.arg(path.join("pgbouncer.ini"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(path.join("log")).unwrap());
        let mut child = command.spawn().unwrap();
        eventually("pgbouncer", || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("pgbouncer ended: {status}: {}", fs::read_to_string(path.join("log")).unwrap());
            }
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        Self { port, child, _folder: folder }
    }

    /// The URL of a database behind it.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }
}

impl Drop for Pgbouncer {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _status = self.child.wait();
    }
}

pub(crate) fn program() -> Option<String> {
    let found =
        ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"].into_iter().find(|path| fs::metadata(path).is_ok());
    found.map(str::to_owned)
}
