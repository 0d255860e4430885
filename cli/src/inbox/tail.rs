//! `blobgate inbox tail`: shows and copies new entries.

use super::client::{AdminArgs, InboxClient};
use super::filter::FilterArgs;
use super::forward::{CopyOutcome, ForwardArgs, Forwarder};
use crate::end_signals::EndSignals;
use crate::option::UsageError;
use crate::output::{self, eprint_line, print_json, print_line};
use anyhow::Result;
use blobgate_inbox::service::{EntrySummary, TailEntry, TailPage, TailRequest, TailWith, check_cursor};
use serde_json::Value;
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::Instant;

/// Show new entries, and copy them to a developer's machine
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    filter: FilterArgs,
    /// The cursor of an earlier `tail` or `export` to continue from [default: now]
    #[arg(long, value_name = "CURSOR", conflicts_with = "since", value_parser = check_cursor)]
    after: Option<String>,
    #[command(flatten)]
    forward: ForwardArgs,
    /// JSON output: one entry a line, with its `cursor` and, with --forward, `forwarded`
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

const EXAMPLES: &str = "\
It shows each entry once, in the order of commits, in its state at that moment. A repeat is no new
entry. Several inboxes on one store share their entries. An open transaction in any database of the
PostgreSQL server delays entries, but no entry is lost.
When the inbox is unreachable, it retries for ten minutes. Ctrl-C ends it, and it prints its cursor.

--forward sends a copy of each entry to your machine: a POST to the hook's path below URL. The copy
has the body and the headers that the service gets, with blobgate-attempt: 1 and blobgate-source:
tail. The service gets its own delivery as usual. --signing-key-env signs the copies: give a laptop
its own key, not the services'. Quarantined entries are shown and not copied. While the target is
down, the command retries a copy for the time of --retry. After that it tries each entry once, until
the target answers.

The admin listener is on the inbox's machine. Reach it through an SSH tunnel, or with --admin and
--admin-token-env.

Exit code: 0 when a signal ended it, 1 when the inbox is unreachable, 2 for wrong usage.

Examples:
  blobgate inbox tail
  blobgate inbox tail --since 2h --event failed --json
  ssh -N -L 9085:127.0.0.1:9085 inbox.internal &
  blobgate inbox tail --forward http://127.0.0.1:3000 --hook veo3
  blobgate inbox tail --forward https://dev.example.com/copy --signing-key-env DEV_SIGNING_KEY";

/// The cursor before the first entry.
pub(super) const START: &str = "0.0";
/// The pause after a page without entries.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// The time for a restart of the inbox, or for a new tunnel.
const OUTAGE_TIMEOUT: Duration = Duration::from_secs(600);
/// The pause between two tries during an outage.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let forward = args.forward.open()?;
    let inbox = args.admin.connect()?;
    let filter = args.filter.read();
    let mut after = args.after.or_else(|| filter.since.is_some().then(|| START.to_owned()));
    let with = if forward.is_some() { TailWith::Delivery } else { TailWith::Nothing };
    let request = TailRequest { filter, with, ..TailRequest::default() };
    let mut tail = Tail { inbox, request, json: args.json, forward };
    // Without an inbox at the start, the command fails at once.
    let first = tail.page(after.as_deref()).await?;
    let mut signals = EndSignals::watch()?;
    let ended = tokio::select! {
        ended = tail.follow(first, &mut after) => ended,
        _ = signals.next() => Ok(()),
    };
    if let Some(forward) = &tail.forward {
        eprint_line(format_args!("{forward}"));
    }
    let is_wanted = output::check().err().is_none_or(|failure| !failure.is_closed);
    if let Some(after) = after.filter(|_| is_wanted) {
        eprint_line(format_args!("continue with --after {after}"));
    }
    ended.map(|()| ExitCode::SUCCESS)
}

struct Tail {
    inbox: InboxClient,
    request: TailRequest,
    json: bool,
    forward: Option<Forwarder>,
}

impl Tail {
    async fn page(&self, after: Option<&str>) -> Result<TailPage> {
        let after = after.map(str::to_owned);
        self.inbox.tail(&TailRequest { after, ..self.request.clone() }).await
    }

    /// `after` is the cursor behind the last shown entry.
    async fn follow(&mut self, mut page: TailPage, after: &mut Option<String>) -> Result<()> {
        loop {
            let is_idle = page.entries.is_empty();
            for entry in page.entries {
                self.show(&entry).await?;
                output::check()?;
                *after = Some(entry.cursor);
            }
            *after = Some(page.next);
            output::check()?;
            if is_idle {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
            page = self.page_after_outage(after.as_deref()).await?;
        }
    }

    /// Retries during an outage.
    async fn page_after_outage(&self, after: Option<&str>) -> Result<TailPage> {
        let mut down_since: Option<Instant> = None;
        loop {
            match self.page(after).await {
                Ok(page) => {
                    if down_since.is_some() {
                        eprint_line(format_args!("the inbox answers again"));
                    }
                    return Ok(page);
                }
                Err(error) if error.is::<UsageError>() => return Err(error),
                Err(error) => {
                    if down_since.is_none() {
                        eprint_line(format_args!(
                            "{error}. Retrying for {} minutes",
                            OUTAGE_TIMEOUT.as_secs() / 60
                        ));
                    }
                    if down_since.get_or_insert_with(Instant::now).elapsed() > OUTAGE_TIMEOUT {
                        return Err(error);
                    }
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
            }
        }
    }

    async fn show(&mut self, entry: &TailEntry) -> Result<()> {
        let copy = match &mut self.forward {
            Some(forward) => Some(forward.copy(entry).await),
            None => None,
        };
        if self.json {
            let mut json = serde_json::to_value(entry)?;
            if let (Some(copy), Some(object)) = (&copy, json.as_object_mut()) {
                let is_taken = matches!(copy, CopyOutcome::Answered(status) if status.is_success());
                object.insert("forwarded".to_owned(), Value::Bool(is_taken));
            }
            print_json(&json);
        } else {
            print_line(format_args!("{}", line(&entry.entry, copy.as_ref())));
        }
        Ok(())
    }
}

fn line(entry: &EntrySummary, copy: Option<&CopyOutcome>) -> String {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let mut line = format!(
        "{}  {:>6}  {:<9}  {:<9}  {}  {}",
        entry.received_at,
        entry.id,
        entry.state,
        or_none(&entry.event.map(String::from)),
        entry.hook,
        or_none(&entry.generation)
    );
    if let Some(reason) = &entry.reason {
        line.push_str(&format!("  {reason}"));
    }
    if let Some(copy) = copy {
        line.push_str(&format!("  -> {copy}"));
    }
    line
}
