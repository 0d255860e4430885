//! `blobgate inbox tail`: new events as they are committed.

use super::client::{AdminArgs, InboxClient, UsageError};
use super::filter::FilterArgs;
use super::forward::{CopyOutcome, ForwardArgs, Forwarder};
use crate::output::{say, tell, tell_json};
use anyhow::Result;
use blobgate_inbox::service::{EntrySummary, TailEntry, TailPage, TailRequest, TailWith};
use serde_json::Value;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

/// Show new events as they come, and copy them to a developer's machine; their own delivery goes on
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    filter: FilterArgs,
    /// The place to go on from, as an earlier `tail` or `export` has named it; without it and --since: now
    #[arg(long, value_name = "CURSOR", conflicts_with = "since")]
    after: Option<String>,
    #[command(flatten)]
    forward: ForwardArgs,
    /// Print JSON: an object for each event, on a line of its own, with its `cursor` and, of a copy, whether it was `forwarded`
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

const EXAMPLES: &str = "\
It shows each event once, in the order of commits, with its state at that moment; a repeat is no new event. With several inboxes
on one PostgreSQL it shows the events of all. It shows an event once nothing can be committed before it any more: a transaction
that stays open, in any database of that server, delays it, and skips nothing.
After the inbox goes away, it asks again for ten minutes. Ctrl-C ends it, and it says where to go on.

--forward POSTs each to a machine of yours: the path appended to the URL's own, body and headers as the inbox delivers them,
with blobgate-attempt: 1, and blobgate-source: tail, which marks the copy. --signing-key-env signs it with that key: give the
laptop one of its own, and not the services'. It shows a quarantined entry and does not forward it: it has no route. It tries a
target that is down again for --retry, then says so and passes the event over; until the target answers again, it tries each
event once. A copy changes nothing about the event's own delivery.

The inbox's admin listener is on the server: reach it through an SSH tunnel, or with --admin and --admin-token-env.

Exit code: 0 when it was ended, 1 when the inbox cannot be reached, 2 for wrong usage.

Examples:
  blobgate inbox tail
  blobgate inbox tail --since 2h --event failed --json
  ssh -N -L 9085:127.0.0.1:9085 inbox.internal &
  blobgate inbox tail --forward http://127.0.0.1:3000 --hook veo3
  blobgate inbox tail --forward https://dev.example.com/copy --signing-key-env DEV_SIGNING_KEY --after 0.1734";

/// The place before the first event.
pub(super) const START: &str = "0.0";
/// How often an inbox without anything new is asked.
const EVERY: Duration = Duration::from_millis(500);
/// An inbox that restarts, or a tunnel that is made anew, has so long.
const AWAY: Duration = Duration::from_secs(600);
/// And is asked so often.
const AWAY_EVERY: Duration = Duration::from_secs(2);

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let forward = args.forward.open()?;
    let inbox = args.admin.connect()?;
    let filter = args.filter.read();
    let mut after = args.after.or_else(|| filter.since.is_some().then(|| START.to_owned()));
    let with = if forward.is_some() { TailWith::Delivery } else { TailWith::Nothing };
    let request = TailRequest { filter, with, ..TailRequest::default() };
    let mut tail = Tail { inbox, request, json: args.json, forward };
    // The first failure ends it at once.
    let first = tail.ask(after.as_deref()).await?;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let asked = async {
        tokio::select! { _ = interrupt.recv() => (), _ = terminate.recv() => () }
    };
    let ended = tokio::select! {
        ended = tail.follow(first, &mut after) => ended,
        () = asked => Ok(()),
    };
    if let Some(forward) = &tail.forward {
        say(format_args!("{forward}"));
    }
    if let Some(after) = after {
        say(format_args!("to go on from here: --after {after}"));
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
    async fn ask(&self, after: Option<&str>) -> Result<TailPage> {
        let after = after.map(str::to_owned);
        self.inbox.tail(&TailRequest { after, ..self.request.clone() }).await
    }

    /// `after` is always how far it has come.
    async fn follow(&mut self, mut page: TailPage, after: &mut Option<String>) -> Result<()> {
        loop {
            let is_idle = page.entries.is_empty();
            for entry in page.entries {
                self.show(&entry).await?;
                *after = Some(entry.cursor);
            }
            *after = Some(page.next);
            if is_idle {
                tokio::time::sleep(EVERY).await;
            }
            page = self.ask_again(after.as_deref()).await?;
        }
    }

    /// For as long as it may be away.
    async fn ask_again(&self, after: Option<&str>) -> Result<TailPage> {
        let mut away_since: Option<Instant> = None;
        loop {
            match self.ask(after).await {
                Ok(page) => {
                    if away_since.is_some() {
                        say(format_args!("the inbox answers again"));
                    }
                    return Ok(page);
                }
                Err(error) if error.is::<UsageError>() => return Err(error),
                Err(error) => {
                    if away_since.is_none() {
                        say(format_args!("{error}; it is asked again for {} minutes", AWAY.as_secs() / 60));
                    }
                    if away_since.get_or_insert_with(Instant::now).elapsed() > AWAY {
                        return Err(error);
                    }
                    tokio::time::sleep(AWAY_EVERY).await;
                }
            }
        }
    }

    async fn show(&mut self, entry: &TailEntry) -> Result<()> {
        let copied = match &mut self.forward {
            Some(forward) => Some(forward.copy(entry).await),
            None => None,
        };
        if self.json {
            let mut json = serde_json::to_value(entry)?;
            if let (Some(copied), Some(object)) = (&copied, json.as_object_mut()) {
                let taken = matches!(copied, CopyOutcome::Answered(status) if status.is_success());
                object.insert("forwarded".to_owned(), Value::Bool(taken));
            }
            tell_json(&json);
        } else {
            tell(format_args!("{}", line(&entry.entry, copied.as_ref())));
        }
        Ok(())
    }
}

fn line(entry: &EntrySummary, copied: Option<&CopyOutcome>) -> String {
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
    if let Some(copied) = copied {
        line.push_str(&format!("  -> {copied}"));
    }
    line
}
