//! `blobgate inbox show`.

use super::asking::Admin;
use super::entry::{Entry, age};
use super::expect::Expectation;
use crate::output::{escape_lines, say, tell, tell_json};
use anyhow::{Context, Result, anyhow};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::Value;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

/// Show one entry: what came, and what has become of it
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The entry
    #[arg(value_name = "ID", value_parser = clap::value_parser!(i64).range(1..))]
    id: i64,
    /// Print its body alone, byte for byte as it came; a terminal gets control characters escaped
    #[arg(long, conflicts_with = "json")]
    body: bool,
    /// Print JSON: one object, the body in it
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: Admin,
}

const EXAMPLES: &str = "\
The body holds the prompt and the link to the video, so it is shown only where --body or --json asks for it. In JSON,
`body_encoding` says whether `body` is text or base64.

Exit code: 0 when it was shown, 1 when there is none or the inbox cannot be reached, 2 for wrong usage.

Examples:
  blobgate inbox show 17
  blobgate inbox show 17 --body | jq .
  blobgate inbox show 17 --json | jq '.headers[]'";

#[derive(Deserialize)]
struct Whole {
    #[serde(flatten)]
    entry: Entry,
    path: Option<String>,
    #[serde(default)]
    headers: Vec<Header>,
    body_encoding: Option<String>,
    body: Option<String>,
    expectation: Option<Expectation>,
    /// An inbox of before this tool says none.
    #[serde(default)]
    violation: Option<String>,
}

#[derive(Deserialize)]
struct Header {
    name: String,
    value: String,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let inbox = args.admin.connect()?;
    let found: Value = inbox.read(&format!("/entries/{}", args.id), &[]).await?;
    if args.json {
        tell_json(serde_json::to_string_pretty(&found)?);
        return Ok(ExitCode::SUCCESS);
    }
    let whole: Whole = serde_json::from_value(found)?;
    if args.body {
        let (body, mut out) = (whole.bytes()?, std::io::stdout().lock());
        if out.is_terminal() {
            // A terminal would obey it.
            let text = String::from_utf8_lossy(&body);
            let shown = escape_lines(&text);
            let _gone = writeln!(out, "{shown}").and_then(|()| out.flush());
            if *shown.as_bytes() != *body {
                say(format_args!(
                    "control characters are shown escaped: into a file or a pipe the body goes byte for byte"
                ));
            }
        } else {
            let _gone = out.write_all(&body).and_then(|()| out.flush());
        }
        return Ok(ExitCode::SUCCESS);
    }
    for line in whole.lines() {
        tell(format_args!("{line}"));
    }
    Ok(ExitCode::SUCCESS)
}

impl Whole {
    fn bytes(&self) -> Result<Vec<u8>> {
        let purged = || anyhow!("the body of entry {} is purged", self.entry.id);
        let body = self.body.as_ref().ok_or_else(purged)?;
        match self.body_encoding.as_deref() {
            Some("base64") => {
                BASE64_STANDARD.decode(body).context("the inbox's answer has a body that is no base64")
            }
            _ => Ok(body.clone().into_bytes()),
        }
    }

    fn lines(&self) -> Vec<String> {
        let entry = &self.entry;
        let mut lines = vec![format!("entry {}: {}", entry.id, entry.state), String::new()];
        let mut line = |name: &str, value: Option<String>| {
            lines.extend(value.map(|value| format!("  {name:<12}{value}")));
        };
        let claimed = if entry.lane == "quarantine" { " (claimed)" } else { "" };
        let at = |time: &str| format!("{time} ({} ago)", age(time));
        line("event", entry.event.as_ref().map(|event| format!("{event}{claimed}")));
        line("generation", entry.generation.clone());
        line("hook", Some(entry.hook.clone()));
        line("lane", Some(entry.lane.clone()));
        line("reason", entry.reason.clone());
        line("violated", self.violation.clone());
        line("proven", Some(if entry.proven { "yes" } else { "no" }.to_owned()));
        line("token id", entry.token_id.clone());
        line("job", entry.job.clone());
        line("expected", self.expectation.as_ref().map(Expectation::words));
        line("received", Some(at(&entry.received_at)));
        let seen = (entry.seen > 1).then(|| format!("{} times, last {}", entry.seen, at(&entry.seen_at)));
        line("seen", seen);

        lines.extend([String::new(), "delivery".to_owned()]);
        let mut line = |name: &str, value: Option<String>| {
            lines.extend(value.map(|value| format!("  {name:<12}{value}")));
        };
        line("route", Some(entry.route.clone().unwrap_or_else(|| "none: it is kept".to_owned())));
        line("attempts", Some(entry.attempts.to_string()));
        let words = entry.answer.as_deref().filter(|_| entry.status.is_some()).unwrap_or_default();
        let answer = entry.last_answer().map(|answer| format!("{answer} {words}").trim_end().to_owned());
        line("last answer", answer);
        line("due", (entry.state == "waiting").then(|| entry.due_at.clone()));
        line("held until", entry.lease_until.clone());
        line("ended", entry.ended_at.as_deref().map(at));
        line("replayed", (entry.redelivery > 0).then(|| format!("{} times", entry.redelivery)));
        line("override", entry.r#override.clone());
        line("supersedes", entry.supersedes.clone());

        lines.extend([String::new(), "what came".to_owned()]);
        lines.extend(self.path.as_ref().map(|path| format!("  POST {path}")));
        lines.extend(self.headers.iter().map(|Header { name, value }| format!("  {name}: {value}")));
        let body = match &self.body {
            Some(_) => format!("`blobgate inbox show {} --body` prints it", entry.id),
            None => "purged".to_owned(),
        };
        lines.push(format!("  {} bytes in all; body: {body}", entry.size));
        lines.push(format!("  SHA-256 of the body: {}", entry.digest));
        lines
    }
}
