//! `blobgate inbox expect`.

mod csv;

use super::asking::{Admin, Inbox};
use crate::output::{say, tell, tell_json};
use crate::progress::Progress;
use anyhow::{Result, bail};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;

/// Say of which job a generation is, and that its event is to come
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The hook to which its webhook comes
    #[arg(long, value_name = "HOOK", requires_all = ["generation", "job"])]
    hook: Option<String>,
    /// The generation_id that RunBlob answered with
    #[arg(long, value_name = "ID", requires_all = ["hook", "job"])]
    generation: Option<String>,
    /// Your name for what it is for: the job of its callback token
    #[arg(long, value_name = "JOB", requires_all = ["hook", "generation"])]
    job: Option<String>,
    /// Many of them: a file with hook,generation_id,job on each line, which may begin with that line itself
    #[arg(long, value_name = "FILE", conflicts_with = "hook", required_unless_present = "hook")]
    csv: Option<PathBuf>,
    /// Print JSON: what the inbox answers, one object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: Admin,
}

const EXAMPLES: &str = "\
An application says it with one request after RunBlob's answer, and this command says the same:
  curl http://127.0.0.1:9085/expect -H 'content-type: application/json' \\
    -d '{\"hook\": \"veo3\", \"generation_id\": \"ID\", \"job\": \"order-17\"}'
Twice is once; another job for the same generation is refused. It may come after the webhook: what is kept because its token
was bound to something else is released if this explains it. A generation that was accepted with another job is a job-mismatch,
shown here and by `blobgate inbox show`. From then on what comes with a token of another job is kept, even where that came first.
What has no event 13 minutes later the inbox asks RunBlob for, where `blobgate inbox serve` has a --provider.

Exit code: 0 when all is expected, 1 when something was refused or the inbox cannot be reached, 2 for wrong usage.

Examples:
  blobgate inbox expect --hook veo3 --generation ffd473d5-5bef-4e14-bf22-8d559be3c19f --job order-17
  blobgate inbox expect --csv yesterday.csv";

/// An expectation as the inbox shows it.
#[derive(Deserialize)]
pub(super) struct Expectation {
    pub(super) hook: String,
    pub(super) generation_id: String,
    pub(super) job: Option<String>,
    pub(super) state: String,
    pub(super) expected_at: String,
    pub(super) asked: i64,
    pub(super) answer: Option<String>,
    job_mismatch: Option<Mismatch>,
}

#[derive(Deserialize)]
struct Mismatch {
    entry: i64,
    job: Option<String>,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let inbox = args.admin.connect()?;
    if let Some(file) = args.csv {
        return many(&inbox, csv::read(&file)?, args.json).await;
    }
    let (Some(hook), Some(generation), Some(job)) = (args.hook, args.generation, args.job) else {
        bail!("name --hook, --generation and --job, or a file with --csv");
    };
    let said = expect(&inbox, &hook, &generation, &job).await?;
    show(&said, args.json)?;
    Ok(ExitCode::SUCCESS)
}

async fn expect(inbox: &Inbox, hook: &str, generation: &str, job: &str) -> Result<Value> {
    inbox.tell(Method::POST, "/expect", &json!({"hook": hook, "generation_id": generation, "job": job})).await
}

fn show(said: &Value, json: bool) -> Result<()> {
    if json {
        tell_json(said);
        return Ok(());
    }
    let expectation = Expectation::deserialize(said)?;
    let released = said.get("released").and_then(Value::as_array).map_or(0, Vec::len);
    let released = if released > 0 { format!("; {released} kept released") } else { String::new() };
    tell(format_args!("{}: {}{released}", expectation.generation_id, expectation.words()));
    Ok(())
}

/// Goes on where a line is refused: the others are none the worse for it.
async fn many(inbox: &Inbox, lines: Vec<csv::Line>, json: bool) -> Result<ExitCode> {
    let mut progress = Progress::new("expected", u64::try_from(lines.len()).unwrap_or(u64::MAX));
    let (mut done, mut refused) = (0_usize, 0_usize);
    for csv::Line { number, hook, generation, job } in &lines {
        match expect(inbox, hook, generation, job).await {
            Ok(said) => {
                done = done.saturating_add(1);
                if json || said.get("job_mismatch").is_some_and(|mismatch| !mismatch.is_null()) {
                    show(&said, json)?;
                }
            }
            Err(error) if super::asking::is_away(&error) => {
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

impl Expectation {
    /// In a line.
    pub(super) fn words(&self) -> String {
        let of = self.job.as_ref().map_or_else(|| "asked about".to_owned(), |job| format!("of job {job}"));
        let asked = match (self.asked, &self.answer) {
            (0, _) => String::new(),
            (1, answer) => format!(", asked for once: {}", answer.as_deref().unwrap_or("-")),
            (times, answer) => {
                format!(", asked for {times} times, last: {}", answer.as_deref().unwrap_or("-"))
            }
        };
        let mismatch = self.job_mismatch.as_ref().map(|Mismatch { entry, job }| {
            format!("; job-mismatch: entry {entry} was accepted with job {}", job.as_deref().unwrap_or("-"))
        });
        format!("{of}, {}{asked}{}", self.state, mismatch.unwrap_or_default())
    }
}
