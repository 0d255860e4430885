//! Whether the parts answer.

use super::Error;
use super::plan::{CERTIFICATE, StartPlan};
use reqwest::{Certificate, Client};
use std::time::{Duration, Instant};

/// How long a part may take. It takes one or two seconds, and a busy machine several.
pub(super) const TIMEOUT: Duration = Duration::from_secs(60);

/// How often it is looked.
const LOOK: Duration = Duration::from_millis(50);

/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// A part, and where it answers 2xx once it is ready.
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
            tokio::time::sleep(LOOK).await;
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
