//! `blobgate inbox pause`.

use super::asking::Admin;
use crate::output::{say, tell};
use anyhow::Result;
use blobgate_inbox::admin::EVENTS;
use clap::builder::PossibleValuesParser;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use std::process::ExitCode;

/// Deliver nothing of a hook, an event, or an event of a hook, until it is resumed
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    admin: Admin,
}

/// What is paused or resumed.
#[derive(clap::Args)]
#[group(required = true, multiple = true)]
pub(super) struct What {
    /// Every event of this hook, or the one that --event names
    #[arg(long, value_name = "HOOK")]
    hook: Option<String>,
    /// This event of every hook, or of the one that --hook names
    #[arg(long, value_name = "EVENT", value_parser = PossibleValuesParser::new(EVENTS))]
    event: Option<String>,
}

const EXAMPLES: &str = "\
It takes effect within a second. What is under way is finished; what comes is stored, and its sender hears 200. A pause is in
the store: it survives a restart, and holds for every inbox on it. It stops the clock after which an event is given up.
`blobgate inbox stats` shows what is paused. A hook that the store does not know is paused too, and said.

Exit code: 0 when it is paused, 1 when the inbox cannot be reached, 2 for wrong usage.

Examples:
  blobgate inbox pause --hook veo3
  blobgate inbox pause --event completed
  blobgate inbox pause --hook veo3 --event failed";

/// A pause as the inbox shows it.
#[derive(Deserialize)]
pub(super) struct Paused {
    hook: Option<String>,
    event: Option<String>,
    pub(super) since: String,
}

#[derive(Deserialize)]
struct Done {
    changed: bool,
    note: Option<String>,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let name = args.what.name();
    let Done { changed, note } =
        args.admin.connect()?.tell(Method::PUT, "/pauses", &args.what.json()).await?;
    let already = if changed { "" } else { " already" };
    tell(format_args!("{name} is{already} paused"));
    if let Some(note) = note {
        say(format_args!("{note}"));
    }
    Ok(ExitCode::SUCCESS)
}

impl What {
    pub(super) fn json(&self) -> Value {
        json!({"hook": self.hook, "event": self.event})
    }

    pub(super) fn name(&self) -> String {
        name(self.hook.as_deref(), self.event.as_deref())
    }
}

impl Paused {
    pub(super) fn name(&self) -> String {
        name(self.hook.as_deref(), self.event.as_deref())
    }
}

fn name(hook: Option<&str>, event: Option<&str>) -> String {
    match (hook, event) {
        (Some(hook), Some(event)) => format!("{event} of hook {hook}"),
        (Some(hook), None) => format!("hook {hook}"),
        (None, event) => format!("{} of every hook", event.unwrap_or("everything")),
    }
}
