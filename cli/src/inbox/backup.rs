//! `blobgate inbox backup`: a copy of SQLite's file, while the inbox runs.

use super::entry::size;
use crate::output::tell;
use anyhow::Result;
use blobgate_inbox::store::{CopySummary, Place};
use std::path::PathBuf;
use std::process::ExitCode;

/// Copy the store's SQLite file while the inbox runs
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The store: sqlite:PATH
    #[arg(long, value_name = "STORE", env = "BLOBGATE_INBOX_STORE", hide_env_values = true)]
    store: Place,
    /// The new file; nothing is overwritten
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

const EXAMPLES: &str = "\
The copy is the store as it was at one moment, in one file without a log; only you can read it, for it holds prompts and links
to videos. It is checked (PRAGMA integrity_check) and on the disk before the command says so. The inbox goes on meanwhile; its
log grows for as long as the copy takes. A copy of the file by `cp` is none: half of the newest events are in the log.
A copy is a state of the past: what `restore` does with it, and what it cannot know, is in `blobgate inbox restore --help`.
For PostgreSQL use its own tools: inbox/BACKUP.md has the commands.

Exit code: 0 when there is a copy, 1 when there is none, 2 for wrong usage.

Examples:
  blobgate inbox backup --store sqlite:/var/lib/blobgate/inbox.db --to /backup/inbox-$(date +%F).db";

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let copied = args.store.backup(&args.to).await?;
    tell(format_args!("copied to {}: {}", args.to.display(), contents(&copied)));
    Ok(ExitCode::SUCCESS)
}

/// `3 entries (1 delivered, 2 waiting), 53.2 kB, checked`.
pub(super) fn contents(copied: &CopySummary) -> String {
    let count = copied.states.values().fold(0_i64, |sum, count| sum.saturating_add(*count));
    let states: Vec<_> = copied.states.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let states = if states.is_empty() { String::new() } else { format!(" ({})", states.join(", ")) };
    let word = if count == 1 { "entry" } else { "entries" };
    let bytes = size(i64::try_from(copied.bytes).unwrap_or(i64::MAX));
    format!("{count} {word}{states}, {bytes}, checked")
}
