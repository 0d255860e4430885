//! A folder like a clone of the repository, with other ports, for `blobgate up --dev`.

use super::{free_port, module, repository};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// The ports of the shipped `envoy.yaml`.
const PORTS: [u16; 10] = [8443, 8080, 8090, 9901, 9081, 9082, 9083, 9084, 9087, 9443];
/// The port of the inbox's admin listener, which stands in no file.
pub const ADMIN: u16 = 9085;

/// It has the files that `make run` needs. Removed on drop.
pub struct CloneFolder {
    folder: TempDir,
    ports: BTreeMap<u16, u16>,
}

impl CloneFolder {
    #[track_caller]
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("blobgate-clone-").tempdir().unwrap();
        let path = folder.path();
        for name in ["certs", "dev", "target"] {
            fs::create_dir(path.join(name)).unwrap();
        }
        for file in ["dev/certificate", "dev/secrets", "certs/sds.yaml"] {
            fs::copy(repository(file), path.join(file)).unwrap();
        }
        for script in ["dev/certificate", "dev/secrets"] {
            let made = Command::new(path.join(script)).output().unwrap();
            assert!(made.status.success(), "{script}: {}", String::from_utf8_lossy(&made.stderr));
        }
        let release = fs::canonicalize(module().parent().unwrap().parent().unwrap()).unwrap();
        symlink(release, path.join("target/wasm32-wasip1")).unwrap();
        if let Ok(native) = fs::canonicalize(repository("target/native")) {
            symlink(native, path.join("target/native")).unwrap();
        }

        let mut config = fs::read_to_string(repository("envoy.yaml")).unwrap();
        let mut ports = BTreeMap::from([(ADMIN, free_port())]);
        for port in PORTS {
            let shipped = format!("port_value: {port}}}");
            assert_eq!(config.matches(&shipped).count(), 1, "{shipped}");
            let free = free_port();
            config = config.replace(&shipped, &format!("port_value: {free}}}"));
            ports.insert(port, free);
        }
        fs::write(path.join("envoy.yaml"), config).unwrap();
        Self { folder, ports }
    }

    /// Its absolute path, without links.
    pub fn path(&self) -> PathBuf {
        fs::canonicalize(self.folder.path()).unwrap()
    }

    /// The port here in place of a port of the documentation.
    #[track_caller]
    pub fn port(&self, shipped: u16) -> u16 {
        *self
            .ports
            .get(&shipped)
            .unwrap_or_else(|| panic!("{shipped} is no port of envoy.yaml or of the inbox"))
    }

    /// A text of the documentation, with the ports here.
    pub fn with_ports(&self, text: &str) -> String {
        self.ports.iter().fold(text.to_owned(), |text, (shipped, port)| {
            text.replace(&format!(":{shipped}"), &format!(":{port}"))
        })
    }

    /// The last lines of each log of `blobgate up`.
    pub fn logs(&self) -> String {
        let mut all = String::new();
        for entry in fs::read_dir(self.folder.path().join("target/run")).into_iter().flatten().flatten() {
            let path: PathBuf = entry.path();
            if path.extension().is_some_and(|extension| extension == "log") {
                let text = fs::read_to_string(&path).unwrap_or_default();
                let from = text.lines().count().saturating_sub(20);
                let last: Vec<&str> = text.lines().skip(from).collect();
                all.push_str(&format!("{}:\n{}\n", Path::new(&path).display(), last.join("\n")));
            }
        }
        all
    }
}

impl Default for CloneFolder {
    fn default() -> Self {
        Self::new()
    }
}
