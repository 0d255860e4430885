//! The URLs of a setup's hook.

use super::{Setup, SetupHost};

const HTTPS_PORT: u16 = 443;

impl Setup {
    /// What callback URLs begin with, such as `https://hooks.example.com/webhook`. The port is the gate's own.
    pub(crate) fn hook_url(&self) -> String {
        let host = match &self.host {
            SetupHost::Ip(ip) if ip.is_ipv6() => format!("[{ip}]"),
            host => host.to_string(),
        };
        let port = match self.listen.port() {
            HTTPS_PORT => String::new(),
            port => format!(":{port}"),
        };
        format!("https://{host}{port}{}", self.hook.service_path())
    }

    /// The `aud` of the hook's tokens.
    pub(crate) fn audience(&self) -> String {
        format!("{}/{}", self.environment, self.hook.name)
    }
}
