//! A real nginx.

use super::{eventually, tls};
use std::fs::{self, File};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A running nginx. Killed on drop.
pub struct NginxProcess {
    child: Child,
    folder: TempDir,
}

impl NginxProcess {
    /// Starts one with these lines in its section `http`, and waits for its port. Its folder has `edge.pem`, `edge-key.pem` and
    /// an empty `log/`, and its paths are relative to it.
    #[track_caller]
    pub fn start(http: &str, port: u16) -> Self {
        let folder = tempfile::Builder::new().prefix("blobgate-nginx-").tempdir().unwrap();
        let path = folder.path();
        tls::FIRST.write_to(path);
        fs::create_dir(path.join("log")).unwrap();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {}/temporary-{name};\n", path.display()))
            .concat();
        let text = format!(
            "daemon off; master_process off; pid {0}/pid; error_log {0}/log/own;\nevents {{}}\nhttp {{\n{temporary}{http}}}\n",
            path.display()
        );
        fs::write(path.join("nginx.conf"), text).unwrap();
        let mut command = Command::new(program());
        command.arg("-p").arg(path).arg("-c").arg(path.join("nginx.conf"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(path.join("stderr")).unwrap());
        let mut child = command.spawn().unwrap();
        eventually("nginx", || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("nginx ended: {status}: {}", fs::read_to_string(path.join("stderr")).unwrap());
            }
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        Self { child, folder }
    }

    /// Its logs so far: file names and texts.
    pub fn logs(&self) -> Vec<(String, String)> {
        let files = fs::read_dir(self.folder.path().join("log")).unwrap().flatten();
        let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
        files.map(|file| (file.file_name().to_string_lossy().into_owned(), read(&file.path()))).collect()
    }
}

impl Drop for NginxProcess {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _status = self.child.wait();
    }
}

fn program() -> &'static str {
    let found = ["/usr/sbin/nginx", "/usr/bin/nginx"].into_iter().find(|path| fs::metadata(path).is_ok());
    found.expect("cannot start nginx: it is not installed. Install the package nginx.")
}
