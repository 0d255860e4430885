//! The inbox behind the gate, where there is one: what it keeps, and what it has yet to deliver.

use super::expect::Expectation;
use super::gate::{ANSWER, cause};
use super::rows::Row;
use crate::receiver::sha256;
use anyhow::{Result, anyhow, ensure};
use reqwest::{Client, RequestBuilder, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

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

/// One delivery, as the inbox tells of it.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) id: i64,
    pub(super) state: String,
    pub(super) generation: Option<String>,
    pub(super) reason: Option<String>,
    /// How often it came.
    pub(super) seen: i64,
    /// SHA-256 of the body, in hexadecimal.
    pub(super) digest: String,
    /// What is expected of its generation, once that was asked.
    #[serde(skip)]
    pub(super) expectation: Option<Expectation>,
}

#[derive(Deserialize)]
struct Page {
    entries: Vec<Entry>,
    next: Option<i64>,
}

#[derive(Deserialize)]
struct Shown {
    expectation: Option<Expectation>,
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
const PAGE: u32 = 500;

impl Inbox {
    /// What it got since it was found.
    pub(super) async fn entries(&self) -> Result<Vec<Entry>> {
        let (mut all, mut before) = (Vec::new(), None);
        loop {
            let page = self.page(PAGE, before).await.map_err(|trouble| self.still_there(trouble))?;
            let is_last = page.entries.iter().any(|entry| entry.id <= self.newest);
            all.extend(page.entries.into_iter().filter(|entry| entry.id > self.newest));
            before = page.next.filter(|_| !is_last);
            if before.is_none() {
                return Ok(all);
            }
        }
    }

    async fn page(&self, limit: u32, before: Option<i64>) -> Result<Page, Trouble> {
        let mut url = self.at("/entries");
        url.query_pairs_mut().append_pair("limit", &limit.to_string());
        if let Some(before) = before {
            url.query_pairs_mut().append_pair("before", &before.to_string());
        }
        self.ask(self.client.get(url), "tell what it keeps").await
    }

    /// What it has of one entry's generation.
    pub(super) async fn expectation(&self, entry: &Entry) -> Result<Option<Expectation>> {
        let request = self.client.get(self.at(&format!("/entries/{}", entry.id)));
        let shown: Shown = self.say(request, "tell what it keeps").await?;
        Ok(shown.expectation)
    }

    /// Posts to an inbox that was there before.
    pub(super) async fn post<T: DeserializeOwned>(&self, path: &str, body: &Value, what: &str) -> Result<T> {
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

impl Entry {
    /// Whether it came of what this row sent.
    pub(super) fn is_of(&self, row: &Row) -> bool {
        let delivery = &row.delivery;
        self.generation.as_ref().is_some_and(|id| *id == delivery.id.to_string())
            || self.digest == sha256(delivery.body.as_bytes())
    }

    pub(super) fn is_under_way(&self) -> bool {
        matches!(self.state.as_str(), "waiting" | "in_flight")
    }

    pub(super) fn is_delivered(&self) -> bool {
        self.state == "delivered"
    }
}
