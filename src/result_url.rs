//! Stage 9: checks the host of the result URL.
//!
//! A forged completion could make a worker download any URL: the cloud's metadata, an internal admin page, a file of
//! gigabytes. So the gate accepts a listed host only in a URL that every parser reads alike. The parser follows RFC 3986
//! strictly: control characters, spaces, backslashes, non-ASCII characters and an invalid `%` are errors. A WHATWG parser would
//! strip or repair them. The checks here refuse the remaining ambiguous URLs.

use crate::names::Names;
#[cfg(not(target_family = "wasm"))]
use crate::settings::ValueForm;
use crate::settings::{ConfigError, Node};
use crate::violation::Detail;
use crate::{Reason, Violation};
use fluent_uri::Uri;

/// The allowlist of result hosts (`result_url`).
#[derive(Clone, Debug)]
pub enum ResultUrl {
    /// `any`: every URL that the dialect accepts.
    Any,
    /// These hosts, over https at port 443.
    On(HostList),
}

const ANY: &str = "any";

/// A hook's `result_url`.
#[cfg(not(target_family = "wasm"))]
pub(crate) fn form() -> ValueForm {
    let label = format!("[a-z0-9](?:[a-z0-9-]{{0,{}}}[a-z0-9])?", MAX_LABEL.saturating_sub(2));
    let name = format!(r"{label}(?:\.{label})+");
    let below = format!(r"\*\.{name}");
    let host = |pattern: &str, max: usize| {
        ValueForm::text("a host such as `runblob.io` or `\"*.runblob.io\"`, in lower case", pattern)
            .without(r"\.(?:[0-9]+|0x[0-9a-f]*)$")
            .with("maxLength", max.into())
    };
    let hosts = host(&name, MAX_NAME).or(host(&below, MAX_NAME.saturating_add("*.".len())));
    ValueForm::words(&[(ANY, ResultUrl::Any)])
        .or(ValueForm::list(&hosts))
        .written("a list of hosts such as `[runblob.io, \"*.runblob.io\"]`, or `any`")
}

impl ResultUrl {
    pub(crate) fn parse(node: &Node<'_>) -> Result<Self, ConfigError> {
        match node.as_text() {
            Some(ANY) => Ok(ResultUrl::Any),
            _ => HostList::parse(node).map(ResultUrl::On),
        }
    }
}

/// Checks a result URL. `field` is its field of the payload.
///
/// # Errors
/// [`Reason::ResultUrlDenied`] for a URL without a [`host`], and for a host outside the allowlist.
pub fn check(policy: &ResultUrl, field: &'static str, url: &str) -> Result<(), Violation> {
    let ResultUrl::On(hosts) = policy else { return Ok(()) };
    let (found, expected) = match read_host(url) {
        Ok(host) if hosts.contains(&host) => return Ok(()),
        Ok(_) => ("host is none of # allowed hosts", "a host of result_url"),
        Err(ambiguity) => ambiguity,
    };
    Err(Detail::new(field, found, expected).with_number(hosts.listed).of(Reason::ResultUrlDenied))
}

/// The host of a URL in lower case; `None` where two parsers could find different hosts. The host is a name and not an address.
/// The URL has port 443, no userinfo, and a path. The header `blobgate-result-host` has this value with every allowlist.
///
/// ```
/// use blobgate::result_url::host;
///
/// assert_eq!(host("https://CDN.runblob.io/a.mp4?signed=1").as_deref(), Some("cdn.runblob.io"));
/// assert_eq!(host("https://cdn.runblob.io@evil.example/a.mp4"), None);
/// assert_eq!(host("https://169.254.169.254/latest"), None);
/// ```
pub fn host(url: &str) -> Option<String> {
    read_host(url).ok()
}

/// The host, or what the gate found in the URL and what it expected.
fn read_host(url: &str) -> Result<String, (&'static str, &'static str)> {
    if url.len() > MAX_URL {
        return Err(("is longer than 2048 bytes", "a shorter URL"));
    }
    let text = url;
    let Ok(url) = Uri::parse(url) else { return Err((syntax_class(text), "a URL of RFC 3986")) };
    if let Some(found) = other_scheme(text) {
        return Err((found, "https"));
    }
    let Some(authority) = url.authority() else { return Err(("has no host", "https:// and a host")) };
    // Parsers differ on an `@` after an empty userinfo.
    if authority.has_userinfo() {
        return Err(("has a user before its host", "a host alone"));
    }
    // Parsers differ on a colon without a port, and on `:0443`.
    if authority.port().is_some_and(|port| port.as_str() != HTTPS_PORT) {
        return Err(("has another port", "port 443 or none"));
    }
    // Older parsers read `https://runblob.io?@evil.example`, and the same with `#`, as a URL on evil.example. With a slash
    // before them no parser does. A fragment after a path is harmless: clients do not send it.
    if !url.path().as_str().starts_with('/') {
        return Err(("has no path", "a slash after the host"));
    }
    let host = authority.host().to_ascii_lowercase();
    match other_host(&host) {
        Some(found) => Err((found, "a host name")),
        None => Ok(host),
    }
}

