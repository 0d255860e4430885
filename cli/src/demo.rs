//! `blobgate demo`: sends deliveries to a running gate and checks the outcomes.

mod delivery;
mod expect;
mod gate;
mod inbox;
mod outcome;
mod reconcile;
mod report;
mod rows;
mod sandbox;
mod service;
mod tokens;

use crate::mint::{Audience, Kid};
use crate::option::{exit_with_usage, parse_url};
use anyhow::{Result, bail};
use clap::error::ErrorKind;
use delivery::{Channel, DemoHook};
use gate::{GateClient, SendOutcome};
use inbox::{DemoEntry, DemoInbox};
use outcome::RowOutcome;
use report::{DeliveryPath, Report};
use reqwest::Url;
use rows::Row;
use sandbox::SandboxClient;
use service::DemoService;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokens::Tokens;

/// Send documented, wrong and forged deliveries to a running gate, and show the outcomes
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The URL of the open hook
    #[arg(long, value_name = "URL", default_value = "https://127.0.0.1:8443/webhook", value_parser = parse_url)]
    gate: Url,
    /// The URL of the open hook over plain HTTP, which the gate refuses
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080/webhook", value_parser = parse_url)]
    plain: Url,
    /// The URL of the authenticating hook, without a token
    #[arg(long, value_name = "URL", default_value = "https://127.0.0.1:8443/hooks/veo3", value_parser = parse_url)]
    token_gate: Url,
    /// The audience of the tokens: the gate's `environment`, a slash, and the hook's name
    #[arg(long, value_name = "ENVIRONMENT/HOOK", default_value = "development/veo3-token")]
    aud: Audience,
    /// The name of the key that signs the tokens
    #[arg(long, default_value = "dev")]
    kid: Kid,
    /// The file with the gate's environment: lines NAME=value, with BLOBGATE_TOKEN_KEY
    #[arg(long, value_name = "FILE", default_value = "secrets/env")]
    secrets: PathBuf,
    /// The URL of the sandbox, which stands in for RunBlob
    #[arg(long, value_name = "URL", default_value = "https://127.0.0.1:9443", value_parser = parse_url)]
    sandbox: Url,
    /// The file with the sandbox's API key
    #[arg(long, value_name = "FILE", default_value = "secrets/runblob-key")]
    api_key_file: PathBuf,
    /// The URL of the inbox's admin listener, or `none`
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9085", value_parser = inbox::parse)]
    inbox: inbox::InboxAddress,
    /// The certificate of the gate and the sandbox, or its issuer's, in PEM
    #[arg(long, value_name = "FILE", default_value = "certs/edge.pem")]
    ca: PathBuf,
    /// A `blobgate receiver` behind the gate; repeat it for each service
    #[arg(long = "service", value_name = "NAME=URL", default_values = SERVICES, value_parser = service::parse)]
    services: Vec<DemoService>,
    /// JSON output instead of a table
    #[arg(long)]
    json: bool,
}

const SERVICES: [&str; 3] =
    ["video=http://127.0.0.1:9081", "failure=http://127.0.0.1:9082", "quarantine=http://127.0.0.1:9083"];

const EXAMPLES: &str = "\
The defaults fit `make run`. Each row of the table is one delivery: its kind, the gate's answer and
code, and the service where it arrived. A row is `ok` if its outcome is the one that the
repository's envoy.yaml configures.

Completions go to the service `video`, failures and timeouts to `failure`, and quarantined events to
`quarantine`. With an inbox in the path, quarantined events stay in the inbox, and the demo waits up
to 30 s for the others.

The authenticating hook accepts a token in the URL, or a confirmation by the status API, here the
sandbox's. One generation gets no callback from the sandbox. The demo announces it with POST
/expect, and the inbox reconciles it: with `make run` after 13 s.

Exit code: 0 when every row is as expected, 1 when one is not or without a gate, 2 for wrong usage.

