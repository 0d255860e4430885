//! `blobgate why`: tells the story of a generation.

mod print;

use crate::inbox::client::AdminArgs;
use crate::option::parse_id;
use crate::output::print_json;
use anyhow::Result;
use blobgate_inbox::service::{StoryRequest, read_generation, read_hook, read_job, read_request_id};
use std::process::ExitCode;

/// Show where the event of a generation is, and why
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
#[group(id = "story", args = ["generation", "job", "request_id", "entry"], required = true, multiple = false)]
pub(crate) struct Args {
    /// The generation
    #[arg(value_name = "GENERATION", value_parser = read_generation)]
    generation: Option<String>,
    /// The generations of this job
    #[arg(long, value_name = "JOB", value_parser = read_job)]
    job: Option<String>,
    /// The generation of this request: the x-request-id of its first delivery
    #[arg(long, value_name = "ID", value_parser = read_request_id)]
    request_id: Option<String>,
    /// The generation of this entry
    #[arg(long, value_name = "ID", value_parser = parse_id)]
    entry: Option<i64>,
    /// Only this hook
    #[arg(long, value_name = "HOOK", value_parser = read_hook)]
    hook: Option<String>,
    /// A call of the status API, and its answer beside the stored events; it counts against --reconcile-per-minute
    #[arg(long)]
    ask: bool,
    /// JSON output: one object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

const EXAMPLES: &str = "\
A line has its time, the time since the first line, and the event. Lines that are still to come are
last. Below them stand the next steps, each with its command.

In JSON, `stories` has the generations, `lines` their events, `next` the steps. The words of `what`,
`outcome` and `verdict` do not change. The sentences may.

Exit code: 0 when it tells a story; 1 without one, without the inbox, and when --ask got no call; 2
for wrong usage.

Examples:
  blobgate why ffd473d5-5bef-4e14-bf22-8d559be3c19f
  blobgate why ffd473d5-5bef-4e14-bf22-8d559be3c19f --ask  # calls the status API
  blobgate why --job order-17 --hook veo3
  blobgate why --entry 17 --json | jq -r '.stories[].next[].command // empty'";

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let options = args.admin.options();
    let inbox = args.admin.connect()?;
    let request = StoryRequest {
        generation: args.generation,
        job: args.job,
        request_id: args.request_id,
        entry: args.entry,
        hook: args.hook,
    };
    let answer = if args.ask { inbox.ask_story(&request).await? } else { inbox.story(&request).await? };
    if args.json {
        print_json(serde_json::to_string_pretty(&answer)?);
    } else {
        print::print(&request, &answer, &options);
    }
    let is_asked = answer.status_api.as_ref().is_none_or(|status| status.called);
    let is_told = !answer.stories.is_empty();
    Ok(if is_told && is_asked { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
