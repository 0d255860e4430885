//! How the commands talk to a running inbox: its admin listener.

use super::serve::read_env;
use crate::demo::cause;
use anyhow::{Result, anyhow};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt;
use std::time::Duration;

/// Which inbox is asked.
#[derive(clap::Args)]
pub(super) struct Admin {
    /// The admin listener of the inbox
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9085")]
    admin: Url,
    /// The variable with the token that it wants to see
    #[arg(long, value_name = "NAME")]
    admin_token_env: Option<String>,
}

/// An inbox that is asked.
pub(super) struct Inbox {
    client: Client,
    base: Url,
    token: Option<String>,
}

/// The inbox does not understand what it is asked: wrong usage.
#[derive(Debug)]
pub(super) struct Wrong(String);

/// Nobody answers, or not the one who should: there is no point in asking on.
#[derive(Debug)]
struct Away(String);

pub(super) fn is_away(error: &anyhow::Error) -> bool {
    error.is::<Away>()
}

/// Longer than the inbox itself waits for its store.
const ANSWER: Duration = Duration::from_secs(90);
const CONNECTION: Duration = Duration::from_secs(5);

impl Admin {
    pub(super) fn connect(self) -> Result<Inbox> {
        let token = self.admin_token_env.as_deref().map(read_env).transpose()?;
        // The token is for this address and no other.
        let mut client = Client::builder().no_proxy().redirect(Policy::none());
        if self.admin.scheme() == "http" {
            // A slim container has no public certificates, and none is needed.
            client = client.tls_certs_only([]);
        }
        let client = client.timeout(ANSWER).connect_timeout(CONNECTION).build()?;
        Ok(Inbox { client, base: self.admin, token })
    }
}

impl Inbox {
    pub(super) async fn read<T: DeserializeOwned>(&self, path: &str, query: &[(&str, String)]) -> Result<T> {
        let mut url = self.url(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.send(self.client.get(url)).await
    }

    pub(super) async fn tell<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        what: &Value,
    ) -> Result<T> {
        self.send(self.client.request(method, self.url(path)).json(what)).await
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        url
    }

    async fn send<T: DeserializeOwned>(&self, mut request: RequestBuilder) -> Result<T> {
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.map_err(|error| self.away(&error))?;
        let status = response.status();
        let body = response.bytes().await.map_err(|error| self.away(&error))?;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|_| self.stranger(status));
        }
        let Ok(Refused { error }) = serde_json::from_slice(&body) else { return Err(self.stranger(status)) };
        Err(match status {
            StatusCode::BAD_REQUEST => Wrong(error).into(),
            StatusCode::UNAUTHORIZED => Away(format!(
                "the inbox at {} wants its token: name the variable that has it with --admin-token-env",
                self.base
            ))
            .into(),
            StatusCode::SERVICE_UNAVAILABLE => Away(error).into(),
            _ => anyhow!("{error}"),
        })
    }

    fn away(&self, error: &reqwest::Error) -> anyhow::Error {
        Away(format!(
            "no inbox can be reached at {} ({}): `blobgate inbox serve` runs one, --admin names another address",
            self.base,
            cause(error)
        ))
        .into()
    }

    fn stranger(&self, status: StatusCode) -> anyhow::Error {
        Away(format!(
            "what answers at {} is no inbox's admin listener, or one of another version: it answers {}",
            self.base,
            status.as_u16()
        ))
        .into()
    }
}

#[derive(Deserialize)]
struct Refused {
    error: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Wrong {}

impl fmt::Display for Away {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Away {}
