//! `blobgate inbox drop`: drops undelivered entries.

use super::change::{ChangeKind, ChangeOptions, change};
use super::selection::SelectionArgs;
use anyhow::Result;
use std::process::ExitCode;

/// Drop waiting, dead or quarantined entries, so that they are not delivered
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    selection: SelectionArgs,
}

const EXAMPLES: &str = "\
The command refuses entries in flight: pause their route first. A repeat of a dropped event gets 200
and is not delivered.

`blobgate inbox replay` delivers a dropped entry while its body exists, for 14 days. Without an event
or a generation it has no route, and stays dropped: release such an entry with --as instead.

Name entries by ids, or by filters. An entry has to match every filter. The command shows the number
of entries and asks; without a terminal it needs --yes.

Exit code: 0 when it dropped all, 1 when some stay or the inbox is unreachable, 2 for wrong usage.

Examples:
  blobgate inbox drop 17 18
  blobgate inbox drop --state quarantined --reason token-expired --yes
  blobgate inbox drop --state dead --hook veo3 --since 2d";

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let selected = args.selection.selected();
    let options = ChangeOptions { yes: args.selection.yes, json: args.selection.json, dry_run: false };
    change(args.selection.admin.connect()?, ChangeKind::Drop, &selected, &options).await
}
