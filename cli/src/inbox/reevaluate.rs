//! `blobgate inbox reevaluate`: judges quarantined entries by today's configuration.

use super::client::InboxClient;
use super::prompt::confirm;
use super::report::{Refusals, count};
use super::selection::{CommandSelection, SelectionArgs};
use crate::envoy_yaml::gate_configuration;
use crate::output::{eprint_line, print_json, print_line};
use crate::progress::Progress;
use anyhow::Result;
use blobgate_inbox::service::{ChangeRequest, ReevaluateRequest, waivable};
use clap::builder::PossibleValuesParser;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;

/// Judge quarantined entries by today's configuration of the gate, and release those that pass
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    selection: SelectionArgs,
    /// The envoy.yaml with today's configuration of the gate
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// A reason about the head (address, headers, token) to override; repeat the option for more
    #[arg(long, value_name = "REASON", value_parser = PossibleValuesParser::new(waivable()))]
    waive: Vec<String>,
    /// A preview without a change
    #[arg(long)]
    dry_run: bool,
}

const EXAMPLES: &str = "\
Use it after a change of a rule. The inbox judges each body and each stored client address by the
configuration in --config. It judges the rest of the head (headers, token) by the gate's record of
its arrival. An entry that passes becomes an ordinary event, unless it contradicts another one.

--waive overrides a reason about the head; the service gets it as blobgate-override. If the
configuration requires a confirmation (not-confirmed), the reconciler calls the provider, within its
limit of calls a minute. The inbox then delivers a confirmed entry.

Name entries by ids, or by filters. An entry has to match every filter. With filters the command
asks; without a terminal it needs --yes.

Exit code: 0 when all pass, 1 when some stay or the inbox is unreachable, 2 for wrong usage.

Examples:
  blobgate inbox reevaluate --config envoy.yaml --reason result-url-denied --since 7d --dry-run
  blobgate inbox reevaluate --config envoy.yaml --reason result-url-denied --since 7d
  blobgate inbox reevaluate --config envoy.yaml --reason source-denied --since 2026-01-31
  blobgate inbox reevaluate --config envoy.yaml --waive token-expired 17";

/// The outcome for all entries.
#[derive(Default)]
struct ReevaluationReport {
    passed: Vec<i64>,
    /// Entries that pass once the provider confirms them.
    to_confirm: Vec<i64>,
    stayed: Refusals,
    /// The newest entry.
    until: Option<i64>,
}

struct ReevaluationRun {
    inbox: InboxClient,
    selected: CommandSelection,
    config: Value,
    waive: Vec<String>,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let SelectionArgs { yes, json, .. } = args.selection;
    let selected = args.selection.selected();
    let config = gate_configuration(&args.config)?;
    let by_filter = matches!(selected, CommandSelection::Filter(_));
    let run = ReevaluationRun { inbox: args.selection.admin.connect()?, selected, config, waive: args.waive };
    // The question names the outcome of a dry run.
    let would = run.reevaluate(None, true).await?;
    if args.dry_run {
        if json {
            print_json(would.json("would_pass", "would_ask", "would_stay"));
        } else {
            would.stayed.eprint("would stay quarantined");
            would.print_to_confirm("would pass once the provider confirms them");
            print_line(format_args!("{} would pass", count(&would.passed)));
        }
        return Ok(ExitCode::SUCCESS);
    }
    if would.passed.is_empty() && would.to_confirm.is_empty() {
        would.stayed.eprint("still quarantined");
        eprint_line(format_args!("no entry passes. All stay quarantined"));
        return Ok(if would.stayed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    if by_filter && !yes {
        would.stayed.eprint("would stay quarantined");
        if let Some(code) = confirm(&would.action(), "released")? {
            return Ok(code);
        }
    }
    let done = run.reevaluate(would.until, false).await?;
    if json {
        print_json(done.json("changed", "to_confirm", "refused"));
    } else {
        done.stayed.eprint("still quarantined");
        done.print_to_confirm(
            "quarantined until the provider confirms them. `blobgate inbox reconcile --dry-run` lists the calls",
        );
        print_line(format_args!("{} released", count(&done.passed)));
    }
    Ok(if done.stayed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl ReevaluationRun {
    /// Judges the entries in chunks, up to the entry `until`.
    async fn reevaluate(&self, until: Option<i64>, dry_run: bool) -> Result<ReevaluationReport> {
        let mut all = ReevaluationReport::default();
        let past = if dry_run { "judged" } else { "reevaluated" };
        let mut progress = Progress::new(past, self.selected.count());
        let mut requests = self.selected.requests(until);
        // One action for all pieces.
        let mut action = None;
        while let Some(change) = requests.pop() {
            let request = ChangeRequest { dry_run, action, ..change.clone() };
            let request = ReevaluateRequest::new(request, self.config.clone(), self.waive.clone());
            let answer = self.inbox.reevaluate(&request).await?;
            action = answer.action;
            let seen = answer.changed.iter().chain(&answer.to_confirm).copied();
            let seen = seen.chain(answer.refused.iter().map(|refused| refused.id));
            all.until = all.until.max(seen.max());
            all.passed.extend(answer.changed);
            all.to_confirm.extend(answer.to_confirm);
            all.stayed.add(answer.refused);
            progress.at(all.len());
            requests.continue_after(change, answer.next);
        }
        Ok(all)
    }
}

impl ReevaluationReport {
    fn len(&self) -> usize {
        self.passed.len().saturating_add(self.to_confirm.len()).saturating_add(self.stayed.len())
    }

    /// The action that the question names.
    fn action(&self) -> String {
        let ask = format!("confirm {} with the provider", count(&self.to_confirm));
        match (self.passed.is_empty(), self.to_confirm.is_empty()) {
            (true, _) => ask,
            (false, true) => format!("release {}", count(&self.passed)),
            (false, false) => format!("release {}, and {ask}", count(&self.passed)),
        }
    }

    fn print_to_confirm(&self, how: &str) {
        if !self.to_confirm.is_empty() {
            print_line(format_args!("{} {how}", count(&self.to_confirm)));
        }
    }

    fn json(&self, passed: &str, to_confirm: &str, stayed: &str) -> Value {
        json!({passed: self.passed, to_confirm: self.to_confirm, stayed: self.stayed.json()})
    }
}
