//! `blobgate inbox backup`: copies an SQLite store.

use super::entry::size;
use super::store_option::StoreParser;
use crate::end_signals::until_signal;
use crate::option::UsageError;
use crate::output::print_line;
use anyhow::Result;
use blobgate_inbox::store::{CopyError, CopySummary, Place};
use std::path::PathBuf;
use std::process::ExitCode;

/// Copy an SQLite store while the inbox runs
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The store: sqlite:PATH
    #[arg(long, value_name = "STORE", env = "BLOBGATE_INBOX_STORE", hide_env_values = true, value_parser = StoreParser)]
    store: Place,
    /// A new file for the copy, which exists once it is complete
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

const EXAMPLES: &str = "\
The copy is one file with the store's state at one moment. Only its owner can read it, because it
has prompts and links to videos. The command checks the copy (PRAGMA integrity_check) and syncs it
to the disk. The inbox keeps running; its log grows during the copy. Do not use `cp`: it misses the
events in the log.

`blobgate inbox restore --help` explains what a restore does with the copy.
For PostgreSQL use its own tools: docs/howto/backup.md has the commands.

Exit code: 0 when the copy is there, 1 when it is not, 2 for wrong usage.

Examples:
  blobgate inbox backup --store sqlite:/var/lib/blobgate/inbox.db --to /backup/inbox-$(date +%F).db";

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let copied = until_signal(async {
        args.store.backup(&args.to).await.map_err(|error| match error {
            CopyError::Postgres => UsageError::new(error).into(),
            error => error.into(),
        })
    });
    let copied = copied.await?;
    print_line(format_args!("copied to {}: {}", args.to.display(), contents(&copied)));
    Ok(ExitCode::SUCCESS)
}

/// `3 entries (1 delivered, 2 waiting), 53.2 kB, checked`.
pub(super) fn contents(copied: &CopySummary) -> String {
    let count = copied.states.values().fold(0_i64, |sum, count| sum.saturating_add(*count));
    let states: Vec<_> = copied.states.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let states = if states.is_empty() { String::new() } else { format!(" ({})", states.join(", ")) };
    let noun = if count == 1 { "entry" } else { "entries" };
    let bytes = size(i64::try_from(copied.bytes).unwrap_or(i64::MAX));
    format!("{count} {noun}{states}, {bytes}, checked")
}
