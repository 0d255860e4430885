//! `blobgate inbox serve`: runs the inbox.

use super::admin_token::AdminTokenArgs;
use super::notify::{InboxSecrets, NotifyArgs};
use super::store_option::StoreParser;
use crate::end_signals::EndSignals;
use crate::env::read_env;
use crate::log::Format;
use crate::option::{UsageError, is_this_machine, parse_address, parse_envoy_url, parse_time};
use crate::output::print_line;
use crate::receiver::cannot_listen;
use anyhow::{Result, bail};
use axum::http::Uri;
use blobgate::contract::DOCS;
use blobgate_inbox::store::Place;
use blobgate_inbox::{Reconcile, Settings, WebhookKeys};
use bytesize::ByteSize;
use reqwest::Url;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Run the inbox: store the gate's events, and deliver them to the services
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The store: sqlite:PATH, or postgres://USER@HOST/DATABASE
    #[arg(long, value_name = "STORE", env = "BLOBGATE_INBOX_STORE", hide_env_values = true, value_parser = StoreParser)]
    store: Place,
    /// The address for the gate
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9084", env = "BLOBGATE_INBOX_LISTEN", value_parser = parse_address)]
    listen: SocketAddr,
    /// The address for operators: health, metrics and the other commands
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9085", env = "BLOBGATE_INBOX_ADMIN", value_parser = parse_address)]
    admin: SocketAddr,
    /// The address for scrapers, off by default: it answers GET /metrics alone, without a token
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = parse_address)]
    metrics: Option<SocketAddr>,
    /// The address for Envoy's access log, off by default, on this machine: it reports what the gates refuse, for `blobgate inbox refusals`
    #[arg(long, value_name = "ADDRESS:PORT", env = "BLOBGATE_INBOX_ACCESS_LOG", value_parser = parse_address)]
    access_log: Option<SocketAddr>,
    /// An access log from other machines: any client of the port can then forge refusals, and its messages have paths with tokens
    #[arg(long, requires = "access_log")]
    insecure_access_log: bool,
    /// The URL of Envoy's listener with the service routes
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8090", env = "BLOBGATE_INBOX_DELIVER_TO", value_parser = parse_envoy_url)]
    deliver_to: Uri,
    /// The environment variable with the gate's signing key (Standard Webhooks), which also signs attempts; several names, with commas, during a key rotation
    #[arg(long, value_name = "NAME", env = "BLOBGATE_INBOX_SIGNING_KEY_ENV", value_delimiter = ',')]
    signing_key_env: Vec<String>,
    /// Unsigned deliveries from other machines: any client of the port can then forge events
    #[arg(long)]
    insecure: bool,
    #[command(flatten)]
    admin_tokens: AdminTokenArgs,
    /// The time limit of an attempt; Envoy's service routes need a shorter one
    #[arg(long, value_name = "TIME", default_value = "25s", value_parser = parse_time)]
    timeout: Duration,
    /// The number of parallel attempts on a route: a hook and an event
    #[arg(long, value_name = "N", default_value = "64")]
    concurrency: NonZeroU32,
    /// The attempts a second on a route after an outage; the rate doubles every 10 s until the backlog is gone
    #[arg(long, value_name = "N", default_value = "100")]
    drain_rate: NonZeroU32,
    /// The limit of stored bytes, 1MB or more; near it, the inbox deletes the oldest delivered bodies
    #[arg(long, value_name = "SIZE", default_value = "10GiB", value_parser = parse_limit)]
    limit: i64,
    /// The largest number of events in a transaction, up to 512; 1 turns the group commit off
    #[arg(long, value_name = "N", default_value = "512", value_parser = clap::value_parser!(u16).range(1..=512))]
    batch: u16,
    /// The plain HTTP URL of Envoy's route to the provider's status API; it turns the reconciler on
    #[arg(long, value_name = "URL", env = "BLOBGATE_INBOX_PROVIDER", value_parser = parse_envoy_url)]
    provider: Option<Uri>,
    /// The time from an expectation to its first status call: Veo3's limit of 10m, and a margin
    #[arg(long, value_name = "TIME", default_value = "13m", value_parser = parse_time)]
    reconcile_after: Duration,
    /// The status calls a minute, of all inboxes on the store together; the provider allows a key 60, the gates' calls included
    #[arg(long, value_name = "N", default_value = "10")]
    reconcile_per_minute: NonZeroU32,
    /// The time to the second status call; it doubles with each call, up to a day
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = parse_time)]
    reconcile_again: Duration,
    /// The base URL of the documentation, in the `type` of problem documents and the links of notifications
    #[arg(long, value_name = "URL", default_value = DOCS, value_parser = parse_docs_url)]
    docs_url: String,
    #[command(flatten)]
    notify: NotifyArgs,
    /// The format of log lines on standard error: by default text on a terminal and JSON elsewhere; RUST_LOG sets their levels
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Auto, env = "BLOBGATE_LOG_FORMAT")]
    pub(super) log_format: Format,
}

