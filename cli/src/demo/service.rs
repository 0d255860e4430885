//! A receiver behind the gate.

use super::gate::{ANSWER, cause};
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
