//! A receiver behind the gate.

use super::gate::ANSWER_TIMEOUT;
use crate::net_error::cause;
use crate::receiver::ReceivedRequest;
use anyhow::{Result, anyhow};
use reqwest::{Client, Url};
use std::str::FromStr;

#[derive(Clone)]
pub(crate) struct DemoService {
    pub(super) name: String,
    pub(super) url: Url,
}

/// A value of `--service` that names no service.
#[derive(Debug, thiserror::Error)]
pub(super) enum ServiceError {
    #[error("the URL is missing. Write NAME=URL, such as video=http://127.0.0.1:9081")]
    NoUrl,
    #[error("{url:?} is no URL: {why}")]
    InvalidUrl { url: String, why: <Url as FromStr>::Err },
}

/// Parses `NAME=URL`.
pub(super) fn parse(text: &str) -> Result<DemoService, ServiceError> {
    let (name, url) = text.split_once('=').ok_or(ServiceError::NoUrl)?;
    let url = Url::parse(url).map_err(|why| ServiceError::InvalidUrl { url: url.to_owned(), why })?;
    Ok(DemoService { name: name.to_owned(), url })
}

/// The requests of `now` that are not in `before`. A receiver lists its last requests, the oldest first.
pub(super) fn since(
    before: &[ReceivedRequest],
    mut now: Vec<ReceivedRequest>,
) -> impl Iterator<Item = ReceivedRequest> + use<> {
    let old = (0..=before.len()).filter_map(|gone| before.get(gone..)).find(|rest| now.starts_with(rest));
    now.drain(..old.map_or(0, <[ReceivedRequest]>::len));
    now.into_iter()
}

impl DemoService {
    pub(super) async fn requests(&self) -> Result<Vec<ReceivedRequest>> {
        let Self { name, url } = self;
        self.get_requests().await.map_err(|error| {
            let why = cause(&error);
            anyhow!("cannot list the requests of the service {name} at {url}: {why}. `make run` starts it")
        })
    }

    async fn get_requests(&self) -> reqwest::Result<Vec<ReceivedRequest>> {
        let client = Client::builder().no_proxy().tls_certs_only([]).timeout(ANSWER_TIMEOUT).build()?;
        let mut url = self.url.clone();
        url.set_path("/deliveries");
        client.get(url).send().await?.error_for_status()?.json().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(before: &str, now: &str, new: &str) {
        let [before, now] = [before, now].map(|text| text.chars().map(request).collect::<Vec<_>>());
        let since: String = since(&before, now).map(|request| request.sha256).collect();
        assert_eq!(since, new);
    }

    fn request(name: char) -> ReceivedRequest {
        ReceivedRequest { time: String::new(), headers: [].into(), bytes: 0, sha256: name.to_string() }
    }

    #[test]
    fn returns_new_requests_only() {
        check("", "", "");
        check("", "ab", "ab");
        check("ab", "abc", "c");
        check("ab", "abab", "ab");
        check("abc", "bcd", "d");
        check("abc", "de", "de");
    }
}
