//! `blobgate inbox replay`.

use super::change::{Change, Which};
use anyhow::Result;
use std::process::ExitCode;

/// Deliver entries again, or at last: delivered, dead, kept, superseded or dropped ones
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
}

const EXAMPLES: &str = "\
A replayed entry waits behind what is new, with 72 hours of trying from now on, its own idempotency-key, and
blobgate-redelivery: 1, or 2 the second time. What was kept goes where its event would have gone, with blobgate-override and
the reason for which it was kept: let go only of what you have looked at. While an entry waits it is not replayed again, so
the same command twice does it once.

Entries are named by their ids, or by filters, of which each must be met; with filters it says how many of what it would
replay and asks, and where there is no terminal to ask on, it wants --yes.

Exit code: 0 when all were replayed, 1 when some were not or the inbox cannot be reached, 2 for wrong usage.

Examples:
  blobgate inbox ls --state kept
  blobgate inbox replay 17
  blobgate inbox replay --state dead --hook veo3
  blobgate inbox replay --state delivered --event completed --since 3h --yes";

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    args.which.apply(Change::Replay).await
}