const EXAMPLES: &str = "\
The gate gets 200 once an event is stored, and otherwise 503: the provider then retries.

The inbox attempts each delivery until the service answers 2xx: again after 1 s, then at doubling
intervals of up to an hour, for 72 hours of attempts. Then the entry is dead, until a person
decides. Attempts go to Envoy's service routes, on the hook's path, with blobgate-attempt. With
--signing-key-env the inbox signs each one.

With --provider, the inbox reconciles each announced generation (`blobgate inbox expect --help`)
that has no event after --reconcile-after. It delivers the result like a webhook, with
blobgate-source: reconcile.

With --notify, the inbox calls your URL when something needs a person, at most once a kind and
hour. `blobgate inbox test-notify` shows whether the receiver takes a call.

SIGTERM, SIGINT or SIGHUP ends the inbox within 25 s. Until then it finishes attempts and stores events. `kill -9`
loses nothing.

The admin listener answers /livez (the process runs), /healthz (the store accepts events), /readyz
(the inbox accepts events), /metrics, and the other commands. Its page for people is /page/. With
--admin-token, each client sends a token, whose role decides: read, expect or operate. Or a scraper
sends none: with --metrics, a listener of its own answers /metrics and nothing else.

With --access-log, Envoy reports each request that it or the gate refuses: `blobgate inbox refusals`
lists them. A delivery never waits for this listener.

Exit code: 0 when a signal ended it, 1 when it cannot start or continue, 2 for wrong usage.

Examples:
  blobgate inbox serve --store sqlite:inbox.db
  blobgate inbox serve --store postgres://blobgate@db.internal/blobgate \\
    --signing-key-env BLOBGATE_SIGNING_KEY
  blobgate inbox serve --store sqlite:inbox.db --provider http://127.0.0.1:8090
  blobgate inbox serve --store sqlite:inbox.db --admin-token prometheus:read:BLOBGATE_READ_TOKEN
  curl http://127.0.0.1:9085/metrics";

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    if args.signing_key_env.is_empty() && !args.listen.ip().is_loopback() && !args.insecure {
        bail!(UsageError(format!(
            "other machines can reach {}. Name the gate's signing key with --signing-key-env, or pass --insecure",
            args.listen
        )));
    }
    let admin_tokens = args.admin_tokens.read()?;
    if admin_tokens.tokens.is_empty() && !args.admin.ip().is_loopback() {
        bail!(UsageError(format!(
            "other machines can reach {}. Name a token with --admin-token",
            args.admin
        )));
    }
    let keys = || -> Result<Option<WebhookKeys>> {
        let keys = args
            .signing_key_env
            .iter()
            .map(|name| Ok((name.clone(), read_env(name)?)))
            .collect::<Result<Vec<_>>>()?;
        Ok(if keys.is_empty() { None } else { Some(WebhookKeys::parse(&keys).map_err(UsageError::new)?) })
    };
    let (sign, verify) = (keys()?, keys()?);
    if let Some(keys) = &sign
        && let Some(name) = admin_tokens.variable_in(keys)
    {
        bail!(UsageError(format!(
            "{name} has the signing key as admin token: operators could forge events. Set it to another value"
        )));
    }
    if let Some(address) = args.access_log
        && !address.ip().is_loopback()
        && !args.insecure_access_log
    {
        bail!(UsageError(format!(
            "other machines can reach {address}, and forge refusals. Use an address of this machine, or pass --insecure-access-log"
        )));
    }
    if args.listen == args.admin && args.listen.port() != 0 {
        bail!(UsageError(format!("--listen and --admin are both {}. Name two ports", args.listen)));
    }

    let secrets = InboxSecrets { signing_keys: sign.as_ref(), admin_tokens: Some(&admin_tokens) };
    let notify = args.notify.read(&secrets)?;

    let mut signals = EndSignals::watch()?;
    let receive = listen(args.listen, "--listen").await?;
    let admin = listen(args.admin, "--admin").await?;
    let metrics = match args.metrics {
        Some(address) => Some(listen(address, "--metrics").await?),
        None => None,
    };
    let access_log = match args.access_log {
        Some(address) => Some(listen(address, "--access-log").await?),
        None => None,
    };
    let mut ready =
        format!("inbox listens on http://{}, admin http://{}", receive.local_addr()?, admin.local_addr()?);
    if let Some(metrics) = &metrics {
        ready.push_str(&format!(", metrics http://{}", metrics.local_addr()?));
    }
    if let Some(access_log) = &access_log {
        ready.push_str(&format!(", access log http://{}", access_log.local_addr()?));
    }
    ready.push_str(&format!(", page http://{}/page/", admin.local_addr()?));
    let ending = CancellationToken::new();
    let settings = Settings {
        store: args.store,
        receive,
        admin,
        metrics,
        access_log,
        deliver_to: args.deliver_to,
        sign,
        verify,
        admin_tokens: admin_tokens.tokens,
        timeout: args.timeout,
        concurrency: usize::try_from(args.concurrency.get())?,
        drain: args.drain_rate,
        limit: args.limit,
        batch: usize::from(args.batch),
        reconcile: Reconcile {
            provider: args.provider,
            after: args.reconcile_after,
            per_minute: args.reconcile_per_minute.get(),
            again: args.reconcile_again,
        },
        docs: args.docs_url,
        notify,
    };
    let serving = blobgate_inbox::serve(settings, ending.clone(), || print_line(format_args!("{ready}")));
    let end_requested = async {
        signals.next().await;
        ending.cancel();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = serving => ended?,
        () = end_requested => (),
    }
    Ok(ExitCode::SUCCESS)
}

