//! The values of the template.

use crate::setup::{
    CertificateAuthorities, ModuleKind, ProviderEndpoint, SECRETS_ENV, ServiceScheme, ServiceUrl, Setup,
    SetupHost,
};
use serde::Serialize;
use serde_json::Value;
use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;

/// The host of RunBlob's status API, which the sandbox stands in for.
const PROVIDER: &str = "platform.runblob.io";
const HTTPS: u16 = 443;

#[derive(Debug, Serialize)]
pub(super) struct EnvoyContext {
    /// Whether this is the repository's own file.
    pub(super) development: bool,
    pub(super) setup_file: String,
    pub(super) secrets_env: &'static str,
    pub(super) edge: EdgeContext,
    /// As Envoy opens it.
    pub(super) admin_socket: String,
    /// As a person writes it in a command.
    pub(super) admin_socket_argument: String,
    pub(super) health_log: String,
    pub(super) health_log_argument: String,
    pub(super) module: ModuleContext,
    /// The tested releases.
    pub(super) envoys: &'static str,
    pub(super) variables: Vec<String>,
    pub(super) environment: String,
    pub(super) hooks: Vec<HookContext>,
    pub(super) token_keys: Option<Value>,
    pub(super) signing_keys: Vec<String>,
    pub(super) provider: Option<ProviderContext>,
    pub(super) services: ServicesContext,
    pub(super) ports: PortsContext,
}

#[derive(Debug, Serialize)]
pub(super) struct ModuleContext {
    pub(super) is_native: bool,
    /// As Envoy opens it.
    pub(super) file: String,
}

