//! `blobgate inbox drop`.

use super::change::{ChangeKind, ChangeOptions, change};
use super::selection::SelectionArgs;
use anyhow::Result;
use std::process::ExitCode;

/// Give up waiting, dead or quarantined entries: they are not delivered
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    selection: SelectionArgs,
}

const EXAMPLES: &str = "\
Name entries by their ids, or by filters; an entry has to match each filter. The command says how many entries it would drop,
and asks. Without a terminal it wants --yes. It does not drop an entry in flight: pause its route first. A repeat of a dropped
event is still a repeat: its sender gets 200, and it is not delivered.
A dropped entry can be replayed while its body is there, for 14 days.

Exit code: 0 when all were dropped, 1 when some were not or the inbox cannot be reached, 2 for wrong usage.

Examples:
  blobgate inbox drop 17 18
  blobgate inbox drop --state quarantined --reason token-expired --yes
  blobgate inbox drop --state dead --hook veo3 --since 2d";

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let selected = args.selection.selected();
    let manner = ChangeOptions { yes: args.selection.yes, json: args.selection.json, dry_run: false };
    change(args.selection.admin.connect()?, ChangeKind::Drop, &selected, &manner).await
}
