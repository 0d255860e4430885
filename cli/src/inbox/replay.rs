//! `blobgate inbox replay`.

use super::change::{ChangeKind, ChangeOptions, change};
use super::selection::SelectionArgs;
use anyhow::Result;
use std::process::ExitCode;

/// Deliver entries again: delivered, dead, superseded or dropped ones
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    selection: SelectionArgs,
}

const EXAMPLES: &str = "\
A replayed entry waits behind new ones. It has 72 hours of attempts from now on, the same idempotency-key, and
blobgate-redelivery: 1, or 2 the second time. A waiting entry is not replayed again, so the same command twice does it once.
A quarantined entry is not replayed: `blobgate inbox release ID` delivers it.

Name entries by their ids, or by filters; an entry has to match each filter. With filters the command says how many entries
it would replay, and asks. Without a terminal it wants --yes.

Exit code: 0 when all were replayed, 1 when some were not or the inbox cannot be reached, 2 for wrong usage.

Examples:
  blobgate inbox replay 17
  blobgate inbox replay --state dead --hook veo3
  blobgate inbox replay --state delivered --event completed --since 3h --yes";

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let selected = args.selection.selected();
    let manner = ChangeOptions { yes: args.selection.yes, json: args.selection.json, dry_run: false };
    change(args.selection.admin.connect()?, ChangeKind::Replay, &selected, &manner).await
}
