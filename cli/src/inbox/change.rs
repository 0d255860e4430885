//! Replays, retries, releases, drops or purges entries: previews the change, asks, and sends requests of 500 entries.

use super::client::InboxClient;
use super::prompt::confirm;
use super::report::{Refusals, count, entries};
use super::selection::CommandSelection;
use crate::output::{eprint_line, print_json, print_line};
use crate::progress::Progress;
use anyhow::{Context, Result};
use blobgate_inbox::service::{ChangePreview, ChangeRequest, RefusalCount, StateCount};
use serde_json::json;
use std::process::ExitCode;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ChangeKind {
    Drop,
    Replay,
    Retry,
    Release,
    Purge,
}

/// The options of a change.
pub(super) struct ChangeOptions {
    pub(super) yes: bool,
    pub(super) json: bool,
    /// A preview only.
    pub(super) dry_run: bool,
}

/// Changes entries. Ids need a question before a drop only, filters before every change.
pub(super) async fn change(
    inbox: InboxClient,
    change: ChangeKind,
    selected: &CommandSelection,
    options: &ChangeOptions,
) -> Result<ExitCode> {
    let mut run =
        ChangeRun { inbox, change, changed: Vec::new(), refused: Refusals::default(), action: None };
    let (mut until, mut total) = (None, selected.count());
    let asks =
        matches!(selected, CommandSelection::Filter(_)) || (change == ChangeKind::Drop && !options.yes);
    if asks || options.dry_run {
        let preview = run.preview(selected).await?;
        if options.dry_run {
            return Ok(run.print_preview(&preview, options.json));
        }
        if let Some(code) = run.confirm(&preview, options.yes)? {
            return Ok(code);
        }
        (until, total) = (preview.until, sum(&preview.would_change));
    }
    run.apply(selected, until, total).await?;
    Ok(run.report(options.json))
}

struct ChangeRun {
    inbox: InboxClient,
    change: ChangeKind,
    changed: Vec<i64>,
    refused: Refusals,
    /// The action's number, for the next piece.
    action: Option<i64>,
}

impl ChangeRun {
    async fn preview(&self, selected: &CommandSelection) -> Result<ChangePreview> {
        let mut all = ChangePreview::default();
        let mut requests = selected.requests(None);
        while let Some(request) = requests.pop() {
            let request = ChangeRequest { dry_run: true, ..request };
            let preview = self.inbox.preview(self.change, &request).await?;
            for StateCount { state, count } in preview.would_change {
                match all.would_change.iter_mut().find(|sum| sum.state == state) {
                    Some(sum) => sum.count = sum.count.saturating_add(count),
                    None => all.would_change.push(StateCount { state, count }),
                }
            }
            for RefusalCount { why, count } in preview.would_refuse {
                match all.would_refuse.iter_mut().find(|sum| sum.why == why) {
                    Some(sum) => sum.count = sum.count.saturating_add(count),
                    None => all.would_refuse.push(RefusalCount { why, count }),
                }
            }
            all.until = all.until.max(preview.until);
            requests.continue_after(ChangeRequest { until: all.until, ..request }, preview.next);
        }
        Ok(all)
    }

    /// Prints the preview, and asks unless `yes`. Returns the exit code when the change ends here.
    fn confirm(&self, preview: &ChangePreview, yes: bool) -> Result<Option<ExitCode>> {
        let (verb, past) = (self.change.verb(), self.change.past());
        for RefusalCount { why, count } in &preview.would_refuse {
            eprint_line(format_args!("{} cannot be {past}: {why}", entries(*count)));
        }
        let total = sum(&preview.would_change);
        if total == 0 {
            eprint_line(format_args!("no entry to {verb}"));
            let code = if preview.would_refuse.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
            return Ok(Some(code));
        }
        if let Some(warning) = self.change.warning() {
            warning.lines().for_each(|line| eprint_line(format_args!("{line}")));
        }
        if yes {
            return Ok(None);
        }
        confirm(&format!("{verb} {}: {}", entries(total), states(preview)), past)
    }

