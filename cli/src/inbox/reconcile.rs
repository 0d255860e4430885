//! `blobgate inbox reconcile`.

use super::asking::Admin;
use super::entry::age;
use super::expect::Expectation;
use super::table::{Side, lines};
use crate::output::{say, tell, tell_json};
use anyhow::Result;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use std::process::ExitCode;

/// Have the provider asked now about what is due, or list about what it would be asked
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Only list what is expected or kept unconfirmed, and why it would be asked about
    #[arg(long)]
    dry_run: bool,
    /// Print JSON: one object, as the inbox answers
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: Admin,
}

const EXAMPLES: &str = "\
An inbox with a --provider asks by itself: 13 minutes after a generation was expected, and again after a minute, then twice as
late each time, up to a day. `reconcile` has all that is due or was asked about before asked now, the oldest first, and no faster
than --reconcile-per-minute allows. What has ended is delivered as its webhook would have been; what the provider has not known
three times is `unknown`, which is logged and counted, and not asked about again.

Exit code: 0 when it is done, 1 when the inbox asks nobody or cannot be reached, 2 for wrong usage.

Examples:
  blobgate inbox reconcile --dry-run
  blobgate inbox reconcile";

#[derive(Deserialize)]
struct WouldAsk {
    questions: Vec<Question>,
    more: bool,
    per_minute: Option<u32>,
}

#[derive(Deserialize)]
struct Question {
    #[serde(flatten)]
    expectation: Expectation,
    due: bool,
    why: String,
}

#[derive(Deserialize)]
struct Due {
    due: u64,
    per_minute: u32,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let inbox = args.admin.connect()?;
    let said: Value = inbox.tell(Method::POST, "/reconcile", &json!({"dry_run": args.dry_run})).await?;
    if args.json {
        tell_json(&said);
    } else if args.dry_run {
        WouldAsk::deserialize(said)?.show();
    } else {
        let Due { due, per_minute } = Due::deserialize(said)?;
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

impl WouldAsk {
    fn show(&self) {
        if self.questions.is_empty() {
            say(format_args!("there is nothing to ask about"));
            return;
        }
        let rows: Vec<_> = self.questions.iter().map(Question::row).collect();
        for line in lines(COLUMNS, &rows) {
            tell(format_args!("{line}"));
        }
        if self.more {
            say(format_args!("there are more"));
        }
        if self.per_minute.is_none() {
            say(format_args!("this inbox asks nobody: start it with --provider"));
        }
    }
}

impl Question {
    fn row(&self) -> [String; 7] {
        let expectation = &self.expectation;
        let answer = expectation.answer.as_ref().map(|answer| format!(" ({answer})")).unwrap_or_default();
        [
            age(&expectation.expected_at),
            if self.due { "yes" } else { "no" }.to_owned(),
            expectation.hook.clone(),
            expectation.generation_id.clone(),
            expectation.job.clone().unwrap_or_else(|| "-".to_owned()),
            expectation.asked.to_string(),
            format!("{}{answer}", self.why),
        ]
    }
}
