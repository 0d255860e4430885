//! `blobgate inbox show`: shows one entry.

use super::client::{AdminArgs, sentence_with};
use super::entry::{age, last_answer};
use super::expect::summary;
use crate::option::parse_id;
use crate::output::{eprint_line, escape_lines, print_bytes, print_json, print_line, print_lines};
use anyhow::{Context, Result, anyhow};
use blobgate_inbox::service::{AttemptRecord, EntryDetail, EntryPayload, EntryState, HeaderLine, Lane};
use std::io::IsTerminal;
use std::process::ExitCode;

/// Show one entry: its headers, its body and its attempts
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The id of the entry
    #[arg(value_name = "ID", value_parser = parse_id)]
    id: i64,
    /// The body alone, byte for byte; on a terminal with escaped control characters
    #[arg(long, conflicts_with = "json")]
    body: bool,
    /// JSON output, with the body
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

const EXAMPLES: &str = "\
A body contains the prompt and the link to the video, so only --body and --json print it. In JSON,
`body_encoding` is `text` or `base64`.

The time of an attempt is its end. Its number counts all attempts. `count`, and the header
blobgate-attempt, restart at a replay or release.

Exit code: 0 when it shows the entry, 1 without the entry or the inbox, 2 for wrong usage.

Examples:
  blobgate inbox show 17
  blobgate inbox show 17 --body | jq .
  blobgate inbox show 17 --json | jq '.headers[]'";

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let options = args.admin.options();
    let inbox = args.admin.connect()?;
    let detail = inbox.show(args.id).await?;
    if args.json {
        print_json(serde_json::to_string_pretty(&detail)?);
        return Ok(ExitCode::SUCCESS);
    }
    if args.body {
        let body = body(&detail)?;
        if std::io::stdout().is_terminal() {
            // A terminal obeys control characters.
            let text = String::from_utf8_lossy(&body);
            let shown = escape_lines(&text);
            print_lines(&text);
            if *shown.as_bytes() != *body {
                eprint_line(format_args!(
                    "control characters are escaped here. Redirect the output for the exact bytes"
                ));
            }
        } else {
            print_bytes(&body);
        }
        return Ok(ExitCode::SUCCESS);
    }
    for line in lines(&detail, &options) {
        print_line(format_args!("{line}"));
    }
    Ok(ExitCode::SUCCESS)
}

fn body(detail: &EntryDetail) -> Result<Vec<u8>> {
    let payload = detail.payload.as_ref();
    let payload =
        payload.ok_or_else(|| anyhow!("cannot print the body of entry {}: it is purged", detail.entry.id))?;
    payload.bytes().context(
        "cannot read the inbox's answer: the body is no base64. Use the inbox's own version of this tool",
    )
}

fn lines(detail: &EntryDetail, options: &str) -> Vec<String> {
    let entry = &detail.entry;
    let mut lines = vec![format!("entry {}: {}", entry.id, entry.state), String::new()];
    let mut line = |name: &str, value: Option<String>| {
        lines.extend(value.map(|value| format!("  {name:<12}{value}")));
    };
    let claimed = if entry.lane == Lane::Quarantine { " (claimed)" } else { "" };
    line("event", entry.event.map(|event| format!("{event}{claimed}")));
    line("generation", entry.generation.clone());
    line("hook", Some(entry.hook.clone()));
    line("lane", Some(entry.lane.to_string()));
    line("reason", entry.reason.clone());
    line("detail", entry.detail.clone());
    line("sender", Some(if entry.authenticated { "authenticated" } else { "unauthenticated" }.to_owned()));
    line("client", entry.client.clone());
    line("token id", entry.token_id.clone());
    line("job", entry.job.clone());
    line("request id", entry.request_id.clone());
    line("traceparent", entry.traceparent.clone());
    line("expected", detail.expectation.as_ref().map(summary));
    line("received", Some(at(&entry.received_at)));
    let repeats = (entry.seen > 1).then(|| format!("{}, the last {}", entry.seen, at(&entry.seen_at)));
    line("deliveries", repeats);
    lines.extend(attempts(detail));
    lines.extend(payload(detail, options));
    lines
}

fn at(time: &str) -> String {
    format!("{time} ({} ago)", age(time))
}

