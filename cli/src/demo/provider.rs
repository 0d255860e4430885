//! The sandbox in the provider's place: it generates, and delivers by itself.

use super::delivery::Delivery;
use super::gate::{ANSWER, Answer, Sent, trusting};
use crate::net_error::cause;
use anyhow::{Context, Result, anyhow, ensure};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use uuid::Uuid;

pub(super) struct Provider {
    pub(super) url: Url,
    key: String,
    key_file: PathBuf,
    client: reqwest::Client,
}

/// How long a generation and its callback may take: two seconds with what `make run` starts.
const GENERATION: Duration = Duration::from_secs(30);

/// How often it is looked whether the callback was made.
const LOOK: Duration = Duration::from_millis(50);

/// What a generation is ordered with, as on the provider's page.
const PROMPT: &str = "A cat playing with a ball in a sunny room";

#[derive(Deserialize)]
struct Ordered {
    generation_id: String,
}

#[derive(Deserialize)]
struct Calls {
    callbacks: Vec<Callback>,
}

#[derive(Deserialize)]
struct Callback {
    generation_id: String,
    status: Option<u16>,
    error: Option<String>,
}

impl Provider {
    pub(super) fn new(url: Url, key_file: &Path, certificate: &Path) -> Result<Self> {
        let name = key_file.display();
        let key = std::fs::read_to_string(key_file).with_context(|| {
            format!("the sandbox's API key {name} cannot be read: `make run` makes it, --api-key-file names another")
        })?;
        let client = trusting(certificate)?.no_proxy().timeout(ANSWER).build()?;
        Ok(Self { url, key: key.trim().to_owned(), key_file: key_file.to_owned(), client })
    }

    /// Orders a generation of which a callback comes. Returns its id.
    pub(super) async fn order(&self, callback: &Url) -> Result<Uuid> {
        self.generate(&json!({"prompt": PROMPT, "callback_url": callback.as_str()})).await
    }

    /// Orders one of which none comes.
    pub(super) async fn order_uncalled(&self, callback: &Url) -> Result<Uuid> {
        let fault = json!({"faults": ["never"]});
        self.generate(&json!({"prompt": PROMPT, "callback_url": callback.as_str(), "sandbox": fault})).await
    }

    async fn generate(&self, order: &Value) -> Result<Uuid> {
        let ordered = self.ask(self.request(Method::POST, "/v1/veo/generate").json(order)).await?;
        let Ordered { generation_id } = ordered.json().await.map_err(|error| self.unclear(&error))?;
        Uuid::parse_str(&generation_id)
            .map_err(|_| anyhow!("what answers at {} is no sandbox (its id is no UUID)", self.url))
    }

    /// Waits until the callback of what was ordered has been answered. The delivery gets the body that the sandbox has sent.
    pub(super) async fn called_back(&self, delivery: &mut Delivery) -> Result<Sent> {
        let id = delivery.id.to_string();
        let until = Instant::now().checked_add(GENERATION);
        let callback = loop {
            if let Some(callback) = self.callbacks().await?.into_iter().find(|made| made.generation_id == id)
            {
                break callback;
            }
            if until.is_none_or(|until| Instant::now() >= until) {
                return Ok(Sent::Unanswered(format!(
                    "the sandbox has not called back within {} s",
                    GENERATION.as_secs()
                )));
            }
            tokio::time::sleep(LOOK).await;
        };
        delivery.body = self.status(delivery.id).await?;
        Ok(match callback.status {
            Some(status) => Sent::Answered(Answer { status, code: None, version: None }),
            None => Sent::Unanswered(callback.error.unwrap_or_default()),
        })
    }

    /// What a status shows at the end, and a callback has said.
    pub(super) async fn status(&self, id: Uuid) -> Result<String> {
        let status = self.ask(self.request(Method::GET, &format!("/v1/veo/generations/{id}"))).await?;
        status.text().await.map_err(|error| self.unclear(&error))
    }

    /// Fails where there is no sandbox, or where it wants another key.
    pub(super) async fn check(&self) -> Result<()> {
        self.callbacks().await.map(drop)
    }

    async fn callbacks(&self) -> Result<Vec<Callback>> {
        let calls = self.ask(self.request(Method::GET, "/sandbox/calls")).await?;
        let calls: Calls = calls.json().await.map_err(|error| self.unclear(&error))?;
        Ok(calls.callbacks)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut url = self.url.clone();
        url.set_path(path);
        self.client.request(method, url).bearer_auth(&self.key)
    }

    async fn ask(&self, request: RequestBuilder) -> Result<Response> {
        let url = &self.url;
        let answer = request.send().await.map_err(|error| {
            anyhow!("no sandbox can be reached at {url} ({}): `make run` starts one", cause(&error))
        })?;
        let status = answer.status();
        ensure!(
            status != StatusCode::UNAUTHORIZED,
            "the sandbox at {url} wants another API key than the one in {}",
            self.key_file.display()
        );
        ensure!(status.is_success(), "the sandbox at {url} answers {status}");
        Ok(answer)
    }

    fn unclear(&self, error: &reqwest::Error) -> anyhow::Error {
        anyhow!("what answers at {} is no sandbox ({})", self.url, cause(error))
    }
}
