//! pgbouncer before a cluster, in session mode.

use crate::cluster::is_root;
use crate::tool::{self, eventually};
use std::fs;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

pub(crate) struct Pooler {
    port: u16,
    child: Child,
    _folder: TempDir,
}

pub(crate) const PROGRAM: &str = "/usr/sbin/pgbouncer";

impl Pooler {
    pub(crate) fn start(cluster: u16) -> Self {
        let folder = tool::folder("pgbouncer");
        let port = blobgate_testkit::free_port();
        let settings = folder.path().join("pgbouncer.ini");
        // The default of 15 s would be an outage for all clients after a killed backend.
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={cluster} user=blobgate\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nauth_type = any\nunix_socket_dir =\npool_mode = session\nserver_login_retry = 1\n\
             ignore_startup_parameters = extra_float_digits,options\ndefault_pool_size = 40\n"
        );
        fs::write(&settings, text).unwrap();
        // pgbouncer refuses to run as root.
        let mut command = Command::new("setpriv");
        if is_root() {
            tool::run(Command::new("chown").args(["-R", "postgres"]).arg(folder.path()));
            command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]);
        }
        command.args(["--pdeathsig", "KILL", PROGRAM, "--quiet"]).arg(&settings);
        command.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(fs::File::create(folder.path().join("log")).unwrap());
        let child = command.spawn().unwrap();
        eventually("pgbouncer accepts connections", Duration::from_secs(30), || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Self { port, child, _folder: folder }
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://blobgate@127.0.0.1:{}/postgres", self.port)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
