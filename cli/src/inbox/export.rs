//! `blobgate inbox export`: prints entries as JSON.

use super::client::{AdminArgs, InboxClient};
use super::filter::FilterArgs;
use super::report::entries;
use super::tail::START;
use crate::end_signals::until_signal;
use crate::new_file::NewFile;
use crate::output::{self, Stdout, eprint_line, escape_json};
use crate::progress::Progress;
use anyhow::Result;
use blobgate_inbox::service::{TailRequest, TailWith, check_cursor};
use std::io::{BufWriter, IntoInnerError, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Write entries as JSON, one a line, to a file or to standard output
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    filter: FilterArgs,
    /// Entries with path, headers and body; `body_encoding` is `text` or `base64`
    #[arg(long)]
    bodies: bool,
    /// Only entries after this cursor of an earlier `export` or `tail`
    #[arg(long, value_name = "CURSOR", default_value = START, hide_default_value = true, value_parser = check_cursor)]
    after: String,
    /// A new file, readable by its owner only, which exists once it is complete [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    admin: AdminArgs,
}

const EXAMPLES: &str = "\
It writes the entries that are stored at its start, the oldest first, each in its current state. It
reads pages of at most 500 entries. At its end it prints the cursor for the next export, or for
`tail`. Bodies contain prompts and links to videos, so only --bodies writes them. A purged entry has
no body.

Exit code: 0 when it wrote all, 1 when it did not or the inbox is unreachable, 2 for wrong usage.

Examples:
  blobgate inbox export --since 24h | jq -r 'select(.attempts > 1) | .generation'
  blobgate inbox export --state quarantined --bodies --out quarantined.ndjson
  blobgate inbox export --after 0.1734 --out since-then.ndjson";

/// The inbox returns at most this many entries at once.
const MAX_PAGE: i64 = 500;

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let inbox = args.admin.connect()?;
    let with = if args.bodies { TailWith::Received } else { TailWith::Nothing };
    let mut request =
        TailRequest { filter: args.filter.read(), limit: Some(MAX_PAGE), with, ..TailRequest::default() };
    let until = inbox.tail(&request).await?.next;
    request.until = Some(until.clone());
    let export = Export { after: args.after, count: 0, progress: Progress::uncounted("exported") };
    match &args.out {
        Some(path) => until_signal(export.write_file(&inbox, request, &until, path)).await,
        None => export.write_standard_output(&inbox, request, &until).await,
    }
}

/// The JSON of an entry, unchanged or escaped for a terminal.
type LineFormat = fn(String) -> String;

struct Export {
    /// The cursor behind the last written entry.
    after: String,
    count: usize,
    progress: Progress,
}

impl Export {
    /// A failed export leaves no file.
    async fn write_file(
        mut self,
        inbox: &InboxClient,
        request: TailRequest,
        until: &str,
        path: &Path,
    ) -> Result<ExitCode> {
        let mut file = BufWriter::new(NewFile::create(path)?);
        self.write(inbox, request, until, &mut file, |json| json).await?;
        file.into_inner().map_err(IntoInnerError::into_error)?.publish()?;
        self.report();
        Ok(ExitCode::SUCCESS)
    }

    async fn write_standard_output(
        mut self,
        inbox: &InboxClient,
        request: TailRequest,
        until: &str,
    ) -> Result<ExitCode> {
        let mut out = BufWriter::new(Stdout);
        match self.write(inbox, request, until, &mut out, |json| escape_json(&json).into_owned()).await {
            Err(error) if self.count > 0 => {
                let rest = format!("{} exported. Continue with --after {}", entries(self.count), self.after);
                drop(self);
                return Err(match output::check() {
                    Ok(()) => error.context(rest),
                    Err(failure) if failure.is_closed => error,
                    // The sentence about the output stands above.
                    Err(_) => {
                        eprint_line(format_args!("{rest}"));
                        error
                    }
                });
            }
            written => written?,
        }
        self.report();
        Ok(ExitCode::SUCCESS)
    }

    fn report(self) {
        let Self { after, count, progress } = self;
        drop(progress);
        eprint_line(format_args!("{} exported. Export later ones with --after {after}", entries(count)));
    }

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
            // Every page but the last ends behind an entry.
            let is_last = page.next == until || page.next == self.after;
            self.after = page.next;
            if is_last {
                return Ok(());
            }
        }
    }
}
