//! `blobgate inbox expect`: announces generations.

mod csv;

use super::client::{AdminArgs, InboxClient, is_unreachable};
use super::report::entries;
use crate::option::UsageError;
use crate::output::{eprint_line, print_json, print_line};
use crate::progress::Progress;
use anyhow::{Result, bail};
use blobgate_inbox::service::{
    ExpectAnswer, ExpectRequest, ExpectationStatus, JobMismatch, read_generation, read_hook, read_job,
};
use std::path::PathBuf;
use std::process::ExitCode;

/// Announce a generation and its job, so that the inbox expects its event
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
#[group(id = "subject", args = ["hook", "csv"], required = true)]
pub(crate) struct Args {
    /// The hook of its webhook
    #[arg(long, value_name = "HOOK", requires_all = ["generation", "job"], value_parser = read_hook)]
    hook: Option<String>,
    /// The generation_id from RunBlob's answer
    #[arg(long, value_name = "ID", requires_all = ["hook", "job"], value_parser = read_generation)]
    generation: Option<String>,
    /// Your own reference, as in the callback token
    #[arg(long, value_name = "JOB", requires_all = ["hook", "generation"], value_parser = read_job)]
    job: Option<String>,
    /// A file with a line hook,generation_id,job for each generation; the header line is optional
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// JSON output: one answer a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

const EXAMPLES: &str = "\
An application sends the same request after RunBlob's answer:
  curl http://127.0.0.1:9085/expect -H 'content-type: application/json' \\
    -d '{\"hook\": \"veo3\", \"generation_id\": \"ID\", \"job\": \"order-17\"}'

A repeated request changes nothing. The inbox refuses another job for the same generation. An
expectation may come after the webhook. It then releases an entry that is quarantined because
another generation used its token before (token-reused, token-conflict), if the jobs are equal. If
an accepted event had another job, this command and `blobgate inbox show` print a job-mismatch. From
then on the inbox quarantines events with a token of another job.

An inbox with a --provider reconciles a generation that has no event after 13 minutes. Without one,
`reconciles` in the answer is false, and this command says so.

Exit code: 0 when all are expected, 1 when some are refused or without the inbox, 2 for wrong usage.

Examples:
  blobgate inbox expect --hook veo3 --generation ffd473d5-5bef-4e14-bf22-8d559be3c19f --job order-17
  blobgate inbox expect --csv yesterday.csv";

/// An inbox without a status API.
const NOT_RECONCILED: &str = "this inbox does not reconcile: it does not fetch an event whose webhook never comes. Start it with --provider";

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let inbox = args.admin.connect()?;
    if let Some(file) = args.csv {
        return announce_all(&inbox, csv::read(&file)?, args.json).await;
    }
    let (Some(hook), Some(generation_id), Some(job)) = (args.hook, args.generation, args.job) else {
        bail!(UsageError("no generation is named. Pass --hook, --generation and --job, or --csv".to_owned()));
    };
    let answer = inbox.expect(&ExpectRequest { hook, generation_id, job }).await?;
    show(&answer, args.json)?;
    if !answer.reconciles {
        eprint_line(format_args!("{NOT_RECONCILED}"));
    }
    Ok(ExitCode::SUCCESS)
}

fn show(answer: &ExpectAnswer, json: bool) -> Result<()> {
    if json {
        print_json(serde_json::to_string(answer)?);
        return Ok(());
    }
    let ExpectAnswer { expectation, released, .. } = answer;
    let released = if released.is_empty() {
        String::new()
    } else {
        format!("; released {} from quarantine", entries(released.len()))
    };
    print_line(format_args!("{}: {}{released}", expectation.generation_id, summary(expectation)));
    Ok(())
}

/// Continues after a refused line.
async fn announce_all(inbox: &InboxClient, lines: Vec<csv::CsvLine>, json: bool) -> Result<ExitCode> {
    let mut progress = Progress::new("expected", u64::try_from(lines.len()).unwrap_or(u64::MAX));
    let (mut done, mut refused, mut reconciles) = (0_usize, 0_usize, true);
    for csv::CsvLine { number, hook, generation, job } in lines {
        match inbox.expect(&ExpectRequest { hook, generation_id: generation, job }).await {
            Ok(answer) => {
                done = done.saturating_add(1);
                reconciles = answer.reconciles;
                if json || answer.expectation.job_mismatch.is_some() {
                    show(&answer, json)?;
                }
            }
            Err(error) if is_unreachable(&error) => {
                return Err(error.context(format!("line {number}")));
            }
            Err(error) => {
                refused = refused.saturating_add(1);
                eprint_line(format_args!("line {number}: {error}"));
            }
        }
        progress.at(done);
    }
    drop(progress);
    if !reconciles {
        eprint_line(format_args!("{NOT_RECONCILED}"));
    }
    if !json {
        let more = if refused > 0 { format!(", {refused} refused") } else { String::new() };
        print_line(format_args!("{done} expected{more}"));
    }
    Ok(if refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// An expectation on one line.
pub(super) fn summary(expectation: &ExpectationStatus) -> String {
    let subject = match &expectation.job {
        Some(job) => format!("job {job}"),
        None => "no job".to_owned(),
    };
    let answer = expectation.answer.as_deref().unwrap_or("-");
    let calls = match expectation.calls {
        0 => String::new(),
        1 => format!(", one status call: {answer}"),
        calls => format!(", {calls} status calls, the last: {answer}"),
    };
    let mismatch = expectation.job_mismatch.as_ref().map(|JobMismatch { entry, job }| {
        format!("; job-mismatch: entry {entry} was accepted with job {}", job.as_deref().unwrap_or("-"))
    });
    format!("{subject}, {}{calls}{}", expectation.state, mismatch.unwrap_or_default())
}
