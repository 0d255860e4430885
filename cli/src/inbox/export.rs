//! `blobgate inbox export`: entries as lines of JSON.

use super::client::{AdminArgs, InboxClient};
use super::filter::FilterArgs;
use super::tail::START;
use crate::output::{escape_json, say};
use crate::progress::Progress;
use anyhow::{Context, Result};
use blobgate_inbox::service::{TailRequest, TailWith};
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
    filter: FilterArgs,
    /// Add path, headers and body: `body_encoding` says whether `body` is text or base64
    #[arg(long)]
    bodies: bool,
    /// Only entries after this place, as an earlier export has named it
    #[arg(long, value_name = "CURSOR", default_value = START, hide_default_value = true)]
    after: String,
    /// The new file, which only you can read
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    admin: AdminArgs,
}

const EXAMPLES: &str = "\
One object a line, the oldest first, in the order of commits. It has the entries that were stored when it began, each in its state
when its page is read: pages are short reads of at most 500 entries. Later entries are for the next export: at the end it says the
place to go on from, and `tail` takes the same. Bodies contain prompts and links to videos, so it writes them only with --bodies;
a purged entry has none.

Exit code: 0 when all was written, 1 when it was not or the inbox cannot be reached, 2 for wrong usage.

Examples:
  blobgate inbox export --since 24h | jq -r 'select(.attempts > 1) | .generation'
  blobgate inbox export --state quarantined --bodies --out quarantined.ndjson
  blobgate inbox export --after 0.1734 --out since-then.ndjson";

/// The inbox exports so many at once.
const PAGE: i64 = 500;

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let inbox = args.admin.connect()?;
    let with = if args.bodies { TailWith::Came } else { TailWith::Nothing };
    let mut request =
        TailRequest { filter: args.filter.read(), limit: Some(PAGE), with, ..TailRequest::default() };
    let until = inbox.tail(&request).await?.next;
    request.until = Some(until.clone());
    let (mut out, line): (Box<dyn Write>, LineFormat) = match &args.out {
        Some(path) => {
            let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            let made = made.with_context(|| format!("--out {}", path.display()))?;
            (Box::new(BufWriter::new(made)), |json| json)
        }
        None => (Box::new(BufWriter::new(io::stdout())), |json| escape_json(&json).into_owned()),
    };
    let mut export = Export { after: args.after, count: 0, progress: Progress::uncounted("exported") };
    let written = export.write(&inbox, request, &until, &mut out, line).await;
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

/// Writes the JSON of an entry: as it is, or for a terminal.
type LineFormat = fn(String) -> String;

struct Export {
    /// All up to here is written.
    after: String,
    count: usize,
    progress: Progress,
}

impl Export {
    async fn write(
        &mut self,
        inbox: &InboxClient,
        mut request: TailRequest,
        until: &str,
        out: &mut dyn Write,
        line: LineFormat,
    ) -> Result<()> {
        loop {
            request.after = Some(self.after.clone());
            let page = inbox.tail(&request).await?;
            for entry in &page.entries {
                writeln!(out, "{}", line(serde_json::to_string(entry)?))?;
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