async fn listen(address: SocketAddr, option: &str) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| cannot_listen(address, option, &error))
}

/// A value of `--limit` that is no size, or too small.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum InvalidLimit {
    #[error("{0:?} is no size. Write 500MB or 10GiB")]
    NoSize(String),
    #[error("it is under 1MB, the size of the largest event. Write 500MB or 10GiB")]
    TooSmall,
}

/// The largest body that the gate forwards, its `max_body_bytes`.
const MIN_LIMIT: i64 = 1_000_000;

/// Parses `500MB`, `10GiB` or `1000000`.
fn parse_limit(text: &str) -> Result<i64, InvalidLimit> {
    let bytes = text.trim().parse::<ByteSize>().ok().and_then(|size| i64::try_from(size.as_u64()).ok());
    let bytes = bytes.ok_or_else(|| InvalidLimit::NoSize(text.to_owned()))?;
    if bytes < MIN_LIMIT { Err(InvalidLimit::TooSmall) } else { Ok(bytes) }
}

/// A text that is no base URL of the documentation. It does not show the text, which may contain a password.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is no base URL of the documentation. Write https://HOST/PATH, or http:// on this machine, without a user, ? and #"
)]
pub(super) struct InvalidDocsUrl;

/// Parses `https://docs.example`, and removes a `/` at the end. Plain HTTP is for a book on this machine.
pub(super) fn parse_docs_url(text: &str) -> Result<String, InvalidDocsUrl> {
    let is_base = |url: &Url| {
        let is_private = match url.scheme() {
            "https" => url.has_host(),
            "http" => is_this_machine(url),
            _ => false,
        };
        let has_user = !url.username().is_empty() || url.password().is_some();
        is_private && !has_user && url.query().is_none() && url.fragment().is_none()
    };
    let url = Url::parse(text).ok().filter(is_base).ok_or(InvalidDocsUrl)?;
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::{InvalidDocsUrl, InvalidLimit, parse_docs_url, parse_limit};

    #[test]
    fn reads_the_docs_url() {
        for (text, url) in [
            ("https://docs.example", "https://docs.example"),
            ("https://docs.example/", "https://docs.example"),
            ("http://127.0.0.1:8000/book/", "http://127.0.0.1:8000/book"),
            ("http://[::1]:8000", "http://[::1]:8000"),
            ("http://localhost:8000", "http://localhost:8000"),
            ("HTTPS://Docs.example/Book", "https://docs.example/Book"),
        ] {
            assert_eq!(parse_docs_url(text), Ok(url.to_owned()));
        }
        for text in [
            "",
            "docs.example",
            "ftp://docs.example",
            "https://docs.example/?a",
            "https://docs.example/#a",
            "http://docs.example",
            "http://127.0.0.1.example",
            "http://localhost.example",
            "https://user@docs.example",
            "https://:secret@docs.example",
            "http://user:secret@127.0.0.1",
            "https://",
        ] {
            assert_eq!(parse_docs_url(text), Err(InvalidDocsUrl), "{text}");
        }
    }

    #[test]
    fn reads_limits() {
        for (text, bytes) in [
            ("1000000", 1_000_000),
            ("9223372036854775807", i64::MAX),
            ("1MB", 1_000_000),
            ("977KiB", 1_000_448),
            ("500MB", 500_000_000),
            ("500 MB", 500_000_000),
            ("2MiB", 2_097_152),
            ("7GB", 7_000_000_000),
            ("10GiB", 10_737_418_240),
            ("10 GiB ", 10_737_418_240),
            ("1.5GiB", 1_610_612_736),
            ("20TiB", 21_990_232_555_520),
        ] {
            assert_eq!(parse_limit(text), Ok(bytes), "{text}");
        }
        for text in ["", "-5", "GiB", "12 potatoes", "9223372036854775808", "99999999TiB", "1e9", "NaN"] {
            assert_eq!(parse_limit(text), Err(InvalidLimit::NoSize(text.to_owned())));
        }
        for text in ["0", "10", "0MB", "3KiB", "999999"] {
            assert_eq!(parse_limit(text), Err(InvalidLimit::TooSmall), "{text}");
        }
    }
}
