//! `blobgate inbox`: runs the durable inbox, and operates a running one.

mod admin_token;
mod audit;
mod backup;
mod change;
pub(crate) mod client;
mod drop;
mod entry;
mod expect;
mod export;
mod filter;
mod forward;
mod ls;
mod migrate;
mod notify;
mod pause;
mod prompt;
mod purge;
mod reconcile;
mod reevaluate;
mod refusals;
mod release;
mod replay;
mod report;
mod restore;
mod resume;
mod retry;
mod selection;
mod serve;
mod show;
mod stats;
mod store_option;
mod tail;

use crate::log::Format;
use anyhow::Result;
use clap::Subcommand;
use std::process::ExitCode;

/// Store events durably and deliver them, or operate a running inbox
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
    Ls(ls::Args),
    Show(show::Args),
    Stats(stats::Args),
    Audit(audit::Args),
    Refusals(refusals::Args),
    Pause(pause::Args),
    Resume(resume::Args),
    Replay(replay::Args),
    Retry(retry::Args),
    Release(release::Args),
    Reevaluate(reevaluate::Args),
    Drop(drop::Args),
    Expect(expect::Args),
    Reconcile(reconcile::Args),
    Tail(tail::Args),
    Export(export::Args),
    Purge(purge::Args),
    Backup(backup::Args),
    Restore(restore::Args),
    TestNotify(notify::Args),
}

const EXAMPLES: &str = "\
Run an inbox:
  blobgate inbox migrate --store sqlite:inbox.db       # creates or upgrades the tables
  blobgate inbox serve --store sqlite:inbox.db         # stores and delivers events
  blobgate inbox backup --store sqlite:inbox.db --to monday.db
  blobgate inbox restore --from monday.db --store sqlite:inbox.db
  blobgate inbox test-notify --notify URL --notify-key-env NAME  # tries the receiver

Operate a running inbox, at http://127.0.0.1:9085 or at the URL of --admin:
  blobgate inbox stats                                 # counts entries, lists pauses and faults
  blobgate inbox refusals                              # lists what the gates refused
  blobgate inbox ls --state quarantined                # lists quarantined entries
  blobgate inbox show 17                               # shows one entry
  blobgate inbox audit --entry 17                      # lists the actions that changed it
  blobgate inbox release 17                            # delivers it as the event that it claims
  blobgate inbox release 18 --as completed             # delivers it as the event that you name
  blobgate inbox reevaluate --config envoy.yaml 17     # judges it by today's configuration
  blobgate inbox replay 16                             # delivers an entry again
  blobgate inbox retry --hook veo3                     # attempts waiting entries now
  blobgate inbox drop 17                               # drops an undelivered entry
  blobgate inbox pause --hook veo3                     # stops the deliveries of a hook
  blobgate inbox resume --hook veo3                    # continues them
  blobgate inbox expect --hook veo3 --generation ID --job order-17
                                                       # announces a generation (serve --provider)
  blobgate inbox reconcile --dry-run                   # lists the due status calls
  blobgate inbox tail --forward http://127.0.0.1:3000  # copies new events to a laptop
  blobgate inbox export --since 24h                    # prints entries as JSON
  blobgate inbox purge --job order-7                   # deletes the bodies of a job";

impl Args {
    /// The log format of `serve`. The other commands log for a person.
    pub(crate) fn log_format(&self) -> Format {
        match &self.command {
            Command::Serve(args) => args.log_format,
            _ => Format::Text,
        }
    }
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    match args.command {
        Command::Serve(args) => serve::run(*args).await,
        Command::Migrate(args) => migrate::run(args).await,
        Command::Ls(args) => ls::run(args).await,
        Command::Show(args) => show::run(args).await,
        Command::Stats(args) => stats::run(args).await,
        Command::Audit(args) => audit::run(args).await,
        Command::Refusals(args) => refusals::run(args).await,
        Command::Pause(args) => pause::run(args).await,
        Command::Resume(args) => resume::run(args).await,
        Command::Replay(args) => replay::run(args).await,
        Command::Retry(args) => retry::run(args).await,
        Command::Release(args) => release::run(args).await,
        Command::Reevaluate(args) => reevaluate::run(args).await,
        Command::Drop(args) => drop::run(args).await,
        Command::Expect(args) => expect::run(args).await,
        Command::Reconcile(args) => reconcile::run(args).await,
        Command::Tail(args) => tail::run(args).await,
        Command::Export(args) => export::run(args).await,
        Command::Purge(args) => purge::run(args).await,
        Command::Backup(args) => backup::run(args).await,
        Command::Restore(args) => restore::run(args).await,
        Command::TestNotify(args) => notify::run(args).await,
    }
}
