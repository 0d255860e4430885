//! Logs on standard error: lines for a person, or JSON for a collector.

use crate::output::{eprint_line, escape, escape_json};
use crate::rfc3339::rfc3339;
use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use std::fmt::{self, Debug, Write};
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use time::OffsetDateTime;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_log::NormalizeEvent;
use tracing_subscriber::filter::{Targets, filter_fn};
use tracing_subscriber::fmt::format::{Format as Formatter, Json, Writer};
use tracing_subscriber::fmt::{self as lines, FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Text on a terminal, JSON elsewhere
    Auto,
    /// Lines for a person
    Text,
    /// One object a line, with fields such as entry, hook and route
    Json,
}

/// The form of a line.
#[derive(Clone, Copy)]
enum LogForm {
    Text,
    Json,
}

/// The inbox's information, and the warnings of the database library.
const DEFAULT_LEVELS: &str = "blobgate_inbox=info,sqlx=warn";

/// Lines that wait for the reader of a pipe or a terminal. Later ones are lost, since a reader that stalls must not stop the inbox.
const MAX_WAITING_LINES: usize = 4_096;
/// Libraries whose detailed lines have paths and header values.
const PROTOCOLS: [&str; 5] = ["h2", "hyper", "hyper_util", "reqwest", "rustls"];

/// Starts the log on standard error, with the levels of `RUST_LOG`. The guard writes the waiting lines when it is dropped.
pub(crate) fn start(format: Format) -> Option<WorkerGuard> {
    let is_text = match format {
        Format::Auto => io::stderr().is_terminal(),
        Format::Text => true,
        Format::Json => false,
    };
    let format = if is_text { LogForm::Text } else { LogForm::Json };
    let has_colour = AutoStream::choice(&io::stderr()) != ColorChoice::Never;
    // A second call in a process has no effect.
    if is_file(&io::stderr()) {
        let _first = subscriber(format, has_colour, levels(), io::stderr).try_init();
        return None;
    }
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(MAX_WAITING_LINES)
        .lossy(true)
        .thread_name("log")
        .finish(io::stderr());
    let _first = subscriber(format, has_colour, levels(), writer).try_init();
    Some(guard)
}

/// Whether lines go to a file, which has no reader that could stall.
fn is_file(stderr: &io::Stderr) -> bool {
    let file = stderr.as_fd().try_clone_to_owned().map(File::from);
    file.and_then(|file| file.metadata()).is_ok_and(|metadata| metadata.is_file())
}

fn levels() -> Targets {
    let wanted = directives(&std::env::var("RUST_LOG").unwrap_or_default());
    if !wanted.is_empty() {
        match wanted.parse() {
            Ok(levels) => return levels,
            Err(error) => eprint_line(format_args!(
                "blobgate: cannot use RUST_LOG={wanted}: {error}. Write levels such as {DEFAULT_LEVELS}"
            )),
        }
    }
    DEFAULT_LEVELS.parse().unwrap_or_default()
}

/// The directives without empty ones: one would turn everything off.
fn directives(wanted: &str) -> String {
    let directives: Vec<_> =
        wanted.split(',').map(str::trim).filter(|directive| !directive.is_empty()).collect();
    directives.join(",")
}

fn subscriber(
    format: LogForm,
    has_colour: bool,
    levels: Targets,
    writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static,
) -> impl Subscriber + Send + Sync {
    // By default, a failed write (a full disk) is reported on the same standard error, by a panic.
    let lines = lines::layer().with_writer(writer).log_internal_errors(false);
    let lines = match format {
        LogForm::Text => lines.event_format(TextLines { has_colour }).boxed(),
        LogForm::Json => {
            let json = Formatter::default().json().flatten_event(true);
            lines.event_format(VisibleJson(json.with_current_span(false).with_span_list(false))).boxed()
        }
    };
    let private = filter_fn(|metadata| {
        let library = metadata.target().split("::").next().unwrap_or_default();
        *metadata.level() <= Level::INFO || !PROTOCOLS.contains(&library)
    });
    registry().with(lines.with_filter(private)).with(levels)
}

/// `[2026-01-31T12:00:00Z WARN  blobgate_inbox::deliver] route=veo3/completed is down: its service answers 503`
struct TextLines {
    has_colour: bool,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>, N: for<'a> FormatFields<'a> + 'static> FormatEvent<S, N>
    for TextLines
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let normalized = event.normalized_metadata();
        let metadata = normalized.as_ref().unwrap_or_else(|| event.metadata());
        // The inbox's messages name their fields.
        let mut text = Text { text: String::new(), has_fields: !metadata.target().starts_with("blobgate") };
        event.record(&mut text);
        let style = if self.has_colour { style(*metadata.level()) } else { Style::new() };
        let (level, target, time) =
            (metadata.level().as_str(), metadata.target(), rfc3339(OffsetDateTime::now_utc()));
        writeln!(out, "[{time} {style}{level:<5}{style:#} {target}] {}", escape(&text.text))
    }
}

fn style(level: Level) -> Style {
    match level {
        Level::ERROR => AnsiColor::Red.on_default().bold(),
        Level::WARN => AnsiColor::Yellow.on_default(),
        Level::INFO => AnsiColor::Green.on_default(),
        Level::DEBUG => AnsiColor::Blue.on_default(),
        Level::TRACE => AnsiColor::Cyan.on_default(),
    }
}

