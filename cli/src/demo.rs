//! `blobgate demo`: what the gate answers to what, shown on a running one.

mod delivery;
mod gate;
mod report;
mod rows;
mod service;

use anyhow::Result;
use clap::CommandFactory;
use clap::error::ErrorKind;
use delivery::Door;
use gate::Gate;
pub(crate) use gate::cause;
use report::{Outcome, Report};
use reqwest::Url;
use service::Service;
use std::path::PathBuf;
use std::process::ExitCode;

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
    /// The certificate that the gate has to show, or its issuer's, in PEM
    #[arg(long, value_name = "FILE", default_value = "certs/edge.pem")]
    ca: PathBuf,
    /// A receiver behind the gate, to be asked what it got; for each one
    #[arg(long = "service", value_name = "NAME=URL", default_values = SERVICES, value_parser = service::parse)]
    services: Vec<Service>,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

const SERVICES: [&str; 2] = ["video=http://127.0.0.1:9081", "failure=http://127.0.0.1:9082"];

const EXAMPLES: &str = "\
Each row of the table is one delivery: what was sent, what the gate answered, with which code, and at which
service it arrived. Every row has the result that the repository's envoy.yaml has to give it.
The services are `blobgate receiver`s; completions go to `video`, failures and timeouts to `failure`.

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
    let gate = Gate::new(args.gate, args.plain, &args.ca)?;
    for service in &args.services {
        service.arrivals().await?; // Before anything is sent: what did not arrive must not be for want of a service.
    }

    let mut sent = Vec::new();
    for row in rows::rows() {
        let came = match row.delivery.door {
            Door::Elsewhere => gate.send_from_elsewhere(&row.delivery).await,
            Door::Edge | Door::Plain => gate.send(&row.delivery).await?,
        };
        sent.push((row, came));
    }

    let mut arrivals = Vec::new();
    for service in &args.services {
        arrivals
            .extend(service.arrivals().await?.into_iter().map(|arrival| (service.name.as_str(), arrival)));
    }
    let outcomes = sent.into_iter().map(|(row, sent)| Outcome::new(row, sent, &arrivals)).collect();
    let report = Report { gate: &gate, services: &args.services, outcomes };
    if args.json {
        report.print_json()?
    } else {
        report.print_table()
    }
    Ok(if report.is_as_expected() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
