//! `blobgate inbox`: the durable inbox behind the gate, and its operator's commands.

mod migrate;
mod serve;

use anyhow::Result;
use clap::Subcommand;
use std::process::ExitCode;

/// Store what the gate lets through before its sender hears 200, and bring it to its service for days
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, disable_help_subcommand = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(Box<serve::Args>),
    Migrate(migrate::Args),
}

const EXAMPLES: &str = "\
Examples:
  blobgate inbox migrate --store sqlite:inbox.db      makes the tables, or brings them to this version
  blobgate inbox serve --store sqlite:inbox.db        takes from the gate, delivers to Envoy's service routes";

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    match args.command {
        Command::Serve(args) => serve::run(*args).await,
        Command::Migrate(args) => migrate::run(args).await,
    }
}
