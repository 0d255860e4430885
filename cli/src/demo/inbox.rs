//! The inbox behind the gate, where there is one: its entries, and their expectations.

use super::gate::ANSWER;
use super::rows::Row;
use crate::net_error::cause;
use crate::receiver::sha256;
use anyhow::{Result, anyhow, ensure};
use blobgate_inbox::service::{
    EntryDetail, EntryPage, EntryState, EntrySummary, ExpectationStatus, ListRequest,
};
use reqwest::{Client, RequestBuilder, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Where its admin listener may be.
#[derive(Clone)]
pub(crate) struct At(Option<Url>);

/// An inbox that answers.
pub(super) struct Inbox {
    pub(super) url: Url,
    /// The hook of which it is told what is expected there.
    pub(super) hook: String,
    client: Client,
    /// The newest entry before anything was sent.
    newest: i64,
}

/// An entry that the demo has sent.
#[derive(Clone)]
pub(super) struct Stored {
    pub(super) entry: EntrySummary,
    /// The expectation of its generation, once that is read.
    pub(super) expectation: Option<ExpectationStatus>,
}

/// A URL, or `none`.
pub(super) fn parse(text: &str) -> Result<At, String> {
    if text == "none" {
        return Ok(At(None));
    }
    let url = Url::parse(text).map_err(|error| format!("{text} is no URL: {error}"))?;
    Ok(At(Some(url)))
}

impl At {
    /// Where it was looked for and nobody answers, there is none.
    pub(super) async fn find(&self, hook: &str) -> Result<Option<Inbox>> {
        let Some(url) = self.0.clone() else { return Ok(None) };
        let client = Client::builder().no_proxy().tls_certs_only([]).timeout(ANSWER).build()?;
        let mut inbox = Inbox { url, hook: hook.to_owned(), client, newest: 0 };
        match inbox.page(1, None).await {
            Ok(page) => inbox.newest = page.entries.first().map_or(0, |entry| entry.id),
            Err(Trouble::NobodyThere) => return Ok(None),
            Err(Trouble::Other(error)) => return Err(error),
        }
        Ok(Some(inbox))
    }

    /// In words, where none was found.
    pub(super) fn nobody(&self) -> String {
        self.0.as_ref().map_or_else(|| "none".to_owned(), |url| format!("none at {url}"))
    }
}

enum Trouble {
    NobodyThere,
    Other(anyhow::Error),
}

/// As many as the inbox shows at once.
const PAGE: i64 = 500;

impl Inbox {
    /// What it got since it was found.
    pub(super) async fn entries(&self) -> Result<Vec<Stored>> {
        let (mut all, mut before) = (Vec::new(), None);
        loop {
            let page = self.page(PAGE, before).await.map_err(|trouble| self.still_there(trouble))?;
            let is_last = page.entries.iter().any(|entry| entry.id <= self.newest);
            let new = page.entries.into_iter().filter(|entry| entry.id > self.newest);
            all.extend(new.map(|entry| Stored { entry, expectation: None }));
            before = page.next.filter(|_| !is_last);
            if before.is_none() {
                return Ok(all);
            }
        }
    }

    async fn page(&self, limit: i64, before: Option<i64>) -> Result<EntryPage, Trouble> {
        let mut url = self.at("/entries");
        let request = ListRequest { limit: Some(limit), before, ..ListRequest::default() };
        url.query_pairs_mut().extend_pairs(request.pairs());
        self.ask(self.client.get(url), "list its entries").await
    }

    /// The expectation of an entry's generation.
    pub(super) async fn expectation(&self, stored: &Stored) -> Result<Option<ExpectationStatus>> {
        let request = self.client.get(self.at(&format!("/entries/{}", stored.entry.id)));
        let detail: EntryDetail = self.say(request, "show an entry").await?;
        Ok(detail.expectation)
    }

    /// Posts to an inbox that was there before.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        what: &str,
    ) -> Result<T> {
        self.say(self.client.post(self.at(path)).json(body), what).await
    }

    async fn say<T: DeserializeOwned>(&self, request: RequestBuilder, what: &str) -> Result<T> {
        self.ask(request, what).await.map_err(|trouble| self.still_there(trouble))
    }

    fn still_there(&self, trouble: Trouble) -> anyhow::Error {
        match trouble {
            Trouble::NobodyThere => anyhow!("the inbox at {} has gone while it was looked at", self.url),
            Trouble::Other(error) => error,
        }
    }

    fn at(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        url.set_path(path);
        url
    }

    /// `what` is what it should do, for who reads that it does not.
    async fn ask<T: DeserializeOwned>(&self, request: RequestBuilder, what: &str) -> Result<T, Trouble> {
        let answer = request.send().await.map_err(|error| {
            if error.is_connect() {
                return Trouble::NobodyThere;
            }
            Trouble::Other(anyhow!("the inbox at {} does not {what} ({})", self.url, cause(&error)))
        })?;
        self.read(answer, what).await.map_err(Trouble::Other)
    }

    async fn read<T: DeserializeOwned>(&self, answer: reqwest::Response, what: &str) -> Result<T> {
        let (url, status) = (&self.url, answer.status());
        ensure!(
            status != StatusCode::UNAUTHORIZED,
            "the inbox at {url} wants a token, and the demo has none"
        );
        ensure!(status.is_success(), "the inbox at {url} answers {status} where it should {what}");
        answer.json().await.map_err(|error| anyhow!("what answers at {url} is no inbox ({})", cause(&error)))
    }
}

impl Stored {
    /// Whether it came of the delivery of this row.
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
