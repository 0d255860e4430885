//! `blobgate demo`: what the gate answers to what, shown on a running one.

mod delivery;
mod gate;
mod provider;
mod report;
mod rows;
mod service;
mod tokens;

use crate::mint::{Audience, Kid};
use anyhow::Result;
use clap::CommandFactory;
use clap::error::ErrorKind;
use delivery::Door;
use gate::Gate;
pub(crate) use gate::cause;
use provider::Provider;
use report::{Outcome, Report};
use reqwest::Url;
use service::Service;
use std::path::PathBuf;
use std::process::ExitCode;
use tokens::Tokens;

/// The header by which a delivery of the demo is known again where it arrives. The gate leaves it alone.
pub(crate) const MARK: &str = "x-demo-delivery";

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
and what is proven and wrong to `quarantine`. The hook that wants proof gets it from a token in the URL, which is signed
with the gate's own key, or else from the sandbox that stands in for RunBlob.

Exit code: 0 when every row is as expected, 1 when one is not or the gate cannot be reached, 2 for wrong usage.

Examples:
  blobgate demo
  blobgate demo --json
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
    let tokens = Tokens::from_file(&args.secrets, args.kid, args.aud)?;
    let provider = Provider::new(args.sandbox, &args.api_key_file, &args.ca)?;
    for service in &args.services {
        service.arrivals().await?; // Before anything is sent: what did not arrive must not be for want of a service.
    }

    provider.check().await?;

    let mut sent = Vec::new();
    for mut row in rows::rows() {
        let url = gate.url(&row.delivery, &tokens)?;
        let came = match row.delivery.door {
            Door::Elsewhere => gate.send_from_elsewhere(url, &row.delivery).await,
            Door::Edge | Door::Plain => gate.send(url, &row.delivery).await?,
            Door::Provider => provider.deliver(&url, &mut row.delivery).await?,
        };
        sent.push((row, came));
    }

    let mut arrivals = Vec::new();
    for service in &args.services {
        arrivals
            .extend(service.arrivals().await?.into_iter().map(|arrival| (service.name.as_str(), arrival)));
    }
    let outcomes = sent.into_iter().map(|(row, sent)| Outcome::new(row, sent, &arrivals)).collect();
    let report = Report { gate: &gate, sandbox: &provider.url, services: &args.services, outcomes };
    if args.json {
        report.print_json()?
    } else {
        report.print_table()
    }
    Ok(if report.is_as_expected() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
