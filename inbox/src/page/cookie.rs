//! The cookie of a session.

use crate::access::SESSION_SECONDS;
use axum::http::{HeaderMap, HeaderValue, header};

/// Under TLS. A browser takes it from this very host alone, and sends it over TLS alone.
const SECURE: &str = "__Host-blobgate";
/// Without TLS, where no browser takes the other.
const PLAIN: &str = "blobgate";

/// The value of the session's cookie. Two of one name are none: another site of the domain may have set one.
pub(super) fn session_cookie(headers: &HeaderMap, tls: bool) -> Option<&str> {
    let all = |name: &'static str| {
        let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
        let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.filter(move |(sent, _)| *sent == name).map(|(_, value)| value)
    };
    let name = if tls || all(SECURE).next().is_some() { SECURE } else { PLAIN };
    let mut values = all(name);
    values.next().filter(|_| values.next().is_none())
}

/// The header that sets the cookie.
pub(super) fn set(value: &str, tls: bool) -> Option<HeaderValue> {
    write(if tls { SECURE } else { PLAIN }, value, SESSION_SECONDS)
}

/// The headers that remove it.
pub(super) fn remove() -> impl Iterator<Item = HeaderValue> {
    [SECURE, PLAIN].into_iter().filter_map(|name| write(name, "", 0))
}

fn write(name: &str, value: &str, seconds: u64) -> Option<HeaderValue> {
    let place = if name == SECURE { "Path=/; Secure" } else { "Path=/page/" };
    let text = format!("{name}={value}; {place}; HttpOnly; SameSite=Strict; Max-Age={seconds}");
    HeaderValue::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(lines: &[&str], tls: bool) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::COOKIE, line.parse().unwrap());
        }
        session_cookie(&headers, tls).map(ToOwned::to_owned)
    }

    #[test]
    fn takes_one_cookie_of_its_name() {
        let a = Some("a".to_owned());
        assert_eq!(found(&["blobgate=a"], false), a);
        assert_eq!(found(&["x=1; blobgate=a;y=2"], false), a);
        assert_eq!(found(&["x=1", "blobgate=a"], false), a);
        assert_eq!(found(&["__Host-blobgate=a"], true), a);
        assert_eq!(found(&["__Host-blobgate=a; blobgate=b; blobgate=c"], false), a);
        for two in
            [&["blobgate=a; blobgate=b"][..], &["blobgate=a", "blobgate=a"], &["blobgate=a; blobgate="]]
        {
            assert_eq!(found(two, false), None, "{two:?}");
        }
        assert_eq!(found(&["__Host-blobgate=a; __Host-blobgate=b; blobgate=c"], false), None);
        assert_eq!(found(&["blobgate=a"], true), None, "a cookie without TLS");
        assert_eq!(found(&["Blobgate=a; xblobgate=b; blobgate"], false), None);
    }

    #[test]
    fn writes_the_cookie() {
        let plain = "blobgate=v; Path=/page/; HttpOnly; SameSite=Strict; Max-Age=43200";
        assert_eq!(set("v", false).unwrap(), plain);
        let secure = "__Host-blobgate=v; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=43200";
        assert_eq!(set("v", true).unwrap(), secure);
        assert!(remove().all(|header| header.to_str().unwrap().ends_with("Max-Age=0")));
    }
}
