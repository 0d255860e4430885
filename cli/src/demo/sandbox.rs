//! Orders generations from the sandbox, which stands in for the provider.

use super::delivery::DemoDelivery;
use super::gate::{ANSWER_TIMEOUT, GateAnswer, SendOutcome, trusting};
use crate::net_error::cause;
use anyhow::{Result, anyhow, ensure};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use uuid::Uuid;

pub(super) struct SandboxClient {
    pub(super) url: Url,
    key: String,
    key_file: PathBuf,
    client: reqwest::Client,
}

/// A generation and its callback take two seconds with `make run`.
const CALLBACK_TIMEOUT: Duration = Duration::from_secs(30);

/// The pause between two looks at the sandbox's callbacks.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The prompt of the provider's page.
const PROMPT: &str = "A cat playing with a ball in a sunny room";

#[derive(Deserialize)]
struct OrderReply {
    generation_id: String,
}

#[derive(Deserialize)]
struct CallbackList {
    callbacks: Vec<Callback>,
}

#[derive(Deserialize)]
struct Callback {
    generation_id: String,
    status: Option<u16>,
    error: Option<String>,
}

impl SandboxClient {
    pub(super) fn new(url: Url, key_file: &Path, certificate: &Path) -> Result<Self> {
        let name = key_file.display();
        let key = std::fs::read_to_string(key_file).map_err(|why| {
            anyhow!("cannot read the sandbox's API key {name}: {why}. `make run` makes it, --api-key-file names another")
        })?;
        let client = trusting(certificate)?.no_proxy().timeout(ANSWER_TIMEOUT).build()?;
        Ok(Self { url, key: key.trim().to_owned(), key_file: key_file.to_owned(), client })
    }

    /// Orders a generation with a callback. Returns its id.
    pub(super) async fn order(&self, callback: &Url) -> Result<Uuid> {
        self.generate(&json!({"prompt": PROMPT, "callback_url": callback.as_str()})).await
    }

    /// Orders a generation whose callback the sandbox never sends.
    pub(super) async fn order_uncalled(&self, callback: &Url) -> Result<Uuid> {
        let fault = json!({"faults": ["never"]});
        self.generate(&json!({"prompt": PROMPT, "callback_url": callback.as_str(), "sandbox": fault})).await
    }

    async fn generate(&self, order: &Value) -> Result<Uuid> {
        let reply = self.call(self.request(Method::POST, "/v1/veo/generate").json(order)).await?;
        let OrderReply { generation_id } =
            reply.json().await.map_err(|error| self.no_sandbox(&cause(&error)))?;
        Uuid::parse_str(&generation_id).map_err(|_| self.no_sandbox("its generation_id is no UUID"))
    }

    /// Waits for the gate's answer to the callback. Sets the delivery's body to the one that the sandbox sent.
    pub(super) async fn await_callback(&self, delivery: &mut DemoDelivery) -> Result<SendOutcome> {
        let id = delivery.id.to_string();
        let until = Instant::now().checked_add(CALLBACK_TIMEOUT);
        let callback = loop {
            if let Some(callback) = self.callbacks().await?.into_iter().find(|made| made.generation_id == id)
            {
                break callback;
            }
            if until.is_none_or(|until| Instant::now() >= until) {
                return Ok(SendOutcome::Unanswered(format!(
                    "the sandbox has not called back after {} s",
                    CALLBACK_TIMEOUT.as_secs()
                )));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        };
        delivery.body = self.status(delivery.id).await?;
        Ok(match callback.status {
            Some(status) => SendOutcome::Answered(GateAnswer { status, code: None, version: None }),
            None => SendOutcome::Unanswered(callback.error.unwrap_or_default()),
        })
    }

    /// The status of a generation. At its end it equals the callback's body.
    pub(super) async fn status(&self, id: Uuid) -> Result<String> {
        let status = self.call(self.request(Method::GET, &format!("/v1/veo/generations/{id}"))).await?;
        status.text().await.map_err(|error| self.no_sandbox(&cause(&error)))
    }

    /// Fails without a sandbox, or with another API key.
    pub(super) async fn check(&self) -> Result<()> {
        self.callbacks().await.map(drop)
    }

    async fn callbacks(&self) -> Result<Vec<Callback>> {
        let calls = self.call(self.request(Method::GET, "/sandbox/calls")).await?;
        let calls: CallbackList = calls.json().await.map_err(|error| self.no_sandbox(&cause(&error)))?;
        Ok(calls.callbacks)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut url = self.url.clone();
        url.set_path(path);
        self.client.request(method, url).bearer_auth(&self.key)
    }

    async fn call(&self, request: RequestBuilder) -> Result<Response> {
        let url = &self.url;
        let answer = request.send().await.map_err(|error| {
            anyhow!("cannot connect to the sandbox at {url}: {}. `make run` starts one", cause(&error))
        })?;
        let status = answer.status();
        ensure!(
            status != StatusCode::UNAUTHORIZED,
            "the sandbox at {url} refuses the API key in {}. Name its key with --api-key-file",
            self.key_file.display()
        );
        ensure!(
            status.is_success(),
            "the sandbox at {url} answers {status}. Name a running one with --sandbox"
        );
        Ok(answer)
    }

    fn no_sandbox(&self, why: &str) -> anyhow::Error {
        anyhow!("the server at {} is no sandbox: {why}. Name a running one with --sandbox", self.url)
    }
}
