//! A host: a name or an IP address.

use std::fmt::{self, Display};
use std::net::IpAddr;

/// The longest name, and the longest part of one (RFC 1035, 2.3.4).
const MAX_NAME: usize = 253;
const MAX_PART: usize = 63;

/// A host as the setup file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SetupHost {
    /// In lower case.
    Name(String),
    Ip(IpAddr),
}

/// Why a text is no host. Displays as the predicate of the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidHost {
    #[error("is empty")]
    Empty,
    #[error("has a scheme")]
    Scheme,
    #[error("has a path")]
    Path,
    #[error("has a user")]
    User,
    #[error("has a space")]
    Space,
    #[error("has brackets")]
    Brackets,
    #[error("has no port from 1 to 65535 after its colon")]
    Port,
    #[error("has an underscore, which no certificate can name")]
    Underscore,
    #[error("has a wildcard")]
    Wildcard,
    #[error("has a letter outside ASCII")]
    NonAscii,
    #[error("has a character that no host has")]
    Character,
    #[error("ends with a dot")]
    TrailingDot,
    #[error("has an empty part between dots")]
    EmptyPart,
    #[error("has a part that begins or ends with a hyphen")]
    Hyphen,
    #[error("has over 253 characters, or a part of over 63")]
    TooLong,
    #[error("ends with a number, and is no IP address")]
    NotIp,
    #[error("is an address that no client can reach")]
    Unreachable,
}

/// Whether the host is of this project's public name, or of a service, which a private DNS may name with underscores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HostUse {
    Public,
    Service,
}

impl InvalidHost {
    /// What to write instead.
    pub(crate) fn remedy(self) -> &'static str {
        match self {
            Self::Port => "write the name alone, or with the public port, such as hooks.example.com:8443",
            Self::Brackets => "write an IPv6 address in quotes, without brackets",
            Self::NonAscii => "write the ASCII form of the name, which begins with xn--",
            Self::Unreachable => "write the name or the address that RunBlob calls",
            _ => "write the name alone, such as hooks.example.com",
        }
    }
}

/// The public host, and its port if the text has one: `hooks.example.com:443`, `[2001:db8::7]:443`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PublicHost {
    pub(crate) host: SetupHost,
    pub(crate) port: Option<u16>,
}

impl PublicHost {
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidHost> {
        let (host, port) = split_port(text);
        let host = SetupHost::parse(host, HostUse::Public)?;
        let port = port.map(|port| port.parse().ok().filter(|port: &u16| *port > 0).ok_or(InvalidHost::Port));
        Ok(Self { host, port: port.transpose()? })
    }
}

/// A text that ends with no number after a colon stays whole, so that its fault has a name.
fn split_port(text: &str) -> (&str, Option<&str>) {
    let Some((host, port)) = text.rsplit_once(':') else { return (text, None) };
    let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(ip) if is_number => (ip, Some(port)),
        None if is_number && !host.contains([':', '/', '[', ']']) => (host, Some(port)),
        _ => (text, None),
    }
}

impl SetupHost {
    pub(crate) fn parse(text: &str, host_use: HostUse) -> Result<Self, InvalidHost> {
        if let Ok(ip) = text.parse::<IpAddr>() {
            let is_reachable = !ip.is_unspecified() && !ip.is_multicast();
            return if is_reachable { Ok(Self::Ip(ip)) } else { Err(InvalidHost::Unreachable) };
        }
        check_characters(text, host_use)?;
        check_parts(text)?;
        Ok(Self::Name(text.to_ascii_lowercase()))
    }

    /// Whether the host is this machine by itself.
    pub(crate) fn is_loopback(&self) -> bool {
        match self {
            Self::Name(name) => name == "localhost" || name.ends_with(".localhost"),
            Self::Ip(ip) => ip.to_canonical().is_loopback(),
        }
    }
}

fn check_characters(text: &str, host_use: HostUse) -> Result<(), InvalidHost> {
    let has = |part: &str| text.contains(part);
    let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    match text {
        "" => Err(InvalidHost::Empty),
        _ if has("://") => Err(InvalidHost::Scheme),
        _ if text.chars().any(char::is_whitespace) => Err(InvalidHost::Space),
        _ if has("@") => Err(InvalidHost::User),
        _ if text.contains(['/', '?', '#', '\\']) => Err(InvalidHost::Path),
        _ if text.contains(['[', ']']) => Err(InvalidHost::Brackets),
        _ if has(":") => Err(InvalidHost::Port),
        _ if has("*") => Err(InvalidHost::Wildcard),
        _ if !text.is_ascii() => Err(InvalidHost::NonAscii),
        _ if has("_") && host_use == HostUse::Public => Err(InvalidHost::Underscore),
        _ if !text.bytes().all(|byte| is_usual(byte) || byte == b'_') => Err(InvalidHost::Character),
        _ => Ok(()),
    }
}

