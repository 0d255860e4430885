//! `blobgate inbox reconcile`.

use super::client::AdminArgs;
use super::entry::age;
use crate::output::{say, tell, tell_json};
use crate::table::{Side, lines};
use anyhow::Result;
use blobgate_inbox::service::{ReconcileAnswer, ReconcilePreview, ReconcileQuestion};
use std::process::ExitCode;

/// Ask the provider now about the events that are due, or list them
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Only list the generations that the reconciler would ask about, and why
    #[arg(long)]
    dry_run: bool,
    /// Print JSON: one object, the inbox's answer
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

const EXAMPLES: &str = "\
An inbox with a --provider asks by itself: 13 minutes after a generation was expected, and again after a minute, then twice as
late each time, up to a day. `reconcile` makes it ask now about all that is due or was asked about before, the oldest first, within
--reconcile-per-minute. The inbox delivers the event of an ended generation as its webhook would have been. A generation that the
provider has denied three times is `unknown`: the inbox logs and counts it, and does not ask again.

Exit code: 0 when it is done, 1 when the inbox has no provider or cannot be reached, 2 for wrong usage.

Examples:
  blobgate inbox reconcile --dry-run
  blobgate inbox reconcile";

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let inbox = args.admin.connect()?;
    if args.dry_run {
        let preview = inbox.preview_reconcile().await?;
        match args.json {
            true => tell_json(serde_json::to_string(&preview)?),
            false => show(&preview),
        }
        return Ok(ExitCode::SUCCESS);
    }
    let answer = inbox.reconcile().await?;
    if args.json {
        tell_json(serde_json::to_string(&answer)?);
    } else {
        let ReconcileAnswer { due, per_minute } = answer;
        let word = if due == 1 { "generation is" } else { "generations are" };
        tell(format_args!("{due} {word} asked about now, at most {per_minute} a minute"));
    }
    Ok(ExitCode::SUCCESS)
}

const COLUMNS: [(&str, Side); 7] = [
    ("AGE", Side::Right),
    ("DUE", Side::Left),
    ("HOOK", Side::Left),
    ("GENERATION", Side::Left),
    ("JOB", Side::Left),
    ("ASKED", Side::Right),
    ("WHY", Side::Left),
];

fn show(preview: &ReconcilePreview) {
    if preview.questions.is_empty() {
        say(format_args!("there is nothing to ask about"));
        return;
    }
    let rows: Vec<_> = preview.questions.iter().map(row).collect();
    for line in lines(COLUMNS, &rows) {
        tell(format_args!("{line}"));
    }
    if preview.more {
        say(format_args!("there are more"));
    }
    if preview.per_minute.is_none() {
        say(format_args!("this inbox asks nobody: start it with --provider"));
    }
}

fn row(question: &ReconcileQuestion) -> [String; 7] {
    let expectation = &question.expectation;
    let answer = expectation.answer.as_ref().map(|answer| format!(" ({answer})")).unwrap_or_default();
    [
        age(&expectation.expected_at),
        if question.due { "yes" } else { "no" }.to_owned(),
        expectation.hook.clone(),
        expectation.generation_id.clone(),
        expectation.job.clone().unwrap_or_else(|| "-".to_owned()),
        expectation.asked.to_string(),
        format!("{}{answer}", question.why),
    ]
}
