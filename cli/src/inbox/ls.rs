//! `blobgate inbox ls`: lists entries.

use super::client::AdminArgs;
use super::entry::{age, last_answer};
use super::filter::FilterArgs;
use crate::option::parse_id;
use crate::output::{self, eprint_line, print_json, print_line};
use crate::table::{Side, lines};
use anyhow::Result;
use blobgate_inbox::service::{EntrySummary, ListRequest};
use std::process::ExitCode;

/// List entries, the newest first
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    filter: FilterArgs,
    /// The largest number of entries
    #[arg(long, value_name = "N", default_value = "50", value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Only entries older than this one, such as the last of a list
    #[arg(long, value_name = "ID", value_parser = parse_id)]
    before: Option<i64>,
    /// JSON output: one entry a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

const EXAMPLES: &str = "\
States:
  waiting      waits for its next attempt
  in_flight    its attempt runs
  delivered    its service answered 2xx; the body stays for 14 days
  dead         72 hours of attempts failed; a person decides
  quarantined  authentic, but invalid or in conflict with an accepted event; a person decides
  superseded   another event of its generation replaced it before its delivery
  dropped      a person dropped it; `replay` delivers it while its body exists, for 14 days
Lanes:
  deliver      goes to its service
  quarantine   waits for a person, who releases or drops it
  observed     goes to its service although it breaks a rule, which the hook only observes
ANSWER is the service's last status, or the cause of a missing answer.

Exit code: 0 when it lists, 1 when the inbox is unreachable, 2 for wrong usage.

Examples:
  blobgate inbox ls
  blobgate inbox ls --state quarantined --since 1d
  blobgate inbox ls --state dead --hook veo3 --json | jq -r .generation
  blobgate inbox ls --generation 5f1c8c1e-7c0c-4b0a-9a5e-0d5c8a9b1c01";

/// The inbox lists at most this many entries at once.
const MAX_PAGE: u32 = 500;
/// The pages that may end because the inbox has examined 20,000 entries: a million entries, in some seconds.
const MAX_EXAMINED_PAGES: u32 = 50;
/// A longer answer ends with an ellipsis.
const MAX_ANSWER: usize = 28;

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let inbox = args.admin.connect()?;
    let (mut remaining, mut before, mut rows) = (args.limit, args.before, Vec::new());
    let mut examined = 0;
    while remaining > 0 && examined < MAX_EXAMINED_PAGES {
        let limit = Some(i64::from(remaining.min(MAX_PAGE)));
        let page = inbox.list(&ListRequest { filter: args.filter.read(), limit, before }).await?;
        remaining = remaining.saturating_sub(u32::try_from(page.entries.len()).unwrap_or(u32::MAX));
        for entry in page.entries {
            if args.json {
                print_json(serde_json::to_string(&entry)?);
            } else {
                rows.push(row(&entry));
            }
        }
        before = page.next;
        examined = examined.saturating_add(u32::from(page.examined));
        output::check()?;
        if before.is_none() {
            break;
        }
    }
    if !rows.is_empty() {
        for line in lines(COLUMNS, &rows) {
            print_line(format_args!("{line}"));
        }
    }
    match before {
        Some(before) if remaining > 0 => {
            eprint_line(format_args!("older entries are not examined yet. Pass --before {before} for them"));
        }
        Some(before) => {
            eprint_line(format_args!("older entries may match. Pass --before {before}, or a higher --limit"));
        }
        None if rows.is_empty() && !args.json => eprint_line(format_args!("no entry matches")),
        None => {}
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

fn row(entry: &EntrySummary) -> [String; 9] {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    [
        entry.id.to_string(),
        age(&entry.received_at),
        entry.state.to_string(),
        or_none(&entry.event.map(String::from)),
        entry.hook.clone(),
        or_none(&entry.generation),
        entry.attempts.to_string(),
        short(&or_none(&last_answer(entry))),
        or_none(&entry.reason),
    ]
}

fn short(text: &str) -> String {
    if text.chars().count() <= MAX_ANSWER {
        return text.to_owned();
    }
    let start: String = text.chars().take(MAX_ANSWER.saturating_sub(1)).collect();
    format!("{start}…")
}
