//! Reads the inbox behind the gate: entries and expectations.

use super::gate::ANSWER_TIMEOUT;
use super::rows::Row;
use crate::net_error::cause;
use crate::option::{InvalidOption, parse_admin_url};
use crate::receiver::sha256;
use anyhow::Result;
use blobgate_inbox::service::{
    EntryDetail, EntryPage, EntryState, EntrySummary, ExpectationStatus, ListRequest,
};
use reqwest::{Client, RequestBuilder, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The admin listener that `--inbox` names, or none.
#[derive(Clone)]
pub(crate) struct InboxAddress(Option<Url>);

/// A running inbox.
pub(super) struct DemoInbox {
    pub(super) url: Url,
    /// The hook of the demo's expectations.
    pub(super) hook: String,
    client: Client,
    /// The newest entry from before the demo.
    newest: i64,
}

/// An entry of one of the demo's deliveries.
#[derive(Clone)]
pub(super) struct DemoEntry {
    pub(super) entry: EntrySummary,
    /// The expectation of its generation.
    pub(super) expectation: Option<ExpectationStatus>,
}

/// Parses the URL of an admin listener, or `none`.
pub(super) fn parse(text: &str) -> Result<InboxAddress, InvalidOption> {
    if text == "none" {
        return Ok(InboxAddress(None));
    }
    Ok(InboxAddress(Some(parse_admin_url(text)?)))
}

impl InboxAddress {
    /// Returns `None` when nothing listens there.
    pub(super) async fn find(&self, hook: &str) -> Result<Option<DemoInbox>> {
        let Some(url) = self.0.clone() else { return Ok(None) };
        let client = Client::builder().no_proxy().tls_certs_only([]).timeout(ANSWER_TIMEOUT).build()?;
        let mut inbox = DemoInbox { url, hook: hook.to_owned(), client, newest: 0 };
        match inbox.page(1, None).await {
            Ok(page) => inbox.newest = page.entries.first().map_or(0, |entry| entry.id),
            Err(InboxError::NotListening { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        Ok(Some(inbox))
    }

    /// The text for the report when there is no inbox.
    pub(super) fn absence(&self) -> String {
        self.0.as_ref().map_or_else(|| "none".to_owned(), |url| format!("none at {url}"))
    }
}

/// A failed call to the admin listener.
#[derive(Debug, thiserror::Error)]
enum InboxError {
    #[error("cannot connect to the inbox at {url}: it has ended. Start it, and run the demo again")]
    NotListening { url: Url },
    #[error("cannot call the inbox at {url}: {why}. See target/run/inbox.log")]
    NoAnswer { url: Url, why: String },
    #[error("the inbox at {url} requires a token. The demo has none: name an inbox without one with --inbox")]
    Unauthorized { url: Url },
    #[error("the inbox at {url} answers {status} to {path}. See target/run/inbox.log")]
    Refused { url: Url, status: StatusCode, path: String },
    #[error("the server at {url} is no inbox: {why}. Name the inbox's admin listener with --inbox")]
    NoInbox { url: Url, why: String },
}

/// The inbox lists at most this many entries at once.
const MAX_PAGE: i64 = 500;

impl DemoInbox {
    /// The entries since the demo's start.
    pub(super) async fn entries(&self) -> Result<Vec<DemoEntry>> {
        let (mut all, mut before) = (Vec::new(), None);
        loop {
            let page = self.page(MAX_PAGE, before).await?;
            let is_last = page.entries.iter().any(|entry| entry.id <= self.newest);
            let new = page.entries.into_iter().filter(|entry| entry.id > self.newest);
            all.extend(new.map(|entry| DemoEntry { entry, expectation: None }));
            before = page.next.filter(|_| !is_last);
            if before.is_none() {
                return Ok(all);
            }
        }
    }

    async fn page(&self, limit: i64, before: Option<i64>) -> Result<EntryPage, InboxError> {
        let mut url = self.at("/entries");
        let request = ListRequest { limit: Some(limit), before, ..ListRequest::default() };
        url.query_pairs_mut().extend_pairs(request.pairs());
        self.call(self.client.get(url)).await
    }

    /// The expectation of an entry's generation.
    pub(super) async fn expectation(&self, stored: &DemoEntry) -> Result<Option<ExpectationStatus>> {
        let request = self.client.get(self.at(&format!("/entries/{}", stored.entry.id)));
        let detail: EntryDetail = self.call(request).await?;
        Ok(detail.expectation)
    }

    pub(super) async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        Ok(self.call(self.client.post(self.at(path)).json(body)).await?)
    }

    fn at(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        url.set_path(path);
        url
    }

    async fn call<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, InboxError> {
        let url = self.url.clone();
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) if error.is_connect() => return Err(InboxError::NotListening { url }),
            Err(error) => return Err(InboxError::NoAnswer { url, why: cause(&error) }),
        };
        match answer.status() {
            StatusCode::UNAUTHORIZED => Err(InboxError::Unauthorized { url }),
            status if !status.is_success() => {
                Err(InboxError::Refused { url, status, path: answer.url().path().to_owned() })
            }
            _ => answer.json().await.map_err(|error| InboxError::NoInbox { url, why: cause(&error) }),
        }
    }
}

impl DemoEntry {
    /// The inbox stored it for this row's delivery.
    pub(super) fn is_of(&self, row: &Row) -> bool {
        let delivery = &row.delivery;
        self.entry.generation.as_ref().is_some_and(|id| *id == delivery.id.to_string())
            || self.entry.digest == sha256(delivery.body.as_bytes())
    }

    pub(super) fn is_under_way(&self) -> bool {
        matches!(self.entry.state, EntryState::Waiting | EntryState::InFlight)
    }

    pub(super) fn is_delivered(&self) -> bool {
        self.entry.state == EntryState::Delivered
    }
}
