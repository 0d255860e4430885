//! Sends deliveries to the gate.

use super::delivery::{Channel, DemoDelivery, DemoHook};
use super::tokens::Tokens;
use crate::net_error::cause;
use anyhow::{Result, anyhow};
use blobgate::contract::header;
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, Url, Version};
use std::net::{IpAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The provider's request timeout, from its page on webhooks.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The provider's connection timeout, from the same page.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) struct GateClient {
    pub(super) hooks: HookUrls,
    certificate: PathBuf,
    client: Client,
    /// Its connections come from another address of this machine.
    other_address: Result<Client, NoOtherAddress>,
}

/// The URLs of the gate's hooks.
pub(super) struct HookUrls {
    pub(super) open: Url,
    /// The open hook over plain HTTP.
    pub(super) plain: Url,
    /// The authenticating hook, without a token.
    pub(super) authenticating: Url,
}

/// Why the demo cannot send from another address.
#[derive(Clone, Copy, Debug, thiserror::Error)]
enum NoOtherAddress {
    #[error("the gate is not on this machine's loopback")]
    RemoteGate,
    #[error("this machine has loopback addresses only")]
    LoopbackOnly,
}

/// The outcome of sending a delivery.
pub(super) enum SendOutcome {
    Answered(GateAnswer),
    /// The gate accepted the connection and did not answer. The text says why.
    Unanswered(String),
    /// The sandbox does not call back. The inbox reconciles the generation from this time on.
    Uncalled(Instant),
    /// The inbox did not reconcile the generation. The text says why.
    NotReconciled(String),
    /// The demo did not send it. The text says why.
    Skipped(String),
}

pub(super) struct GateAnswer {
    pub(super) status: u16,
    /// `blobgate-reason`.
    pub(super) code: Option<String>,
    /// `None` of a callback: the sandbox sent it.
    pub(super) version: Option<Version>,
}

impl GateClient {
    pub(super) fn new(hooks: HookUrls, certificate: &Path) -> Result<Self> {
        let client = || {
            anyhow::Ok(
                trusting(certificate)?
                    .no_proxy()
                    .redirect(Policy::none())
                    .timeout(ANSWER_TIMEOUT)
                    .connect_timeout(CONNECT_TIMEOUT),
            )
        };
        let other_address = match find_other_address(&hooks.open) {
            Ok(address) => Ok(client()?.local_address(address).build()?),
            Err(why) => Err(why),
        };
        Ok(Self { client: client()?.build()?, other_address, certificate: certificate.to_owned(), hooks })
    }

    /// Fails without a connection: the demo then has nothing to show.
    pub(super) async fn send(&self, url: Url, delivery: &DemoDelivery) -> Result<SendOutcome> {
        match send(&self.client, url.clone(), delivery).await {
            Ok(answer) => Ok(SendOutcome::Answered(answer)),
            Err(error) if error.is_connect() => Err(self.not_connected(&url, &error)),
            Err(error) => Ok(SendOutcome::Unanswered(cause(&error))),
        }
    }

    pub(super) async fn send_from_other_address(&self, url: Url, delivery: &DemoDelivery) -> SendOutcome {
        let client = match &self.other_address {
            Ok(client) => client,
            Err(why) => return SendOutcome::Skipped(why.to_string()),
        };
        match send(client, url, delivery).await {
            Ok(answer) => SendOutcome::Answered(answer),
            Err(error) if error.is_connect() => SendOutcome::Skipped(format!(
                "this machine cannot connect to its loopback from another address: {}",
                cause(&error)
            )),
            Err(error) => SendOutcome::Unanswered(cause(&error)),
        }
    }

    /// The URL for a delivery, with its token.
    pub(super) fn url(&self, delivery: &DemoDelivery, tokens: &Tokens) -> Result<Url> {
        let HookUrls { open, plain, authenticating } = &self.hooks;
        let mut url = match (delivery.hook, delivery.channel) {
            (DemoHook::Authenticating(token), _) => {
                return tokens.callback(authenticating, token, &delivery.job);
            }
            (DemoHook::Open, Channel::PlainHttp) => plain.clone(),
            (DemoHook::Open, _) => open.clone(),
        };
        let path = format!("{}{}", url.path().trim_end_matches('/'), delivery.below);
        url.set_path(&path);
        Ok(url)
    }

    fn not_connected(&self, url: &Url, error: &reqwest::Error) -> anyhow::Error {
        let cause = cause(error);
        if cause.contains("certificate") {
            return anyhow!(
                "cannot trust the gate at {url}: {} is not its certificate or issuer ({cause}). Name the right one with --ca",
                self.certificate.display()
            );
        }
        anyhow!("cannot connect to the gate at {url}: {cause}. `make run` starts one")
    }
}

async fn send(client: &Client, url: Url, delivery: &DemoDelivery) -> reqwest::Result<GateAnswer> {
    let mut request = client.request(delivery.method.clone(), url);
    for (name, value) in &delivery.headers {
        request = request.header(*name, *value);
    }
    if !delivery.body.is_empty() {
        request = request.body(delivery.body.clone());
    }
    let answer = request.send().await?;
    let code = answer.headers().get(header::REASON).map(|code| code.as_bytes().escape_ascii().to_string());
    Ok(GateAnswer { status: answer.status().as_u16(), code, version: Some(answer.version()) })
}

/// A client that trusts this certificate and no other.
pub(super) fn trusting(certificate: &Path) -> Result<ClientBuilder> {
    let name = certificate.display();
    let pem = std::fs::read(certificate).map_err(|why| {
        anyhow!("cannot read the gate's certificate {name}: {why}. `make run` makes one, --ca names another")
    })?;
    let certificates = Certificate::from_pem_bundle(&pem)
        .map_err(|_| anyhow!("cannot trust {name}: it has no certificate in PEM. Name one with --ca"))?;
    Ok(Client::builder().tls_certs_only(certificates))
}

/// An address of this machine outside the loopback that can call a gate on the loopback.
fn find_other_address(gate: &Url) -> Result<IpAddr, NoOtherAddress> {
    let host = gate.host_str().unwrap_or_default();
    if !(host == "localhost" || host.parse::<IpAddr>().is_ok_and(|host| host.is_loopback() && host.is_ipv4()))
    {
        return Err(NoOtherAddress::RemoteGate);
    }
    // `connect` on UDP picks the local address and sends nothing. RFC 5737 reserves 192.0.2.0/24 for documentation.
    let route = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    match route {
        Ok(address) if !address.ip().is_loopback() => Ok(address.ip()),
        _ => Err(NoOtherAddress::LoopbackOnly),
    }
}