fn attempts(detail: &EntryDetail) -> Vec<String> {
    let entry = &detail.entry;
    let mut lines = vec![String::new(), "attempts".to_owned()];
    let mut line = |name: &str, value: Option<String>| {
        lines.extend(value.map(|value| format!("  {name:<12}{value}")));
    };
    line("route", Some(entry.route.clone().unwrap_or_else(|| "none (quarantined)".to_owned())));
    let since = if entry.redelivery > 0 { " since the last replay or release" } else { "" };
    line("count", Some(format!("{}{since}", entry.attempts)));
    let phrase = entry.answer.as_deref().filter(|_| entry.status.is_some()).unwrap_or_default();
    let answer = last_answer(entry).map(|answer| format!("{answer} {phrase}").trim_end().to_owned());
    line("last answer", answer);
    line("due", (entry.state == EntryState::Waiting).then(|| entry.due_at.clone()));
    line("lease until", entry.lease_until.clone());
    line("ended", entry.ended_at.as_deref().map(at));
    let redelivered = entry.redelivered_at.as_deref().map(|time| format!(", the last {}", at(time)));
    let redelivered = redelivered.unwrap_or_default();
    line("redelivery", (entry.redelivery > 0).then(|| format!("{}{redelivered}", entry.redelivery)));
    line("override", entry.r#override.clone());
    line("supersedes", entry.supersedes.clone());
    line("superseded", entry.superseded_by.map(|id| format!("by entry {id}")));
    lines.extend(records(&detail.attempt_log));
    lines
}

/// The recorded attempts, with a line for each gap.
fn records(log: &[AttemptRecord]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut next = 1_i64;
    for attempt in log {
        let last = attempt.number.saturating_sub(1);
        match last.saturating_sub(next) {
            ..0 => {}
            0 => lines.push(format!("  attempt {next}: not recorded")),
            1.. => lines.push(format!("  attempts {next} to {last}: not recorded")),
        }
        next = attempt.number.saturating_add(1);
        lines.push(record(attempt));
    }
    lines
}

/// A recorded attempt: `  attempt 2   2026-01-31T12:00:00.000Z  503 after 1200 ms: busy`.
fn record(attempt: &AttemptRecord) -> String {
    let name = format!("attempt {}", attempt.number);
    let status = attempt.status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
    let after = attempt.duration_ms.map(|millis| format!(" after {millis} ms")).unwrap_or_default();
    let answer = attempt.answer.as_deref().map(|answer| format!(": {answer}")).unwrap_or_default();
    format!("  {name:<12}{}  {status}{after}{answer}", attempt.at)
}

fn payload(detail: &EntryDetail, options: &str) -> Vec<String> {
    let entry = &detail.entry;
    let mut lines = vec![String::new(), "payload".to_owned()];
    if let Some(EntryPayload { path, headers, .. }) = &detail.payload {
        lines.push(format!("  POST {path}"));
        lines.extend(headers.iter().map(|HeaderLine { name, value }| format!("  {name}: {value}")));
    }
    let body = match &detail.payload {
        Some(_) => sentence_with(options, &format!("`blobgate inbox show {} --body` prints it", entry.id)),
        None => "purged".to_owned(),
    };
    lines.push(format!("  {} bytes in all; body: {body}", entry.size));
    lines.push(format!("  SHA-256 of the body: {}", entry.digest));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_attempts_that_are_not_recorded() {
        let log = |numbers: &[i64]| -> Vec<String> {
            let attempt = |number: &i64| AttemptRecord {
                number: *number,
                at: "T".to_owned(),
                duration_ms: Some(5),
                status: Some(500),
                answer: None,
            };
            records(&numbers.iter().map(attempt).collect::<Vec<_>>())
        };
        let at = |number: i64| format!("  attempt {number:<4}T  500 after 5 ms");
        assert_eq!(log(&[1, 2]), [at(1), at(2)]);
        assert_eq!(log(&[2]), ["  attempt 1: not recorded".to_owned(), at(2)]);
        assert_eq!(
            log(&[3, 47]),
            [
                "  attempts 1 to 2: not recorded".to_owned(),
                at(3),
                "  attempts 4 to 46: not recorded".to_owned(),
                at(47)
            ]
        );
    }
}
