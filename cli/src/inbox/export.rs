//! `blobgate inbox export`: entries as lines of JSON.

use super::asking::{Admin, Inbox};
use super::filter::Filter;
use super::tail::{Page, START};
use crate::output::{escape_json, say};
use crate::progress::Progress;
use anyhow::{Context, Result};
use serde_json::Value;
use std::fs::OpenOptions;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::ExitCode;

/// Write entries as lines of JSON, to a file or to standard output
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    filter: Filter,
    /// With path, headers and body: `body_encoding` says whether `body` is text or base64
    #[arg(long)]
    bodies: bool,
    /// Only what follows this place: an export before has named it
    #[arg(long, value_name = "CURSOR", default_value = START, hide_default_value = true)]
    after: String,
    /// Into this new file, which only you can read
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    admin: Admin,
}

const EXAMPLES: &str = "\
One object a line, the oldest first, in the order in which they were committed. It holds what was stored when it began, each
entry in the state that it has when its page is read: pages are short reads of at most 500 entries, and hold nobody up. What
has come since is the next export's: the place to go on from is said at the end, and `tail` takes the same. Bodies hold prompts
and links to videos, so they are written only where --bodies asks for them; what is purged has none.

Exit code: 0 when all was written, 1 when it was not or the inbox cannot be reached, 2 for wrong usage.

Examples:
  blobgate inbox export --since 24h | jq -r 'select(.attempts > 1) | .generation'
  blobgate inbox export --state quarantined --bodies --out kept.ndjson
  blobgate inbox export --after 0.1734 --out since-then.ndjson";

/// The inbox shows so many at once.
const PAGE: &str = "500";

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let inbox = args.admin.connect()?;
    let mut query = args.filter.pairs();
    let until: Page = inbox.read("/tail", &query).await?;
    query.extend([("until", until.next.clone()), ("limit", PAGE.to_owned())]);
    if args.bodies {
        query.push(("with", "came".to_owned()));
    }
    let (mut out, line): (Box<dyn Write>, Line) = match &args.out {
        Some(path) => {
            let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            let made = made.with_context(|| format!("--out {}", path.display()))?;
            (Box::new(BufWriter::new(made)), Value::to_string)
        }
        None => (Box::new(BufWriter::new(io::stdout())), visible),
    };
    let mut export = Export { after: args.after, count: 0, progress: Progress::uncounted("exported") };
    let written = export.write(&inbox, &query, &until.next, &mut out, line).await;
    let (after, count) = (export.after.clone(), export.count);
    drop(export);
    match written {
        // `head` has had enough.
        Err(error) if is_broken_pipe(&error) => return Ok(ExitCode::SUCCESS),
        Err(error) if count > 0 => {
            return Err(
                error.context(format!("after {count} exported, to go on from there with --after {after}"))
            );
        }
        written => written?,
    }
    let word = if count == 1 { "entry" } else { "entries" };
    say(format_args!("{count} {word} exported; what has come since: --after {after}"));
    Ok(ExitCode::SUCCESS)
}

/// How an entry is written.
type Line = fn(&Value) -> String;

/// The same JSON, for a terminal.
fn visible(entry: &Value) -> String {
    escape_json(&entry.to_string()).into_owned()
}

struct Export {
    /// All up to here is written.
    after: String,
    count: usize,
    progress: Progress,
}

impl Export {
    async fn write(
        &mut self,
        inbox: &Inbox,
        query: &[(&str, String)],
        until: &str,
        out: &mut dyn Write,
        line: Line,
    ) -> Result<()> {
        loop {
            let asked = [query, &[("after", self.after.clone())]].concat();
            let page: Page = inbox.read("/tail", &asked).await?;
            for entry in &page.entries {
                writeln!(out, "{}", line(entry))?;
            }
            out.flush()?;
            self.count = self.count.saturating_add(page.entries.len());
            self.progress.at(self.count);
            // Each page is either the last or goes on behind an entry.
            let is_last = page.next == until || page.next == self.after;
            self.after = page.next;
            if is_last {
                return Ok(());
            }
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}
