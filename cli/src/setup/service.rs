//! The address of a service.

use super::host::{HostUse, InvalidHost, SetupHost};
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

/// Why a text is no address of a service. Displays as the predicate of the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidService {
    #[error("has no scheme")]
    NoScheme,
    #[error("has another scheme than http and https")]
    OtherScheme,
    #[error("has a user or a password")]
    User,
    #[error("has a path")]
    Path,
    #[error("has no port from 1 to 65535 after the colon")]
    Port,
    #[error("has an IPv6 address without brackets")]
    NoBrackets,
    #[error("has a host that {0}")]
    Host(InvalidHost),
}

impl ServiceScheme {
    pub(crate) fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl InvalidService {
    /// What to write instead.
    pub(crate) fn remedy(self) -> &'static str {
        match self {
            Self::Path => "write http://HOST:PORT alone: the service gets the hook's path",
            Self::NoBrackets => "write http://[::1]:5000",
            _ => "write http://HOST:PORT or https://HOST, such as http://127.0.0.1:5000",
        }
    }
}

impl ServiceUrl {
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidService> {
        let Some((scheme, rest)) = text.split_once("://") else {
            let is_scheme = |scheme: &str| matches!(scheme, "unix" | "tcp" | "file" | "http" | "https");
            let scheme = text.split_once(':').map(|(scheme, _)| scheme);
            return Err(match scheme {
                Some(scheme) if is_scheme(scheme) => InvalidService::OtherScheme,
                _ => InvalidService::NoScheme,
            });
        };
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => ServiceScheme::Http,
            "https" => ServiceScheme::Https,
            _ => return Err(InvalidService::OtherScheme),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#', '\\']) {
            return Err(InvalidService::Path);
        }
        if authority.contains('@') {
            return Err(InvalidService::User);
        }
        let (host, port) = split_port(authority)?;
        let host = SetupHost::parse(host, HostUse::Service).map_err(InvalidService::Host)?;
        Ok(Self { scheme, host, port: port.unwrap_or_else(|| scheme.port()) })
    }

    /// `HOST:PORT`, with an IPv6 address in brackets.
    pub(crate) fn authority(&self) -> String {
        match &self.host {
            SetupHost::Ip(ip) if ip.is_ipv6() => format!("[{ip}]:{}", self.port),
            host => format!("{host}:{}", self.port),
        }
    }

    /// The `Host` that a client of this URL sends: without the scheme's own port.
    pub(crate) fn host_header(&self) -> String {
        let authority = self.authority();
        let own = format!(":{}", self.scheme.port());
        authority.strip_suffix(&own).map_or(authority.clone(), str::to_owned)
    }
}

fn split_port(authority: &str) -> Result<(&str, Option<u16>), InvalidService> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => match rest.split_once(']').ok_or(InvalidService::Host(InvalidHost::Brackets))? {
            (host, "") => (host, None),
            (host, port) => (host, Some(port.strip_prefix(':').ok_or(InvalidService::Port)?)),
        },
        None if authority.matches(':').count() > 1 => return Err(InvalidService::NoBrackets),
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let read = |port: &str| {
        let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
        port.parse().ok().filter(|port: &u16| is_number && *port > 0).ok_or(InvalidService::Port)
    };
    Ok((host, port.map(read).transpose()?))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_urls_without_a_path() {
        for (text, url, host_header) in [
            ("http://127.0.0.1:5000", "http://127.0.0.1:5000", "127.0.0.1:5000"),
            ("http://127.0.0.1:5000/", "http://127.0.0.1:5000", "127.0.0.1:5000"),
            ("HTTPS://App.Internal", "https://app.internal:443", "app.internal"),
            ("http://my_app", "http://my_app:80", "my_app"),
            ("http://[::1]:5000", "http://[::1]:5000", "[::1]:5000"),
            ("https://[2001:db8::7]", "https://[2001:db8::7]:443", "[2001:db8::7]"),
        ] {
            let read = ServiceUrl::parse(text).unwrap();
            assert_eq!((read.to_string().as_str(), read.host_header().as_str()), (url, host_header));
        }
    }

    #[test]
    fn names_the_fault() {
        use InvalidService::{Host, NoBrackets, NoScheme, OtherScheme, Path, Port, User};
        for (text, why) in [
            ("", NoScheme),
            ("127.0.0.1:5000", NoScheme),
            ("localhost:5000", NoScheme),
            ("//127.0.0.1", NoScheme),
            ("unix:/run/app.sock", OtherScheme),
            ("http:127.0.0.1", OtherScheme),
            ("ftp://127.0.0.1", OtherScheme),
            ("http://127.0.0.1:5000/webhook", Path),
            ("http://127.0.0.1:5000?x=1", Path),
            ("http://127.0.0.1:5000//", Path),
            ("http://me:secret@127.0.0.1:5000", User),
            ("http://127.0.0.1:0", Port),
            ("http://127.0.0.1:", Port),
            ("http://127.0.0.1:65536", Port),
            ("http://127.0.0.1:+80", Port),
            ("http://[::1]5000", Port),
            ("http://::1:5000", NoBrackets),
            ("http://", Host(InvalidHost::Empty)),
            ("http://[::1", Host(InvalidHost::Brackets)),
            ("http:// app", Host(InvalidHost::Space)),
            ("http://127.1:80", Host(InvalidHost::NotIp)),
            ("http://0.0.0.0:5000", Host(InvalidHost::Unreachable)),
        ] {
            assert_eq!(ServiceUrl::parse(text), Err(why), "{text}");
        }
    }
}
