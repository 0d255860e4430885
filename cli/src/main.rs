//! `blobgate`: the command line tool. Each command is a file.

// A terminal obeys control characters from clients and services. Only `output` prints, and escapes them.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod check;
mod completions;
mod demo;
mod end_signals;
mod env;
mod envoy_yaml;
mod explain;
mod inbox;
mod init;
mod log;
mod mint;
mod net_error;
mod new_file;
mod option;
mod output;
mod paint;
mod progress;
mod receiver;
#[cfg(test)]
mod reference;
mod render;
mod rfc3339;
mod sandbox;
mod schema;
mod setup;
mod shell;
mod table;
mod up;
#[cfg(test)]
mod usage;
mod why;

use crate::log::Format;
use anstream::{AutoStream, ColorChoice};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use std::borrow::Cow;
use std::io::{self, Write};
use std::process::ExitCode;

/// Set up, run and operate Blobgate, the gate for RunBlob webhooks
#[derive(Parser)]
#[command(name = "blobgate", version, after_help = EXAMPLES, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Check(check::Args),
    Completions(completions::Args),
    Demo(Box<demo::Args>),
    Explain(Box<explain::Args>),
    Inbox(inbox::Args),
    Init(Box<init::Args>),
    Mint(mint::Args),
    Receiver(receiver::Args),
    Render(render::Args),
    Sandbox(sandbox::Args),
    Schema(schema::Args),
    Up(up::Args),
    Why(why::Args),
    #[command(hide = true)]
    EndWith(up::end_with::Args),
}

const EXAMPLES: &str = "\
Start here, in a clone of the repository:
  make run                                        # starts a gate, an inbox, services, a sandbox
  make demo                                       # in a second terminal: sends deliveries

Put your app behind it:
  blobgate init my-gate                           # makes keys and blobgate.yaml
  blobgate up --setup my-gate/blobgate.yaml       # runs the gate and the inbox

When something is wrong:
  blobgate why GENERATION                         # tells where its event is, and why
  blobgate explain --help                         # explains a reason, a log line or a request

Before production:
  blobgate check my-gate/blobgate.yaml            # names each mistake and its remedy
  blobgate render --setup my-gate/blobgate.yaml   # writes envoy.yaml for your own Envoy
  blobgate inbox --help                           # explains the inbox and its commands";

#[tokio::main]
async fn main() -> ExitCode {
    let command = env::without_empty_variables(Cli::command());
    let parsed = command.try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => return end_by_usage(&error),
        Err(help) => {
            print_help(&help);
            return output::end(Ok(ExitCode::SUCCESS));
        }
    };
    let _log = log::start(match &cli.command {
        Command::Inbox(args) => args.log_format(),
        _ => Format::Text,
    });
    // reqwest uses the process's provider. Only a second call in one process fails.
    let _first = rustls::crypto::ring::default_provider().install_default();
    let ended = match cli.command {
        Command::Check(args) => check::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Demo(args) => demo::run(*args).await,
        Command::Explain(args) => explain::run(*args).await,
        Command::Inbox(args) => inbox::run(args).await,
        Command::Init(args) => init::run(*args).await,
        Command::Mint(args) => mint::run(args),
        Command::Receiver(args) => receiver::run(args).await,
        Command::Render(args) => render::run(&args),
        Command::Sandbox(args) => sandbox::run(args).await,
        Command::Schema(args) => schema::run(&args),
        Command::Up(args) => up::run(args).await,
        Command::Why(args) => why::run(args).await,
        Command::EndWith(args) => up::end_with::run(args).map(|never| match never {}),
    };
    output::end(ended)
}

/// Prints a usage error. Clap repeats a value as it came, perhaps with characters that a terminal would obey.
fn end_by_usage(error: &clap::Error) -> ExitCode {
    match output::escape_lines(&error.render().to_string()) {
        Cow::Borrowed(_) => error.exit(),
        Cow::Owned(visible) => {
            let _gone = writeln!(io::stderr(), "{}", visible.trim_end());
        }
    }
    ExitCode::from(2)
}

/// Prints the text of `--help` or `--version`, which clap would print without a look at the outcome.
fn print_help(help: &clap::Error) {
    let text = help.render();
    let has_colour = AutoStream::choice(&io::stdout()) != ColorChoice::Never;
    let text = if has_colour { text.ansi().to_string() } else { text.to_string() };
    output::print_bytes(text.as_bytes());
}
