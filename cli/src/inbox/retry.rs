//! `blobgate inbox retry`: attempts waiting entries now.

use super::change::{ChangeKind, ChangeOptions, change};
use super::selection::{CommandSelection, SelectionArgs};
use anyhow::Result;
use blobgate_inbox::service::{EntryFilter, EntryState};
use std::process::ExitCode;

/// Retry waiting entries now, without the rest of their delay
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    selection: SelectionArgs,
    /// A preview without a change
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
}

const EXAMPLES: &str = "\
Use it after a service was down or wrong: an entry that was tried often waits up to an hour for its
next attempt. The inbox attempts the retried entries oldest first, at --drain-rate of `serve`, and
doubles the rate every 10 s. On a route that is down, probes come first, at most 30 s apart. A
paused route stays paused.

A failed attempt is followed by the next delay as usual. A retry costs an entry nothing of its
72 hours of attempts.

Name entries by ids, or by filters. An entry has to match every filter; --state is waiting. With
filters the command shows the number of entries and asks; without a terminal it needs --yes.

Exit code: 0 when it retried all, 1 when some stay or the inbox is unreachable, 2 for wrong usage.

Examples:
  blobgate inbox retry 17
  blobgate inbox retry --hook veo3 --event completed
  blobgate inbox retry --state waiting --yes
  blobgate inbox retry --hook veo3 --dry-run";

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let selected = match args.selection.selected() {
        // Entries of other states are no mistake of a filter by hook.
        CommandSelection::Filter(EntryFilter { state: None, .. }) => {
            let filter = args.selection.filter.read();
            CommandSelection::Filter(EntryFilter { state: Some(EntryState::Waiting), ..filter })
        }
        selected => selected,
    };
    let options = ChangeOptions { yes: args.selection.yes, json: args.selection.json, dry_run: args.dry_run };
    change(args.selection.admin.connect()?, ChangeKind::Retry, &selected, &options).await
}
