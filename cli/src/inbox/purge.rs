//! `blobgate inbox purge`.

use super::change::{ChangeKind, ChangeOptions, change};
use super::client::AdminArgs;
use super::selection::EntrySelection;
use anyhow::Result;
use blobgate_inbox::service::EntryFilter;
use std::process::ExitCode;

/// Delete bodies, headers and services' answers of a job or a generation, for good
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Only entries of this job
    #[arg(long, value_name = "JOB", required_unless_present = "generation")]
    job: Option<String>,
    /// Only entries of this generation
    #[arg(long, value_name = "UUID")]
    generation: Option<String>,
    /// Only entries of this hook
    #[arg(long, value_name = "HOOK")]
    hook: Option<String>,
    /// Only count
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print JSON: one object, the ids of the purged entries and of the others, and why
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

const EXAMPLES: &str = "\
It purges all entries of the job that are stored now: delivered, quarantined and dead ones. Nothing of a quarantined or dead entry
is left to deliver, so it becomes dropped. It does not purge a waiting entry: `drop` it first. Nor an entry in flight: its attempt
ends within seconds, or pause its route. A repeat of a purged event is still a repeat: its sender gets 200, and it is not
delivered. A later event of the job is stored as usual.

For 400 days these stay, to recognise a repeat: hook, generation, event, job, token id, times, status, SHA-256 of the body, and
of a completed generation SHA-256 of where the video is (scheme, host and path, without the query).
A purge does not reach: in SQLite the log (PATH-wal) until it comes round or `serve` is restarted (deleted pages are
overwritten); in PostgreSQL dead rows until VACUUM, and the log until it is recycled. Replicas, backups, archived logs and exports
have their own copies: let them expire, or make them anew.

Exit code: 0 when all of it was purged, 1 when some was not or the inbox cannot be reached, 2 for wrong usage.

Examples:
  blobgate inbox purge --job order-7 --dry-run
  blobgate inbox purge --job order-7
  blobgate inbox purge --generation 5f1c8c1e-7c0c-4b0a-9a5e-0d5c8a9b1c01 --hook veo3 --yes";

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let (job, generation, hook) = (args.job, args.generation, args.hook);
    let selected = EntrySelection::Filter(EntryFilter { job, generation, hook, ..EntryFilter::default() });
    let manner = ChangeOptions { yes: args.yes, json: args.json, dry_run: args.dry_run };
    change(args.admin.connect()?, ChangeKind::Purge, &selected, &manner).await
}
