//! `blobgate inbox restore`: restores an SQLite store from a copy.

use super::backup::contents;
use super::prompt::confirm;
use super::store_option::StoreParser;
use crate::option::UsageError;
use crate::output::print_line;
use anyhow::Result;
use blobgate_inbox::store::{CopyError, Place, SourceError};
use std::path::PathBuf;
use std::process::ExitCode;

/// Restore an SQLite store from a copy
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The copy, made by `blobgate inbox backup`
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// The store: sqlite:PATH
    #[arg(long, value_name = "STORE", env = "BLOBGATE_INBOX_STORE", hide_env_values = true, value_parser = StoreParser)]
    store: Place,
    /// No question before an existing store is replaced
    #[arg(long)]
    yes: bool,
}

const EXAMPLES: &str = "\
End the inbox first. The command checks the copy, and renames an existing store to
PATH.before-restore-TIME.

A copy is a state of the past:
  - The inbox recognises repeats of the events in the copy, and does not deliver those again.
  - Its waiting entries may have been delivered since, so the command pauses their hooks. Senders
    still get 200. List the entries with `ls --state waiting`, drop those that the service has (it
    knows the idempotency-key), and then `resume --hook HOOK`. Without a drop it gets them twice.
  - Later events are missing, and the provider does not send them again. `reconcile` fetches those
    that the application announced with `expect`. The service gets the delivered ones twice, with
    the same idempotency-key.
  - Later changes (drop, purge, pause) are undone. Purge again.

Exit code: 0 when it restored, 1 when it did not, 2 for wrong usage or without a terminal to ask.

Examples:
  blobgate inbox restore --from /backup/inbox-2026-01-31.db --store sqlite:/var/lib/inbox.db
  blobgate inbox migrate --store sqlite:/var/lib/inbox.db    # upgrades an older copy";

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    if let Place::Sqlite(path) = &args.store
        && path.exists()
        && !args.yes
    {
        let what = format!(
            "replace {0} by {1}, and rename the old {0} to {0}.before-restore-TIME",
            path.display(),
            args.from.display()
        );
        if let Some(code) = confirm(&what, "restored")? {
            return Ok(code);
        }
    }
    let restored = args.store.restore(&args.from).await.map_err(|error| match error {
        CopyError::Postgres | CopyError::Source(_, SourceError::SameFile) => UsageError::new(error).into(),
        error => anyhow::Error::from(error),
    })?;
    print_line(format_args!("restored from {}: {}", args.from.display(), contents(&restored.copy)));
    if let Some(replaced) = restored.replaced {
        print_line(format_args!("the replaced store is now {}", replaced.display()));
    }
    for hook in restored.paused {
        print_line(format_args!(
            "hook {hook} is paused, because its service may have the waiting events. Drop those, then run `blobgate inbox resume --hook {hook}`"
        ));
    }
    Ok(ExitCode::SUCCESS)
}
