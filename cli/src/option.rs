//! Parses the values of options. Each error has an example.
//!
//! Wrong usage is the command line, and the environment variables that it names: a [`UsageError`], and exit code 2.

use crate::Cli;
use axum::http::Uri;
use clap::CommandFactory;
use clap::error::ErrorKind;
use reqwest::Url;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// Wrong usage that clap does not find. `main` exits with 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

impl UsageError {
    pub(crate) fn new(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// A value that an option does not accept.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidOption {
    #[error("it is no http:// or https:// URL. Write http://HOST:PORT or https://HOST")]
    Url,
    #[error("it is no http://ADDRESS:PORT of Envoy, which adds TLS. Write one such as http://127.0.0.1:8090")]
    EnvoyUrl,
    #[error("it is no URL of an admin listener. Write HOST:PORT, http://HOST:PORT or https://HOST")]
    AdminUrl,
    #[error("it is no IP address with a port. Write one such as 127.0.0.1:9084")]
    Address,
    #[error("it is no time above zero with a unit. Write one such as 25s or 13m")]
    Time,
    #[error("it is no id of an entry. Write a number from `blobgate inbox ls`")]
    Id,
}

/// Parses a URL with a host.
pub(crate) fn parse_url(text: &str) -> Result<Url, InvalidOption> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    url.ok_or(InvalidOption::Url)
}

/// Parses the URL of an inbox's admin listener, or `HOST:PORT`. Without a scheme, only this machine gets plain HTTP: a token
/// would be readable in the network.
pub(crate) fn parse_admin_url(text: &str) -> Result<Url, InvalidOption> {
    let url = if text.contains("://") {
        parse_url(text).ok()
    } else {
        let url = parse_url(&format!("http://{text}")).ok().filter(|_| has_port(text));
        url.and_then(|url| {
            if is_this_machine(&url) { Some(url) } else { parse_url(&format!("https://{text}")).ok() }
        })
    };
    let is_base = |url: &Url| {
        url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none()
    };
    url.filter(is_base).ok_or(InvalidOption::AdminUrl)
}

/// Whether the text ends with a port. `Url` does not show a port that is the scheme's.
fn has_port(text: &str) -> bool {
    let authority = text.split('/').next().unwrap_or_default();
    authority.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

/// Whether the host is this machine's loopback.
pub(crate) fn is_this_machine(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let v6 = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
        || v6.parse::<Ipv6Addr>().is_ok_and(|ip| ip.is_loopback())
}

/// Parses the URL of a listener of Envoy.
pub(crate) fn parse_envoy_url(text: &str) -> Result<Uri, InvalidOption> {
    let uri = text.parse::<Uri>().ok();
    uri.filter(|uri| uri.scheme_str() == Some("http") && uri.authority().is_some())
        .ok_or(InvalidOption::EnvoyUrl)
}

/// Parses `127.0.0.1:9084` or `[::1]:9084`.
pub(crate) fn parse_address(text: &str) -> Result<SocketAddr, InvalidOption> {
    text.parse().map_err(|_| InvalidOption::Address)
}

/// Parses `25s`, `13m` or `1h 30m`.
pub(crate) fn parse_time(text: &str) -> Result<Duration, InvalidOption> {
    humantime::parse_duration(text).ok().filter(|time| !time.is_zero()).ok_or(InvalidOption::Time)
}

/// Parses the id of an entry.
pub(crate) fn parse_id(text: &str) -> Result<i64, InvalidOption> {
    text.parse().ok().filter(|id| *id > 0).ok_or(InvalidOption::Id)
}

/// Exits with a usage error of the running command.
pub(crate) fn exit_with_usage(kind: ErrorKind, sentence: &str) -> ! {
    let mut command = Cli::command();
    command.build();
    for name in std::env::args().skip(1) {
        match command.find_subcommand(name).cloned() {
            Some(subcommand) => command = subcommand,
            None => break,
        }
    }
    command.error(kind, sentence).exit()
}

#[cfg(test)]
mod tests {
    use super::{
        InvalidOption, parse_address, parse_admin_url, parse_envoy_url, parse_id, parse_time, parse_url,
    };

    #[test]
    fn reads_urls() {
        for text in ["http://127.0.0.1:9085", "https://gate.example/webhook"] {
            assert!(parse_url(text).is_ok(), "{text}");
        }
        for text in ["", "gate.example", "127.0.0.1:9085", "ftp://gate.example", "http://"] {
            assert!(parse_url(text).is_err(), "{text}");
        }
        assert!(parse_envoy_url("http://127.0.0.1:8090").is_ok());
        for text in ["", "/", "127.0.0.1:8090", "https://127.0.0.1:8090"] {
            assert!(parse_envoy_url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn reads_admin_listeners() {
        for (text, url) in [
            ("http://127.0.0.1:9085", "http://127.0.0.1:9085/"),
            ("https://inbox.example/admin/", "https://inbox.example/admin/"),
            ("127.0.0.1:9085", "http://127.0.0.1:9085/"),
            ("127.9.9.9:80", "http://127.9.9.9/"),
            ("localhost:9085", "http://localhost:9085/"),
            ("LOCALHOST:9085/inbox", "http://localhost:9085/inbox"),
            ("[::1]:9085", "http://[::1]:9085/"),
            ("inbox.internal:9085", "https://inbox.internal:9085/"),
            ("10.0.0.7:443", "https://10.0.0.7/"),
            ("[2001:db8::7]:9085", "https://[2001:db8::7]:9085/"),
            ("localhost.example:9085", "https://localhost.example:9085/"),
        ] {
            assert_eq!(parse_admin_url(text).map(String::from), Ok(url.to_owned()), "{text}");
        }
        for text in [
            "",
            ":9085",
            "9085",
            "localhost",
            "inbox.internal",
            "[::1]",
            "::1:9085",
            "127.0.0.1:99999",
            "localhost:port",
            "ftp://127.0.0.1:9085",
            "http://",
            "http://me:secret@127.0.0.1:9085",
            "me@127.0.0.1:9085",
            "127.0.0.1:9085?state=dead",
            "http://127.0.0.1:9085/#entries",
            "two words:9085",
        ] {
            assert_eq!(parse_admin_url(text), Err(InvalidOption::AdminUrl), "{text}");
        }
    }

    #[test]
    fn reads_addresses_times_and_ids() {
        assert!(parse_address("127.0.0.1:0").is_ok() && parse_address("[::1]:9084").is_ok());
        for text in ["", "localhost", "localhost:9084", "127.0.0.1", "127.0.0.1:99999"] {
            assert!(parse_address(text).is_err(), "{text}");
        }
        assert!(parse_time("1ms").is_ok() && parse_time("1h 30m").is_ok());
        for text in ["", "5", "0s", "s", "-1s"] {
            assert!(parse_time(text).is_err(), "{text}");
        }
        assert_eq!(parse_id("17"), Ok(17));
        for text in ["", "0", "-5", "x", "9223372036854775808"] {
            assert!(parse_id(text).is_err(), "{text}");
        }
    }
}
