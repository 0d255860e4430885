//! `blobgate inbox purge`.

use super::asking::Admin;
use super::change::{Change, Sure, by_filter};
use anyhow::Result;
use std::process::ExitCode;

/// Delete for good what came of a job or a generation: bodies, headers, services' answers
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Of this job of yours, as the token names it
    #[arg(long, value_name = "JOB", required_unless_present = "generation")]
    job: Option<String>,
    /// Of this generation
    #[arg(long, value_name = "UUID")]
    generation: Option<String>,
    /// Only of this hook
    #[arg(long, value_name = "HOOK")]
    hook: Option<String>,
    /// Only count
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print JSON: one object, the ids of what was purged and of what was not, and why
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: Admin,
}

pub(super) const TAKES: &str = "\
Bodies, headers and services' answers go for good. What a repeat is known by stays for 400 days: hook, generation, event, job,
token id, SHA-256 of the body and, of a completed generation, of where the video is (without its query), times and status.
Not reached: PostgreSQL's dead rows until VACUUM, logs (WAL), replicas, backups, exports, and what its service has.";

const EXAMPLES: &str = "\
All entries that are there now go, in every lane: delivered ones, kept ones, dead ones; with what is kept or dead there is
nothing left to deliver, and it counts as dropped. What waits is not purged: `drop` it first; nor what is under way: it ends
within seconds, or pause its route. A repeat of what was purged is still a repeat: its sender hears 200, and it is not
delivered. What comes later under that job is stored as ever.

What stays for 400 days, for a repeat to be known: hook, generation, event, job, token id, times, status, SHA-256 of the body,
and of a completed generation SHA-256 of where the video is (scheme, host and path, without the query).
What it does not reach: in SQLite the deleted pages are overwritten, and its log (PATH-wal) has them until it comes round or
`serve` is restarted; in PostgreSQL dead rows are there until VACUUM, and the log until it is recycled. Replicas, backups,
archived logs and exports have what they have: let them run out, or make them anew.

Exit code: 0 when all of it was purged, 1 when some was not or the inbox cannot be reached, 2 for wrong usage.

Examples:
  blobgate inbox purge --job order-7 --dry-run
  blobgate inbox purge --job order-7
  blobgate inbox purge --generation 5f1c8c1e-7c0c-4b0a-9a5e-0d5c8a9b1c01 --hook veo3 --yes";

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let filter = [("job", args.job), ("generation", args.generation), ("hook", args.hook)];
    let filter = filter.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let sure = Sure { yes: args.yes, json: args.json, dry_run: args.dry_run };
    by_filter(args.admin.connect()?, Change::Purge, filter, sure).await
}