/// The scheme of a URL, if it is not https. Only these schemes have a name in a detail.
pub(crate) fn other_scheme(url: &str) -> Option<&'static str> {
    const SCHEMES: &[(&str, &str)] = &[
        ("http", "scheme is http"),
        ("ftp", "scheme is ftp"),
        ("file", "scheme is file"),
        ("data", "scheme is data"),
        ("s3", "scheme is s3"),
        ("gs", "scheme is gs"),
    ];
    let Some((scheme, _)) = url.split_once(':') else { return Some("has no scheme") };
    if scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    if scheme.contains(['/', '?', '#']) {
        return Some("has no scheme");
    }
    if has_space(scheme) {
        return Some(SPACE);
    }
    let named = SCHEMES.iter().find(|(name, _)| scheme.eq_ignore_ascii_case(name));
    Some(named.map_or("scheme is another", |(_, found)| found))
}

const SPACE: &str = "has a space or control character";

fn has_space(text: &str) -> bool {
    text.bytes().any(|byte| byte <= b' ' || byte == 0x7f)
}

/// The fault of a text that is no URL.
fn syntax_class(text: &str) -> &'static str {
    if text.is_empty() {
        "is empty"
    } else if !text.is_ascii() {
        "is not ASCII"
    } else if has_space(text) {
        SPACE
    } else if text.contains('\\') {
        "has a backslash"
    } else {
        other_scheme(text).unwrap_or("is not a URL")
    }
}

/// The form of a host that is not a name.
fn other_host(host: &str) -> Option<&'static str> {
    if host.is_empty() {
        Some("has no host")
    } else if host.starts_with('[') {
        Some("host is an address in brackets")
    } else if host.ends_with('.') {
        Some("host ends with a dot")
    } else if ends_in_number(host) {
        Some("host is an IPv4 address")
    } else if !is_name(host) {
        Some("host is not a host name")
    } else {
        None
    }
}

/// In bytes, the limit of sitemaps.org. A signed S3 URL with a session token has some 1,500.
const MAX_URL: usize = 2_048;
const HTTPS_PORT: &str = "443";
/// RFC 1035, section 2.3.4: 255 bytes on the wire are 253 as text.
const MAX_NAME: usize = 253;
/// RFC 1035, section 2.3.4.
const MAX_LABEL: usize = 63;

/// Whether a host is a name: labels of lower-case letters, digits and hyphens, but not an IPv4 address of WHATWG's or
/// `inet_aton`'s. A label `xn--...` is never decoded. A trailing dot leaves an empty label, which is refused.
fn is_name(host: &str) -> bool {
    let is_label = |label: &[u8]| {
        (1..=MAX_LABEL).contains(&label.len())
            && label.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
            && label.first() != Some(&b'-')
            && label.last() != Some(&b'-')
    };
    let mut labels = host.as_bytes().split(|b| *b == b'.');
    host.len() <= MAX_NAME && labels.all(is_label) && !ends_in_number(host)
}

/// `127.0.0.1`, `2130706433`, `0177.1`, `0x7f.0x1`: <https://url.spec.whatwg.org/#ends-in-a-number-checker>.
fn ends_in_number(host: &str) -> bool {
    let last = host.as_bytes().rsplit(|b| *b == b'.').next().unwrap_or_default();
    let is_hex = |digits: &[u8]| digits.iter().all(u8::is_ascii_hexdigit);
    last.iter().all(u8::is_ascii_digit) || last.strip_prefix(b"0x").is_some_and(is_hex)
}

/// A set of hosts.
#[derive(Clone, Debug)]
pub struct HostList {
    /// `runblob.io`: this host.
    exact: Names,
    /// `*.runblob.io`, as `oi.bolbnur`: every host below, at any depth, but not `runblob.io`.
    above: Names,
    /// The number of listed hosts.
    listed: usize,
}

