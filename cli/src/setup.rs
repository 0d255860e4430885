//! The setup file, `blobgate.yaml`: a gate, its inbox and its services in some fifteen lines.

mod api_key;
mod error;
mod host;
mod provider;
mod service;

pub(crate) use api_key::{ApiKeyFault, RunBlobKey};
pub(crate) use error::{SetupError, SetupFault};
pub(crate) use host::SetupHost;
pub(crate) use provider::ProviderEndpoint;
pub(crate) use service::{ServiceScheme, ServiceUrl};

use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The default of `--setup`.
pub(crate) const SETUP_FILE: &str = "blobgate.yaml";

/// The keys in the environment of gate and inbox, in the setup folder. `blobgate init` makes them.
pub(crate) const SECRETS_ENV: &str = "secrets/env";

/// A valid setup file. Relative paths count from its folder.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// The setup file.
    pub(crate) file: PathBuf,
    /// The setup folder, in which Envoy and the inbox start.
    pub(crate) folder: PathBuf,
    /// The public name.
    pub(crate) host: SetupHost,
    pub(crate) listen: SocketAddr,
    pub(crate) certificate: PathBuf,
    pub(crate) certificate_key: PathBuf,
    pub(crate) environment: String,
    pub(crate) hook: SetupHook,
    pub(crate) api_key_file: Option<PathBuf>,
    /// As the gate's `token.keys`.
    pub(crate) token_keys: Option<Value>,
    /// The names of the variables with the keys that sign deliveries.
    pub(crate) signing_keys: Vec<String>,
    pub(crate) services: SetupServices,
    /// `sqlite:PATH` or `postgres://...`, without a password.
    pub(crate) store: String,
    /// The folder of Envoy's admin socket and health.log.
    pub(crate) run: PathBuf,
    /// As the setup file names it.
    pub(crate) module: Option<PathBuf>,
    pub(crate) ports: SetupPorts,
}

#[derive(Clone, Debug)]
pub(crate) struct SetupHook {
    pub(crate) name: String,
    /// As the setup file has it, such as `/webhook/{token}`.
    pub(crate) path: String,
    /// The gate's own syntax.
    pub(crate) trust: Value,
    pub(crate) source: Value,
    pub(crate) result_url: Value,
}

#[derive(Clone, Debug)]
pub(crate) struct SetupServices {
    pub(crate) completed: ServiceUrl,
    pub(crate) failed: ServiceUrl,
    pub(crate) quarantined: Option<ServiceUrl>,
}

/// The ports on 127.0.0.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SetupPorts {
    /// Envoy's listener for the inbox's deliveries.
    pub(crate) services: u16,
    /// Envoy's metrics and readiness.
    pub(crate) metrics: u16,
    pub(crate) inbox: u16,
    /// The inbox's admin listener.
    pub(crate) admin: u16,
}

impl Default for SetupPorts {
    fn default() -> Self {
        Self { services: 8090, metrics: 9901, inbox: 9084, admin: 9085 }
    }
}

impl SetupHook {
    /// The path that services get: without `/{token}`.
    pub(crate) fn service_path(&self) -> &str {
        self.path.strip_suffix("/{token}").unwrap_or(&self.path)
    }
}

impl Setup {
    /// Reads and checks a setup file, and no other file.
    pub(crate) fn load(file: &Path) -> Result<Self, SetupError> {
        Err(SetupError::unusable(file.display(), "this version reads no setup", "Wait for the next commit"))
    }

    /// Checks the files that the setup names. Returns warnings.
    pub(crate) fn preflight(&self) -> Result<Vec<String>, SetupError> {
        Ok(Vec::new())
    }

    /// A path of the setup file, from the folder of this process.
    pub(crate) fn resolve(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }

    /// The module of the gate: the setup's `module`, or the one beside this program.
    pub(crate) fn module_path(&self) -> Result<PathBuf, SetupError> {
        self.module
            .clone()
            .ok_or_else(|| SetupError::unusable("the module", "not found", "Name it with `module`"))
    }

    /// The variables of secrets/env. Errors contain no value.
    pub(crate) fn secrets(&self) -> Result<Vec<(String, String)>, SetupError> {
        Ok(Vec::new())
    }

    /// The variables of inbox.env.
    pub(crate) fn inbox_variables(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}
