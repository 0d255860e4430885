//! Calls the admin listener of a running inbox.

use super::change::ChangeKind;
use crate::env::read_token;
use crate::net_error::cause;
use crate::option::{UsageError, parse_admin_url};
use anyhow::{Result, anyhow};
use blobgate_inbox::service::{
    AuditPage, AuditRequest, ChangeAnswer, ChangePreview, ChangeRequest, EntryDetail, EntryPage,
    ExpectAnswer, ExpectRequest, InboxStats, ListRequest, PauseAnswer, PauseTarget, ProblemDocument,
    ReconcileAnswer, ReconcilePreview, ReconcileRequest, ReevaluateAnswer, ReevaluateRequest, RefusalPage,
    RefusalRequest, ReleaseAsAnswer, ReleaseAsRequest, StoryAnswer, StoryRequest, TailPage, TailRequest,
};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

const DEFAULT_ADMIN: &str = "http://127.0.0.1:9085";

/// The address of a running inbox.
#[derive(clap::Args)]
pub(crate) struct AdminArgs {
    /// The inbox's admin listener: a URL, or HOST:PORT with http on this machine and https elsewhere
    #[arg(long, value_name = "URL", default_value = DEFAULT_ADMIN, value_parser = parse_admin_url)]
    admin: Url,
    /// The environment variable with the admin listener's token
    #[arg(long, value_name = "NAME")]
    admin_token_env: Option<String>,
}

/// A running inbox.
pub(crate) struct InboxClient {
    client: Client,
    base: Url,
    token: Option<String>,
}

/// No inbox answers, or it cannot work. The next request fails too.
#[derive(Debug, thiserror::Error)]
enum InboxUnreachable {
    #[error(
        "cannot connect to the inbox at {url}: {why}. Start it with `blobgate inbox serve`, or name its URL with --admin"
    )]
    NotConnected { url: Url, why: String },
    #[error(
        "the inbox at {url} refuses the request without its token. Name the variable that has it with --admin-token-env"
    )]
    Unauthorized { url: Url },
    #[error(
        "unexpected answer ({status}) from {url}: it is no admin listener, or has another version. Name the right one with --admin"
    )]
    UnexpectedAnswer { url: Url, status: u16 },
    #[error("{0}")]
    Unavailable(String),
}

pub(super) fn is_unreachable(error: &anyhow::Error) -> bool {
    error.is::<InboxUnreachable>()
}

/// It exceeds the inbox's own timeout for its store.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

impl AdminArgs {
    /// The options that a copy of this command line needs: none for the default.
    pub(crate) fn options(&self) -> String {
        let mut options = String::new();
        if Ok(&self.admin) != parse_admin_url(DEFAULT_ADMIN).as_ref() {
            options.push_str(&format!(" --admin {}", self.admin.as_str().trim_end_matches('/')));
        }
        if let Some(name) = &self.admin_token_env {
            options.push_str(&format!(" --admin-token-env {name}"));
        }
        options
    }

    pub(crate) fn connect(self) -> Result<InboxClient> {
        let token = self.admin_token_env.as_deref().map(read_token).transpose()?;
        // A redirect would send the token to another address.
        let mut client = Client::builder().no_proxy().redirect(Policy::none());
        if self.admin.scheme() == "http" {
            // A slim container has no public certificates. Plain HTTP needs none.
            client = client.tls_certs_only([]);
        }
        let client = client.timeout(ANSWER_TIMEOUT).connect_timeout(CONNECT_TIMEOUT).build()?;
        Ok(InboxClient { client, base: self.admin, token })
    }
}

/// Whether a command calls the admin listener.
fn calls_admin(command: &str) -> bool {
    const OF_STORE: [&str; 4] = ["serve", "migrate", "backup", "restore"];
    match command.strip_prefix("blobgate inbox ") {
        Some(rest) => !OF_STORE.iter().any(|name| rest.starts_with(name)),
        None => command.starts_with("blobgate why "),
    }
}

/// Adds the options of the admin listener to a command that calls it. Without them it would change another inbox.
pub(crate) fn command_with(options: &str, command: &str) -> String {
    let options = if calls_admin(command) { options } else { "" };
    format!("{command}{options}")
}