impl HostList {
    fn parse(node: &Node<'_>) -> Result<Self, ConfigError> {
        const EXPECTED: &str = "a host such as runblob.io or \"*.runblob.io\", in lower case";
        let items = node.list("a list of hosts such as [runblob.io, \"*.runblob.io\"], or any")?;
        if items.is_empty() {
            return Err(node.invalid("at least one host"));
        }
        let mut hosts = Self::for_number(items.len());
        for item in items {
            hosts.add(item.text(EXPECTED)?).ok_or_else(|| item.invalid(EXPECTED))?;
        }
        Ok(hosts)
    }

    fn for_number(listed: usize) -> Self {
        Self { exact: Names::for_number(listed), above: Names::for_number(listed), listed }
    }

    /// Adds a host or a wildcard. The list may have it already.
    fn add(&mut self, text: &str) -> Option<()> {
        let _ = match text.strip_prefix("*.") {
            Some(name) if is_listable(name) => self.above.add(&reversed(name)),
            None if is_listable(text) => self.exact.add(text.as_bytes()),
            _ => return None,
        };
        Some(())
    }

    fn contains(&self, name: &str) -> bool {
        let is_below = || {
            let name = reversed(name);
            let mut above = self.above.prefixes(&name, |byte| byte == b'.');
            above.any(|(_, rest)| !rest.is_empty())
        };
        self.exact.place(name.as_bytes()).is_some() || is_below()
    }
}

/// Whether a name has at least two labels. One label is a local machine such as `localhost`, or with a wildcard a whole top-level
/// domain.
fn is_listable(name: &str) -> bool {
    is_name(name) && name.contains('.')
}

