//! The URL of a hook, without its token.

use crate::option::is_this_machine;
use reqwest::Url;
use std::str::FromStr;

/// The token's place in a hook's path, as in the gate's configuration.
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

/// A value of `--url` that no token can follow.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallbackUrlError {
    #[error("it is no URL. Write one such as https://hooks.example.com/hooks/veo3")]
    NoUrl,
    #[error("{{token}} has to be the whole last segment")]
    Placeholder,
    #[error("the URL has to begin with https://, or with http:// on this machine")]
    Scheme,
    #[error("the URL has a query or a fragment. Remove it: the token is the end of the URL")]
    Query,
    #[error("the URL has a user or a password. Remove them")]
    Credentials,
}

impl FromStr for CallbackUrl {
    type Err = CallbackUrlError;

    /// Parses `https://host/path`, with an optional `/` or `/{token}` at its end.
    fn from_str(url: &str) -> Result<Self, Self::Err> {
        let url = url.strip_suffix('/').unwrap_or(url);
        let base = match url.strip_suffix(PLACEHOLDER) {
            Some(base) => base.strip_suffix('/').ok_or(CallbackUrlError::Placeholder)?,
            None => url,
        };
        if base.contains(PLACEHOLDER) {
            return Err(CallbackUrlError::Placeholder);
        }
        let url = Url::parse(base).map_err(|_| CallbackUrlError::NoUrl)?;
        match url.scheme() {
            "https" => (),
            "http" if is_this_machine(&url) => (),
            _ => return Err(CallbackUrlError::Scheme),
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(CallbackUrlError::Query);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(CallbackUrlError::Credentials);
        }
        Ok(Self(url))
    }
}
