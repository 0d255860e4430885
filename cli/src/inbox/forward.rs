//! Copies entries to a developer's machine.

use super::report::entries;
use crate::env::read_env;
use crate::net_error::cause;
use crate::option::{UsageError, parse_url};
use crate::output::eprint_line;
use anyhow::{Context, Result, anyhow};
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

/// The target of the copies.
#[derive(clap::Args)]
pub(super) struct ForwardArgs {
    /// A URL that gets a copy of each entry
    #[arg(long, value_name = "URL", value_parser = parse_url)]
    forward: Option<Url>,
    /// The environment variable with the copies' signing key (Standard Webhooks); repeat the option during a key rotation
    #[arg(long, value_name = "NAME", requires = "forward")]
    signing_key_env: Vec<String>,
    /// The time for retries of a copy while the target is down
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = humantime::parse_duration, requires = "forward")]
    retry: Duration,
}

/// A target, with counters.
pub(super) struct Forwarder {
    client: Client,
    base: Url,
    keys: Option<WebhookKeys>,
    retry: Duration,
    /// No answer for `retry`: each copy is tried once.
    is_down: bool,
    copied: u64,
    failed: u64,
}

/// The outcome of a copy.
pub(super) enum CopyOutcome {
    Answered(StatusCode),
    /// No answer. The text says why.
    Failed(String),
    /// The entry has no route, or its body is purged.
    Skipped(&'static str),
}

/// The default of `inbox serve --timeout`.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(25);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Retries double the wait up to this.
const MAX_WAIT: Duration = Duration::from_secs(5);
const MIN_WAIT: Duration = Duration::from_millis(200);

impl ForwardArgs {
    pub(super) fn open(self) -> Result<Option<Forwarder>> {
        let Some(base) = self.forward else { return Ok(None) };
        let keys = self.signing_key_env.iter().map(|name| Ok((name.clone(), read_env(name)?)));
        let keys = keys.collect::<Result<Vec<_>>>()?;
        let keys =
            if keys.is_empty() { None } else { Some(WebhookKeys::parse(&keys).map_err(UsageError::new)?) };
        let mut client = Client::builder().no_proxy().redirect(Policy::none());
        if base.scheme() == "http" {
            client = client.tls_certs_only([]);
        }
        let client = client.timeout(ANSWER_TIMEOUT).connect_timeout(CONNECT_TIMEOUT).build()?;
        let retry = self.retry;
        Ok(Some(Forwarder { client, base, keys, retry, is_down: false, copied: 0, failed: 0 }))
    }
}

impl Forwarder {
    pub(super) async fn copy(&mut self, entry: &TailEntry) -> CopyOutcome {
        let copied =
            self.try_to_copy(entry).await.unwrap_or_else(|error| CopyOutcome::Failed(format!("{error:#}")));
        match &copied {
            CopyOutcome::Answered(status) if status.is_success() => {
                self.copied = self.copied.saturating_add(1)
            }
            CopyOutcome::Answered(_) | CopyOutcome::Failed(_) => self.failed = self.failed.saturating_add(1),
            CopyOutcome::Skipped(_) => {}
        }
        copied
    }

    async fn try_to_copy(&mut self, entry: &TailEntry) -> Result<CopyOutcome> {
        if entry.entry.route.is_none() {
            return Ok(CopyOutcome::Skipped("not copied: it is quarantined"));
        }
        let Some(payload) = &entry.payload else {
            return Ok(CopyOutcome::Skipped("not copied: its body is purged"));
        };
        let id = entry.entry.id;
        let url = self.url(&unescape(&payload.path).context("its path is unreadable")?)?;
        let body = payload.bytes().context("its body is no base64")?;
        let headers = headers(payload)?;
        let waits = ExponentialBuilder::new().with_min_delay(MIN_WAIT).with_max_delay(MAX_WAIT);
        let (started, mut waits) = (Instant::now(), waits.without_max_times().build());
        loop {
            let request = self.client.post(url.clone()).headers(self.sign(headers.clone(), id, &body));
            let why = match request.body(body.clone()).send().await {
                // A gateway answers these for a service that is down.
                Ok(response) if matches!(response.status().as_u16(), 502..=504) => {
                    format!("it answers {}", response.status().as_u16())
                }
                Ok(response) => {
                    self.is_down = false;
                    return Ok(CopyOutcome::Answered(response.status()));
                }
                Err(error) => cause(&error),
            };
            let wait = waits.next().unwrap_or(MAX_WAIT);
            if self.is_down || started.elapsed().saturating_add(wait) > self.retry {
                if !self.is_down {
                    eprint_line(format_args!(
                        "{} is down: {why}. Each entry is tried once until it answers",
                        self.base
                    ));
                }
                self.is_down = true;
                return Ok(CopyOutcome::Failed(why));
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
        // A gate that signs sets webhook-id.
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
        headers.append(
            HeaderName::try_from(name)?,
            value.ok_or_else(|| anyhow!("its header {name} is unreadable"))?,
        );
    }
    headers.insert(header::SOURCE, HeaderValue::from_static(EventSource::Tail.name()));
    Ok(headers)
}

/// Reverses the inbox's escapes of bytes in JSON.
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

impl fmt::Display for CopyOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CopyOutcome::Answered(status) => write!(f, "{}", status.as_u16()),
            CopyOutcome::Failed(why) => write!(f, "not copied: {why}"),
            CopyOutcome::Skipped(why) => f.write_str(why),
        }
    }
}

/// The counts for the end.
impl fmt::Display for Forwarder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "copied {} to {}", entries(self.copied), self.base)?;
        if self.failed > 0 {
            write!(f, ", {} failed", self.failed)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::unescape;

    #[test]
    fn reverses_escapes() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(unescape(&all.escape_ascii().to_string()), Some(all));
        for cut in ["\\", "\\x", "\\x0", "\\xg0"] {
            assert_eq!(unescape(cut), None, "{cut}");
        }
    }
}
