//! Waits until the parts answer.

use super::Error;
use super::plan::{CERTIFICATE, StartPlan};
use reqwest::{Certificate, Client};
use std::time::{Duration, Instant};

/// A part starts within two seconds, on a busy machine within several.
pub(super) const TIMEOUT: Duration = Duration::from_secs(60);

/// The pause between two probes.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The timeout of a probe.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// A part, and a URL that answers 2xx once the part is ready.
pub(super) struct Probe {
    pub(super) what: &'static str,
    pub(super) url: String,
}

pub(super) async fn wait(plan: &StartPlan) -> Result<(), Error> {
    let client = client()
        .map_err(|why| Error::Unprepared { place: format!("{CERTIFICATE} as a certificate"), why })?;
    for Probe { what, url } in plan.probes() {
        let start = Instant::now();
        while !answers(&client, &url).await {
            if start.elapsed() > TIMEOUT {
                return Err(Error::NotReady { what: what.to_owned(), url });
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
    Ok(())
}

fn client() -> anyhow::Result<Client> {
    let certificates = Certificate::from_pem_bundle(&std::fs::read(CERTIFICATE)?)?;
    Ok(Client::builder().tls_certs_only(certificates).no_proxy().timeout(ANSWER_TIMEOUT).build()?)
}

async fn answers(client: &Client, url: &str) -> bool {
    client.get(url).send().await.is_ok_and(|answer| answer.status().is_success())
}