Examples:
  blobgate demo
  blobgate demo --json
  blobgate demo --inbox none
  blobgate demo --gate https://127.0.0.1:9443/webhook --ca /etc/envoy/edge.pem";

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    for name in rows::SERVICES {
        if !args.services.iter().any(|service| service.name == name) {
            let message = format!("the service `{name}` is missing. Name it with --service {name}=URL");
            exit_with_usage(ErrorKind::MissingRequiredArgument, &message);
        }
    }
    let hooks = gate::HookUrls { open: args.gate, plain: args.plain, authenticating: args.token_gate };
    let gate = GateClient::new(hooks, &args.ca)?;
    let hook = args.aud.hook().to_owned();
    let tokens = Tokens::from_file(&args.secrets, args.kid, args.aud)?;
    let sandbox = SandboxClient::new(args.sandbox, &args.api_key_file, &args.ca)?;
    // A service or sandbox that is down fails the demo before it sends anything.
    let mut before = Vec::new();
    for service in &args.services {
        before.push(service.requests().await?);
    }
    let inbox = args.inbox.find(&hook).await?;
    sandbox.check().await?;

    let sender = RowSender { gate: &gate, tokens: &tokens, sandbox: &sandbox };
    let (open, authenticating): (Vec<_>, Vec<_>) =
        rows::rows().into_iter().partition(|row| row.delivery.hook == DemoHook::Open);
    let mut sent = Vec::new();
    for row in open {
        sent.push(sender.send(row, None).await?);
    }
    // An inbox in the path has entries of the open hook by now. One outside would reconcile events that it never gets.
    let in_path = match &inbox {
        Some(inbox) if !entries_of(inbox, &sent).await?.is_empty() => Some(inbox),
        _ => None,
    };
    for row in authenticating {
        sent.push(sender.send(row, in_path).await?);
    }
    for (row, outcome) in &mut sent {
        if let (Some(inbox), SendOutcome::Uncalled(due)) = (in_path, &outcome) {
            *outcome = reconcile::wait(inbox, &sandbox, &mut row.delivery, *due).await?;
        }
    }

    let entries = match &inbox {
        Some(inbox) => settled_entries(inbox, &sent).await?,
        None => Vec::new(),
    };
    let mut requests = Vec::new();
    for (service, before) in args.services.iter().zip(&before) {
        let now = service.requests().await?;
        requests.extend(service::since(before, now).map(|request| (service.name.as_str(), request)));
    }
    let outcomes: Vec<_> =
        sent.into_iter().map(|(row, sent)| RowOutcome::new(row, sent, &requests, &entries)).collect();
    let path = DeliveryPath::of(&outcomes);
    if inbox.is_none() && path != DeliveryPath::GateAlone {
        bail!(
            "cannot check the entries: an inbox delivered the events, and the demo knows {}. Name its admin listener with --inbox",
            args.inbox.absence()
        );
    }
    let place = inbox.map_or_else(|| args.inbox.absence(), |inbox| inbox.url.to_string());
    let report = Report {
        gate: &gate,
        sandbox: &sandbox.url,
        inbox: &place,
        path,
        services: &args.services,
        outcomes,
    };
    if args.json {
        report.print_json()?
    } else {
        report.print_table()
    }
    Ok(if report.is_as_expected() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Sends a row through its channel.
struct RowSender<'a> {
    gate: &'a GateClient,
    tokens: &'a Tokens,
    sandbox: &'a SandboxClient,
}

impl RowSender<'_> {
    /// Announces ordered generations to an inbox in the path, as an application would.
    async fn send(&self, mut row: Row, in_path: Option<&DemoInbox>) -> Result<(Row, SendOutcome)> {
        let (gate, delivery) = (self.gate, &mut row.delivery);
        let url = gate.url(delivery, self.tokens)?;
        let outcome = match delivery.channel {
            Channel::OtherAddress => gate.send_from_other_address(url, delivery).await,
            Channel::Tls | Channel::PlainHttp => gate.send(url, delivery).await?,
            Channel::Callback => {
                delivery.id = self.sandbox.order(&url).await?;
                if let Some(inbox) = in_path {
                    inbox.expect(delivery).await?;
                }
                self.sandbox.await_callback(delivery).await?
            }
            Channel::Reconcile => reconcile::order(in_path, self.sandbox, &url, delivery).await?,
        };
        Ok((row, outcome))
    }
}

/// An inbox delivers within milliseconds, and within seconds after a failed attempt.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);

/// The pause between two looks at the entries.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The entries of these rows, once none is waiting or in flight, or at the timeout.
async fn settled_entries(inbox: &DemoInbox, sent: &[(Row, SendOutcome)]) -> Result<Vec<DemoEntry>> {
    let until = Instant::now().checked_add(DELIVERY_TIMEOUT);
    loop {
        let mut entries = entries_of(inbox, sent).await?;
        let is_settled = !entries.iter().any(DemoEntry::is_under_way);
        if is_settled || until.is_none_or(|until| Instant::now() >= until) {
            for entry in &mut entries {
                if sent.iter().any(|(row, _)| row.delivery.channel.is_ordered() && entry.is_of(row)) {
                    entry.expectation = inbox.expectation(entry).await?;
                }
            }
            return Ok(entries);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

async fn entries_of(inbox: &DemoInbox, sent: &[(Row, SendOutcome)]) -> Result<Vec<DemoEntry>> {
    let mut entries = inbox.entries().await?;
    entries.retain(|entry| sent.iter().any(|(row, _)| entry.is_of(row)));
    Ok(entries)
}
