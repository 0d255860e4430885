//! `blobgate inbox replay`: delivers entries again.

use super::change::{ChangeKind, ChangeOptions, change};
use super::selection::SelectionArgs;
use anyhow::Result;
use std::process::ExitCode;

/// Deliver delivered, dead, superseded or dropped entries again
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    selection: SelectionArgs,
}

const EXAMPLES: &str = "\
A replayed entry waits behind new ones and has 72 hours of attempts again. Its service gets the same
idempotency-key, and blobgate-redelivery: 1, or 2 the second time. The command refuses waiting
entries, so it replays nothing twice. It refuses quarantined entries: `blobgate inbox release ID`
delivers those.

Name entries by ids, or by filters. An entry has to match every filter. With filters the command
shows the number of entries and asks; without a terminal it needs --yes.

Exit code: 0 when it replayed all, 1 when some stay or the inbox is unreachable, 2 for wrong usage.

Examples:
  blobgate inbox replay 17
  blobgate inbox replay --state dead --hook veo3
  blobgate inbox replay --state delivered --event completed --since 3h --yes";

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let selected = args.selection.selected();
    let options = ChangeOptions { yes: args.selection.yes, json: args.selection.json, dry_run: false };
    change(args.selection.admin.connect()?, ChangeKind::Replay, &selected, &options).await
}
