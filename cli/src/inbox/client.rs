//! Calls the admin listener of a running inbox.

use super::change::Change;
use crate::env::read_env;
use crate::net_error::cause;
use anyhow::{Result, anyhow};
use blobgate_inbox::service::{
    ChangeAnswer, ChangePreview, ChangeRequest, EntryDetail, EntryPage, ExpectAnswer, ExpectRequest,
    InboxStats, ListRequest, PauseAnswer, PauseTarget, ProblemDocument, ReconcileAnswer, ReconcilePreview,
    ReconcileRequest, ReevaluateAnswer, ReevaluateRequest, ReleaseAsAnswer, ReleaseAsRequest, TailPage,
    TailRequest,
};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::time::Duration;

/// The address of an inbox.
#[derive(clap::Args)]
pub(super) struct Admin {
    /// The admin listener of the inbox
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9085")]
    admin: Url,
    /// The variable with the token of the admin listener
    #[arg(long, value_name = "NAME")]
    admin_token_env: Option<String>,
}

/// A running inbox.
pub(super) struct Inbox {
    client: Client,
    base: Url,
    token: Option<String>,
}

/// The inbox does not understand the request: wrong usage.
#[derive(Debug)]
pub(super) struct Wrong(String);

/// No inbox answers: the next request would fail too.
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
    pub(super) async fn list(&self, request: &ListRequest) -> Result<EntryPage> {
        self.get("/entries", &request.pairs()).await
    }

    pub(super) async fn show(&self, id: i64) -> Result<EntryDetail> {
        self.get(&format!("/entries/{id}"), &[]).await
    }

    pub(super) async fn tail(&self, request: &TailRequest) -> Result<TailPage> {
        self.get("/tail", &request.pairs()).await
    }

    pub(super) async fn stats(&self) -> Result<InboxStats> {
        self.get("/stats", &[]).await
    }

    pub(super) async fn pause(&self, target: &PauseTarget) -> Result<PauseAnswer> {
        self.call(Method::PUT, "/pauses", target).await
    }

    pub(super) async fn resume(&self, target: &PauseTarget) -> Result<PauseAnswer> {
        self.call(Method::DELETE, "/pauses", target).await
    }

    pub(super) async fn expect(&self, request: &ExpectRequest) -> Result<ExpectAnswer> {
        self.call(Method::POST, "/expect", request).await
    }

    pub(super) async fn reconcile(&self) -> Result<ReconcileAnswer> {
        self.call(Method::POST, "/reconcile", &ReconcileRequest { dry_run: false }).await
    }

    pub(super) async fn preview_reconcile(&self) -> Result<ReconcilePreview> {
        self.call(Method::POST, "/reconcile", &ReconcileRequest { dry_run: true }).await
    }

    pub(super) async fn change(&self, change: Change, request: &ChangeRequest) -> Result<ChangeAnswer> {
        self.call(Method::POST, change.path(), request).await
    }

    /// `request` is a dry run.
    pub(super) async fn preview(&self, change: Change, request: &ChangeRequest) -> Result<ChangePreview> {
        self.call(Method::POST, change.path(), request).await
    }

    pub(super) async fn release_as(&self, request: &ReleaseAsRequest) -> Result<ReleaseAsAnswer> {
        self.call(Method::POST, Change::Release.path(), request).await
    }

    pub(super) async fn reevaluate(&self, request: &ReevaluateRequest) -> Result<ReevaluateAnswer> {
        self.call(Method::POST, "/reevaluate", request).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, String)]) -> Result<T> {
        let mut url = self.url(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.send(self.client.get(url)).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        request: &impl Serialize,
    ) -> Result<T> {
        self.send(self.client.request(method, self.url(path)).json(request)).await
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
            return serde_json::from_slice(&body).map_err(|_| self.unexpected(status));
        }
        let Ok(ProblemDocument { detail, .. }) = serde_json::from_slice(&body) else {
            return Err(self.unexpected(status));
        };
        Err(match status {
            StatusCode::BAD_REQUEST => Wrong(detail).into(),
            StatusCode::UNAUTHORIZED => Away(format!(
                "the inbox at {} wants its token: name the variable that has it with --admin-token-env",
                self.base
            ))
            .into(),
            StatusCode::SERVICE_UNAVAILABLE => Away(detail).into(),
            _ => anyhow!("{detail}"),
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

    fn unexpected(&self, status: StatusCode) -> anyhow::Error {
        Away(format!(
            "unexpected response ({}) from {}: not the admin listener of an inbox, or an incompatible version",
            status.as_u16(),
            self.base
        ))
        .into()
    }
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