#[derive(Debug, Serialize)]
pub(super) struct EdgeContext {
    pub(super) address: IpAddr,
    pub(super) port: u16,
    /// Envoy's `[::]` is IPv6 alone, unless it is told otherwise.
    pub(super) both_families: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct HookContext {
    pub(super) name: String,
    pub(super) path: String,
    pub(super) service_path: String,
    pub(super) source: Value,
    pub(super) trust: Value,
    pub(super) result_url: Value,
    pub(super) quarantine: String,
    pub(super) closed_route: String,
    /// The open hook of the repository's file.
    pub(super) is_demonstration: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct ProviderContext {
    pub(super) authority: &'static str,
    pub(super) is_sandbox: bool,
    pub(super) is_name: bool,
    pub(super) address: String,
    pub(super) port: u16,
    pub(super) tls: TlsContext,
}

/// TLS to a server.
#[derive(Clone, Debug, Serialize)]
pub(super) struct TlsContext {
    /// An IP address is no server name (RFC 6066, section 3).
    pub(super) sni: Option<String>,
    pub(super) san_type: &'static str,
    pub(super) san: String,
    pub(super) trusted_ca: String,
}

#[derive(Debug, Serialize)]
pub(super) struct ServicesContext {
    pub(super) completed: ServiceContext,
    pub(super) failed: ServiceContext,
    pub(super) quarantined: Option<ServiceContext>,
    /// Each of them once.
    pub(super) all: Vec<ServiceContext>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct ServiceContext {
    pub(super) cluster: &'static str,
    pub(super) events: &'static str,
    pub(super) address: String,
    pub(super) port: u16,
    pub(super) is_name: bool,
    /// The service gets its own name as `Host`, and not that of Envoy's listener.
    pub(super) rewrite: Option<String>,
    pub(super) tls: Option<TlsContext>,
}

#[derive(Debug, Serialize)]
pub(super) struct PortsContext {
    pub(super) services: u16,
    pub(super) metrics: u16,
    pub(super) inbox: u16,
    pub(super) admin: u16,
    pub(super) access_log: u16,
}

impl EnvoyContext {
    /// The values of a setup, with the path of the module.
    pub(super) fn new(setup: &Setup, provider: &ProviderEndpoint, module: &Path) -> Self {
        let admin_socket = setup.run.join("admin.sock");
        let health_log = setup.run.join("health.log");
        let ports = setup.ports;
        Self {
            development: false,
            setup_file: setup.file.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            secrets_env: SECRETS_ENV,
            edge: EdgeContext {
                address: setup.listen.ip(),
                port: setup.listen.port(),
                both_families: setup.listen.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            },
            admin_socket: envoy_path(&admin_socket),
            admin_socket_argument: admin_socket.display().to_string(),
            health_log: envoy_path(&health_log),
            health_log_argument: health_log.display().to_string(),
            module: ModuleContext { is_native: setup.module == ModuleKind::Native, file: envoy_path(module) },
            envoys: tested_envoys(setup.module),
            variables: variables(setup),
            environment: setup.environment.clone(),
            hooks: vec![HookContext::new(setup)],
            token_keys: setup.token_keys.clone(),
            signing_keys: setup.signing_keys.clone(),
            provider: setup.api_key_file.as_ref().map(|_| ProviderContext::new(setup, provider)),
            services: ServicesContext::new(setup),
            ports: PortsContext {
                services: ports.services,
                metrics: ports.metrics,
                inbox: ports.inbox,
                admin: ports.admin,
                access_log: ports.access_log,
            },
        }
    }
}

fn tested_envoys(module: ModuleKind) -> &'static str {
    match module {
        ModuleKind::Wasm => "1.36, 1.38 and 1.40",
        ModuleKind::Native => "1.38 and 1.40",
    }
}

/// The variables that the module reads, each once.
fn variables(setup: &Setup) -> Vec<String> {
    let keys = setup.token_keys.as_ref().and_then(Value::as_object);
    let of_tokens =
        keys.into_iter().flat_map(|keys| keys.values()).filter_map(|key| key.get("env")?.as_str());
    let mut names: Vec<String> = Vec::new();
    for name in of_tokens.chain(setup.signing_keys.iter().map(String::as_str)) {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

/// A path as Envoy takes it: it rejects a file name without a folder.
pub(super) fn envoy_path(path: &Path) -> String {
    let text = path.to_string_lossy();
    let is_whole = path.is_absolute() || text.starts_with("./") || text.starts_with("../");
    if is_whole { text.into_owned() } else { format!("./{text}") }
}

impl HookContext {
    fn new(setup: &Setup) -> Self {
        let hook = &setup.hook;
        let quarantine = setup.gate.pointer("/hooks/0/quarantine").and_then(Value::as_str);
        Self {
            name: hook.name.clone(),
            path: hook.path.clone(),
            service_path: hook.service_path().to_owned(),
            source: hook.source.clone(),
            trust: hook.trust.clone(),
            result_url: hook.result_url.clone(),
            quarantine: quarantine.unwrap_or("route").to_owned(),
            closed_route: "not-judged".to_owned(),
            is_demonstration: false,
        }
    }
}

impl ProviderContext {
    fn new(setup: &Setup, provider: &ProviderEndpoint) -> Self {
        match provider {
            ProviderEndpoint::RunBlob => Self {
                authority: PROVIDER,
                is_sandbox: false,
                is_name: true,
                address: PROVIDER.to_owned(),
                port: HTTPS,
                tls: TlsContext::new(
                    &SetupHost::Name(PROVIDER.to_owned()),
                    CertificateAuthorities::file().to_owned(),
                ),
            },
            ProviderEndpoint::Sandbox(address) => Self {
                authority: PROVIDER,
                is_sandbox: true,
                is_name: false,
                address: address.ip().to_string(),
                port: address.port(),
                tls: TlsContext::new(&setup.host, envoy_path(&setup.certificate)),
            },
        }
    }
}

impl TlsContext {
    fn new(host: &SetupHost, trusted_ca: String) -> Self {
        let (sni, san_type) = match host {
            SetupHost::Name(name) => (Some(name.clone()), "DNS"),
            SetupHost::Ip(_) => (None, "IP_ADDRESS"),
        };
        Self { sni, san_type, san: host.to_string(), trusted_ca }
    }
}

impl ServicesContext {
    fn new(setup: &Setup) -> Self {
        let services = &setup.services;
        let completed = ServiceContext::new("video_service", "completed", &services.completed);
        let failed = ServiceContext::new("failure_service", "failed, timeout", &services.failed);
        let quarantined = services.quarantined.as_ref();
        let quarantined =
            quarantined.map(|url| ServiceContext::new("quarantine_service", "quarantined", url));
        let all = [Some(completed.clone()), Some(failed.clone()), quarantined.clone()]
            .into_iter()
            .flatten()
            .collect();
        Self { completed, failed, quarantined, all }
    }
}

impl ServiceContext {
    fn new(cluster: &'static str, events: &'static str, url: &ServiceUrl) -> Self {
        let tls = || TlsContext::new(&url.host, CertificateAuthorities::file().to_owned());
        Self {
            cluster,
            events,
            address: url.host.to_string(),
            port: url.port,
            is_name: matches!(url.host, SetupHost::Name(_)),
            rewrite: Some(url.host_header()),
            tls: (url.scheme == ServiceScheme::Https).then(tls),
        }
    }
}

/// The values of the repository's own file.
#[cfg(test)]
pub(super) mod development;