/// A sentence, with these options in each command between backticks.
pub(crate) fn sentence_with(options: &str, sentence: &str) -> String {
    let parts = sentence.split('`').enumerate().map(|(number, part)| match number % 2 {
        0 => part.to_owned(),
        _ => command_with(options, part),
    });
    parts.collect::<Vec<_>>().join("`")
}

impl InboxClient {
    pub(super) async fn list(&self, request: &ListRequest) -> Result<EntryPage> {
        self.get("/entries", &request.pairs()).await
    }

    pub(crate) async fn show(&self, id: i64) -> Result<EntryDetail> {
        self.get(&format!("/entries/{id}"), &[]).await
    }

    pub(super) async fn tail(&self, request: &TailRequest) -> Result<TailPage> {
        self.get("/tail", &request.pairs()).await
    }

    pub(super) async fn audit(&self, request: &AuditRequest) -> Result<AuditPage> {
        self.get("/audit", &request.pairs()).await
    }

    pub(super) async fn stats(&self) -> Result<InboxStats> {
        self.get("/stats", &[]).await
    }

    pub(super) async fn refusals(&self, request: &RefusalRequest) -> Result<RefusalPage> {
        self.get("/refusals", &request.pairs()).await
    }

    pub(crate) async fn story(&self, request: &StoryRequest) -> Result<StoryAnswer> {
        self.get("/why", &request.pairs()).await
    }

    /// Calls the status API too.
    pub(crate) async fn ask_story(&self, request: &StoryRequest) -> Result<StoryAnswer> {
        self.call(Method::POST, "/why", request).await
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

    pub(super) async fn change(&self, change: ChangeKind, request: &ChangeRequest) -> Result<ChangeAnswer> {
        self.call(Method::POST, change.path(), request).await
    }

    /// Takes a dry run.
    pub(super) async fn preview(&self, change: ChangeKind, request: &ChangeRequest) -> Result<ChangePreview> {
        self.call(Method::POST, change.path(), request).await
    }

    pub(super) async fn release_as(&self, request: &ReleaseAsRequest) -> Result<ReleaseAsAnswer> {
        self.call(Method::POST, ChangeKind::Release.path(), request).await
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
        let response = request.send().await.map_err(|error| self.not_connected(&error))?;
        let status = response.status();
        let body = response.bytes().await.map_err(|error| self.not_connected(&error))?;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|_| self.unexpected(status));
        }
        let Ok(ProblemDocument { detail, .. }) = serde_json::from_slice(&body) else {
            return Err(self.unexpected(status));
        };
        Err(match status {
            // The values of the command line, so 400 is wrong usage.
            StatusCode::BAD_REQUEST => UsageError(detail).into(),
            StatusCode::UNAUTHORIZED => InboxUnreachable::Unauthorized { url: self.base.clone() }.into(),
            StatusCode::SERVICE_UNAVAILABLE => InboxUnreachable::Unavailable(detail).into(),
            _ => anyhow!("{detail}"),
        })
    }

    fn not_connected(&self, error: &reqwest::Error) -> anyhow::Error {
        InboxUnreachable::NotConnected { url: self.base.clone(), why: cause(error) }.into()
    }

    fn unexpected(&self, status: StatusCode) -> anyhow::Error {
        InboxUnreachable::UnexpectedAnswer { url: self.base.clone(), status: status.as_u16() }.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_the_admin_listener_to_each_command_that_calls_it() {
        for (sentence, expected) in [
            ("nothing", "nothing"),
            (
                "see `blobgate inbox show 7` or `blobgate why 7`",
                "see `blobgate inbox show 7 -a` or `blobgate why 7 -a`",
            ),
            (
                "start it with `blobgate inbox serve --provider`",
                "start it with `blobgate inbox serve --provider`",
            ),
            (
                "its field `job`, an odd ` and `blobgate explain`",
                "its field `job`, an odd ` and `blobgate explain`",
            ),
        ] {
            assert_eq!(sentence_with(" -a", sentence), expected);
        }
    }
}
