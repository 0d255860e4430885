//! `blobgate inbox stats`.

use super::asking::Admin;
use super::entry::{in_units, size};
use super::pause::Paused;
use super::table::{Side, lines};
use crate::output::{tell, tell_json};
use anyhow::Result;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::ExitCode;

/// Show how things stand: what waits, what is dead or quarantined, what is paused or down
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Print JSON: one object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: Admin,
}

const EXAMPLES: &str = "\
A route is a hook and an event: behind it is one service. It is down while no service answers there; then one delivery at a
time finds out whether it is back. Numbers are those of the store; down is what this inbox has found, of several on one
database each says its own. DELIVERED is of the last 24 hours.

Exit code: 0 when it was shown, 1 when the inbox cannot be reached, 2 for wrong usage.

Examples:
  blobgate inbox stats
  blobgate inbox stats --json | jq '.routes[] | select(.dead > 0)'
  watch blobgate inbox stats";

#[derive(Deserialize)]
struct Stats {
    routes: Vec<OnRoute>,
    quarantined: BTreeMap<String, i64>,
    oldest_waiting_seconds: Option<i64>,
    bytes: i64,
    tombstones: i64,
    pauses: Vec<Paused>,
    faults: Vec<Fault>,
    rescued: Vec<String>,
}

/// What keeps the inbox from its work.
#[derive(Deserialize)]
struct Fault {
    reason: String,
    since: String,
    detail: String,
}

#[derive(Deserialize)]
struct OnRoute {
    route: String,
    waiting: i64,
    in_flight: i64,
    delivered_last_day: i64,
    dead: i64,
    paused: bool,
    down: bool,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let found: Value = args.admin.connect()?.read("/stats", &[]).await?;
    if args.json {
        tell_json(serde_json::to_string_pretty(&found)?);
        return Ok(ExitCode::SUCCESS);
    }
    let stats: Stats = serde_json::from_value(found)?;
    for line in stats.lines() {
        tell(format_args!("{line}"));
    }
    Ok(ExitCode::SUCCESS)
}

impl Stats {
    fn lines(&self) -> Vec<String> {
        const COLUMNS: [(&str, Side); 6] = [
            ("ROUTE", Side::Left),
            ("WAITING", Side::Right),
            ("IN FLIGHT", Side::Right),
            ("DELIVERED", Side::Right),
            ("DEAD", Side::Right),
            ("", Side::Left),
        ];
        let rows: Vec<_> = self.routes.iter().map(OnRoute::row).collect();
        let mut said = lines(COLUMNS, &rows);
        let quarantined: Vec<_> =
            self.quarantined.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        let paused: Vec<_> =
            self.pauses.iter().map(|pause| format!("{} since {}", pause.name(), pause.since)).collect();
        let or_nothing = |list: Vec<String>| {
            if list.is_empty() { "nothing".to_owned() } else { list.join(", ") }
        };
        let waits = self.oldest_waiting_seconds.map_or_else(|| "nothing".to_owned(), in_units);
        said.extend([
            String::new(),
            format!("quarantined     {}", or_nothing(quarantined)),
            format!("paused          {}", or_nothing(paused)),
            format!("oldest waiting  {waits}"),
            format!("stored          {}", size(self.bytes)),
            format!("tombstones      {}", self.tombstones),
        ]);
        said.extend(
            self.rescued.iter().map(|path| format!("rescued         {path}: restore it, or move it away")),
        );
        said.extend(self.faults.iter().map(|fault| {
            format!("not ready       {} since {}: {}", fault.reason, fault.since, fault.detail)
        }));
        said
    }
}

impl OnRoute {
    fn row(&self) -> [String; 6] {
        let now = match (self.paused, self.down) {
            (true, true) => "paused, down",
            (true, false) => "paused",
            (false, true) => "down",
            (false, false) => "",
        };
        [
            self.route.clone(),
            self.waiting.to_string(),
            self.in_flight.to_string(),
            self.delivered_last_day.to_string(),
            self.dead.to_string(),
            now.to_owned(),
        ]
    }
}
