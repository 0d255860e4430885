//! `blobgate inbox expect`.

mod csv;

use super::client::{AdminArgs, InboxClient, is_away};
use crate::output::{say, tell, tell_json};
use crate::progress::Progress;
use anyhow::{Result, bail};
use blobgate_inbox::service::{ExpectAnswer, ExpectRequest, ExpectationStatus, JobMismatch};
use std::path::PathBuf;
use std::process::ExitCode;

/// Note that an event is to come, and its job
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The hook to which its webhook comes
    #[arg(long, value_name = "HOOK", requires_all = ["generation", "job"])]
    hook: Option<String>,
    /// The generation_id that RunBlob answered with
    #[arg(long, value_name = "ID", requires_all = ["hook", "job"])]
    generation: Option<String>,
    /// Your name for the work: the job of its callback token
    #[arg(long, value_name = "JOB", requires_all = ["hook", "generation"])]
    job: Option<String>,
    /// Many of them: a file with hook,generation_id,job on each line, with or without that head line
    #[arg(long, value_name = "FILE", conflicts_with = "hook", required_unless_present = "hook")]
    csv: Option<PathBuf>,
    /// Print JSON: the inbox's answers, one object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

const EXAMPLES: &str = "\
An application sends one request after RunBlob's answer. This command sends the same:
  curl http://127.0.0.1:9085/expect -H 'content-type: application/json' \\
    -d '{\"hook\": \"veo3\", \"generation_id\": \"ID\", \"job\": \"order-17\"}'
The same twice changes nothing; another job for the same generation is refused. It may come after the webhook: an entry whose token
was bound to something else is released from quarantine if this explains it. A generation that was accepted with another job is
a job-mismatch, which this command and `blobgate inbox show` print. From then on events with a token of another job go into
quarantine, even the first. After 13 minutes without an event the reconciler asks RunBlob, where `inbox serve` has a --provider.

Exit code: 0 when all is expected, 1 when a line was refused or the inbox cannot be reached, 2 for wrong usage.

Examples:
  blobgate inbox expect --hook veo3 --generation ffd473d5-5bef-4e14-bf22-8d559be3c19f --job order-17
  blobgate inbox expect --csv yesterday.csv";

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let inbox = args.admin.connect()?;
    if let Some(file) = args.csv {
        return many(&inbox, csv::read(&file)?, args.json).await;
    }
    let (Some(hook), Some(generation_id), Some(job)) = (args.hook, args.generation, args.job) else {
        bail!("name --hook, --generation and --job, or a file with --csv");
    };
    let answer = inbox.expect(&ExpectRequest { hook, generation_id, job }).await?;
    show(&answer, args.json)?;
    Ok(ExitCode::SUCCESS)
}

fn show(answer: &ExpectAnswer, json: bool) -> Result<()> {
    if json {
        tell_json(serde_json::to_string(answer)?);
        return Ok(());
    }
    let ExpectAnswer { expectation, released } = answer;
    let released = if released.is_empty() {
        String::new()
    } else {
        format!("; {} quarantined released", released.len())
    };
    tell(format_args!("{}: {}{released}", expectation.generation_id, words(expectation)));
    Ok(())
}

/// Goes on after a line that is refused.
async fn many(inbox: &InboxClient, lines: Vec<csv::CsvLine>, json: bool) -> Result<ExitCode> {
    let mut progress = Progress::new("expected", u64::try_from(lines.len()).unwrap_or(u64::MAX));
    let (mut done, mut refused) = (0_usize, 0_usize);
    for csv::CsvLine { number, hook, generation, job } in lines {
        match inbox.expect(&ExpectRequest { hook, generation_id: generation, job }).await {
            Ok(answer) => {
                done = done.saturating_add(1);
                if json || answer.expectation.job_mismatch.is_some() {
                    show(&answer, json)?;
                }
            }
            Err(error) if is_away(&error) => {
                return Err(error.context(format!("line {number}")));
            }
            Err(error) => {
                refused = refused.saturating_add(1);
                say(format_args!("line {number}: {error}"));
            }
        }
        progress.at(done);
    }
    drop(progress);
    if !json {
        let more = if refused > 0 { format!(", {refused} refused") } else { String::new() };
        tell(format_args!("{done} expected{more}"));
    }
    Ok(if refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// An expectation, in a line.
pub(super) fn words(expectation: &ExpectationStatus) -> String {
    let of = match &expectation.job {
        Some(job) => format!("of job {job}"),
        None => "asked about".to_owned(),
    };
    let answer = expectation.answer.as_deref().unwrap_or("-");
    let asked = match expectation.asked {
        0 => String::new(),
        1 => format!(", asked for once: {answer}"),
        times => format!(", asked for {times} times, last: {answer}"),
    };
    let mismatch = expectation.job_mismatch.as_ref().map(|JobMismatch { entry, job }| {
        format!("; job-mismatch: entry {entry} was accepted with job {}", job.as_deref().unwrap_or("-"))
    });
    format!("{of}, {}{asked}{}", expectation.state, mismatch.unwrap_or_default())
}
