//! Whether a request comes from the page itself: other sites in the same browser send requests, too.

use crate::listen::is_local;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, header};

/// Fetch metadata: browsers send it to https and to this machine. A script cannot set it.
static FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
static FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
static FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
/// Whether the browser has TLS. A proxy sets it. A browser cannot send a wrong one to another site without that site's consent, and
/// a client that does so only gets a cookie that it cannot use.
static FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestSite {
    /// The page itself, a person, or no browser.
    Own,
    /// A link on another site. `SameSite=Strict` keeps the cookie from it.
    Link,
    /// Another site's form, script, frame or image.
    Other,
}

/// Why a request is not of this page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WrongHost {
    /// The Host header is missing, repeated, or no text.
    None,
    /// Without tokens: a name, as DNS rebinding brings one.
    Name,
}

/// The authority that the client calls.
pub(super) fn host(parts: &Parts) -> Result<&str, WrongHost> {
    let sent = one(&parts.headers, &header::HOST).map_err(|()| WrongHost::None)?;
    let target = parts.uri.authority().map(|authority| authority.as_str());
    sent.or(target).filter(|host| !host.is_empty()).ok_or(WrongHost::None)
}

/// As [`host`], for a listener without tokens.
pub(super) fn local_host(parts: &Parts) -> Result<&str, WrongHost> {
    let host = host(parts)?;
    if is_local(host) { Ok(host) } else { Err(WrongHost::Name) }
}

/// Finds the site of a request to this host.
pub(super) fn site_of(parts: &Parts, host: &str) -> RequestSite {
    let is_safe = parts.method.is_safe();
    match one(&parts.headers, &header::ORIGIN) {
        Ok(None) => (),
        // A browser sends an Origin with each form, and with some safe requests of scripts.
        Ok(Some(origin)) if is_origin(origin, host, has_tls(&parts.headers)) => (),
        Ok(Some(_)) | Err(()) => return RequestSite::Other,
    }
    let is = |name: &HeaderName, expected| one(&parts.headers, name) == Ok(Some(expected));
    match one(&parts.headers, &FETCH_SITE) {
        Ok(None | Some("same-origin" | "none")) => RequestSite::Own,
        Ok(Some(_)) if is_safe && is(&FETCH_MODE, "navigate") && is(&FETCH_DEST, "document") => {
            RequestSite::Link
        }
        _ => RequestSite::Other,
    }
}

/// Whether the browser has TLS. A browser's Origin tells it, too, where a proxy does not.
pub(super) fn has_tls(headers: &HeaderMap) -> bool {
    let is_https = |value: &str| value.trim().eq_ignore_ascii_case("https");
    let forwarded = one(headers, &FORWARDED_PROTO).ok().flatten();
    let is_forwarded = forwarded.and_then(|list| list.split(',').next()).is_some_and(is_https);
    let origin = one(headers, &header::ORIGIN).ok().flatten();
    is_forwarded || origin.is_some_and(|origin| origin.starts_with("https://"))
}

/// Whether an Origin header is this host's own. Behind a proxy, only the proxy knows the scheme.
fn is_origin(origin: &str, host: &str, tls: bool) -> bool {
    let (scheme, authority) = match origin.split_once("://") {
        Some(("https", authority)) => ("443", authority),
        Some(("http", authority)) if !tls => ("80", authority),
        _ => return false,
    };
    // Neither side writes the scheme's own port, or only one of them does.
    let without_port = |text: &str| {
        let text = text.to_ascii_lowercase();
        match text.rsplit_once(':') {
            Some((name, port)) if port == scheme => name.to_owned(),
            _ => text,
        }
    };
    without_port(authority) == without_port(host)
}

