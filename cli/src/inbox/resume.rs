//! `blobgate inbox resume`: continues deliveries.

use super::client::AdminArgs;
use super::pause::{PauseArgs, name};
use crate::output::print_line;
use anyhow::Result;
use std::process::ExitCode;

/// End a pause, and deliver the waiting entries
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    target: PauseArgs,
    #[command(flatten)]
    admin: AdminArgs,
}

const EXAMPLES: &str = "\
Name the pause as it was set: `--hook veo3` and `--hook veo3 --event failed` are two pauses.
`blobgate inbox stats` lists the pauses.

Exit code: 0 when it is resumed, 1 without the pause or the inbox, 2 for wrong usage.

Examples:
  blobgate inbox resume --hook veo3
  blobgate inbox resume --hook veo3 --event failed";

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let target = args.target.read();
    args.admin.connect()?.resume(&target).await?;
    print_line(format_args!("{} is resumed", name(target.hook.as_deref(), target.event)));
    Ok(ExitCode::SUCCESS)
}
