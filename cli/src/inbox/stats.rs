//! `blobgate inbox stats`: counts entries by route.

use super::client::AdminArgs;
use super::entry::{in_units, size};
use super::pause::name;
use crate::output::{print_json, print_line};
use crate::table::{Side, lines};
use anyhow::Result;
use blobgate_inbox::service::{BudgetStatus, InboxStats, RouteStats, SpaceStatus};
use std::process::ExitCode;

/// Count entries by route, and list pauses and faults
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// JSON output: one object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

const EXAMPLES: &str = "\
A route is a hook and an event, with one service behind it. A route is down while its service does
not answer: the inbox then probes it with single attempts. The counts are of the whole store. If
several inboxes share the store, each shows the routes that it found down itself. DELIVERED counts
the last 24 hours.

\"answers 4xx\" and the like stand where the newest attempt on a route failed.

Exit code: 0 when the inbox takes and delivers events; 1 when it refuses some, when a route is down or
fails, when an entry is dead or a generation overdue, and when the inbox is unreachable; 2 for wrong
usage. Quarantined and paused entries wait for a person and are no failure.

Examples:
  blobgate inbox stats
  blobgate inbox stats --json | jq '.routes[] | select(.dead > 0)'
  watch blobgate inbox stats";

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let stats = args.admin.connect()?.stats().await?;
    if args.json {
        print_json(serde_json::to_string_pretty(&stats)?);
    } else {
        for line in all_lines(&stats) {
            print_line(format_args!("{line}"));
        }
    }
    Ok(if stats.has_problem() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn all_lines(stats: &InboxStats) -> Vec<String> {
    const COLUMNS: [(&str, Side); 6] = [
        ("ROUTE", Side::Left),
        ("WAITING", Side::Right),
        ("IN FLIGHT", Side::Right),
        ("DELIVERED", Side::Right),
        ("DEAD", Side::Right),
        ("", Side::Left),
    ];
    let rows: Vec<_> = stats.routes.iter().map(row).collect();
    let mut all = lines(COLUMNS, &rows);
    let quarantined: Vec<_> =
        stats.quarantined.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    let paused: Vec<_> = stats
        .pauses
        .iter()
        .map(|pause| format!("{} since {}", name(pause.hook.as_deref(), pause.event), pause.since))
        .collect();
    let or_none = |list: Vec<String>| {
        if list.is_empty() { "none".to_owned() } else { list.join(", ") }
    };
    let waits = stats.oldest_waiting_seconds.map_or_else(|| "none".to_owned(), in_units);
    all.extend([
        String::new(),
        format!("quarantined     {}", or_none(quarantined)),
        format!("paused          {}", or_none(paused)),
        format!("oldest waiting  {waits}"),
        format!("overdue         {}", stats.overdue),
        format!("stored          {}", size(stats.bytes)),
        format!("space           {}", space(&stats.space)),
        format!("tombstones      {}", stats.tombstones),
    ]);
    if let Some(provider) = &stats.provider {
        let BudgetStatus { used, per_minute } = provider;
        all.push(format!("status calls    {used} of {per_minute} in the last minute"));
    }
    all.extend(
        stats.rescued.iter().map(|path| format!("rescued         {path}. Restore it, or move it away")),
    );
    if let Some(refused) = &stats.refused {
        all.push(format!("refused         {} at {}: the newest delivery", refused.reason, refused.at));
    }
    all.extend(stats.faults.iter().map(|fault| {
        let label = if fault.partial { "refuses some" } else { "not ready" };
        format!("{label:15} {} since {}: {}", fault.reason, fault.since, fault.detail)
    }));
    all
}

fn space(space: &SpaceStatus) -> String {
    let free = space.disk_free.map(|free| i64::try_from(free).unwrap_or(i64::MAX));
    let free = free.map(|free| format!(", {} free on the disk", size(free))).unwrap_or_default();
    format!("{} of {}{free}", size(space.bytes), size(space.limit))
}

fn row(route: &RouteStats) -> [String; 6] {
    let failing = route.failing.as_ref().map(|failing| match failing.outcome.as_str() {
        "unanswered" => format!("does not answer since {}", failing.since),
        "other" => format!("answers another status since {}", failing.since),
        outcome => format!("answers {outcome} since {}", failing.since),
    });
    let paused = route.paused.then(|| "paused".to_owned());
    let down = route.down.then(|| "down".to_owned());
    let status: Vec<_> = [paused, down, failing].into_iter().flatten().collect();
    [
        route.route.clone(),
        route.waiting.to_string(),
        route.in_flight.to_string(),
        route.delivered_last_day.to_string(),
        route.dead.to_string(),
        status.join(", "),
    ]
}