/// The value of a header, if it is there once.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| ()),
        (Some(_), Some(_)) => Err(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{Method, Request};

    fn parts(method: Method, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri("/page/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[track_caller]
    fn comes_from(method: Method, host: &str, headers: &[(&str, &str)], expected: RequestSite) {
        assert_eq!(site_of(&parts(method, headers), host), expected, "{host} {headers:?}");
    }

    #[test]
    fn compares_the_origin_with_the_host() {
        for (host, origin) in [
            ("127.0.0.1:9085", "http://127.0.0.1:9085"),
            ("localhost:9085", "http://localhost:9085"),
            ("[::1]:9085", "http://[::1]:9085"),
            ("ops.example", "https://ops.example"),
            ("ops.example:443", "https://ops.example"),
            ("OPS.example", "http://ops.example"),
            ("ops.example:80", "http://ops.example"),
        ] {
            comes_from(Method::POST, host, &[("origin", origin)], RequestSite::Own);
        }
        for (host, origin) in [
            ("127.0.0.1:9085", "http://127.0.0.1:3000"),
            ("127.0.0.1:9085", "http://localhost:9085"),
            ("127.0.0.1:9085", "null"),
            ("127.0.0.1:9085", ""),
            ("127.0.0.1:9085", "127.0.0.1:9085"),
            ("127.0.0.1:9085", "file://127.0.0.1:9085"),
            ("127.0.0.1:9085", "http://127.0.0.1:9085.evil.example"),
            ("127.0.0.1:9085", "http://me@127.0.0.1:9085"),
            ("127.0.0.1:9085", "http://127.0.0.1:9085/"),
            ("ops.example", "https://evil.example"),
            ("ops.example", "https://a.ops.example"),
            ("ops.example:80", "https://ops.example"),
            ("ops.example:443", "http://ops.example"),
        ] {
            comes_from(Method::POST, host, &[("origin", origin)], RequestSite::Other);
        }
        let twice = [("origin", "http://a.example"), ("origin", "http://a.example")];
        comes_from(Method::POST, "a.example", &twice, RequestSite::Other);
        let downgraded = [("origin", "http://a.example"), ("x-forwarded-proto", "https")];
        comes_from(Method::POST, "a.example", &downgraded, RequestSite::Other);
    }

    #[test]
    fn reads_fetch_metadata() {
        let host = "127.0.0.1:9085";
        for site in ["same-origin", "none"] {
            comes_from(Method::POST, host, &[("sec-fetch-site", site)], RequestSite::Own);
        }
        let link =
            |site| [("sec-fetch-site", site), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
        for site in ["cross-site", "same-site", "unknown"] {
            comes_from(Method::GET, host, &link(site), RequestSite::Link);
            comes_from(Method::POST, host, &link(site), RequestSite::Other);
            comes_from(
                Method::GET,
                host,
                &[("sec-fetch-site", site), ("sec-fetch-mode", "no-cors")],
                RequestSite::Other,
            );
            let frame =
                [("sec-fetch-site", site), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")];
            comes_from(Method::GET, host, &frame, RequestSite::Other);
        }
    }

    #[test]
    fn reads_the_host() {
        let of = |headers: &[(&str, &str)]| local_host(&parts(Method::GET, headers)).map(ToOwned::to_owned);
        assert_eq!(of(&[("host", "127.0.0.1:9085")]), Ok("127.0.0.1:9085".to_owned()));
        assert_eq!(of(&[("host", "evil.example")]), Err(WrongHost::Name));
        assert_eq!(of(&[]), Err(WrongHost::None));
        assert_eq!(of(&[("host", "127.0.0.1"), ("host", "127.0.0.1")]), Err(WrongHost::None));
    }

    #[test]
    fn knows_tls() {
        let of = |name, value| has_tls(&parts(Method::GET, &[(name, value)]).headers);
        assert!(of("x-forwarded-proto", "https") && of("x-forwarded-proto", "HTTPS, http"));
        assert!(of("origin", "https://ops.example"));
        assert!(!of("x-forwarded-proto", "http") && !of("origin", "http://ops.example") && !of("a", "https"));
    }
}
