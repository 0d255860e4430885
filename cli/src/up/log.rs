//! The log of a run: the lines of all parts, each with its part.

use super::access::{self, AccessLimit};
use super::plan::Role;
use crate::log::Format;
use crate::output::{escape, escape_json, print_line, print_lines};
use crate::rfc3339::rfc3339;
use serde_json::{Map, Value, json};
use std::collections::VecDeque;
use std::fmt::Arguments;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use time::OffsetDateTime;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};

/// Lines that wait for the reader of a pipe. Later ones are lost, since a reader that stalls must not stop the gate.
const MAX_WAITING_LINES: usize = 4_096;

/// The lines of a part that are shown after its end at the start.
const LAST_LINES: usize = 10;
/// The remembered lines of a part: Envoy writes several about one fault.
const REMEMBERED_LINES: usize = 40;
/// The remembered bytes of a line. Envoy repeats its whole configuration in some.
const REMEMBERED_BYTES: usize = 4_096;

#[derive(Clone)]
pub(super) enum PartLog {
    /// Each line in a file of this folder, and the readable ones on standard output.
    Files(PathBuf),
    /// On standard output alone: no file grows. A failed write loses its line.
    Stdout(StdoutForm, NonBlocking),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StdoutForm {
    Text,
    Json,
}

/// The log of one part.
pub(super) struct PartSink {
    role: Role,
    log: PartLog,
    file: Option<File>,
    limit: AccessLimit,
    last: LastLines,
}

/// The last lines of a part, as it wrote them.
#[derive(Clone, Default)]
pub(super) struct LastLines(Arc<Mutex<VecDeque<String>>>);

impl PartLog {
    /// The guard writes the waiting lines when it is dropped.
    pub(super) fn stdout(format: Format) -> (Self, WorkerGuard) {
        let is_text = match format {
            Format::Auto => io::stdout().is_terminal(),
            Format::Text => true,
            Format::Json => false,
        };
        let form = if is_text { StdoutForm::Text } else { StdoutForm::Json };
        let (out, guard) = NonBlockingBuilder::default()
            .buffered_lines_limit(MAX_WAITING_LINES)
            .lossy(true)
            .thread_name("log")
            .finish(io::stdout());
        (Self::Stdout(form, out), guard)
    }

    /// Where a person finds the lines of a part.
    pub(super) fn place(&self, name: &str) -> String {
        match self {
            Self::Files(folder) => format!("See {}/{name}.log", folder.display()),
            Self::Stdout(..) => "The log above has its lines".to_owned(),
        }
    }

    pub(super) fn sink(&self, role: Role, last: LastLines) -> io::Result<PartSink> {
        let file = match self {
            Self::Files(folder) => {
                let file = folder.join(format!("{role}.log"));
                Some(OpenOptions::new().create(true).append(true).open(file)?)
            }
            Self::Stdout(..) => None,
        };
        Ok(PartSink { role, log: self.clone(), file, limit: AccessLimit::default(), last })
    }

    /// A line of this program.
    pub(super) fn report(&self, text: Arguments<'_>) {
        match self {
            Self::Files(_) => print_line(format_args!("blobgate: {text}")),
            Self::Stdout(form, out) => write(*form, out, "blobgate", &text.to_string()),
        }
    }

    /// Lines for a person, or a line with the same facts for a machine.
    pub(super) fn show(&self, text: &str, facts: Value) {
        match self {
            Self::Files(_) => print_lines(text),
            Self::Stdout(StdoutForm::Text, out) => {
                let lines: Vec<_> = text.lines().map(escape).collect();
                write_line(out, &lines.join("\n"));
            }
            Self::Stdout(StdoutForm::Json, out) => write_json(out, "blobgate", facts),
        }
    }
}

impl PartSink {
    pub(super) fn take(&mut self, line: &[u8]) {
        if let Some(file) = &mut self.file {
            // A full disk stops the log only.
            let _written = file.write_all(line);
        }
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end();
        self.last.push(line);
        match &self.log {
            PartLog::Files(_) => {
                if let Some(line) = readable(self.role, line) {
                    print_line(format_args!("{line}"));
                }
            }
            PartLog::Stdout(StdoutForm::Json, out) => match serde_json::from_str::<Value>(line) {
                Ok(value) => write_json(out, &self.role.to_string(), value),
                Err(_) => write_json(out, &self.role.to_string(), Value::String(line.to_owned())),
            },
            PartLog::Stdout(form, out) => {
                for line in self.limit.lines(text(self.role, line)) {
                    write(*form, out, &self.role.to_string(), &line);
                }
            }
        }
    }
}

impl LastLines {
    fn push(&self, line: &str) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push_back(line.chars().take(REMEMBERED_BYTES).collect());
        if lines.len() > REMEMBERED_LINES {
            lines.pop_front();
        }
    }

