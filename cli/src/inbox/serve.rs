//! `blobgate inbox serve`.

use crate::env::read_env;
use crate::log::Format;
use crate::output::tell;
use crate::receiver::cannot_listen;
use anyhow::{Context, Result, bail};
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
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Run the inbox: store what the gate sends, answer it, deliver it
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The store: sqlite:PATH, or postgres://USER@HOST/DATABASE
    #[arg(long, value_name = "STORE", env = "BLOBGATE_INBOX_STORE", hide_env_values = true)]
    store: Place,
    /// Where the gate sends to
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9084")]
    listen: SocketAddr,
    /// Where operators ask: health, metrics, the other commands
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9085")]
    admin: SocketAddr,
    /// Envoy's listener with the service routes
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8090")]
    deliver_to: Uri,
    /// The variable with a key of Standard Webhooks that signs each attempt and that the gate signs with; twice while keys rotate
    #[arg(long, value_name = "NAME")]
    signing_key_env: Vec<String>,
    /// Take deliveries from other machines without the gate's signature: whoever reaches the port can forge events
    #[arg(long)]
    insecure: bool,
    /// The variable with the token that the admin listener wants as `Authorization: Bearer ...`
    #[arg(long, value_name = "NAME")]
    admin_token_env: Option<String>,
    /// How long a delivery may take: the service routes end before that
    #[arg(long, value_name = "TIME", default_value = "25s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// So many deliveries at a time on a route: a hook and an event
    #[arg(long, value_name = "N", default_value = "64")]
    concurrency: NonZeroU32,
    /// Events a second on a route after its service was down; doubles every 10 s until the backlog is gone
    #[arg(long, value_name = "N", default_value = "100")]
    drain_rate: NonZeroU32,
    /// So many bytes of events may be stored; near it, the oldest delivered bodies go
    #[arg(long, value_name = "SIZE", default_value = "10GiB", value_parser = parse_size)]
    limit: i64,
    /// So many events in a transaction at most, up to 512: 1 shows what the group commit is worth
    #[arg(long, value_name = "N", default_value = "512")]
    batch: usize,
    /// Ask the provider about what is expected and does not come: a URL that leads to its status API, over plain HTTP, for TLS
    /// and the API key are Envoy's part
    #[arg(long, value_name = "URL")]
    provider: Option<Uri>,
    /// Ask about a generation so long after it was expected: the product's limit, 10m for Veo3, and a margin
    #[arg(long, value_name = "TIME", default_value = "13m", value_parser = humantime::parse_duration)]
    reconcile_after: Duration,
    /// So many calls to the provider in any minute, of all inboxes on this store: with the gates' own below the key's 60
    #[arg(long, value_name = "N", default_value = "10")]
    reconcile_per_minute: NonZeroU32,
    /// So long until a generation is asked about again, then twice as long each time, up to a day
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = humantime::parse_duration)]
    reconcile_again: Duration,
    /// The base URL of the documentation, in the `type` of problem documents
    #[arg(long, value_name = "URL", default_value = DOCS, value_parser = parse_docs_url)]
    docs_url: String,
    /// The format of log lines on standard error; RUST_LOG sets their levels
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Text, env = "BLOBGATE_LOG_FORMAT")]
    pub(super) log_format: Format,
}

const EXAMPLES: &str = "\
An event is stored before the gate hears 200; whatever is not known to be stored is 503, and its sender comes back. It is
delivered until its service says 2xx: again after 1 s, and then twice as late each time, up to an hour, for 72 hours of trying.
What is given up is dead, and stays until somebody decides. Deliveries go to Envoy's service routes, on their own path, with
blobgate-attempt; where a signing key is named, each is signed anew.
SIGTERM ends it within 25 s: deliveries under way are finished, and events are stored until then. kill -9 loses nothing.

With --provider, a generation that the application has said to expect (`blobgate inbox expect --help`) and that has no event
after --reconcile-after is asked about. What has ended goes on as its webhook would have, with blobgate-source: reconcile.

The admin listener answers /livez (the process answers), /healthz (the store takes events), /readyz (the inbox does), /metrics,
and the other commands: `blobgate inbox --help` lists them.

Exit code: 0 when it was asked to end, 1 when it cannot start or go on, 2 for wrong usage.

