//! `blobgate inbox resume`.

use super::asking::Admin;
use super::pause::What;
use crate::output::tell;
use anyhow::Result;
use reqwest::Method;
use serde::de::IgnoredAny;
use std::process::ExitCode;

/// End a pause, and deliver what has waited
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    admin: Admin,
}

const EXAMPLES: &str = "\
A pause ends as it was set: one of a hook does not end by naming one of its events. `blobgate inbox stats` shows what is
paused.

Exit code: 0 when it is resumed, 1 when there is no such pause or the inbox cannot be reached, 2 for wrong usage.

Examples:
  blobgate inbox resume --hook veo3
  blobgate inbox resume --hook veo3 --event failed";

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let _done: IgnoredAny = args.admin.connect()?.tell(Method::DELETE, "/pauses", &args.what.json()).await?;
    tell(format_args!("{} is resumed", args.what.name()));
    Ok(ExitCode::SUCCESS)
}