    pub(super) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// The last lines for a person.
pub(super) fn last_readable(role: Role, lines: &[String]) -> Vec<String> {
    let mut last: Vec<_> =
        lines.iter().rev().filter_map(|line| readable(role, line)).take(LAST_LINES).collect();
    last.reverse();
    last
}

fn write(form: StdoutForm, out: &NonBlocking, part: &str, text: &str) {
    match form {
        StdoutForm::Text => {
            let time = rfc3339(OffsetDateTime::now_utc());
            write_line(out, &format!("{time}  {part:<8}  {}", escape(text)));
        }
        StdoutForm::Json => write_json(out, part, Value::String(text.to_owned())),
    }
}

/// A line of a part: its own object, or its text as `message`, with `part` and `time`.
fn write_json(out: &NonBlocking, part: &str, line: Value) {
    let mut object = match line {
        Value::Object(object) => object,
        other => Map::from_iter([("message".to_owned(), other)]),
    };
    let timed = ["time", "timestamp"].iter().any(|key| object.contains_key(*key));
    if !timed {
        object.insert("time".to_owned(), json!(rfc3339(OffsetDateTime::now_utc())));
    }
    object.insert("part".to_owned(), json!(part));
    write_line(out, &escape_json(&Value::Object(object).to_string()));
}

fn write_line(out: &NonBlocking, line: &str) {
    let mut out = out.clone();
    let _lost = out.write_all(format!("{line}\n").as_bytes());
}

/// The line for a person: without Envoy's access log, and without Envoy's prefix of the module's lines.
fn readable(role: Role, line: &str) -> Option<String> {
    if role != Role::Gate {
        return Some(line.to_owned());
    }
    if line.starts_with('{') || line.contains("caught ENVOY_SIG") {
        return None;
    }
    Some(module_line(line).unwrap_or_else(|| line.to_owned()))
}

/// As [`readable`], with short lines of the access log and without the time and the module of the inbox's lines.
fn text(role: Role, line: &str) -> Option<(access::LineSource, String)> {
    if role == Role::Gate && line.starts_with('{') {
        return access::line(line);
    }
    let line = readable(role, line)?;
    let line = match role {
        Role::Inbox => inbox_line(&line).unwrap_or(line),
        Role::Sandbox => sandbox_line(&line).unwrap_or(line),
        _ => line,
    };
    (!line.is_empty()).then_some((access::LineSource::Other, line))
}

/// Envoy's names of levels.
const LEVELS: [&str; 6] = ["trace", "debug", "info", "warning", "error", "critical"];

/// `10:00:00  gate     warning: wasm log blobgate edge: blobgate refused` is `10:00:00  gate     refused`. The native module's lines
/// have no `wasm log`.
fn module_line(line: &str) -> Option<String> {
    let (before, text) = match line.split_once(": wasm log blobgate") {
        Some((before, rest)) => {
            let (filter, text) = rest.split_once(": blobgate ")?;
            let is_name = filter.chars().all(|it| it == ' ' || it.is_ascii_lowercase());
            (before, is_name.then_some(text)?)
        }
        None => line.split_once(": blobgate ")?,
    };
    let level = LEVELS.iter().find_map(|level| before.strip_suffix(level))?;
    (level.is_empty() || level.ends_with(' ')).then(|| format!("{level}{text}"))
}

/// `[2026-01-31T12:00:00Z WARN  blobgate_inbox::deliver] route is down` is `warning: route is down`.
fn inbox_line(line: &str) -> Option<String> {
    let (head, text) = line.strip_prefix('[')?.split_once("] ")?;
    let level = head.split_whitespace().nth(1)?;
    Some(match level {
        "ERROR" => format!("error: {text}"),
        "WARN" => format!("warning: {text}"),
        "INFO" => text.to_owned(),
        _ => return None,
    })
}

/// `10:00:00  sandbox  generated  ID  pending` is `generated  ID  pending`.
fn sandbox_line(line: &str) -> Option<String> {
    line.split_once("  sandbox  ").filter(|(time, _)| time.len() == 8).map(|(_, text)| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn shows(role: Role, line: &str, expected: Option<&str>) {
        assert_eq!(readable(role, line).as_deref(), expected);
    }

    #[track_caller]
    fn writes(role: Role, line: &str, expected: Option<&str>) {
        assert_eq!(text(role, line).map(|(_, line)| line).as_deref(), expected);
    }

    #[test]
    fn shows_readable_lines() {
        let access = r#"{"time":"2025-12-06T21:43:03Z","status":200}"#;
        shows(Role::Gate, access, None);
        shows(Role::Video, access, Some(access));
        shows(Role::Gate, "10:00:00  gate     warning: caught ENVOY_SIGTERM", None);
        shows(
            Role::Gate,
            "10:00:00  gate     warning: wasm log blobgate edge: blobgate refused a delivery",
            Some("10:00:00  gate     refused a delivery"),
        );
        shows(
            Role::Gate,
            "10:00:00  gate     info: wasm log blobgate: blobgate 0.1.0 starts",
            Some("10:00:00  gate     0.1.0 starts"),
        );
        shows(
            Role::Gate,
            "10:00:00  gate     warning: blobgate refused a delivery",
            Some("10:00:00  gate     refused a delivery"),
        );
        for line in [
            "10:00:00  gate     critical: error `x: blobgate y`",
            "10:00:00  gate     error: blobgate: panicked at src/filter.rs:1",
            "forewarning: blobgate x",
        ] {
            shows(Role::Gate, line, Some(line));
        }
        shows(
            Role::Gate,
            "10:00:00  gate     error: wasm log other: blobgate x",
            Some("10:00:00  gate     error: wasm log other: blobgate x"),
        );
    }

    #[test]
    fn writes_short_lines() {
        writes(Role::Gate, "warning: caught ENVOY_SIGTERM", None);
        writes(
            Role::Gate,
            "warning: wasm log blobgate edge: blobgate verdict=refused",
            Some("verdict=refused"),
        );
        writes(Role::Gate, "warning: blobgate verdict=refused", Some("verdict=refused"));
        let line = "[2026-01-31T12:00:00Z WARN  blobgate_inbox::deliver] route=veo3/completed is down";
        writes(Role::Inbox, line, Some("warning: route=veo3/completed is down"));
        writes(Role::Inbox, "[2026-01-31T12:00:00Z INFO  blobgate_inbox::serve] ending", Some("ending"));
        writes(Role::Inbox, "inbox listens on http://[::1]:1", Some("inbox listens on http://[::1]:1"));
        writes(Role::Inbox, "[::1] x", Some("[::1] x"));
        writes(
            Role::Sandbox,
            "10:00:00  sandbox  ended      id-1  completed",
            Some("ended      id-1  completed"),
        );
        let line = "sandbox listens on https://127.0.0.1:9443";
        writes(Role::Sandbox, line, Some(line));
    }

    #[test]
    fn remembers_the_last_lines() {
        let last = LastLines::default();
        for number in 0..2000 {
            last.push(&format!("line {number}"));
            last.push("{}");
        }
        let expected: Vec<String> = (1990..2000).map(|number| format!("line {number}")).collect();
        assert_eq!(last_readable(Role::Gate, &last.all()), expected);
        last.push(&"x".repeat(REMEMBERED_BYTES * 2));
        assert_eq!(last.all().last().map(String::len), Some(REMEMBERED_BYTES));
        assert_eq!(last.all().len(), REMEMBERED_LINES);
    }
}
