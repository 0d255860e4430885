//! The gate, from outside.

use super::delivery::{Delivery, Door, Hook};
use super::tokens::Tokens;
use anyhow::{Context, Result, anyhow};
use blobgate::contract::header;
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, Url, Version};
use std::error::Error;
use std::net::{IpAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The provider's request timeout, from its page on webhooks.
pub(super) const ANSWER: Duration = Duration::from_secs(30);
/// The provider's connection timeout, from the same page.
const CONNECTION: Duration = Duration::from_secs(10);

pub(super) struct Gate {
    pub(super) hooks: Hooks,
    certificate: PathBuf,
    client: Client,
    elsewhere: Result<Client, String>,
}

/// Where the gate's hooks are.
pub(super) struct Hooks {
    pub(super) edge: Url,
    /// The same in plaintext.
    pub(super) plain: Url,
    /// The one that takes a token, without it.
    pub(super) token: Url,
}

/// What came of a delivery.
pub(super) enum Sent {
    Answered(Answer),
    /// The connection held, but no answer came; why.
    Unanswered(String),
    /// The provider sends nothing: the inbox is to ask, from then on.
    Uncalled(Instant),
    /// The same, and the inbox has not brought it; why.
    NotReconciled(String),
    /// It was not sent; why.
    LeftOut(String),
}

pub(super) struct Answer {
    pub(super) status: u16,
    /// `blobgate-reason`.
    pub(super) code: Option<String>,
    /// Unless somebody else has sent it.
    pub(super) version: Option<Version>,
}

impl Gate {
    pub(super) fn new(hooks: Hooks, certificate: &Path) -> Result<Self> {
        let client = || {
            anyhow::Ok(
                trusting(certificate)?
                    .no_proxy()
                    .redirect(Policy::none())
                    .timeout(ANSWER)
                    .connect_timeout(CONNECTION),
            )
        };
        let elsewhere = match address_elsewhere(&hooks.edge) {
            Ok(address) => Ok(client()?.local_address(address).build()?),
            Err(why) => Err(why.to_owned()),
        };
        Ok(Self { client: client()?.build()?, elsewhere, certificate: certificate.to_owned(), hooks })
    }

    /// Sends a delivery. `Err` where no connection came about: then there is nothing to show.
    pub(super) async fn send(&self, url: Url, delivery: &Delivery) -> Result<Sent> {
        match send(&self.client, url.clone(), delivery).await {
            Ok(answer) => Ok(Sent::Answered(answer)),
            Err(error) if error.is_connect() => Err(self.not_connected(&url, &error)),
            Err(error) => Ok(Sent::Unanswered(cause(&error))),
        }
    }

    /// Sends a delivery from an address that is not a loopback one, where this machine has one.
    pub(super) async fn send_from_elsewhere(&self, url: Url, delivery: &Delivery) -> Sent {
        let client = match &self.elsewhere {
            Ok(client) => client,
            Err(why) => return Sent::LeftOut(why.clone()),
        };
        match send(client, url, delivery).await {
            Ok(answer) => Sent::Answered(answer),
            Err(error) if error.is_connect() => Sent::LeftOut(format!(
                "this machine does not connect to its loopback from another address: {}",
                cause(&error)
            )),
            Err(error) => Sent::Unanswered(cause(&error)),
        }
    }

    /// Where a delivery goes.
    pub(super) fn url(&self, delivery: &Delivery, tokens: &Tokens) -> Result<Url> {
        let Hooks { edge, plain, token: proven } = &self.hooks;
        let mut url = match (delivery.hook, delivery.door) {
            (Hook::Proven(token), _) => return tokens.callback(proven, token, &delivery.job),
            (Hook::Open, Door::Plain) => plain.clone(),
            (Hook::Open, Door::Edge | Door::Elsewhere | Door::Provider | Door::Reconcile) => edge.clone(),
        };
        let path = format!("{}{}", url.path().trim_end_matches('/'), delivery.below);
        url.set_path(&path);
        Ok(url)
    }

    fn not_connected(&self, url: &Url, error: &reqwest::Error) -> anyhow::Error {
        let cause = cause(error);
        if cause.contains("certificate") {
            return anyhow!(
                "the gate at {url} shows another certificate than {} vouches for ({cause}): name the right one with --ca",
                self.certificate.display()
            );
        }
        anyhow!("no gate can be reached at {url} ({cause}): `make run` starts one")
    }
}

async fn send(client: &Client, url: Url, delivery: &Delivery) -> reqwest::Result<Answer> {
    let mut request = client.request(delivery.method.clone(), url);
    for (name, value) in &delivery.headers {
        request = request.header(*name, *value);
    }
    if !delivery.body.is_empty() {
        request = request.body(delivery.body.clone());
    }
    let answer = request.send().await?;
    let code = answer.headers().get(header::REASON).map(|code| code.as_bytes().escape_ascii().to_string());
    Ok(Answer { status: answer.status().as_u16(), code, version: Some(answer.version()) })
}

/// What trusts this certificate, and no other.
pub(super) fn trusting(certificate: &Path) -> Result<ClientBuilder> {
    let name = certificate.display();
    let pem = std::fs::read(certificate).with_context(|| {
        format!("the gate's certificate {name} cannot be read: `make run` makes one, --ca names another")
    })?;
    let certificates =
        Certificate::from_pem_bundle(&pem).with_context(|| format!("{name} is no certificate in PEM"))?;
    Ok(Client::builder().tls_certs_only(certificates))
}

/// An address of this machine from which a gate on the loopback can be called, and which is not a loopback one itself.
fn address_elsewhere(edge: &Url) -> Result<IpAddr, &'static str> {
    let host = edge.host_str().unwrap_or_default();
    if !(host == "localhost" || host.parse::<IpAddr>().is_ok_and(|host| host.is_loopback() && host.is_ipv4()))
    {
        return Err("the gate is not on this machine's loopback");
    }
    // Tells which address would be used, and sends nothing. 192.0.2.0/24 is there for documentation (RFC 5737).
    let route = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    match route {
        Ok(address) if !address.ip().is_loopback() => Ok(address.ip()),
        _ => Err("this machine has no address beside the loopback ones"),
    }
}

/// What is at the bottom of an error. What stands above it names the URL, as every sentence here does already.
pub(crate) fn cause(error: &reqwest::Error) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.last().map_or_else(|| error.to_string(), ToString::to_string)
}
