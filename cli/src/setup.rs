//! The setup file, `blobgate.yaml`: a gate, its inbox and its services in some fifteen lines.

mod admin_tokens;
pub(crate) mod api_key;
mod authorities;
pub(crate) mod certificate;
pub(crate) mod env_file;
mod error;
mod gate;
mod host;
mod inbox;
mod key_file;
mod listeners;
mod module;
mod parse;
mod preflight;
mod provider;
mod reader;
pub(crate) mod regular_file;
mod service;

pub(crate) use admin_tokens::SetupAdminToken;
pub(crate) use authorities::CertificateAuthorities;
pub(crate) use error::{SetupError, SetupFault};
pub(crate) use host::{PublicHost, SetupHost};
pub(crate) use module::{ModuleKind, ModulePlace};
pub(crate) use provider::ProviderEndpoint;
pub(crate) use service::{ServiceScheme, ServiceUrl};

use crate::check::input;
use api_key::RunBlobKey;
use blobgate_inbox::AccessRole;
use env_file::EnvFileError;
use serde_json::Value;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
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
    /// `None`: the port of `listen`.
    pub(crate) public_port: Option<u16>,
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
    /// Without any, the inbox's admin listener takes clients on this machine.
    pub(crate) admin_tokens: Vec<SetupAdminToken>,
    /// The folder of Envoy's admin socket and health.log.
    pub(crate) run: PathBuf,
    pub(crate) module: ModuleKind,
    /// As the setup file names it.
    pub(crate) module_file: Option<PathBuf>,
    pub(crate) ports: SetupPorts,
    /// The gate's whole configuration, which its loader accepts with the right keys.
    pub(crate) gate: Value,
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
    /// The inbox's listener for Envoy's access log.
    pub(crate) access_log: u16,
}

impl Default for SetupPorts {
    fn default() -> Self {
        Self { services: 8090, metrics: 9901, inbox: 9084, admin: 9085, access_log: 9087 }
    }
}

impl SetupHook {
    /// The path that services get: without `/{token}`.
    pub(crate) fn service_path(&self) -> &str {
        self.path.strip_suffix("/{token}").unwrap_or(&self.path)
    }
}

impl SetupPorts {
    /// The ports by their keys.
    pub(crate) fn named(&self) -> [(&'static str, u16); 5] {
        [
            ("services", self.services),
            ("metrics", self.metrics),
            ("inbox", self.inbox),
            ("admin", self.admin),
            ("access_log", self.access_log),
        ]
    }
}

impl Setup {
    /// Reads and checks a setup file, and no other file.
    pub(crate) fn load(file: &Path) -> Result<Self, SetupError> {
        let text = input::read(file).map_err(|(wrong, _)| {
            SetupError::unusable(
                file.display(),
                format!("it {wrong}"),
                "Make one with `blobgate init`, or name another with --setup",
            )
        })?;
        Self::parse(file, &text).map_err(|faults| SetupError::invalid(file, faults))
    }

    /// Checks the text of a setup file. Every fault, in the order of the file.
    pub(crate) fn parse(file: &Path, text: &str) -> Result<Self, Vec<SetupFault>> {
        parse::parse(file, text)
    }

    /// Checks the files that the setup names. Returns warnings.
    pub(crate) fn preflight(&self) -> Result<Vec<String>, SetupError> {
        preflight::check(self)
    }

    /// The URL that RunBlob calls, without the token.
    pub(crate) fn hook_url(&self) -> String {
        let host = match &self.host {
            SetupHost::Ip(ip) if ip.is_ipv6() => format!("[{ip}]"),
            host => host.to_string(),
        };
        let port = match self.public_port.unwrap_or(self.listen.port()) {
            443 => String::new(),
            port => format!(":{port}"),
        };
        format!("https://{host}{port}{}", self.hook.service_path())
    }

    /// A path of the setup file, from the folder of this process.
    pub(crate) fn resolve(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }

    /// The module: the setup's `module_file`, or the file of this program's installation. A relative path counts from the
    /// setup folder.
    pub(crate) fn module_path(&self) -> Result<PathBuf, SetupError> {
        match &self.module_file {
            Some(module) => Ok(module.clone()),
            None => self.module.find(),
        }
    }

    /// RunBlob's API key, if the setup names its file. Errors never show it.
    pub(crate) fn api_key(&self) -> Result<Option<RunBlobKey>, SetupError> {
        self.api_key_file.as_ref().map(|file| key_file::read_key(&self.resolve(file), file)).transpose()
    }

    /// The variables of secrets/env; none if the file does not exist. Errors contain no value.
    pub(crate) fn secrets(&self) -> Result<Vec<(String, String)>, SetupError> {
        match env_file::read(&self.resolve(Path::new(SECRETS_ENV))) {
            Ok(variables) => Ok(variables),
            Err(EnvFileError::Unreadable(why)) if why.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(why) => Err(SetupError::unusable(SECRETS_ENV, &why, why.remedy())),
        }
    }

    /// The variables of inbox.env: the options of `blobgate inbox serve`.
    pub(crate) fn inbox_variables(&self) -> Vec<(&'static str, String)> {
        let local = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let services = format!("http://{}", local(self.ports.services));
        let mut variables = vec![
            ("BLOBGATE_INBOX_STORE", self.store.clone()),
            ("BLOBGATE_INBOX_LISTEN", local(self.ports.inbox).to_string()),
            ("BLOBGATE_INBOX_ADMIN", local(self.ports.admin).to_string()),
            ("BLOBGATE_INBOX_ACCESS_LOG", local(self.ports.access_log).to_string()),
            ("BLOBGATE_INBOX_DELIVER_TO", services.clone()),
        ];
        if self.api_key_file.is_some() {
            variables.push(("BLOBGATE_INBOX_PROVIDER", services));
        }
        variables.push(("BLOBGATE_INBOX_SIGNING_KEY_ENV", self.signing_keys.join(",")));
        if !self.admin_tokens.is_empty() {
            let options = self.admin_tokens.iter().flat_map(SetupAdminToken::options).collect::<Vec<_>>();
            variables.push(("BLOBGATE_INBOX_ADMIN_TOKENS", options.join(",")));
        }
        variables
    }

    /// The variables with the gate's keys.
    fn keys(&self) -> impl Iterator<Item = &str> {
        let keys = self.token_keys.as_ref().and_then(Value::as_object);
        let of_tokens =
            keys.into_iter().flat_map(|keys| keys.values()).filter_map(|key| key.get("env")?.as_str());
        of_tokens.chain(self.signing_keys.iter().map(String::as_str))
    }

    /// The variable with a token of the first of these roles that has one.
    pub(crate) fn admin_token(&self, roles: [AccessRole; 2]) -> Option<&str> {
        let of_role = |role| self.admin_tokens.iter().find(|token| token.role == role);
        let token = roles.into_iter().find_map(of_role)?;
        token.variables.first().map(String::as_str)
    }
}

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
