//! `blobgate`: the command line tool. A subcommand is a file.

// A terminal would obey what a client or a service wrote: `output` alone prints.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod demo;
mod env;
mod envoy_yaml;
mod inbox;
mod log;
mod mint;
mod net_error;
mod output;
mod progress;
mod receiver;
mod rfc3339;
mod sandbox;
mod table;
mod up;

use crate::log::Format;
use crate::output::say;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Tools around the gate that guards RunBlob's Veo3 webhook.
#[derive(Parser)]
#[command(version, after_help = EXAMPLES, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Demo(Box<demo::Args>),
    Inbox(inbox::Args),
    Mint(mint::Args),
    Receiver(receiver::Args),
    Sandbox(sandbox::Args),
    Up(up::Args),
    /// What `up` starts each part through.
    #[command(hide = true)]
    EndWith(up::end_with::Args),
}

const EXAMPLES: &str = "\
Try it, in a clone of the repository:
  make run                        starts the gate, three demo services and a sandbox
  make demo                       in a second terminal: shows what the gate answers to what
  blobgate up --help              what `make run` starts, and what ends it
  blobgate receiver --help        one of the services by itself

Prove where deliveries come from:
  blobgate mint --help            makes a key, and callback URLs with a token of it";

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    log::start(match &cli.command {
        Command::Inbox(args) => args.log_format(),
        _ => Format::Text,
    });
    // reqwest takes the process's provider; a second one is there only if this ran twice.
    let _first = rustls::crypto::ring::default_provider().install_default();
    let ended = match cli.command {
        Command::Demo(args) => demo::run(*args).await,
        Command::Inbox(args) => inbox::run(args).await,
        Command::Mint(args) => mint::run(args),
        Command::Receiver(args) => receiver::run(args).await,
        Command::Sandbox(args) => sandbox::run(args).await,
        Command::Up(args) => up::run(args).await,
        Command::EndWith(args) => up::end_with::run(args).map(|never| match never {}),
    };
    ended.unwrap_or_else(|error| {
        say(format_args!("blobgate: {error:#}"));
        ExitCode::FAILURE
    })
}
