//! `blobgate inbox ls`.

use super::asking::Admin;
use super::entry::{Entry, age};
use super::filter::Filter;
use super::table::{Side, lines};
use crate::output::{say, tell, tell_json};
use anyhow::Result;
use serde::Deserialize;
use serde_json::Value;
use std::process::ExitCode;

/// List entries, the newest first
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    filter: Filter,
    /// So many at most
    #[arg(long, value_name = "N", default_value = "50", value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Only those before this one: the last of a list before
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(i64).range(1..))]
    before: Option<i64>,
    /// Print JSON: an object for each entry, on a line of its own
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: Admin,
}

const EXAMPLES: &str = "\
States:
  waiting     to be delivered, now or at its next attempt
  in_flight   with its service at this moment
  delivered   its service said 2xx; its body stays for 14 days
  dead        given up after 72 hours of trying; stays until somebody decides
  kept        in quarantine: proven and wrong, or in conflict with what was accepted; stays until somebody decides
  superseded  gave way, untaken, to another of its generation: a failure to a completion, say
  dropped     by a person; can be replayed while its body is there, 14 days
ANSWER is the service's last status, or why there was none.

Exit code: 0 when it was listed, 1 when the inbox cannot be reached, 2 for wrong usage.

Examples:
  blobgate inbox ls
  blobgate inbox ls --state quarantined --since 1d
  blobgate inbox ls --state dead --hook veo3 --json | jq -r .generation
  blobgate inbox ls --generation 5f1c8c1e-7c0c-4b0a-9a5e-0d5c8a9b1c01";

/// The inbox shows so many at once.
const PAGE: u32 = 500;
/// A cell of a service's words is no longer than this.
const ANSWER: usize = 28;

#[derive(Deserialize)]
struct Page {
    entries: Vec<Value>,
    next: Option<i64>,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let inbox = args.admin.connect()?;
    let (mut left, mut before, mut rows) = (args.limit, args.before, Vec::new());
    while left > 0 {
        let mut query = args.filter.pairs();
        query.push(("limit", left.min(PAGE).to_string()));
        query.extend(before.map(|before| ("before", before.to_string())));
        let page: Page = inbox.read("/entries", &query).await?;
        left = left.saturating_sub(u32::try_from(page.entries.len()).unwrap_or(u32::MAX));
        for entry in page.entries {
            if args.json {
                tell_json(&entry);
            } else {
                rows.push(row(&serde_json::from_value(entry)?));
            }
        }
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    if args.json {
        return Ok(ExitCode::SUCCESS);
    }
    if rows.is_empty() {
        say(format_args!("there is no such entry"));
        return Ok(ExitCode::SUCCESS);
    }
    for line in lines(COLUMNS, &rows) {
        tell(format_args!("{line}"));
    }
    if let Some(before) = before {
        say(format_args!("there are more: --before {before}, or a higher --limit"));
    }
    Ok(ExitCode::SUCCESS)
}

const COLUMNS: [(&str, Side); 9] = [
    ("ID", Side::Right),
    ("AGE", Side::Right),
    ("STATE", Side::Left),
    ("EVENT", Side::Left),
    ("HOOK", Side::Left),
    ("GENERATION", Side::Left),
    ("ATTEMPTS", Side::Right),
    ("ANSWER", Side::Left),
    ("REASON", Side::Left),
];

fn row(entry: &Entry) -> [String; 9] {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    [
        entry.id.to_string(),
        age(&entry.received_at),
        entry.state.clone(),
        or_none(&entry.event),
        entry.hook.clone(),
        or_none(&entry.generation),
        entry.attempts.to_string(),
        short(&or_none(&entry.last_answer())),
        or_none(&entry.reason),
    ]
}

fn short(text: &str) -> String {
    if text.chars().count() <= ANSWER {
        return text.to_owned();
    }
    let start: String = text.chars().take(ANSWER.saturating_sub(1)).collect();
    format!("{start}…")
}
