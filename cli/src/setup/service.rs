//! The address of a service.

use super::host::SetupHost;
use std::fmt::{self, Display};

/// `http://HOST:PORT` or `https://HOST:PORT`, without a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceUrl {
    pub(crate) scheme: ServiceScheme,
    pub(crate) host: SetupHost,
    /// Of the URL, or the scheme's own.
    pub(crate) port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServiceScheme {
    Http,
    Https,
}

impl ServiceUrl {
    /// `HOST:PORT`, with an IPv6 address in brackets.
    pub(crate) fn authority(&self) -> String {
        match &self.host {
            SetupHost::Ip(ip) if ip.is_ipv6() => format!("[{ip}]:{}", self.port),
            host => format!("{host}:{}", self.port),
        }
    }
}

impl Display for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            ServiceScheme::Http => "http",
            ServiceScheme::Https => "https",
        };
        write!(f, "{scheme}://{}", self.authority())
    }
}
