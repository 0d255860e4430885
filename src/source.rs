//! Stage 3: checks the client's address against the allowlist.

use crate::head::Head;
use crate::ip_ranges::Ranges;
#[cfg(not(target_family = "wasm"))]
use crate::settings::ValueForm;
use crate::settings::{ConfigError, Node};
use crate::transport::Transport;
use crate::violation::Detail;
use crate::{Reason, Violation};
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
pub fn check(source: &Source, transport: &Transport, head: &Head<'_>) -> Result<(), Violation> {
    let Source::In(ranges) = source else { return Ok(()) };
    let detail = |found, expected| Detail::new("source", found, expected);
    let detail = match client(transport, head.source) {
        Some(address) if ranges.contains(address) => return Ok(()),
        Some(address) if transport.is_proxy(address) => {
            detail("address is that of a proxy", "the client's address in x-forwarded-for")
        }
        Some(_) => {
            detail("address is in none of # ranges", "an allowed address").with_number(ranges.listed())
        }
        None if head.source.and_then(socket_address).is_some() => {
            detail("address is from a header of the client", "the address of the connection, or behind_proxy")
        }
        None => detail("address is unknown", "an IP address with its port"),
    };
    Err(detail.of(Reason::SourceDenied))
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

    const NOT_LISTED: &str = "source: address is in none of 1 ranges, expected an allowed address";

    #[track_caller]
    fn source(ranges: &[&str], transport: &Transport, address: &str, expected: Option<&str>) {
        let headers = Headers::default();
        let head = Head { source: Some(address.as_bytes()), ..Head::of(&headers) };
        let found = check(&Source::In(Ranges::from_texts(ranges)), transport, &head).err();
        assert_eq!(found.and_then(|violation| violation.text()).as_deref(), expected, "{address}");
        assert!(found.is_none_or(|violation| violation.reason == Reason::SourceDenied));
    }

    #[test]
    fn reads_every_form_of_an_address() {
        const DENIED: &str = "source: address is in none of 3 ranges, expected an allowed address";
        const UNKNOWN: &str = "source: address is unknown, expected an IP address with its port";
        let ranges = ["203.0.113.0/24", "198.51.100.7/32", "2001:db8::/32"];
        for address in [
            "203.0.113.0:1",
            "203.0.113.255:65535",
            "198.51.100.7:9",
            "[2001:db8::1]:9",
            "[2001:db8:ffff:ffff::%3]:9",
            "[::ffff:203.0.113.9]:9",
        ] {
            source(&ranges, &Transport::TlsHere, address, None);
        }
        for address in
            ["203.0.112.255:1", "203.0.114.0:1", "198.51.100.6:9", "[2001:db9::]:9", "[::ffff:203.0.114.9]:9"]
        {
            source(&ranges, &Transport::TlsHere, address, Some(DENIED));
        }
        for address in [
            "203.0.113.9",
            "203.0.113.9:",
            "203.0.113.9:70000",
            "2001:db8::1:9",
            "/var/run/socket",
            "@abstract",
            "envoy://internal/1",
            "",
        ] {
            source(&ranges, &Transport::TlsHere, address, Some(UNKNOWN));
        }
    }

    #[test]
    fn accepts_port_0_only_behind_a_proxy() {
        const OF_CLIENT: &str = "source: address is from a header of the client, expected the address of the connection, or \
             behind_proxy";
        const OF_PROXY: &str =
            "source: address is that of a proxy, expected the client's address in x-forwarded-for";
        let proxied = Transport::BehindProxy(Ranges::from_texts(&["10.0.0.0/8"]));
        source(&["203.0.113.0/24"], &Transport::TlsHere, "203.0.113.9:0", Some(OF_CLIENT));
        source(&["203.0.113.0/24"], &Transport::Any, "203.0.113.9:0", Some(OF_CLIENT));
        source(&["203.0.113.0/24"], &proxied, "203.0.113.9:0", None);
        source(&["203.0.113.0/24"], &proxied, "203.0.114.9:0", Some(NOT_LISTED));
        source(&["203.0.113.0/24"], &proxied, "10.1.2.3:4711", Some(OF_PROXY));
        source(&["10.0.0.0/8"], &proxied, "10.1.2.3:4711", None);
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
        source(&["::/0"], &Transport::TlsHere, "203.0.113.9:1", Some(NOT_LISTED));
        source(&["::/0"], &Transport::TlsHere, "[2001:db8::1]:1", None);
        source(&["0.0.0.0/0"], &Transport::TlsHere, "[2001:db8::1]:1", Some(NOT_LISTED));
        source(&["0.0.0.0/0"], &Transport::TlsHere, "[::ffff:203.0.113.9]:1", None);
    }

    #[test]
    fn joins_nested_and_overlapping_ranges() {
        const DENIED: &str = "source: address is in none of 5 ranges, expected an allowed address";
        let ranges = ["10.0.0.0/8", "10.1.0.0/16", "10.255.255.255/32", "11.0.0.0/8", "10.0.0.0/8"];
        for (address, expected) in [
            ("9.255.255.255:1", Some(DENIED)),
            ("10.0.0.0:1", None),
            ("10.200.0.1:1", None),
            ("11.255.255.255:1", None),
            ("12.0.0.0:1", Some(DENIED)),
        ] {
            source(&ranges, &Transport::TlsHere, address, expected);
        }
    }
}
