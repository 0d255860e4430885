//! Where RunBlob delivers to, but for the token.

use reqwest::Url;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The token's place in a hook's path, as the gate's configuration writes it.
const PLACEHOLDER: &str = "{token}";

/// A callback URL without its last segment, the token.
#[derive(Clone, Debug)]
pub(super) struct CallbackUrl(Url);

impl CallbackUrl {
    pub(super) fn with(&self, token: &str) -> String {
        format!("{}/{token}", self.0.as_str().trim_end_matches('/'))
    }

    pub(super) fn is_plaintext(&self) -> bool {
        self.0.scheme() == "http"
    }
}

impl FromStr for CallbackUrl {
    type Err = &'static str;

    /// Takes `https://host/path`, with or without a slash or a slash and `{token}` at its end.
    fn from_str(url: &str) -> Result<Self, Self::Err> {
        let url = url.strip_suffix('/').unwrap_or(url);
        let base = match url.strip_suffix(PLACEHOLDER) {
            Some(base) => base.strip_suffix('/').ok_or("{token} has to be the whole last segment")?,
            None => url,
        };
        if base.contains(PLACEHOLDER) {
            return Err("{token} has to be the whole last segment");
        }
        let url =
            Url::parse(base).map_err(|_| "this is no URL: https://hooks.example.com/hooks/veo3 is one")?;
        match url.scheme() {
            "https" => (),
            "http" if is_this_machine(&url) => (),
            _ => return Err("the URL has to be https://, and http:// only on this machine"),
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("the URL must have no query and no fragment: the token ends it");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("the URL must have no user and no password");
        }
        Ok(Self(url))
    }
}

fn is_this_machine(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let v6 = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
        || v6.parse::<Ipv6Addr>().is_ok_and(|ip| ip.is_loopback())
}
