//! The callback: a POST of the final status, repeated until 200.

use super::generation::SandboxGeneration;
use super::ledger::CallbackAttempt;
use super::lifecycle::Sandbox;
use super::{clock, report};
use crate::net_error::cause;
use anyhow::{Context, Result, anyhow};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, StatusCode, Url, retry};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// "Up to 5 attempts" of the page on webhooks, which has the two timeouts too.
const MAX_ATTEMPTS: u32 = 5;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) struct CallbackClient(Client);

/// Where callbacks to a host go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ResolvedHost {
    host: String,
    address: SocketAddr,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no HOST=ADDRESS:PORT. Write one such as hooks.example.com=127.0.0.1:8443")]
pub(super) struct InvalidResolvedHost;

/// Parses `hooks.example.com=127.0.0.1:8443`.
pub(super) fn parse_resolved(text: &str) -> Result<ResolvedHost, InvalidResolvedHost> {
    let (host, address) = text.split_once('=').ok_or(InvalidResolvedHost)?;
    let is_name =
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    match address.parse() {
        Ok(address) if is_name => Ok(ResolvedHost { host: host.to_ascii_lowercase(), address }),
        _ => Err(InvalidResolvedHost),
    }
}

impl CallbackClient {
    pub(super) fn new(certificate: Option<&Path>, resolved: &[ResolvedHost]) -> Result<Self> {
        let mut builder = Client::builder()
            .no_proxy()
            .https_only(true)
            .redirect(Policy::none())
            // An attempt is one connection and one request.
            .retry(retry::never())
            .pool_max_idle_per_host(0)
            .timeout(REQUEST_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("blobgate-sandbox/", env!("CARGO_PKG_VERSION")));
        for ResolvedHost { host, address } in resolved {
            builder = builder.resolve(host, *address);
        }
        if let Some(file) = certificate {
            builder = builder.tls_certs_merge(certificates(file)?);
        }
        let client = builder.build().context(
            "cannot call back: this machine has no public certificates. Install them, or name one with --callback-ca",
        )?;
        Ok(Self(client))
    }

    async fn post(&self, url: Url, generation: &SandboxGeneration) -> reqwest::Result<StatusCode> {
        Ok(self.0.post(url).json(generation).send().await?.status())
    }
}

fn certificates(file: &Path) -> Result<Vec<Certificate>> {
    let name = file.display();
    let pem = std::fs::read(file).map_err(|why| {
        anyhow!("cannot read the certificate {name}: {why}. Name another with --callback-ca")
    })?;
    Certificate::from_pem_bundle(&pem).ok().filter(|certificates| !certificates.is_empty()).ok_or_else(|| {
        anyhow!("cannot trust {name}: it has no certificate in PEM. Name another with --callback-ca")
    })
}

impl Sandbox {
    pub(super) async fn call_back(&self, url: &Url, generation: &SandboxGeneration) {
        for attempt in 1..=MAX_ATTEMPTS {
            if attempt > 1 {
                tokio::time::sleep(self.clock.attempt_interval()).await;
            }
            let time = clock::now();
            let answer = self.caller.post(url.clone(), generation).await;
            let is_taken = matches!(answer, Ok(StatusCode::OK));
            let (status, error) = match answer {
                Ok(status) => (Some(status.as_u16()), None),
                Err(error) => (None, Some(cause(&error))),
            };
            let (id, event) = (&generation.generation_id, generation.summary());
            let result = status.map(|status| status.to_string()).or(error.clone()).unwrap_or_default();
            report("callback", id, format_args!("{event}, attempt {attempt} of {MAX_ATTEMPTS}: {result}"));
            let (generation_id, event) = (id.clone(), event.to_owned());
            self.ledger().add_callback(CallbackAttempt {
                generation_id,
                event,
                attempt,
                time,
                status,
                error,
            });
            if is_taken {
                return;
            }
        }
        report("callback", &generation.generation_id, format_args!("{}, given up", generation.summary()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_address_of_a_host() {
        let address = SocketAddr::from(([127, 0, 0, 1], 8443));
        let expected = ResolvedHost { host: "hooks.example.com".to_owned(), address };
        assert_eq!(parse_resolved("Hooks.example.com=127.0.0.1:8443"), Ok(expected));
        for text in [
            "",
            "a",
            "a=",
            "=127.0.0.1:1",
            "a=127.0.0.1",
            "a=b:1",
            "a b=127.0.0.1:1",
            "https://a=127.0.0.1:1",
        ] {
            assert_eq!(parse_resolved(text), Err(InvalidResolvedHost), "{text}");
        }
    }
}
