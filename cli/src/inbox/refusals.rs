//! `blobgate inbox refusals`: lists the refusals of the gates.

use super::client::AdminArgs;
use crate::output::{eprint_line, print_json, print_line};
use crate::table::{Side, lines};
use anyhow::Result;
use blobgate_inbox::service::{GateRefusal, RefusalGroup, RefusalPage, RefusalRequest, read_hook};
use std::process::ExitCode;

/// List requests that the gate or Envoy refused, by hook and reason
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Only refusals at this hook
    #[arg(long, value_name = "HOOK", value_parser = read_hook)]
    hook: Option<String>,
    /// Only refusals for this reason: a code of the gate, or Envoy's response code details
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// JSON output: one object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

const EXAMPLES: &str = "\
Envoy reports each refusal to an inbox with --access-log. That inbox has in memory, for each hook
and reason, the first 100, the last 100 and a count, all since its start. If several inboxes share
the store, each shows the refusals that it has seen. A quarantined delivery is no refusal.

A group without a hook is of Envoy itself: it refused before the gate. STATUS 0 is a reset stream.

Exit code: 0 when it lists, 1 when the inbox is unreachable, 2 for wrong usage.

Examples:
  blobgate inbox refusals
  blobgate inbox refusals --hook veo3 --reason token-expired
  blobgate inbox refusals --json | jq '.groups[] | {hook, reason, count}'";

/// The records of a group that a list of all groups shows.
const MAX_SHOWN: usize = 5;

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let request = RefusalRequest { hook: args.hook, reason: args.reason };
    let page = args.admin.connect()?.refusals(&request).await?;
    if args.json {
        print_json(serde_json::to_string_pretty(&page)?);
        return Ok(ExitCode::SUCCESS);
    }
    if !page.receives {
        eprint_line(format_args!(
            "the inbox has no --access-log, so it sees no refusal. Start it with one, and have Envoy report to it"
        ));
        return Ok(ExitCode::SUCCESS);
    }
    // One group fits a screen. Of several, each shows its newest records.
    let max = if request.reason.is_some() { usize::MAX } else { MAX_SHOWN };
    for line in all_lines(&page, max) {
        print_line(format_args!("{line}"));
    }
    Ok(ExitCode::SUCCESS)
}

fn all_lines(page: &RefusalPage, max: usize) -> Vec<String> {
    let mut all = vec![format!("seen by this inbox since {}", page.since)];
    if page.groups.is_empty() {
        all.push("no refusal".to_owned());
    }
    for group in &page.groups {
        all.push(String::new());
        all.extend(group_lines(group, max));
    }
    if page.dropped > 0 {
        all.extend([String::new(), format!("{} more, in older groups without space", page.dropped)]);
    }
    all
}

fn group_lines(group: &RefusalGroup, max: usize) -> Vec<String> {
    const COLUMNS: [(&str, Side); 8] = [
        ("  AT", Side::Left),
        ("STATUS", Side::Right),
        ("CLIENT", Side::Left),
        ("METHOD", Side::Left),
        ("REQUEST ID", Side::Left),
        ("GENERATION", Side::Left),
        ("JOB", Side::Left),
        ("GATE", Side::Left),
    ];
    let hook = group.hook.as_deref().unwrap_or("no hook");
    let mut all = vec![format!("{hook}  {}  {}", group.reason, count(group.count))];
    all.extend(group.meaning.iter().map(|meaning| format!("  {meaning}")));
    all.extend(group.remedy.iter().filter(|text| !text.is_empty()).map(|remedy| format!("  {remedy}")));
    let records: Vec<_> = group.first.iter().chain(&group.last).collect();
    let shown = records.get(records.len().saturating_sub(max)..).unwrap_or_default();
    if !shown.is_empty() {
        let rows: Vec<_> = shown.iter().map(|refusal| row(refusal)).collect();
        let mut table = lines(COLUMNS, &rows).into_iter();
        all.extend(table.next());
        for (line, refusal) in table.zip(shown) {
            all.push(line);
            all.extend(refusal.detail.iter().map(|detail| format!("    {detail}")));
        }
    }
    let more = records.len().saturating_sub(shown.len());
    if more > 0 {
        all.push(format!("  and {more} before these: pass --reason {}", group.reason));
    }
    all
}

fn count(count: u64) -> String {
    if count == 1 { "1 refusal".to_owned() } else { format!("{count} refusals") }
}

fn row(refusal: &GateRefusal) -> [String; 8] {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    [
        format!("  {}", refusal.at),
        refusal.status.to_string(),
        or_none(&refusal.client),
        or_none(&refusal.method),
        or_none(&refusal.request_id),
        or_none(&refusal.generation),
        or_none(&refusal.job),
        or_none(&refusal.gate),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(at: &str) -> GateRefusal {
        GateRefusal { at: at.to_owned(), status: 401, ..GateRefusal::default() }
    }

    #[test]
    fn shows_counts_then_records() {
        let group = RefusalGroup {
            hook: Some("veo3".to_owned()),
            reason: "token-expired".to_owned(),
            meaning: Some("It is over.".to_owned()),
            remedy: Some(String::new()),
            count: 1_234,
            first: vec![refusal("1"), refusal("2")],
            last: vec![GateRefusal {
                client: Some("192.0.2.7".to_owned()),
                method: Some("POST".to_owned()),
                detail: Some("exp: past".to_owned()),
                request_id: Some("r-1".to_owned()),
                gate: Some("gate-1\u{1b}".to_owned()),
                ..refusal("3")
            }],
        };
        let other =
            RefusalGroup { reason: "http1.codec_error".to_owned(), count: 1, ..RefusalGroup::default() };
        let page =
            RefusalPage { receives: true, since: "0".to_owned(), groups: vec![group, other], dropped: 7 };
        assert_eq!(
            all_lines(&page, 2),
            [
                "seen by this inbox since 0",
                "",
                "veo3  token-expired  1234 refusals",
                "  It is over.",
                "  AT  STATUS  CLIENT     METHOD  REQUEST ID  GENERATION  JOB  GATE",
                "  2      401  -          -       -           -           -    -",
                "  3      401  192.0.2.7  POST    r-1         -           -    gate-1\\u{1b}",
                "    exp: past",
                "  and 1 before these: pass --reason token-expired",
                "",
                "no hook  http1.codec_error  1 refusal",
                "",
                "7 more, in older groups without space",
            ]
        );
        let empty = RefusalPage { since: "0".to_owned(), ..RefusalPage::default() };
        assert_eq!(all_lines(&empty, 2), ["seen by this inbox since 0", "no refusal"]);
    }
}
