//! `blobgate inbox audit`: lists the actions of operators.

use super::client::AdminArgs;
use super::entry::age;
use crate::option::parse_id;
use crate::output::{self, eprint_line, print_json, print_line};
use crate::table::{Side, lines};
use anyhow::Result;
use blobgate_inbox::service::{AuditRecord, AuditRequest};
use std::process::ExitCode;

/// List the actions of operators, the newest first
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Only actions that changed this entry
    #[arg(long, value_name = "ID", value_parser = parse_id)]
    entry: Option<i64>,
    /// The largest number of actions
    #[arg(long, value_name = "N", default_value = "50", value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Only actions older than this one, such as the last of a list
    #[arg(long, value_name = "ID", value_parser = parse_id)]
    before: Option<i64>,
    /// JSON output: one action a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

const EXAMPLES: &str = "\
The inbox writes each change of an operator: replay, retry, release, release-as, drop, purge, pause,
resume, reevaluate and reconcile, by the commands, the API and the page. One action over a filter is
one row, also if it changed thousands of entries. A change that changes nothing leaves no row. The
rows stay for 400 days.

WHO is the name of the caller's token, or - without sign-in. SELECTION is the filter, the ids, or
the hook and event of a pause. --json has the first 500 ids.

Exit code: 0 when it lists, 1 when the inbox is unreachable, 2 for wrong usage.

Examples:
  blobgate inbox audit
  blobgate inbox audit --entry 17                      # who replayed or dropped it
  blobgate inbox audit --json | jq 'select(.action == \"purge\")'";

/// The inbox lists at most this many actions at once.
const MAX_PAGE: u32 = 100;
/// The ids that a line of the table has.
const MAX_NAMED: usize = 5;

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let inbox = args.admin.connect()?;
    let (mut remaining, mut before, mut rows) = (args.limit, args.before, Vec::new());
    while remaining > 0 {
        let limit = Some(i64::from(remaining.min(MAX_PAGE)));
        let page = inbox.audit(&AuditRequest { before, limit, entry: args.entry }).await?;
        remaining = remaining.saturating_sub(u32::try_from(page.actions.len()).unwrap_or(u32::MAX));
        for action in page.actions {
            if args.json {
                print_json(serde_json::to_string(&action)?);
            } else {
                rows.push(row(&action));
            }
        }
        before = page.next;
        output::check()?;
        if before.is_none() {
            break;
        }
    }
    if args.json {
        return Ok(ExitCode::SUCCESS);
    }
    if rows.is_empty() {
        eprint_line(format_args!("no action matches"));
        return Ok(ExitCode::SUCCESS);
    }
    for line in lines(COLUMNS, &rows) {
        print_line(format_args!("{line}"));
    }
    if let Some(before) = before {
        eprint_line(format_args!("more actions match. Pass --before {before}, or a higher --limit"));
    }
    Ok(ExitCode::SUCCESS)
}

const COLUMNS: [(&str, Side); 7] = [
    ("ID", Side::Right),
    ("AGE", Side::Right),
    ("WHO", Side::Left),
    ("ACTION", Side::Left),
    ("ENTRIES", Side::Right),
    ("SELECTION", Side::Left),
    ("NOTE", Side::Left),
];

fn row(action: &AuditRecord) -> [String; 7] {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    [
        action.id.to_string(),
        age(&action.at),
        or_none(&action.who),
        action.action.clone(),
        action.entries.to_string(),
        selection(action),
        or_none(&action.note),
    ]
}

/// The filter, or the ids, and the target: `state=dead hook=veo3`, `17, 18`, `hook veo3`.
fn selection(action: &AuditRecord) -> String {
    let filter = action.filter.iter().flat_map(|filter| filter.pairs());
    let mut parts: Vec<_> = filter.map(|(name, value)| format!("{name}={value}")).collect();
    if action.filter.is_none() && !action.ids.is_empty() {
        let named: Vec<_> = action.ids.iter().take(MAX_NAMED).map(i64::to_string).collect();
        let more = if action.ids.len() > MAX_NAMED { ", …" } else { "" };
        parts.push(format!("{}{more}", named.join(", ")));
    }
    parts.extend(action.target.clone());
    if parts.is_empty() { "-".to_owned() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use blobgate_inbox::service::EntryFilter;

    #[track_caller]
    fn selects(filter: Option<EntryFilter>, ids: Vec<i64>, target: Option<&str>, expected: &str) {
        let action = AuditRecord {
            id: 1,
            at: String::new(),
            who: None,
            action: "replay".to_owned(),
            filter,
            target: target.map(str::to_owned),
            entries: 0,
            ids,
            note: None,
        };
        assert_eq!(selection(&action), expected);
    }

    #[test]
    fn names_what_an_action_selected() {
        let of_hook = EntryFilter {
            hook: Some("veo3".to_owned()),
            job: Some("order-7".to_owned()),
            ..EntryFilter::default()
        };
        selects(Some(of_hook), vec![1, 2], None, "hook=veo3 job=order-7");
        selects(None, vec![17, 18], None, "17, 18");
        selects(None, (1..=6).collect(), None, "1, 2, 3, 4, 5, …");
        selects(None, vec![17], Some("completed"), "17 completed");
        selects(None, Vec::new(), Some("hook veo3, event failed"), "hook veo3, event failed");
        selects(None, Vec::new(), None, "-");
    }
}
