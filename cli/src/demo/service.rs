//! A receiver behind the gate.

use super::gate::ANSWER;
use crate::net_error::cause;
use crate::receiver::Arrival;
use anyhow::{Result, anyhow};
use reqwest::{Client, Url};

#[derive(Clone)]
pub(crate) struct Service {
    pub(super) name: String,
    pub(super) url: Url,
}

/// `NAME=URL`, as a flag has it.
pub(super) fn parse(text: &str) -> Result<Service, String> {
    let (name, url) = text.split_once('=').ok_or("write NAME=URL, such as video=http://127.0.0.1:9081")?;
    let url = Url::parse(url).map_err(|error| format!("{url} is no URL: {error}"))?;
    Ok(Service { name: name.to_owned(), url })
}

/// Those of `now` that are not of `before`: a service shows its last arrivals in their order, and the oldest of them go.
pub(super) fn since(before: &[Arrival], mut now: Vec<Arrival>) -> impl Iterator<Item = Arrival> + use<> {
    let still = (0..=before.len()).filter_map(|gone| before.get(gone..)).find(|rest| now.starts_with(rest));
    let old = still.map_or(0, <[Arrival]>::len);
    now.drain(..old);
    now.into_iter()
}

impl Service {
    /// What it got so far.
    pub(super) async fn arrivals(&self) -> Result<Vec<Arrival>> {
        let Self { name, url } = self;
        self.ask().await.map_err(|error| {
            let why = cause(&error);
            anyhow!("the service {name} at {url} cannot be asked what it got ({why}): `make run` starts it")
        })
    }

    async fn ask(&self) -> reqwest::Result<Vec<Arrival>> {
        let client = Client::builder().no_proxy().tls_certs_only([]).timeout(ANSWER).build()?;
        let mut url = self.url.clone();
        url.set_path("/deliveries");
        client.get(url).send().await?.error_for_status()?.json().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn new(before: &str, now: &str, new: &str) {
        let [before, now] = [before, now].map(|text| text.chars().map(arrival).collect::<Vec<_>>());
        let since: String = super::since(&before, now).map(|arrival| arrival.sha256).collect();
        assert_eq!(since, new);
    }

    fn arrival(name: char) -> Arrival {
        Arrival { time: String::new(), headers: [].into(), bytes: 0, sha256: name.to_string() }
    }

    #[test]
    fn what_was_there_is_not_new() {
        new("", "", "");
        new("", "ab", "ab");
        new("ab", "abc", "c");
        new("ab", "abab", "ab");
        new("abc", "bcd", "d");
        new("abc", "de", "de");
    }
}
