//! A receiver behind the gate.

use crate::receiver::Arrival;
use anyhow::{Context, Result};
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
        let asked = self.ask().await;
        asked.with_context(|| {
            format!("the service {name} at {url} cannot be asked what it got; `make run` starts it")
        })
    }

    async fn ask(&self) -> Result<Vec<Arrival>> {
        let client = Client::builder().no_proxy().tls_certs_only([]).timeout(super::gate::ANSWER).build()?;
        let answer = client.get(self.url.join("/deliveries")?).send().await?.error_for_status()?;
        Ok(answer.json().await?)
    }
}
