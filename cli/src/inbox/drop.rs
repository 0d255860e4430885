//! `blobgate inbox drop`.

use super::change::{Change, Which};
use anyhow::Result;
use std::process::ExitCode;

/// Give up entries that wait, are dead or are kept: they are not delivered
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
}

const EXAMPLES: &str = "\
Entries are named by their ids, or by filters, of which each must be met. It says how many of what it would drop and asks;
where there is no terminal to ask on, it wants --yes. What is under way is not dropped: pause its route first. A repeat of
what was dropped is still a repeat: its sender hears 200, and it is not delivered.
What was dropped can be replayed while its body is there, for 14 days.

Exit code: 0 when all were dropped, 1 when some were not or the inbox cannot be reached, 2 for wrong usage.

Examples:
  blobgate inbox drop 17 18
  blobgate inbox drop --state quarantined --reason token-expired --yes
  blobgate inbox drop --state dead --hook veo3 --since 2d";

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    args.which.apply(Change::Drop).await
}
