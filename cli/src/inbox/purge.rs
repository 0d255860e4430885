//! `blobgate inbox purge`: deletes bodies.

use super::change::{ChangeKind, ChangeOptions, change};
use super::client::AdminArgs;
use super::selection::CommandSelection;
use anyhow::Result;
use blobgate_inbox::service::{EntryFilter, read_generation, read_hook, read_job};
use std::process::ExitCode;

/// Delete the bodies, headers and services' answers of a job or a generation for good
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
#[group(id = "subject", args = ["job", "generation"], required = true, multiple = true)]
pub(crate) struct Args {
    /// Only entries of this job
    #[arg(long, value_name = "JOB", value_parser = read_job)]
    job: Option<String>,
    /// Only entries of this generation
    #[arg(long, value_name = "UUID", value_parser = read_generation)]
    generation: Option<String>,
    /// Only entries of this hook
    #[arg(long, value_name = "HOOK", value_parser = read_hook)]
    hook: Option<String>,
    /// A preview without a change
    #[arg(long)]
    dry_run: bool,
    /// No question before the change
    #[arg(long)]
    yes: bool,
    /// JSON output: the ids of the purged entries, and of the others with the reason
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

const EXAMPLES: &str = "\
It purges all stored entries of the job: delivered, quarantined and dead ones. A quarantined or dead
entry becomes dropped. The command refuses a waiting entry: drop it first. It refuses an entry in
flight: wait for the attempt, or pause the route. A repeat of a purged event gets 200 and is not
delivered. Later events of the job are stored as usual.

To recognise repeats, the inbox keeps for 400 days: hook, generation, event, job, token id, times,
status, and the SHA-256 of the body. Of a completion it also keeps the SHA-256 of the video's URL
without its query.

A purge does not reach copies: replicas, backups, archived logs and exports. Delete or recreate
them. SQLite's log (PATH-wal) loses the bodies at the next restart of `serve` at the latest.
PostgreSQL's dead rows lose them with VACUUM, and its log when PostgreSQL recycles it.

Exit code: 0 when it purged all, 1 when some stay or the inbox is unreachable, 2 for wrong usage.

Examples:
  blobgate inbox purge --job order-7 --dry-run
  blobgate inbox purge --job order-7
  blobgate inbox purge --generation 5f1c8c1e-7c0c-4b0a-9a5e-0d5c8a9b1c01 --hook veo3 --yes";

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let (job, generation, hook) = (args.job, args.generation, args.hook);
    let selected = CommandSelection::Filter(EntryFilter { job, generation, hook, ..EntryFilter::default() });
    let options = ChangeOptions { yes: args.yes, json: args.json, dry_run: args.dry_run };
    change(args.admin.connect()?, ChangeKind::Purge, &selected, &options).await
}
