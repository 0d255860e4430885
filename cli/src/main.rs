//! `blobgate`: the command line tool. A subcommand is a file.

// A terminal would obey what a client or a service wrote: `output` alone prints.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod demo;
mod env;
mod envoy_yaml;
mod inbox;
mod mint;
mod net_error;
mod output;
mod progress;
mod receiver;
mod sandbox;

use crate::output::{escape, say};
use clap::{Parser, Subcommand};
use env_logger::fmt::Formatter;
use log::Record;
use std::io::{self, Write};
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
}

const EXAMPLES: &str = "\
Try it, in a clone of the repository:
  make run                        starts the gate, three demo services and a sandbox
  make demo                       in a second terminal: shows what the gate answers to what
  blobgate receiver --help        one of the services by itself

Prove where deliveries come from:
  blobgate mint --help            makes a key, and callback URLs with a token of it";

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    // What the inbox tells; of the libraries, only what its store has to say.
    let level = env_logger::Env::default().default_filter_or("blobgate_inbox=info,sqlx=warn");
    env_logger::Builder::from_env(level).format(write_record).init();
    // reqwest takes the process's provider; a second one is there only if this ran twice.
    let _first = rustls::crypto::ring::default_provider().install_default();
    let ended = match cli.command {
        Command::Demo(args) => demo::run(*args).await,
        Command::Inbox(args) => inbox::run(args).await,
        Command::Mint(args) => mint::run(args),
        Command::Receiver(args) => receiver::run(args).await,
        Command::Sandbox(args) => sandbox::run(args).await,
    };
    ended.unwrap_or_else(|error| {
        say(format_args!("blobgate: {error:#}"));
        ExitCode::FAILURE
    })
}

/// As `env_logger` writes it, on one line and without anything that a terminal obeys.
fn write_record(out: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    let (time, style) = (out.timestamp(), out.default_level_style(record.level()));
    let text = record.args().to_string();
    writeln!(out, "[{time} {style}{:<5}{style:#} {}] {}", record.level(), record.target(), escape(&text))
}
