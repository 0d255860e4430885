//! Stage 2: checks that the delivery came over TLS: on this hop or, by a trusted proxy's header, on the client's hop.

use crate::Reason;
use crate::head::{Head, Hop};
use crate::ip_ranges::Ranges;
#[cfg(not(target_family = "wasm"))]
use crate::settings::ValueForm;
use crate::settings::{ConfigError, Node, keys};

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
pub fn check(transport: &Transport, head: &Head<'_>) -> Result<(), Reason> {
    let encrypted = match transport {
        Transport::Any => true,
        Transport::TlsHere => head.hop == Hop::Tls,
        Transport::BehindProxy(proxies) => {
            head.peer.and_then(peer_address).is_some_and(|peer| proxies.contains(peer))
                && head.headers.one("x-forwarded-proto") == Ok(Some("https"))
        }
    };
    if encrypted { Ok(()) } else { Err(Reason::HttpsRequired) }
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
    fn behind(peer: Option<&str>, proto: &[&str], expected: Result<(), Reason>) {
        let ranges = Ranges::from_texts(&["10.0.0.0/8", "fe80::/10"]);
        let headers = Headers::new(
            proto.iter().map(|p| ("x-forwarded-proto".to_owned(), p.as_bytes().to_vec())).collect(),
        );
        let head = Head { peer: peer.map(str::as_bytes), ..Head::of(&headers) };
        assert_eq!(check(&Transport::BehindProxy(ranges), &head), expected);
    }

    #[test]
    fn trusts_headers_only_from_listed_proxies() {
        const REFUSED: Result<(), Reason> = Err(Reason::HttpsRequired);
        behind(Some("10.1.2.3"), &["https"], Ok(()));
        behind(Some("::ffff:10.1.2.3"), &["https"], Ok(()));
        behind(Some("fe80::1%2"), &["https"], Ok(()));
        behind(Some("11.1.2.3"), &["https"], REFUSED);
        behind(None, &["https"], REFUSED);
        behind(Some(""), &["https"], REFUSED);
        behind(Some("10.1.2.3"), &[], REFUSED);
        behind(Some("10.1.2.3"), &["http"], REFUSED);
        behind(Some("10.1.2.3"), &["HTTPS"], REFUSED);
        behind(Some("10.1.2.3"), &["https", "https"], REFUSED);
        behind(Some("10.1.2.3"), &["https,http"], REFUSED);
    }
}