    fn print_preview(&self, preview: &ChangePreview, json: bool) -> ExitCode {
        if json {
            let ChangePreview { would_change, would_refuse, .. } = preview;
            print_json(json!({"would_change": would_change, "would_refuse": would_refuse}));
            return ExitCode::SUCCESS;
        }
        let total = sum(&preview.would_change);
        let states = if total > 0 { format!(": {}", states(preview)) } else { String::new() };
        print_line(format_args!("would {} {}{states}", self.change.verb(), entries(total)));
        for RefusalCount { why, count } in &preview.would_refuse {
            print_line(format_args!("{} cannot be {}: {why}", entries(*count), self.change.past()));
        }
        ExitCode::SUCCESS
    }

    async fn apply(&mut self, selected: &CommandSelection, until: Option<i64>, total: u64) -> Result<()> {
        let mut progress = Progress::new(self.change.past(), total);
        let mut requests = selected.requests(until);
        while let Some(request) = requests.pop() {
            let request = ChangeRequest { action: self.action, ..request };
            let answer = self.inbox.change(self.change, &request).await;
            let answer = if self.changed.is_empty() {
                answer?
            } else {
                answer.with_context(|| format!("{} {} so far", count(&self.changed), self.change.past()))?
            };
            self.action = answer.action;
            self.changed.extend(answer.changed);
            self.refused.add(answer.refused);
            progress.at(self.changed.len());
            requests.continue_after(request, answer.next);
        }
        Ok(())
    }

    fn report(&self, json: bool) -> ExitCode {
        let past = self.change.past();
        if json {
            print_json(json!({"changed": self.changed, "refused": self.refused.json()}));
        } else {
            self.refused.eprint(&format!("not {past}"));
            print_line(format_args!("{} {past}", count(&self.changed)));
        }
        if self.refused.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

fn sum(counts: &[StateCount]) -> u64 {
    let counts = counts.iter().map(|state| u64::try_from(state.count).unwrap_or_default());
    counts.fold(0, u64::saturating_add)
}

/// `2 dead, 1 delivered`.
fn states(preview: &ChangePreview) -> String {
    let states = preview.would_change.iter().map(|StateCount { state, count }| format!("{count} {state}"));
    states.collect::<Vec<_>>().join(", ")
}

const PURGE_WARNING: &str = "\
This deletes bodies, headers and services' answers for good. To recognise repeats, the inbox keeps for 400 days: hook,
generation, event, job, token id, times, status, and the SHA-256 of the body. Of a completion it also keeps the SHA-256 of the
video's URL without its query. The change does not reach logs (WAL), replicas, backups, exports, and the service's own data.
PostgreSQL's dead rows keep the bodies until VACUUM.";

impl ChangeKind {
    /// The path of its endpoint.
    pub(super) fn path(self) -> &'static str {
        match self {
            ChangeKind::Drop => "/drop",
            ChangeKind::Replay => "/replay",
            ChangeKind::Retry => "/retry",
            ChangeKind::Release => "/release",
            ChangeKind::Purge => "/purge",
        }
    }

    fn verb(self) -> &'static str {
        match self {
            ChangeKind::Drop => "drop",
            ChangeKind::Replay => "replay",
            ChangeKind::Retry => "retry",
            ChangeKind::Release => "release",
            ChangeKind::Purge => "purge",
        }
    }

    fn past(self) -> &'static str {
        match self {
            ChangeKind::Drop => "dropped",
            ChangeKind::Replay => "replayed",
            ChangeKind::Retry => "retried",
            ChangeKind::Release => "released",
            ChangeKind::Purge => "purged",
        }
    }

    /// The warning before an irreversible change.
    fn warning(self) -> Option<&'static str> {
        (self == ChangeKind::Purge).then_some(PURGE_WARNING)
    }
}
