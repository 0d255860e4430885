//! `blobgate inbox reconcile`: fetches due results now.

use super::client::AdminArgs;
use super::entry::age;
use crate::output::{eprint_line, print_json, print_line};
use crate::table::{Side, lines};
use anyhow::Result;
use blobgate_inbox::service::{ReconcileAnswer, ReconcilePreview, ReconcileQuestion};
use std::process::ExitCode;

/// Fetch the results of expected generations from the provider now
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A list of the due status calls, without a call
    #[arg(long)]
    dry_run: bool,
    /// JSON output: one object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

const EXAMPLES: &str = "\
An inbox with a --provider makes these calls without this command: 13 minutes after an expectation,
again after a minute, then at doubling intervals of up to a day. `reconcile` makes the due calls
now, and repeats the calls that brought no result: the oldest first, at most --reconcile-per-minute.
The inbox delivers the result like a webhook. When the status API has answered three times that a
generation does not exist, it is `unknown`: the inbox logs and counts it, and makes no more calls.

Exit code: 0 when it is done, 1 without a provider or the inbox, 2 for wrong usage.

Examples:
  blobgate inbox reconcile --dry-run
  blobgate inbox reconcile";

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let inbox = args.admin.connect()?;
    if args.dry_run {
        let preview = inbox.preview_reconcile().await?;
        match args.json {
            true => print_json(serde_json::to_string(&preview)?),
            false => show(&preview),
        }
        return Ok(ExitCode::SUCCESS);
    }
    let answer = inbox.reconcile().await?;
    if args.json {
        print_json(serde_json::to_string(&answer)?);
    } else {
        let ReconcileAnswer { due, per_minute, .. } = answer;
        let noun = if due == 1 { "generation" } else { "generations" };
        print_line(format_args!("reconciling {due} {noun} now, at most {per_minute} a minute"));
    }
    Ok(ExitCode::SUCCESS)
}

const COLUMNS: [(&str, Side); 7] = [
    ("AGE", Side::Right),
    ("DUE", Side::Left),
    ("HOOK", Side::Left),
    ("GENERATION", Side::Left),
    ("JOB", Side::Left),
    ("CALLS", Side::Right),
    ("WHY", Side::Left),
];

fn show(preview: &ReconcilePreview) {
    if preview.questions.is_empty() {
        eprint_line(format_args!("no generation to reconcile"));
        return;
    }
    let rows: Vec<_> = preview.questions.iter().map(row).collect();
    for line in lines(COLUMNS, &rows) {
        print_line(format_args!("{line}"));
    }
    if preview.more {
        eprint_line(format_args!("the list has more generations"));
    }
    if preview.per_minute.is_none() {
        eprint_line(format_args!("this inbox does not reconcile. Start it with --provider"));
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
        expectation.calls.to_string(),
        format!("{}{answer}", question.why),
    ]
}