Examples:
  blobgate inbox serve --store sqlite:inbox.db
  blobgate inbox serve --store postgres://blobgate@db.internal/blobgate --signing-key-env BLOBGATE_SIGNING_KEY
  blobgate inbox serve --store sqlite:inbox.db --provider http://127.0.0.1:8090
  curl http://127.0.0.1:9085/metrics";

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    if args.deliver_to.scheme_str() != Some("http") || args.deliver_to.authority().is_none() {
        bail!(
            "--deliver-to {} is no URL of the form http://ADDRESS:PORT: TLS to the services is Envoy's part",
            args.deliver_to
        );
    }
    if let Some(provider) = &args.provider
        && (provider.scheme_str() != Some("http") || provider.authority().is_none())
    {
        bail!(
            "--provider {provider} is no URL of the form http://ADDRESS:PORT: TLS and the API key are Envoy's part"
        );
    }
    if args.signing_key_env.is_empty() && !args.listen.ip().is_loopback() && !args.insecure {
        bail!(
            "{} can be reached from other machines: name the gate's signing key with --signing-key-env, or say --insecure",
            args.listen
        );
    }
    let admin_token = args.admin_token_env.as_deref().map(read_env).transpose()?;
    if admin_token.is_none() && !args.admin.ip().is_loopback() {
        bail!("{} can be reached from other machines: name a token with --admin-token-env", args.admin);
    }
    let keys = || -> Result<Option<WebhookKeys>> {
        let keys = args
            .signing_key_env
            .iter()
            .map(|name| Ok((name.clone(), read_env(name)?)))
            .collect::<Result<Vec<_>>>()?;
        Ok(if keys.is_empty() { None } else { Some(WebhookKeys::parse(&keys)?) })
    };
    let (sign, verify) = (keys()?, keys()?);
    if let (Some(keys), Some(token), Some(name)) = (&sign, &admin_token, &args.admin_token_env)
        && keys.are_in(token)
    {
        bail!(
            "{name} holds a signing key, with which whoever shows it could forge events: set it to a token of its own"
        );
    }

    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let receive = listen(args.listen, "--listen").await?;
    let admin = listen(args.admin, "--admin").await?;
    let ready =
        format!("inbox listens on http://{}, admin http://{}", receive.local_addr()?, admin.local_addr()?);
    let ending = CancellationToken::new();
    let settings = Settings {
        store: args.store,
        receive,
        admin,
        deliver_to: args.deliver_to,
        sign,
        verify,
        admin_token,
        timeout: args.timeout,
        concurrency: usize::try_from(args.concurrency.get())?,
        drain: args.drain_rate,
        limit: args.limit,
        batch: args.batch,
        reconcile: Reconcile {
            provider: args.provider,
            after: args.reconcile_after,
            per_minute: args.reconcile_per_minute.get(),
            again: args.reconcile_again,
        },
        docs: args.docs_url,
    };
    let serving = blobgate_inbox::serve(settings, ending.clone());
    let asked = async {
        tokio::select! { _ = interrupt.recv() => (), _ = terminate.recv() => () }
        ending.cancel();
        std::future::pending::<()>().await;
    };
    tell(format_args!("{ready}"));
    tokio::select! {
        ended = serving => ended?,
        () = asked => (),
    }
    Ok(ExitCode::SUCCESS)
}

async fn listen(address: SocketAddr, option: &str) -> Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .map_err(|error| cannot_listen(address, &error))
        .with_context(|| option.to_owned())
}

/// `500MB`, `10GiB`, `1000000`.
fn parse_size(text: &str) -> Result<i64, String> {
    let bytes = text.trim().parse::<ByteSize>().ok().and_then(|size| i64::try_from(size.as_u64()).ok());
    bytes.filter(|bytes| *bytes > 0).ok_or_else(|| format!("{text:?} is no size: write 500MB or 10GiB"))
}

/// `https://docs.example`, without a query or a fragment; a `/` at the end is left out.
fn parse_docs_url(text: &str) -> Result<String, String> {
    let url = Url::parse(text).ok().filter(|url| ["http", "https"].contains(&url.scheme()));
    let url = url.filter(|url| url.query().is_none() && url.fragment().is_none());
    let url = url.ok_or_else(|| format!("invalid URL {text:?}: use http(s)://HOST/PATH, without ? and #"))?;
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::{parse_docs_url, parse_size};

    #[test]
    fn reads_the_documentation_s_address() {
        for (text, url) in [
            ("https://docs.example", "https://docs.example"),
            ("https://docs.example/", "https://docs.example"),
            ("http://127.0.0.1:8000/book/", "http://127.0.0.1:8000/book"),
        ] {
            assert_eq!(parse_docs_url(text), Ok(url.to_owned()));
        }
        for text in
            ["", "docs.example", "ftp://docs.example", "https://docs.example/?a", "https://docs.example/#a"]
        {
            let error = format!("invalid URL {text:?}: use http(s)://HOST/PATH, without ? and #");
            assert_eq!(parse_docs_url(text), Err(error));
        }
    }

    #[test]
    fn reads_sizes() {
        for (text, bytes) in [
            ("1", 1),
            ("1000000", 1_000_000),
            ("9223372036854775807", i64::MAX),
            ("3KiB", 3_072),
            ("500MB", 500_000_000),
            ("500 MB", 500_000_000),
            ("2MiB", 2_097_152),
            ("7GB", 7_000_000_000),
            ("10GiB", 10_737_418_240),
            ("10 GiB ", 10_737_418_240),
            ("1.5GiB", 1_610_612_736),
            ("20TiB", 21_990_232_555_520),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in
            ["", "0", "-5", "GiB", "12 potatoes", "0MB", "9223372036854775808", "99999999TiB", "1e3", "NaN"]
        {
            let error = format!("{text:?} is no size: write 500MB or 10GiB");
            assert_eq!(parse_size(text), Err(error));
        }
    }
}
