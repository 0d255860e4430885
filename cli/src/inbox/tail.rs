//! `blobgate inbox tail`: new events as they are committed, for whoever wants to see them too.

use super::asking::{Admin, Inbox, Wrong};
use super::entry::Entry;
use super::filter::Filter;
use super::forward::{Copied, Forward, Target};
use crate::output::{say, tell, tell_json};
use anyhow::Result;
use serde::Deserialize;
use serde_json::Value;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

/// Show new events as they come, and copy them to a developer's machine; it only reads, and takes them from nobody
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    filter: Filter,
    /// From this place on, as a `tail` or an `export` before has named it; without it and --since, from now on
    #[arg(long, value_name = "CURSOR", conflicts_with = "since")]
    after: Option<String>,
    #[command(flatten)]
    forward: Target,
    /// Print JSON: an object for each event, on a line of its own, with its `cursor` and, of a copy, whether it was `forwarded`
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: Admin,
}

const EXAMPLES: &str = "\
It shows each event once, in the order in which they were committed, with the state that it has at that moment; a repeat is no
new event. With several inboxes on one PostgreSQL it shows what any of them stores. An event is shown once nothing can be
committed before it any more: a transaction that stays open, in any database of that server, holds it up, and skips nothing.
An inbox that goes away is asked again for ten minutes. Ctrl-C ends it, and says where to go on.

--forward POSTs each to a machine of yours: the path appended to the URL's own, body and headers as the inbox delivers them,
with blobgate-attempt: 1, and blobgate-source: tail, so that it is known as a copy. With --signing-key-env it is signed with
that key: give the laptop one of its own, and not the services'. What is kept is shown and not forwarded: it has no route. A
target that is down is tried again for --retry, then the event is passed over, and said so; until the target answers again,
each is tried once. The event's own delivery is never touched.

The inbox's admin listener is on the server: reach it through an SSH tunnel, or with --admin and --admin-token-env.

Exit code: 0 when it was ended, 1 when the inbox cannot be reached, 2 for wrong usage.

Examples:
  blobgate inbox tail
  blobgate inbox tail --since 2h --event failed --json
  ssh -N -L 9085:127.0.0.1:9085 inbox.internal &
  blobgate inbox tail --forward http://127.0.0.1:3000 --hook veo3
  blobgate inbox tail --forward https://dev.example.com/copy --signing-key-env DEV_SIGNING_KEY --after 0.1734";

/// The first place of all.
pub(super) const START: &str = "0.0";
/// How often an inbox without anything new is asked.
const EVERY: Duration = Duration::from_millis(500);
/// An inbox that restarts, or a tunnel that is made anew, has so long.
const AWAY: Duration = Duration::from_secs(600);
/// And is asked so often.
const AWAY_EVERY: Duration = Duration::from_secs(2);

#[derive(Deserialize)]
pub(super) struct Page {
    pub(super) entries: Vec<Value>,
    pub(super) next: String,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let forward = args.forward.open()?;
    let inbox = args.admin.connect()?;
    let mut query = args.filter.pairs();
    let mut after = args.after.or_else(|| args.filter.has_since().then(|| START.to_owned()));
    if forward.is_some() {
        query.push(("with", "delivery".to_owned()));
    }
    let mut tail = Tail { inbox, query, json: args.json, forward };
    // What is wrong from the start is said at once.
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
    inbox: Inbox,
    query: Vec<(&'static str, String)>,
    json: bool,
    forward: Option<Forward>,
}

impl Tail {
    async fn ask(&self, after: Option<&str>) -> Result<Page> {
        let mut query = self.query.clone();
        query.extend(after.map(|after| ("after", after.to_owned())));
        self.inbox.read("/tail", &query).await
    }

    /// `after` is always how far it has come.
    async fn follow(&mut self, mut page: Page, after: &mut Option<String>) -> Result<()> {
        loop {
            let is_idle = page.entries.is_empty();
            for entry in page.entries {
                let cursor = entry.get("cursor").and_then(Value::as_str).map(str::to_owned);
                self.show(entry).await?;
                *after = cursor.or_else(|| after.take());
            }
            *after = Some(page.next);
            if is_idle {
                tokio::time::sleep(EVERY).await;
            }
            page = self.ask_again(after.as_deref()).await?;
        }
    }

    /// For as long as it may be away.
    async fn ask_again(&self, after: Option<&str>) -> Result<Page> {
        let mut away_since: Option<Instant> = None;
        loop {
            match self.ask(after).await {
                Ok(page) => {
                    if away_since.is_some() {
                        say(format_args!("the inbox answers again"));
                    }
                    return Ok(page);
                }
                Err(error) if error.is::<Wrong>() => return Err(error),
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

    async fn show(&mut self, mut entry: Value) -> Result<()> {
        let copied = match &mut self.forward {
            Some(forward) => Some(forward.copy(&entry).await),
            None => None,
        };
        if self.json {
            if let (Some(copied), Some(object)) = (&copied, entry.as_object_mut()) {
                let taken = matches!(copied, Copied::Answered(status) if status.is_success());
                object.insert("forwarded".to_owned(), Value::Bool(taken));
            }
            tell_json(&entry);
        } else {
            tell(format_args!("{}", line(&serde_json::from_value(entry)?, copied.as_ref())));
        }
        Ok(())
    }
}

fn line(entry: &Entry, copied: Option<&Copied>) -> String {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let mut line = format!(
        "{}  {:>6}  {:<9}  {:<9}  {}  {}",
        entry.received_at,
        entry.id,
        entry.state,
        or_none(&entry.event),
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