struct Text {
    text: String,
    has_fields: bool,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let space = if self.text.is_empty() { "" } else { " " };
        let _infallible = match field.name() {
            "message" => write!(self.text, "{space}{value:?}"),
            // `tracing_log` adds fields log.*, which repeat the target.
            name if self.has_fields && !name.starts_with("log.") => {
                write!(self.text, "{space}{name}={value:?}")
            }
            _ => Ok(()),
        };
    }
}

/// JSON in visible characters.
struct VisibleJson(Formatter<Json>);

impl<S: Subscriber + for<'a> LookupSpan<'a>, N: for<'a> FormatFields<'a> + 'static> FormatEvent<S, N>
    for VisibleJson
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.0.format_event(ctx, Writer::new(&mut line), event)?;
        out.write_str(&escape_json(&line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::sync::{Arc, Mutex};

    /// The output of a subscriber of this format during `log`.
    fn written(format: LogForm, has_colour: bool, log: impl FnOnce()) -> String {
        written_at(DEFAULT_LEVELS, format, has_colour, log)
    }

    fn written_at(levels: &str, format: LogForm, has_colour: bool, log: impl FnOnce()) -> String {
        let out = Arc::new(Mutex::new(Vec::new()));
        let levels = levels.parse().unwrap();
        let writer = {
            let out = Arc::clone(&out);
            move || SharedBuffer(Arc::clone(&out))
        };
        tracing::subscriber::with_default(subscriber(format, has_colour, levels, writer), log);
        String::from_utf8(std::mem::take(&mut *out.lock().unwrap())).unwrap()
    }

    struct SharedBuffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for SharedBuffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Ends of lines, strings and objects, and characters that a terminal obeys.
    const HOSTILE: &str = "a\"}\r\n{\"level\":\"INFO\" \\ \u{1b}[2J\u{202e}\u{2028}\u{9b}";

    fn log_all() {
        tracing::error!(target: "blobgate_inbox::deliver", entry = 7, route = HOSTILE, "route={HOSTILE} is down");
        tracing::info!(target: "blobgate_inbox", "ending");
        tracing::debug!(target: "blobgate_inbox", "not logged");
        tracing::warn!(target: "sqlx::query", rows = 2, statement = "SELECT 1", "slow");
        tracing::info!(target: "sqlx::query", "not logged");
        tracing::error!(target: "hyper", "not logged");
    }

    #[test]
    fn writes_lines() {
        let text = written(LogForm::Text, false, log_all);
        let lines: Vec<_> = text.lines().map(|line| line.split_once("Z ").unwrap().1).collect();
        let hostile = r#"a"}\r\n{"level":"INFO" \ \u{1b}[2J\u{202e}\u{2028}\u{9b}"#;
        let first = format!("ERROR blobgate_inbox::deliver] route={hostile} is down");
        let last = r#"WARN  sqlx::query] slow rows=2 statement="SELECT 1""#;
        assert_eq!(lines, [first.as_str(), "INFO  blobgate_inbox] ending", last]);
    }

    #[test]
    fn omits_empty_directives() {
        for (wanted, expected) in
            [("", ""), ("info,", "info"), (" info ,, sqlx=warn,", "info,sqlx=warn"), (" , ", "")]
        {
            assert_eq!(directives(wanted), expected, "{wanted}");
        }
    }

    #[test]
    fn never_writes_details_of_protocols() {
        let text = written_at("trace,h2=trace,h2::server=trace", LogForm::Text, false, || {
            tracing::debug!(target: "h2::server", "malformed path /hooks/veo3/TOKEN");
            tracing::trace!(target: "hyper", "te: VALUE");
            tracing::warn!(target: "h2::server", "a warning");
            tracing::trace!(target: "h2o", "another library");
        });
        assert!(!text.contains("TOKEN") && !text.contains("VALUE"), "{text}");
        assert!(text.contains("a warning") && text.contains("another library"), "{text}");
    }

    #[test]
    fn colours_the_level() {
        let text = written(LogForm::Text, true, || tracing::warn!(target: "blobgate_inbox", "over"));
        assert!(text.ends_with("Z \u{1b}[33mWARN \u{1b}[0m blobgate_inbox] over\n"), "{text:?}");
    }

    #[test]
    fn writes_json_with_fields() {
        let text = written(LogForm::Json, true, log_all);
        let is_plain = |character: char| character == '\n' || matches!(character, ' '..='~');
        assert!(text.chars().all(is_plain), "{text:?}");
        let lines: Vec<Value> = text
            .lines()
            .map(|line| {
                let mut line: Value = serde_json::from_str(line).unwrap();
                let time = line.as_object_mut().unwrap().remove("timestamp").unwrap();
                assert!(time.as_str().unwrap().ends_with('Z'), "{time}");
                line
            })
            .collect();
        let first = json!({
            "level": "ERROR", "target": "blobgate_inbox::deliver", "message": format!("route={HOSTILE} is down"),
            "entry": 7, "route": HOSTILE,
        });
        let second = json!({"level": "INFO", "target": "blobgate_inbox", "message": "ending"});
        let third = json!({
            "level": "WARN", "target": "sqlx::query", "message": "slow", "rows": 2, "statement": "SELECT 1",
        });
        assert_eq!(lines, [first, second, third]);
    }
}
