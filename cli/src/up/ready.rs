//! Waits until the parts answer.

use super::Error;
use super::plan::{Probe, ReadyWhen};
use reqwest::Client;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A part starts within two seconds, on a busy machine within several.
pub(super) const TIMEOUT: Duration = Duration::from_secs(60);

/// The pause between two probes.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The timeout of a probe.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// `log` says where the reason is.
pub(super) async fn wait(probes: &[Probe], log: &str) -> Result<(), Error> {
    // The certificate may have any issuer and be expired. Providers judge it, and a warning names an expired one.
    let client = Client::builder()
        .tls_danger_accept_invalid_certs(true)
        .no_proxy()
        .timeout(ANSWER_TIMEOUT)
        .build()
        .map_err(|why| Error::Unprepared { place: "the probes".to_owned(), why: why.into() })?;
    for Probe { what, ready } in probes {
        let start = Instant::now();
        while !answers(&client, ready).await {
            if start.elapsed() > TIMEOUT {
                let (what, at, log) = (*what, ready.to_string(), log.to_owned());
                return Err(Error::NotReady { what, at, log });
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
    Ok(())
}

async fn answers(client: &Client, ready: &ReadyWhen) -> bool {
    match ready {
        ReadyWhen::InitAnswers(url) => {
            client.get(url).send().await.is_ok_and(|answer| answer.status().is_success())
        }
        ReadyWhen::Accepts(address) => timeout(ANSWER_TIMEOUT, TcpStream::connect(address))
            .await
            .is_ok_and(|connected| connected.is_ok()),
    }
}
