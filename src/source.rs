//! Stage 3: checks the client's address against the allowlist.

use crate::Reason;
use crate::head::Head;
use crate::ip_ranges::Ranges;
#[cfg(not(target_family = "wasm"))]
use crate::settings::ValueForm;
use crate::settings::{ConfigError, Node};
use crate::transport::Transport;
use std::net::{IpAddr, SocketAddr};

/// The allowlist of client addresses (`source`).
#[derive(Clone, Debug)]
pub enum Source {
    /// `any`: every address.
    Any,
    /// The addresses in these ranges.
    In(Ranges),
}

const ANY: &str = "any";

/// A hook's `source`.
#[cfg(not(target_family = "wasm"))]
pub(crate) fn form() -> ValueForm {
    ValueForm::words(&[(ANY, Source::Any)])
        .or(crate::ip_ranges::patterns::form())
        .written("a list of IPv4 and IPv6 addresses and ranges, or `any`")
}

impl Source {
    pub(crate) fn parse(node: &Node<'_>) -> Result<Self, ConfigError> {
        match node.as_text() {
            Some(ANY) => Ok(Source::Any),
            _ => {
                let ranges = Ranges::parse(node)?;
                match ranges.whole_family() {
                    Some(family) => {
                        let why = format!("covers every {family} address");
                        Err(node.conflict(&why, "any if that is meant"))
                    }
                    None => Ok(Source::In(ranges)),
                }
            }
        }
    }

    /// Whether the allowlist has this address.
    pub fn allows(&self, address: IpAddr) -> bool {
        match self {
            Source::Any => true,
            Source::In(ranges) => ranges.contains(address),
        }
    }
}

/// Checks the client's address.
///
/// # Errors
/// [`Reason::SourceDenied`] for an address outside the allowlist, and where [`client`] has none.
pub fn check(source: &Source, transport: &Transport, head: &Head<'_>) -> Result<(), Reason> {
    if matches!(source, Source::Any) {
        return Ok(());
    }
    match client(transport, head.source) {
        Some(address) if source.allows(address) => Ok(()),
        _ => Err(Reason::SourceDenied),
    }
}

/// The client's address without its port, where it is certain. Port 0 without a configured proxy means that Envoy has the
/// address from an `x-forwarded-for` that any client can send.
pub fn client(transport: &Transport, address: Option<&[u8]>) -> Option<IpAddr> {
    let address = address.and_then(socket_address)?;
    let is_certain = address.port() != 0 || transport.is_behind_proxy();
    is_certain.then(|| address.ip().to_canonical())
}

/// Envoy's `source.address`: `1.2.3.4:5`, `[2001:db8::1]:5`, `[fe80::1%2]:5`.
fn socket_address(text: &[u8]) -> Option<SocketAddr> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::headers::Headers;

    #[track_caller]
    fn source(ranges: &[&str], transport: &Transport, address: &str, expected: Result<(), Reason>) {
        let headers = Headers::default();
        let head = Head { source: Some(address.as_bytes()), ..Head::of(&headers) };
        assert_eq!(check(&Source::In(Ranges::from_texts(ranges)), transport, &head), expected, "{address}");
    }

    #[test]
    fn reads_every_form_of_an_address() {
        const DENIED: Result<(), Reason> = Err(Reason::SourceDenied);
        let ranges = ["203.0.113.0/24", "198.51.100.7/32", "2001:db8::/32"];
        for address in [
            "203.0.113.0:1",
            "203.0.113.255:65535",
            "198.51.100.7:9",
            "[2001:db8::1]:9",
            "[2001:db8:ffff:ffff::%3]:9",
            "[::ffff:203.0.113.9]:9",
        ] {
            source(&ranges, &Transport::TlsHere, address, Ok(()));
        }
        for address in [
            "203.0.112.255:1",
            "203.0.114.0:1",
            "198.51.100.6:9",
            "[2001:db9::]:9",
            "[::ffff:203.0.114.9]:9",
            "203.0.113.9",
            "203.0.113.9:",
            "203.0.113.9:70000",
            "2001:db8::1:9",
            "/var/run/socket",
            "@abstract",
            "envoy://internal/1",
            "",
        ] {
            source(&ranges, &Transport::TlsHere, address, DENIED);
        }
    }

    #[test]
    fn accepts_port_0_only_behind_a_proxy() {
        let proxied = Transport::BehindProxy(Ranges::from_texts(&["10.0.0.0/8"]));
        source(&["203.0.113.0/24"], &Transport::TlsHere, "203.0.113.9:0", Err(Reason::SourceDenied));
        source(&["203.0.113.0/24"], &Transport::Any, "203.0.113.9:0", Err(Reason::SourceDenied));
        source(&["203.0.113.0/24"], &proxied, "203.0.113.9:0", Ok(()));
        source(&["203.0.113.0/24"], &proxied, "203.0.114.9:0", Err(Reason::SourceDenied));
    }

    #[track_caller]
    fn row(transport: &Transport, address: &str, expected: Option<&str>) {
        let found = client(transport, Some(address.as_bytes())).map(|address| address.to_string());
        assert_eq!(found.as_deref(), expected, "{address}");
    }

    #[test]
    fn names_a_client_without_port_and_zone() {
        let proxied = Transport::BehindProxy(Ranges::from_texts(&["10.0.0.0/8"]));
        row(&Transport::TlsHere, "203.0.113.9:4711", Some("203.0.113.9"));
        row(&Transport::Any, "[2001:db8::1]:9", Some("2001:db8::1"));
        row(&Transport::Any, "[fe80::1%2]:9", Some("fe80::1"));
        row(&Transport::Any, "[::ffff:203.0.113.9]:9", Some("203.0.113.9"));
        row(&Transport::TlsHere, "203.0.113.9:0", None);
        row(&proxied, "203.0.113.9:0", Some("203.0.113.9"));
        row(&proxied, "/run/gate.sock", None);
        assert_eq!(client(&proxied, None), None);
    }

    #[test]
    fn keeps_v6_ranges_and_v4_addresses_apart() {
        source(&["::/0"], &Transport::TlsHere, "203.0.113.9:1", Err(Reason::SourceDenied));
        source(&["::/0"], &Transport::TlsHere, "[2001:db8::1]:1", Ok(()));
        source(&["0.0.0.0/0"], &Transport::TlsHere, "[2001:db8::1]:1", Err(Reason::SourceDenied));
        source(&["0.0.0.0/0"], &Transport::TlsHere, "[::ffff:203.0.113.9]:1", Ok(()));
    }

    #[test]
    fn joins_nested_and_overlapping_ranges() {
        let ranges = ["10.0.0.0/8", "10.1.0.0/16", "10.255.255.255/32", "11.0.0.0/8", "10.0.0.0/8"];
        for (address, expected) in [
            ("9.255.255.255:1", Err(Reason::SourceDenied)),
            ("10.0.0.0:1", Ok(())),
            ("10.200.0.1:1", Ok(())),
            ("11.255.255.255:1", Ok(())),
            ("12.0.0.0:1", Err(Reason::SourceDenied)),
        ] {
            source(&ranges, &Transport::TlsHere, address, expected);
        }
    }
}