/// A name from its end, so that the names above it are its beginnings.
fn reversed(name: &str) -> Vec<u8> {
    name.bytes().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    const FIELD: &str = "video_url";
    const LISTED: [&str; 3] = ["runblob.io", "*.runblob.io", "xn--bcher-kva.example"];

    fn listed() -> ResultUrl {
        let mut hosts = HostList::for_number(LISTED.len());
        LISTED.iter().for_each(|text| hosts.add(text).unwrap());
        ResultUrl::On(hosts)
    }

    #[track_caller]
    fn passes(url: &str, at: &str) {
        assert_eq!(check(&listed(), FIELD, url), Ok(()), "{url}");
        assert_eq!(host(url).as_deref(), Some(at), "{url}");
    }

    /// A URL on another host `at`, or an ambiguous URL.
    #[track_caller]
    fn denied(url: &str, at: Option<&str>) {
        let reason = check(&listed(), FIELD, url).map_err(|violation| violation.reason);
        assert_eq!(reason, Err(Reason::ResultUrlDenied), "{url}");
        assert_eq!(check(&ResultUrl::Any, FIELD, url), Ok(()), "{url}");
        assert_eq!(host(url).as_deref(), at, "{url}");
    }

    #[test]
    fn accepts_urls_on_listed_hosts() {
        passes("https://cdn.runblob.io/videos/your-video.mp4", "cdn.runblob.io");
        passes("https://runblob.io/", "runblob.io");
        passes("HTTPS://CDN.RunBlob.IO/v", "cdn.runblob.io");
        passes(
            "https://a.b.c.runblob.io:443/v?X-Amz-Signature=0a&x=%2F@evil.example#t=1",
            "a.b.c.runblob.io",
        );
        passes("https://127.0.0.1.runblob.io/", "127.0.0.1.runblob.io");
        passes("https://XN--BCHER-KVA.example/", "xn--bcher-kva.example");
        passes("https://runblob.io/@evil.example/../..//evil.example/:80", "runblob.io");
        let longest = format!("https://runblob.io/{}", "v".repeat(MAX_URL - 19));
        passes(&longest, "runblob.io");
        denied(&format!("{longest}v"), None);
    }

    #[test]
    fn denies_other_hosts() {
        denied("https://evil.example/v", Some("evil.example"));
        denied("https://runblob.io.evil.example/v", Some("runblob.io.evil.example"));
        denied("https://evilrunblob.io/v", Some("evilrunblob.io"));
        denied("https://runblob.i/v", Some("runblob.i"));
        denied("https://localhost/v", Some("localhost"));
        denied("https://www.xn--bcher-kva.example/v", Some("www.xn--bcher-kva.example"));
        denied("https://xn--runblob-9ya.io/v", Some("xn--runblob-9ya.io"));
    }

    #[test]
    fn denies_ambiguous_urls() {
        for url in [
            "",
            "https:runblob.io/",
            "https:/runblob.io/",
            "https:///runblob.io/",
            "//runblob.io/",
            "http://runblob.io/",
            "httpss://runblob.io/",
            "https://runblob.io",
            "https://runblob.io?@evil.example/",
            "https://runblob.io#@evil.example/",
            "https://@runblob.io/",
            "https://:@runblob.io/",
            "https://evil.example@runblob.io/",
            "https://evil.example:443@runblob.io/",
            "https://a@b@runblob.io/",
            "https://runblob.io:/",
            "https://runblob.io:0443/",
            "https://runblob.io:80/",
            "https://runblob.io:65979/",
            "https://runblob.io:443:80/",
            "https://runblob.io:+443/",
            "https://runblob.io./",
            "https://.runblob.io/",
            "https://a..runblob.io/",
            "https://-.runblob.io/",
            "https://a-.runblob.io/",
            "https://a_b.runblob.io/",
            "https://*.runblob.io/",
            "https://a,b.runblob.io/",
            "https://runblob%2eio/",
            "https://evil.example%2f.runblob.io/",
            "https://evil.example%00.runblob.io/",
            "https://évil.runblob.io/",
            "https://runblob。io/",
            "https://ｒunblob.io/",
            "https://runblob\u{ad}.io/",
            "https://evil.example\\.runblob.io/",
            "https://evil.example\\@runblob.io/",
            "https:\\\\runblob.io/",
            "https://runblob.io\\/",
            " https://runblob.io/",
            "https://runblob.io/ ",
            "https://runblob.io/a b",
            "https://run\tblob.io/",
            "https://runblob.io/\r\nhost: evil.example",
            "https://runblob.io/\0",
            "https://runblob.io/\u{7f}",
            "https://runblob.io/%",
            "https://runblob.io/%0g",
            "https://runblob.io/é",
            "https://runblob.io/[v]",
            "https://[::1]/",
            "https://[::ffff:169.254.169.254]/",
            "https://[fe80::1%25eth0]/",
            "https://[v1.x]/",
            "https://[runblob.io]/",
            "https://169.254.169.254/",
            "https://127.1/",
            "https://2130706433/",
            "https://0177.0.0.1/",
            "https://0x7f000001/",
            "https://0x7f.0.0.0x1/",
            "https://0x/",
            "https://runblob.io.1/",
        ] {
            denied(url, None);
        }
        let longest_label = "a".repeat(MAX_LABEL);
        passes(&format!("https://{longest_label}.runblob.io/"), &format!("{longest_label}.runblob.io"));
        denied(&format!("https://a{longest_label}.runblob.io/"), None);
        let longest_name = format!("a{}runblob.io", "a.".repeat((MAX_NAME - 11) / 2));
        assert_eq!(longest_name.len(), MAX_NAME);
        passes(&format!("https://{longest_name}/"), &longest_name);
        denied(&format!("https://a{longest_name}/"), None);
    }

    #[test]
    fn details_name_each_fault_of_a_url() {
        let long = format!("https://runblob.io/{}", "v".repeat(MAX_URL));
        for (url, expected) in [
            (&*long, "is longer than 2048 bytes, expected a shorter URL"),
            ("", "is empty, expected a URL of RFC 3986"),
            ("https://runblob.io/\u{e9}", "is not ASCII, expected a URL of RFC 3986"),
            ("https://runblob.io/a b", "has a space or control character, expected a URL of RFC 3986"),
            (
                "https://runblob.io/\r\nhost: x",
                "has a space or control character, expected a URL of RFC 3986",
            ),
            ("https:\\\\runblob.io/", "has a backslash, expected a URL of RFC 3986"),
            ("https://runblob.io/%0g", "is not a URL, expected a URL of RFC 3986"),
            ("//runblob.io/", "has no scheme, expected a URL of RFC 3986"),
            ("http://runblob.io/", "scheme is http, expected https"),
            ("httpss://runblob.io/", "scheme is another, expected https"),
            ("https:runblob.io/", "has no host, expected https:// and a host"),
            ("https:///runblob.io/", "has no host, expected a host name"),
            ("https://@runblob.io/", "has a user before its host, expected a host alone"),
            ("https://runblob.io:/", "has another port, expected port 443 or none"),
            ("https://runblob.io:8443/", "has another port, expected port 443 or none"),
            ("https://runblob.io", "has no path, expected a slash after the host"),
            ("https://[::1]/", "host is an address in brackets, expected a host name"),
            ("https://127.0.0.1/", "host is an IPv4 address, expected a host name"),
            ("https://0x7f.1/", "host is an IPv4 address, expected a host name"),
            ("https://runblob.io./", "host ends with a dot, expected a host name"),
            ("https://a_b.runblob.io/", "host is not a host name, expected a host name"),
            ("https://evil.example/", "host is none of 3 allowed hosts, expected a host of result_url"),
        ] {
            let violation = check(&listed(), FIELD, url).unwrap_err();
            assert_eq!(violation.text(), Some(format!("video_url: {expected}")), "{url}");
        }
    }

    /// URLs of pieces that parsers read differently. Four of five pieces are usual ones.
    fn url_of_pieces() -> impl Strategy<Value = String> {
        const SCHEMES: [&str; 6] =
            ["HTTPS://", "http://", "https:/", "https:///", "https:\\\\", "\thttps://"];
        const USERINFO: [&str; 5] = ["evil.example@", "evil.example\\", "evil.example\\@", "@", "a:b@"];
        const HOSTS: [&str; 10] = [
            "runblob.io",
            "CDN.RUNBLOB.IO",
            "evil.example",
            "127.0.0.1",
            "[::1]",
            "0x7f.1",
            "xn--a.runblob.io",
            "xn--bcher-kva.example",
            "ｒunblob.io",
            "runblob%2eio",
        ];
        const PORTS: [&str; 6] = [":443", ":", ":8443", ":0443", ".", ".runblob.io"];
        const PATHS: [&str; 5] = ["/v?x=1", "?", "#", "", "\\"];
        const PIECES: [&str; 18] = [
            "/", "v", "\\", "?", "#", "@", ":", ".", "%2f", "%", "\t", "\n", "\0", " ", "é", "。", "[",
            "https://",
        ];
        fn mostly(
            usual: &'static str,
            others: &'static [&'static str],
        ) -> impl Strategy<Value = &'static str> {
            prop_oneof![4 => Just(usual), 1 => select(others)]
        }
        (
            mostly("https://", &SCHEMES),
            mostly("", &USERINFO),
            mostly("cdn.runblob.io", &HOSTS),
            mostly("", &PORTS),
            mostly("/", &PATHS),
            vec(select(&PIECES[..]), 0..3),
        )
            .prop_map(|(scheme, userinfo, host, port, path, rest)| {
                [scheme, userinfo, host, port, path, &rest.concat()].concat()
            })
    }

    /// A WHATWG parser finds the same listed host in an accepted URL, or refuses the URL for an invalid `xn--`.
    fn agrees(url: &str) -> Result<(), TestCaseError> {
        if check(&listed(), FIELD, url).is_err() {
            return Ok(());
        }
        let Ok(whatwg) = url::Url::parse(url) else {
            prop_assert!(url.contains("xn--"), "{url}");
            return Ok(());
        };
        let found = whatwg.host_str().unwrap();
        let is_listed = found == "runblob.io" || found.ends_with(".runblob.io") || found == LISTED[2];
        prop_assert!(is_listed, "{url}: {found}");
        prop_assert_eq!(host(url), Some(found.to_owned()));
        prop_assert_eq!((whatwg.scheme(), whatwg.port(), whatwg.username()), ("https", None, ""));
        prop_assert_eq!(whatwg.password(), None);
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

        #[test]
        fn two_parsers_agree_on_pieces(url in url_of_pieces()) {
            agrees(&url)?;
        }

        #[test]
        fn two_parsers_agree_near_a_listed_host(at in 0_usize..30, insert in any::<String>()) {
            let mut url = "https://cdn.runblob.io:443/v?x".to_owned();
            url.insert_str(at, &insert);
            agrees(&url)?;
        }

        #[test]
        fn two_parsers_agree_on_a_character(at in 0_usize..30, insert in any::<char>(), ascii in 0_u8..128) {
            for insert in [insert, char::from(ascii)] {
                let mut url = "https://cdn.runblob.io:443/v?x".to_owned();
                url.insert(at, insert);
                agrees(&url)?;
            }
        }

        #[test]
        fn no_text_panics(url in any::<String>()) {
            agrees(&url)?;
        }
    }

    #[test]
    fn generates_accepted_and_denied_urls() {
        use proptest::strategy::ValueTree;
        use proptest::test_runner::TestRunner;
        let mut runner = TestRunner::deterministic();
        let passed = (0..1_000)
            .filter(|_| {
                let url = url_of_pieces().new_tree(&mut runner).unwrap().current();
                check(&listed(), FIELD, &url).is_ok()
            })
            .count();
        assert!((50..500).contains(&passed), "{passed} of 1000 URLs pass");
    }
}
