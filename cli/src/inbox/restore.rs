//! `blobgate inbox restore`: a copy of SQLite's file, back in its place.

use super::backup::contents;
use super::prompt::confirm;
use crate::output::tell;
use anyhow::Result;
use blobgate_inbox::store::Place;
use std::path::PathBuf;
use std::process::ExitCode;

/// Put a copy in the place of the store's SQLite file
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The copy, as `backup` has made it
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// The store: sqlite:PATH
    #[arg(long, value_name = "STORE", env = "BLOBGATE_INBOX_STORE", hide_env_values = true)]
    store: Place,
    /// Do not ask before a store that is there is replaced
    #[arg(long)]
    yes: bool,
}

const EXAMPLES: &str = "\
The inbox has to be ended first. The copy is checked and copied; the file that it replaces is kept beside it as
PATH.before-restore-TIME.

A copy is a state of the past:
  - What was delivered before it was made is known, and a repeat of it is not delivered.
  - What waited when it was made still waits in it, though it may have been delivered since. So every hook for which something
    waits is paused: its senders still get 200. Look with `ls --state waiting`, give up with `drop` what the service has (it
    knows it by idempotency-key), and then `resume --hook HOOK`. Without that, it is delivered a second time.
  - What came since is not in it, delivered or not; its senders got 200 and do not come back. `reconcile` asks RunBlob for
    what was expected (`expect`) and has no end in the copy. What was delivered since is then delivered a second time, with the
    same idempotency-key.
  - What a person did since (drop, purge, pause) is undone: purge again what was purged.

Exit code: 0 when it was restored, 1 when it was not, 2 for wrong usage or where there is nobody to ask.

Examples:
  blobgate inbox restore --from /backup/inbox-2026-01-31.db --store sqlite:/var/lib/blobgate/inbox.db
  blobgate inbox migrate --store sqlite:/var/lib/blobgate/inbox.db      where the copy is of an older version";

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    if let Place::Sqlite(path) = &args.store
        && path.exists()
        && !args.yes
    {
        let what = format!(
            "replace {0} by {1}, and keep it as {0}.before-restore-TIME",
            path.display(),
            args.from.display()
        );
        if let Some(code) = confirm(&what, "restored")? {
            return Ok(code);
        }
    }
    let restored = args.store.restore(&args.from).await?;
    tell(format_args!("restored from {}: {}", args.from.display(), contents(&restored.copy)));
    if let Some(replaced) = restored.replaced {
        tell(format_args!("what was there is now {}", replaced.display()));
    }
    for hook in restored.paused {
        tell(format_args!(
            "{hook} is paused: what waits may have been delivered since; `drop` what its service has, then `blobgate inbox resume --hook {hook}`"
        ));
    }
    Ok(ExitCode::SUCCESS)
}
