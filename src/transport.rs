//! Stage 2: checks that the delivery came over TLS: on this hop or, by a trusted proxy's header, on the client's hop.

use crate::head::{Head, Hop};
use crate::ip_ranges::Ranges;
#[cfg(not(target_family = "wasm"))]
use crate::settings::ValueForm;
use crate::settings::{ConfigError, Node, keys};
use crate::violation::Detail;
use crate::{Reason, Violation};

keys! {
    /// A load balancer in front of Envoy, as the value of a hook's `transport`. The gate trusts `x-forwarded-proto` and
    /// `x-forwarded-for` only from these addresses.
    "hooks[].transport": KEYS, section {
        /// The addresses of your proxies. A list with more than 2^28 IPv4 addresses, or with as large a part of IPv6, does not
        /// load: any host there could set the client address.
        "behind_proxy": crate::ip_ranges::patterns::form();
    }
}

const TLS_HERE: &str = "tls_here";
const ANY: &str = "any";

/// A hook's `transport`.
#[cfg(not(target_family = "wasm"))]
pub(crate) fn form() -> ValueForm {
    ValueForm::words(&[(TLS_HERE, Transport::TlsHere), (ANY, Transport::Any)])
        .or(ValueForm::section("transport"))
        .written("`tls_here`, [`{behind_proxy: [...]}`](#transport) or `any`")
}

/// A hook's rule for the connection (`transport`).
#[derive(Clone, Debug)]
pub enum Transport {
    /// `tls_here`: this hop uses TLS.
    TlsHere,
    /// `behind_proxy`: the direct peer is in these ranges, and its `x-forwarded-proto` is `https`.
    BehindProxy(Ranges),
    /// `any`: plaintext is allowed.
    Any,
}

impl Transport {
    /// Whether a proxy's header has the client address. The source address then has no port.
    pub(crate) fn is_behind_proxy(&self) -> bool {
        matches!(self, Transport::BehindProxy(_))
    }

    /// Whether an address is that of a listed proxy.
    pub(crate) fn is_proxy(&self, address: std::net::IpAddr) -> bool {
        matches!(self, Transport::BehindProxy(proxies) if proxies.contains(address))
    }

    pub(crate) fn parse(node: &Node<'_>) -> Result<Self, ConfigError> {
        const EXPECTED: &str = "tls_here, any or {behind_proxy: [address ranges]}";
        match node.as_text() {
            Some(TLS_HERE) => Ok(Transport::TlsHere),
            Some(ANY) => Ok(Transport::Any),
            Some(_) => Err(node.invalid(EXPECTED)),
            None => {
                let fields = node.fields(KEYS, EXPECTED)?;
                let ranges =
                    fields.required("behind_proxy", "a list of the proxies' addresses and ranges")?;
                Ranges::parse_proxies(&ranges).map(Transport::BehindProxy)
            }
        }
    }
}

/// Checks the connection.
///
/// # Errors
/// [`Reason::HttpsRequired`]. Behind a proxy also for a direct peer that is unknown or not a listed proxy: its
/// `x-forwarded-for` becomes the client address, so it could pass the allowlist with any address.
pub fn check(transport: &Transport, head: &Head<'_>) -> Result<(), Violation> {
    let checked = match transport {
        Transport::Any => Ok(()),
        Transport::TlsHere if head.hop == Hop::Tls => Ok(()),
        Transport::TlsHere => Err(Detail::new("connection", "is plaintext", "TLS")),
        Transport::BehindProxy(proxies) => check_proxy(proxies, head),
    };
    checked.map_err(|detail| detail.of(Reason::HttpsRequired))
}

fn check_proxy(proxies: &Ranges, head: &Head<'_>) -> Result<(), Detail> {
    const PROTO: &str = "x-forwarded-proto";
    let peer = |found| Detail::new("behind_proxy", found, "an address of a listed proxy");
    match head.peer.and_then(peer_address) {
        Some(address) if proxies.contains(address) => {}
        Some(_) => return Err(peer("peer is in none of # ranges").with_number(proxies.listed())),
        None => return Err(peer("address of the peer is unknown")),
    }
    let found = match head.headers.one(PROTO) {
        Ok(Some("https")) => return Ok(()),
        Ok(Some("http")) => "is http",
        Ok(Some(_)) => "has another value",
        Ok(None) => "is missing",
        Err(invalid) => invalid.found(),
    };
    Err(Detail::new(PROTO, found, "https"))
}

/// `%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%`: an address without brackets.
fn peer_address(peer: &[u8]) -> Option<std::net::IpAddr> {
    let text = std::str::from_utf8(peer).ok()?;
    let (address, _scope) = text.split_once('%').unwrap_or((text, ""));
    address.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::headers::Headers;

    #[track_caller]
    fn behind(peer: Option<&str>, proto: &[&str], expected: Option<&str>) {
        let ranges = Ranges::from_texts(&["10.0.0.0/8", "fe80::/10"]);
        let headers = Headers::new(
            proto.iter().map(|p| ("x-forwarded-proto".to_owned(), p.as_bytes().to_vec())).collect(),
        );
        let head = Head { peer: peer.map(str::as_bytes), ..Head::of(&headers) };
        let found = check(&Transport::BehindProxy(ranges), &head).err();
        assert_eq!(found.and_then(|violation| violation.text()).as_deref(), expected);
        assert!(found.is_none_or(|violation| violation.reason == Reason::HttpsRequired));
    }

    #[test]
    fn trusts_headers_only_from_listed_proxies() {
        const PEER: &str = "behind_proxy: peer is in none of 2 ranges, expected an address of a listed proxy";
        const UNKNOWN: &str =
            "behind_proxy: address of the peer is unknown, expected an address of a listed proxy";
        let proto = |found: &str| format!("x-forwarded-proto: {found}, expected https");
        behind(Some("10.1.2.3"), &["https"], None);
        behind(Some("::ffff:10.1.2.3"), &["https"], None);
        behind(Some("fe80::1%2"), &["https"], None);
        behind(Some("11.1.2.3"), &["https"], Some(PEER));
        behind(None, &["https"], Some(UNKNOWN));
        behind(Some(""), &["https"], Some(UNKNOWN));
        behind(Some("10.1.2.3"), &[], Some(&proto("is missing")));
        behind(Some("10.1.2.3"), &["http"], Some(&proto("is http")));
        behind(Some("10.1.2.3"), &["HTTPS"], Some(&proto("has another value")));
        behind(Some("10.1.2.3"), &["https", "https"], Some(&proto("is repeated")));
        behind(Some("10.1.2.3"), &["https,http"], Some(&proto("is repeated")));
        behind(Some("10.1.2.3"), &["https\u{e9}"], Some(&proto("is not visible ASCII")));
    }
}
