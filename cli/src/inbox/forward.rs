//! Copies of events to a developer's machine.

use crate::env::read_env;
use crate::net_error::cause;
use crate::output::say;
use anyhow::{Context, Result, anyhow, bail};
use backon::{BackoffBuilder, ExponentialBuilder};
use blobgate::contract::{EventSource, header};
use blobgate_inbox::WebhookKeys;
use blobgate_inbox::service::{EntryPayload, HeaderLine, TailEntry};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use std::fmt;
use std::time::Duration;
use tokio::time::Instant;

/// Where to.
#[derive(clap::Args)]
pub(super) struct Target {
    /// Copy each event to this address too
    #[arg(long, value_name = "URL")]
    forward: Option<Url>,
    /// The variable with a key of Standard Webhooks that signs the copies; twice while keys rotate
    #[arg(long, value_name = "NAME", requires = "forward")]
    signing_key_env: Vec<String>,
    /// So long a copy is tried again while nothing answers
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = humantime::parse_duration, requires = "forward")]
    retry: Duration,
}

/// A target, and how it went.
pub(super) struct Forward {
    client: Client,
    base: Url,
    keys: Option<WebhookKeys>,
    retry: Duration,
    /// Nothing has answered for `retry`: each is tried once.
    is_down: bool,
    copied: u64,
    failed: u64,
}

/// What became of a copy.
pub(super) enum Copied {
    Answered(StatusCode),
    /// With why.
    Failed(String),
    /// It has no route, or its body is purged.
    Left(&'static str),
}

/// What an attempt of the inbox's own may take.
const ANSWER: Duration = Duration::from_secs(25);
const CONNECTION: Duration = Duration::from_secs(5);
/// Between attempts: doubled each time, up to this.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
const FIRST_WAIT: Duration = Duration::from_millis(200);

impl Target {
    pub(super) fn open(self) -> Result<Option<Forward>> {
        let Some(base) = self.forward else { return Ok(None) };
        if !matches!(base.scheme(), "http" | "https") || base.host().is_none() {
            bail!("--forward {base} is no URL of the form http://HOST:PORT or https://HOST");
        }
        let keys = self.signing_key_env.iter().map(|name| Ok((name.clone(), read_env(name)?)));
        let keys = keys.collect::<Result<Vec<_>>>()?;
        let keys = if keys.is_empty() { None } else { Some(WebhookKeys::parse(&keys)?) };
        let mut client = Client::builder().no_proxy().redirect(Policy::none());
        if base.scheme() == "http" {
            client = client.tls_certs_only([]);
        }
        let client = client.timeout(ANSWER).connect_timeout(CONNECTION).build()?;
        let retry = self.retry;
        Ok(Some(Forward { client, base, keys, retry, is_down: false, copied: 0, failed: 0 }))
    }
}

impl Forward {
    pub(super) async fn copy(&mut self, entry: &TailEntry) -> Copied {
        let copied =
            self.try_to_copy(entry).await.unwrap_or_else(|error| Copied::Failed(format!("{error:#}")));
        match &copied {
            Copied::Answered(status) if status.is_success() => self.copied = self.copied.saturating_add(1),
            Copied::Answered(_) | Copied::Failed(_) => self.failed = self.failed.saturating_add(1),
            Copied::Left(_) => {}
        }
        copied
    }

    async fn try_to_copy(&mut self, entry: &TailEntry) -> Result<Copied> {
        if entry.entry.route.is_none() {
            return Ok(Copied::Left("not forwarded: it is quarantined"));
        }
        let Some(payload) = &entry.payload else {
            return Ok(Copied::Left("not forwarded: its body is purged"));
        };
        let id = entry.entry.id;
        let url = self.url(&unescape(&payload.path).context("its path is none")?)?;
        let body = payload.bytes().context("its body is no base64")?;
        let headers = headers(payload)?;
        let waits = ExponentialBuilder::new().with_min_delay(FIRST_WAIT).with_max_delay(LONGEST_WAIT);
        let (started, mut waits) = (Instant::now(), waits.without_max_times().build());
        loop {
            let request = self.client.post(url.clone()).headers(self.sign(headers.clone(), id, &body));
            let why = match request.body(body.clone()).send().await {
                // What a gateway before a service that is away answers.
                Ok(response) if matches!(response.status().as_u16(), 502..=504) => {
                    format!("it answers {}", response.status().as_u16())
                }
                Ok(response) => {
                    self.is_down = false;
                    return Ok(Copied::Answered(response.status()));
                }
                Err(error) => cause(&error),
            };
            let wait = waits.next().unwrap_or(LONGEST_WAIT);
            if self.is_down || started.elapsed().saturating_add(wait) > self.retry {
                if !self.is_down {
                    say(format_args!(
                        "{} is down ({why}): until it answers, each event is tried once",
                        self.base
                    ));
                }
                self.is_down = true;
                return Ok(Copied::Failed(why));
            }
            tokio::time::sleep(wait).await;
        }
    }

    fn url(&self, path: &[u8]) -> Result<Url> {
        let path = str::from_utf8(path)?;
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        url.set_query(query);
        Ok(url)
    }

    fn sign(&self, mut headers: HeaderMap, entry: i64, body: &[u8]) -> HeaderMap {
        let Some(keys) = &self.keys else { return headers };
        // A gate that signs has set it.
        let id = headers.get(header::WEBHOOK_ID).or_else(|| headers.get(header::IDEMPOTENCY_KEY));
        let id = id.and_then(|id| id.to_str().ok()).map_or_else(|| entry.to_string(), str::to_owned);
        for (name, value) in keys.headers(&id, body) {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
        headers
    }
}

fn headers(payload: &EntryPayload) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for HeaderLine { name, value } in &payload.headers {
        let value = unescape(value).and_then(|value| HeaderValue::try_from(value).ok());
        headers
            .append(HeaderName::try_from(name)?, value.ok_or_else(|| anyhow!("its header {name} is none"))?);
    }
    headers.insert(header::SOURCE, HeaderValue::from_static(EventSource::Tail.name()));
    Ok(headers)
}

/// How the inbox writes bytes in JSON, back again.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut out) = (text.bytes(), Vec::with_capacity(text.len()));
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        out.push(match bytes.next()? {
            b't' => b'\t',
            b'r' => b'\r',
            b'n' => b'\n',
            b'x' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    Some(out)
}

impl fmt::Display for Copied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Copied::Answered(status) => write!(f, "{}", status.as_u16()),
            Copied::Failed(why) => write!(f, "not forwarded: {why}"),
            Copied::Left(why) => f.write_str(why),
        }
    }
}

/// What was done.
impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} copied to {}", self.copied, self.base)?;
        if self.failed > 0 {
            write!(f, ", {} refused or not taken", self.failed)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::unescape;

    #[test]
    fn what_was_escaped_comes_back() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(unescape(&all.escape_ascii().to_string()), Some(all));
        for cut in ["\\", "\\x", "\\x0", "\\xg0"] {
            assert_eq!(unescape(cut), None, "{cut}");
        }
    }
}
