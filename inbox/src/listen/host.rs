//! The Host header of a request.

/// Whether a Host header is an IP address or `localhost`, with or without a port. A web page that reaches this machine by
/// another name has that name in the header.
pub(crate) fn is_local(host: &str) -> bool {
    let (name, _port) = split_port(host);
    name == "localhost" || name.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok()
}

/// The name and the port of a Host header.
pub(crate) fn split_port(host: &str) -> (&str, Option<u16>) {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (name, port.parse().ok()),
        _ => (host, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_addresses_and_localhost_only() {
        for host in ["127.0.0.1", "127.0.0.1:9084", "[::1]:9084", "[::1]", "localhost", "localhost:9084"] {
            assert!(is_local(host), "{host}");
        }
        for host in
            ["", "evil.example", "evil.example:9084", "127.0.0.1.evil.example:9084", "localhost.evil.example"]
        {
            assert!(!is_local(host), "{host}");
        }
        assert_eq!(split_port("a.example:9084"), ("a.example", Some(9084)));
        assert_eq!(split_port("[::1]"), ("[::1]", None));
    }
}
