//! `blobgate inbox pause`: stops deliveries.

use super::client::AdminArgs;
use super::filter::event;
use crate::option::UsageError;
use crate::output::{eprint_line, print_line};
use anyhow::Result;
use blobgate_inbox::service::{EventKind, PauseAnswer, PauseTarget, read_hook};
use std::process::ExitCode;

/// Stop the deliveries of a hook, an event, or an event of a hook
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    target: PauseArgs,
    #[command(flatten)]
    admin: AdminArgs,
}

/// The deliveries of a pause.
#[derive(clap::Args)]
#[group(required = true, multiple = true)]
pub(super) struct PauseArgs {
    /// The hook; without --event, all its events
    #[arg(long, value_name = "HOOK")]
    hook: Option<String>,
    /// The event; without --hook, in all hooks
    #[arg(long, value_name = "EVENT", value_parser = event())]
    event: Option<EventKind>,
}

const EXAMPLES: &str = "\
It takes effect within a second. Running attempts finish. The inbox still stores new events, and
their senders get 200. A pause is in the store: it survives a restart, and applies to every inbox on
the store. Its time does not count toward the 72 hours of attempts. The command also pauses a hook
without entries, with a warning. `blobgate inbox stats` lists the pauses.

Exit code: 0 when it is paused, 1 when the inbox is unreachable, 2 for wrong usage.

Examples:
  blobgate inbox pause --hook veo3
  blobgate inbox pause --event completed
  blobgate inbox pause --hook veo3 --event failed";

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let target = args.target.read();
    // `resume` takes every name: an invalid one may have been paused.
    target.hook.as_deref().map(read_hook).transpose().map_err(UsageError::new)?;
    let PauseAnswer { changed, note, .. } = args.admin.connect()?.pause(&target).await?;
    let already = if changed { "" } else { " already" };
    print_line(format_args!("{} is{already} paused", name(target.hook.as_deref(), target.event)));
    if let Some(note) = note {
        eprint_line(format_args!("{note}"));
    }
    Ok(ExitCode::SUCCESS)
}

impl PauseArgs {
    pub(super) fn read(self) -> PauseTarget {
        PauseTarget { hook: self.hook, event: self.event }
    }
}

/// The name of a pause.
pub(super) fn name(hook: Option<&str>, event: Option<EventKind>) -> String {
    match (hook, event) {
        (Some(hook), Some(event)) => format!("{event} of hook {hook}"),
        (Some(hook), None) => format!("hook {hook}"),
        (None, Some(event)) => format!("{event} of every hook"),
        (None, None) => "everything of every hook".to_owned(),
    }
}