fn check_parts(text: &str) -> Result<(), InvalidHost> {
    if text.ends_with('.') {
        return Err(InvalidHost::TrailingDot);
    }
    let parts: Vec<&str> = text.split('.').collect();
    let is_number = |part: &&str| part.bytes().all(|byte| byte.is_ascii_digit());
    if parts.iter().any(|part| part.is_empty()) {
        Err(InvalidHost::EmptyPart)
    } else if text.len() > MAX_NAME || parts.iter().any(|part| part.len() > MAX_PART) {
        Err(InvalidHost::TooLong)
    } else if parts.iter().any(|part| part.starts_with('-') || part.ends_with('-')) {
        Err(InvalidHost::Hyphen)
    } else if parts.last().is_some_and(is_number) {
        Err(InvalidHost::NotIp)
    } else {
        Ok(())
    }
}

impl Display for SetupHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(ip) => ip.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refuses(text: &str, why: InvalidHost) {
        assert_eq!(SetupHost::parse(text, HostUse::Public), Err(why), "{text}");
    }

    #[test]
    fn reads_names_and_addresses() {
        let read = |text| SetupHost::parse(text, HostUse::Public).unwrap().to_string();
        for (text, host) in [
            ("hooks.example.com", "hooks.example.com"),
            ("Hooks.Example.COM", "hooks.example.com"),
            ("localhost", "localhost"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("1e5", "1e5"),
            ("203.0.113.7", "203.0.113.7"),
            ("2001:DB8::7", "2001:db8::7"),
        ] {
            assert_eq!(read(text), host);
        }
        assert!(SetupHost::parse("my_app", HostUse::Service).is_ok());
    }

    #[test]
    fn reads_the_public_port() {
        let read = |text| PublicHost::parse(text).map(|public| (public.host.to_string(), public.port));
        for (text, host, port) in [
            ("hooks.example.com", "hooks.example.com", None),
            ("Hooks.Example.com:443", "hooks.example.com", Some(443)),
            ("203.0.113.7:8443", "203.0.113.7", Some(8443)),
            ("2001:db8::7", "2001:db8::7", None),
            ("[2001:db8::7]:443", "2001:db8::7", Some(443)),
        ] {
            assert_eq!(read(text), Ok((host.to_owned(), port)));
        }
        for (text, why) in [
            ("hooks.example.com:0", InvalidHost::Port),
            ("hooks.example.com:65536", InvalidHost::Port),
            ("hooks.example.com:", InvalidHost::Port),
            ("hooks.example.com:x", InvalidHost::Port),
            ("https://hooks.example.com:443", InvalidHost::Scheme),
            ("hooks.example.com/a:443", InvalidHost::Path),
            ("[::1]", InvalidHost::Brackets),
            (":443", InvalidHost::Empty),
            ("a_b:443", InvalidHost::Underscore),
        ] {
            assert_eq!(read(text), Err(why), "{text}");
        }
    }

    #[test]
    fn names_the_fault() {
        let long = format!("{}.example", "a".repeat(64));
        for (text, why) in [
            ("", InvalidHost::Empty),
            ("https://hooks.example.com", InvalidHost::Scheme),
            ("hooks.example.com/webhook", InvalidHost::Path),
            ("hooks.example.com?x", InvalidHost::Path),
            ("me@hooks.example.com", InvalidHost::User),
            ("hooks example.com", InvalidHost::Space),
            ("hooks.example.com\n", InvalidHost::Space),
            ("[::1]", InvalidHost::Brackets),
            ("hooks.example.com:443", InvalidHost::Port),
            ("127.0.0.1:443", InvalidHost::Port),
            ("*.example.com", InvalidHost::Wildcard),
            ("my_hooks.example.com", InvalidHost::Underscore),
            ("bücher.example", InvalidHost::NonAscii),
            ("hooks.example.com\u{0}", InvalidHost::Character),
            ("hooks,example.com", InvalidHost::Character),
            ("hooks.example.com.", InvalidHost::TrailingDot),
            ("hooks..example.com", InvalidHost::EmptyPart),
            (".example.com", InvalidHost::EmptyPart),
            ("-hooks.example.com", InvalidHost::Hyphen),
            (&long, InvalidHost::TooLong),
            ("256.1.1.1", InvalidHost::NotIp),
            ("127.1", InvalidHost::NotIp),
            ("0.0.0.0", InvalidHost::Unreachable),
            ("::", InvalidHost::Unreachable),
        ] {
            refuses(text, why);
        }
    }
}
