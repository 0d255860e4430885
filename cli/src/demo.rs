//! `blobgate demo`: what the gate answers to what, shown on a running one.

mod delivery;
mod expect;
mod gate;
mod inbox;
mod outcome;
mod provider;
mod reconcile;
mod report;
mod rows;
mod service;
mod tokens;

use crate::mint::{Audience, Kid};
use anyhow::{Result, bail};
use clap::CommandFactory;
use clap::error::ErrorKind;
use delivery::{Door, Hook};
use gate::{Gate, Sent};
use inbox::{Inbox, Stored};
use outcome::Outcome;
use provider::Provider;
use report::{Mode, Report};
use reqwest::Url;
use rows::Row;
use service::Service;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokens::Tokens;

/// Send the provider's documented payloads and one of each refusal to a running gate, and show what came of them
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The hook, as the provider would call it
    #[arg(long, value_name = "URL", default_value = "https://127.0.0.1:8443/webhook")]
    gate: Url,
    /// The hook in plaintext, where the gate has to refuse
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080/webhook")]
    plain: Url,
    /// The hook that wants proof, as the provider would call it, but for the token
    #[arg(long, value_name = "URL", default_value = "https://127.0.0.1:8443/hooks/veo3")]
    token_gate: Url,
    /// Whom that hook's tokens are for: the gate's `environment`, a slash, and the hook's name
    #[arg(long, value_name = "ENVIRONMENT/HOOK", default_value = "development/veo3-token")]
    aud: Audience,
    /// The name of the key that signs them
    #[arg(long, default_value = "dev")]
    kid: Kid,
    /// The gate's environment in lines NAME=value, of which BLOBGATE_TOKEN_KEY signs the tokens
    #[arg(long, value_name = "FILE", default_value = "secrets/env")]
    secrets: PathBuf,
    /// The sandbox that the gate asks in the provider's place
    #[arg(long, value_name = "URL", default_value = "https://127.0.0.1:9443")]
    sandbox: Url,
    /// The file with the sandbox's API key
    #[arg(long, value_name = "FILE", default_value = "secrets/runblob-key")]
    api_key_file: PathBuf,
    /// The admin listener of the inbox behind the gate, for its entries; or none
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9085", value_parser = inbox::parse)]
    inbox: inbox::At,
    /// The certificate that the gate and the sandbox have to show, or its issuer's, in PEM
    #[arg(long, value_name = "FILE", default_value = "certs/edge.pem")]
    ca: PathBuf,
    /// A receiver behind the gate, to be asked what it got; for each one
    #[arg(long = "service", value_name = "NAME=URL", default_values = SERVICES, value_parser = service::parse)]
    services: Vec<Service>,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

const SERVICES: [&str; 3] =
    ["video=http://127.0.0.1:9081", "failure=http://127.0.0.1:9082", "quarantine=http://127.0.0.1:9083"];

const EXAMPLES: &str = "\
Each row of the table is one delivery: what was sent, what the gate answered, with which code, and at which
service it arrived. Every row has the result that the repository's envoy.yaml has to give it.
The services are `blobgate receiver`s; completions go to `video`, failures and timeouts to `failure`,
and what is proven and wrong to `quarantine`. Where an inbox is in the path, that stays with the inbox, and the rest is
waited for until it is delivered, up to 30 s; the table says which of both it found. The inbox is told what is ordered, as an
application tells it with POST /expect; one generation is never called back, and arrives once the inbox has asked the sandbox
for it, which `make run` has it do after 13 s.
The hook that wants proof gets it from a token in the URL, which is signed with the gate's own key, or else from the
sandbox that stands in for RunBlob.

Exit code: 0 when every row is as expected, 1 when one is not or the gate cannot be reached, 2 for wrong usage.

