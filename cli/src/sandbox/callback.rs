//! The callback: one POST of the final state, repeated until it is taken.

use super::generation::SandboxGeneration;
use super::ledger::CallbackAttempt;
use super::provider::Sandbox;
use super::{clock, report};
use crate::net_error::cause;
use anyhow::{Context, Result};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, StatusCode, Url, retry};
use std::path::Path;
use std::time::Duration;

/// The page on webhooks, as the other two: "Up to 5 attempts".
const ATTEMPTS: u32 = 5;
const REQUEST: Duration = Duration::from_secs(30);
const CONNECTION: Duration = Duration::from_secs(10);

pub(super) struct CallbackClient(Client);

impl CallbackClient {
    pub(super) fn new(certificate: Option<&Path>) -> Result<Self> {
        let mut builder = Client::builder()
            .no_proxy()
            .https_only(true)
            .redirect(Policy::none())
            // Each attempt is one connection and one request, however it ends.
            .retry(retry::never())
            .pool_max_idle_per_host(0)
            .timeout(REQUEST)
            .connect_timeout(CONNECTION)
            .user_agent(concat!("blobgate-sandbox/", env!("CARGO_PKG_VERSION")));
        if let Some(file) = certificate {
            builder = builder.tls_certs_merge(certificates(file)?);
        }
        let client = builder.build().context(
            "no callback can be made, for want of public certificates on this machine: install them, or name one with --callback-ca",
        )?;
        Ok(Self(client))
    }

    async fn post(&self, url: Url, generation: &SandboxGeneration) -> reqwest::Result<StatusCode> {
        Ok(self.0.post(url).json(generation).send().await?.status())
    }
}

fn certificates(file: &Path) -> Result<Vec<Certificate>> {
    let name = file.display();
    let pem = std::fs::read(file).with_context(|| format!("the certificate {name} cannot be read"))?;
    Certificate::from_pem_bundle(&pem)
        .ok()
        .filter(|certificates| !certificates.is_empty())
        .with_context(|| format!("{name} is no certificate in PEM"))
}

impl Sandbox {
    pub(super) async fn call_back(&self, url: &Url, generation: &SandboxGeneration) {
        for attempt in 1..=ATTEMPTS {
            if attempt > 1 {
                tokio::time::sleep(self.clock.attempt_interval()).await;
            }
            let time = clock::now();
            let answer = self.caller.post(url.clone(), generation).await;
            let taken = matches!(answer, Ok(StatusCode::OK));
            let (status, error) = match answer {
                Ok(status) => (Some(status.as_u16()), None),
                Err(error) => (None, Some(cause(&error))),
            };
            let (id, event) = (&generation.generation_id, generation.word());
            let came = status.map(|status| status.to_string()).or(error.clone()).unwrap_or_default();
            report("callback", id, format_args!("{event}, attempt {attempt} of {ATTEMPTS}: {came}"));
            let (generation_id, event) = (id.clone(), event.to_owned());
            self.ledger().called_back(CallbackAttempt { generation_id, event, attempt, time, status, error });
            if taken {
                return;
            }
        }
        report("callback", &generation.generation_id, format_args!("{}, given up", generation.word()));
    }
}