Examples:
  blobgate demo
  blobgate demo --json
  blobgate demo --inbox none
  blobgate demo --gate https://127.0.0.1:9443/webhook --ca /etc/envoy/edge.pem";

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    for name in rows::SERVICES {
        if !args.services.iter().any(|service| service.name == name) {
            let message = format!("the table expects a service `{name}`: name it with --service {name}=URL");
            crate::Cli::command().error(ErrorKind::MissingRequiredArgument, message).exit();
        }
    }
    let hooks = gate::Hooks { edge: args.gate, plain: args.plain, token: args.token_gate };
    let gate = Gate::new(hooks, &args.ca)?;
    let hook = args.aud.hook().to_owned();
    let tokens = Tokens::from_file(&args.secrets, args.kid, args.aud)?;
    let provider = Provider::new(args.sandbox, &args.api_key_file, &args.ca)?;
    // Before anything is sent: what did not arrive must not be for want of a service.
    let mut before = Vec::new();
    for service in &args.services {
        before.push(service.arrivals().await?);
    }
    let inbox = args.inbox.find(&hook).await?;
    provider.check().await?;

    let sender = Sender { gate: &gate, tokens: &tokens, provider: &provider };
    let (open, proven): (Vec<_>, Vec<_>) =
        rows::rows().into_iter().partition(|row| row.delivery.hook == Hook::Open);
    let mut sent = Vec::new();
    for row in open {
        sent.push(sender.send(row, None).await?);
    }
    // What is in the path has something of that by now. One that is not would ask for what has come past it.
    let told = match &inbox {
        Some(inbox) if !of_rows(inbox, &sent).await?.is_empty() => Some(inbox),
        _ => None,
    };
    for row in proven {
        sent.push(sender.send(row, told).await?);
    }
    for (row, came) in &mut sent {
        if let (Some(inbox), Sent::Uncalled(due)) = (told, &came) {
            *came = reconcile::wait(inbox, &provider, &mut row.delivery, *due).await?;
        }
    }

    let entries = match &inbox {
        Some(inbox) => settled(inbox, &sent).await?,
        None => Vec::new(),
    };
    let mut arrivals = Vec::new();
    for (service, before) in args.services.iter().zip(&before) {
        let now = service.arrivals().await?;
        arrivals.extend(service::since(before, now).map(|arrival| (service.name.as_str(), arrival)));
    }
    let outcomes: Vec<_> =
        sent.into_iter().map(|(row, sent)| Outcome::new(row, sent, &arrivals, &entries)).collect();
    let mode = Mode::of(&outcomes);
    if inbox.is_none() && mode != Mode::Alone {
        bail!(
            "what arrives comes by an inbox, and there is {}: name its admin listener with --inbox",
            args.inbox.nobody()
        );
    }
    let place = inbox.map_or_else(|| args.inbox.nobody(), |inbox| inbox.url.to_string());
    let report = Report {
        gate: &gate,
        sandbox: &provider.url,
        inbox: &place,
        mode,
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

/// What sends a row, however it comes in.
struct Sender<'a> {
    gate: &'a Gate,
    tokens: &'a Tokens,
    provider: &'a Provider,
}

impl Sender<'_> {
    /// An inbox in the path is told what was ordered, as an application would tell it.
    async fn send(&self, mut row: Row, told: Option<&Inbox>) -> Result<(Row, Sent)> {
        let (gate, delivery) = (self.gate, &mut row.delivery);
        let url = gate.url(delivery, self.tokens)?;
        let came = match delivery.door {
            Door::Elsewhere => gate.send_from_elsewhere(url, delivery).await,
            Door::Edge | Door::Plain => gate.send(url, delivery).await?,
            Door::Provider => {
                delivery.id = self.provider.order(&url).await?;
                if let Some(inbox) = told {
                    inbox.expect(delivery).await?;
                }
                self.provider.called_back(delivery).await?
            }
            Door::Reconcile => reconcile::order(told, self.provider, &url, delivery).await?,
        };
        Ok((row, came))
    }
}

/// How long an inbox may take: milliseconds, and some seconds where an attempt has failed.
const DELIVERED_WITHIN: Duration = Duration::from_secs(30);

/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(50);

/// What the inbox has of these rows, once nothing of it is under way, or at the end of all patience.
async fn settled(inbox: &Inbox, sent: &[(Row, Sent)]) -> Result<Vec<Stored>> {
    let until = Instant::now().checked_add(DELIVERED_WITHIN);
    loop {
        let mut entries = of_rows(inbox, sent).await?;
        let is_settled = !entries.iter().any(Stored::is_under_way);
        if is_settled || until.is_none_or(|until| Instant::now() >= until) {
            for entry in &mut entries {
                if sent.iter().any(|(row, _)| row.delivery.door.is_ordered() && entry.is_of(row)) {
                    entry.expectation = inbox.expectation(entry).await?;
                }
            }
            return Ok(entries);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What it has of these rows.
async fn of_rows(inbox: &Inbox, sent: &[(Row, Sent)]) -> Result<Vec<Stored>> {
    let mut entries = inbox.entries().await?;
    entries.retain(|entry| sent.iter().any(|(row, _)| entry.is_of(row)));
    Ok(entries)
}
