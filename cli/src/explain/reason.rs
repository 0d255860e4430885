//! Explains a reason: by its code, or from a line of a log.

use super::inbox_code::CODES;
use super::log_line::{LogOrigin, LoggedLine};
use crate::option::UsageError;
use crate::output::{escape, print_json, print_styled};
use crate::paint::Paint;
use anyhow::{Result, bail};
use blobgate::Reason;
use blobgate::confirm::Outcome;
use blobgate::contract::token::is_name;
use blobgate::contract::{Verdict, is_request_id};
use blobgate::event::GenerationId;
use serde::Serialize;
use std::io::{IsTerminal, Read};
use std::net::IpAddr;

/// A log of a day is larger. A person pastes a few lines.
const MAX_INPUT: u64 = 1 << 20;

/// A reason's text for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct ReasonText {
    pub(super) code: String,
    /// The stage that finds it; absent for a code of the inbox.
    pub(super) stage: Option<&'static str>,
    /// The status that an unauthenticated sender gets; absent for a code of the inbox.
    pub(super) status: Option<u16>,
    pub(super) meaning: String,
    pub(super) remedy: String,
}

/// A line of a log, explained.
#[derive(Debug, Serialize)]
pub(super) struct LineExplanation {
    log: &'static str,
    verdict: Option<String>,
    reason: Option<ReasonText>,
    detail: Option<String>,
    /// Envoy's or the service's part: `confirm`, `token`, `kid`, `response`, `details`.
    causes: Vec<String>,
    hook: Option<String>,
    generation: Option<String>,
    request_id: Option<String>,
    /// The next commands.
    next: Vec<String>,
}

#[derive(Serialize)]
struct LinesJson {
    lines: Vec<LineExplanation>,
}

impl ReasonText {
    /// The text of a code of the gate or of the inbox.
    pub(super) fn find(code: &str) -> Option<Self> {
        if let Some(reason) = Reason::parse(code) {
            return Some(Self::of(reason));
        }
        let row = CODES.iter().find(|row| row.code == code)?;
        let (meaning, remedy) = (row.meaning.to_owned(), row.remedy.to_owned());
        Some(Self { code: code.to_owned(), stage: None, status: None, meaning, remedy })
    }

    pub(super) fn of(reason: Reason) -> Self {
        Self {
            code: reason.code().to_owned(),
            stage: Some(reason.stage().name()),
            status: Some(reason.status()),
            meaning: reason.meaning(),
            remedy: reason.remedy(),
        }
    }

    /// A code that only a line has: the outcome of a call to the status API, or one of another version.
    fn undocumented(code: &str) -> Self {
        let is_outcome = Outcome::ALL.iter().any(|outcome| outcome.name() == code);
        let (meaning, remedy) = if is_outcome {
            (
                "A call to the provider's status API had this outcome.",
                "See docs/reference/metrics.md#confirm-outcomes. The inbox calls again later.",
            )
        } else {
            ("This version of the tool does not know the code.", "Use the tool of the gate's version.")
        };
        let (meaning, remedy) = (meaning.to_owned(), remedy.to_owned());
        Self { code: code.to_owned(), stage: None, status: None, meaning, remedy }
    }

    /// Every code that has a text.
    pub(super) fn codes() -> impl Iterator<Item = &'static str> {
        Reason::ALL.iter().map(|reason| reason.code()).chain(CODES.iter().map(|row| row.code))
    }

    fn lines(&self, paint: Paint) -> Vec<String> {
        let mut lines = vec![paint.bold(&self.code)];
        if let (Some(stage), Some(status)) = (self.stage, self.status) {
            lines.push(format!("  stage      {stage}; an unauthenticated sender gets {status}"));
        }
        lines.push(format!("  meaning    {}", escape(&self.meaning)));
        lines.push(format!("  remedy     {}", escape(&self.remedy)));
        lines
    }
}

/// Prints a reason.
pub(super) fn print_reason(code: &str, json: bool) -> Result<()> {
    let Some(text) = ReasonText::find(code) else {
        bail!(UsageError(format!(
            "no reason has the code {code:?}. Pass one of {}",
            ReasonText::codes().collect::<Vec<_>>().join(", ")
        )));
    };
    if json {
        print_json(serde_json::to_string_pretty(&text)?);
    } else {
        print_styled(&text.lines(Paint::on_stdout()).join("\n"));
    }
    Ok(())
}

/// Prints the explanation of each line that a part of Blobgate wrote. `-` reads standard input.
pub(super) fn print_lines(text: &str, json: bool) -> Result<()> {
    let text = if text == "-" { read_stdin()? } else { text.to_owned() };
    let lines: Vec<LineExplanation> =
        text.lines().filter_map(LoggedLine::parse).map(|line| LineExplanation::of(&line)).collect();
    if lines.is_empty() {
        bail!(
            "cannot explain this text: no line of it is of the gate, of Envoy's access log in envoy.yaml, or of the inbox. \
             Pass a line with reason=CODE, or the code alone"
        );
    }
    if json {
        print_json(serde_json::to_string_pretty(&LinesJson { lines })?);
        return Ok(());
    }
    let paint = Paint::on_stdout();
    let texts: Vec<String> = lines.iter().map(|line| line.lines(paint).join("\n")).collect();
    print_styled(&texts.join("\n\n"));
    Ok(())
}

fn read_stdin() -> Result<String> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        bail!(UsageError(
            "standard input is a terminal. Pass the line itself, or pipe a log to --line -".to_owned()
        ));
    }
    let mut bytes = Vec::new();
    stdin.lock().take(MAX_INPUT).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

impl LineExplanation {
    fn of(line: &LoggedLine) -> Self {
        let owned = |names: &[&str]| line.field(names).map(str::to_owned);
        let code = line.field(&["reason", "marked_reason"]);
        let causes = ["confirm", "token", "kid", "response", "status", "details"];
        let causes = causes.iter().filter_map(|name| Some(format!("{name}={}", line.field(&[name])?)));
        Self {
            log: line.origin.name(),
            verdict: owned(&["verdict"]),
            reason: code.map(|code| ReasonText::find(code).unwrap_or_else(|| ReasonText::undocumented(code))),
            detail: owned(&["detail"]),
            causes: causes.collect(),
            hook: owned(&["hook"]),
            generation: owned(&["id", "generation_id", "generation"]),
            request_id: owned(&["request_id"]),
            next: next(line),
        }
    }

    fn lines(&self, paint: Paint) -> Vec<String> {
        let mut lines = match &self.reason {
            Some(reason) => reason.lines(paint),
            None => vec![
                paint.bold("no reason"),
                "  meaning    The gate and the inbox have nothing against this request.".to_owned(),
            ],
        };
        if self.reason.is_none() && self.log == LogOrigin::AccessLog.name() && self.verdict.is_none() {
            lines.pop();
            lines.push(format!(
                "  meaning    {}",
                "Envoy or a route answered without the gate: docs/explanation/before-the-gate.md"
            ));
        }
        let mut line = |name: &str, value: Option<&str>| {
            lines.extend(value.map(|value| format!("  {name:<11}{}", escape(value))));
        };
        if let Some((field, found, expected)) = self.detail.as_deref().and_then(split_detail) {
            line("field", Some(field));
            line("found", Some(found));
            line("expected", Some(expected));
        } else {
            line("detail", self.detail.as_deref());
        }
        line("verdict", self.verdict.as_deref());
        line("causes", Some(self.causes.join(" ")).filter(|causes| !causes.is_empty()).as_deref());
        line("hook", self.hook.as_deref());
        line("generation", self.generation.as_deref());
        line("request id", self.request_id.as_deref());
        for (number, command) in self.next.iter().enumerate() {
            line(if number == 0 { "next" } else { "" }, Some(command));
        }
        lines
    }
}

/// The three parts of a detail: `FIELD: FOUND, expected EXPECTATION`.
pub(super) fn split_detail(detail: &str) -> Option<(&str, &str, &str)> {
    let (field, rest) = detail.split_once(": ")?;
    let (found, expected) = rest.split_once(", expected ")?;
    Some((field, found, expected))
}

/// The next commands. A value of the line is in one only if it has the form of its kind: a person may paste the command.
fn next(line: &LoggedLine) -> Vec<String> {
    let hook = line.field(&["hook"]).filter(|hook| is_name(hook));
    let source = line.field(&["source", "client"]).and_then(|source| source.parse::<IpAddr>().ok());
    let id = line.field(&["id", "generation_id", "generation"]).and_then(GenerationId::parse);
    let entry = line.field(&["entry"]).and_then(|entry| entry.parse::<u32>().ok());
    let mut next = Vec::new();
    if let Some(entry) = entry {
        next.push(format!("blobgate inbox show {entry}"));
        next.push(format!("blobgate explain --config envoy.yaml --entry {entry}"));
    }
    let request_id = line.field(&["request_id"]).filter(|id| is_request_id(id));
    match (id, request_id) {
        (Some(id), _) => next.push(format!("blobgate why {}", id.text())),
        (None, Some(request_id)) => next.push(format!("blobgate why --request-id {request_id}")),
        (None, None) => {}
    }
    // An accepted delivery breaks no rule of the configuration.
    let is_accepted = line.field(&["verdict"]) == Some(Verdict::Accepted.name());
    if let (Some(hook), None, false) = (hook, entry, is_accepted) {
        let from = source.map(|source| format!(" --from {source}")).unwrap_or_default();
        next.push(format!("blobgate explain --config envoy.yaml --hook {hook}{from} --body BODY.json"));
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_of_a_remedy_is_in_the_book() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut pages = 0;
        for code in ReasonText::codes() {
            let remedy = ReasonText::find(code).unwrap().remedy;
            for page in remedy.split('(').skip(1).filter_map(|rest| rest.split_once(')')) {
                let Some(page) = page.0.strip_prefix("docs/") else { continue };
                let file = root.join("docs").join(page.split('#').next().unwrap());
                assert!(file.is_file(), "{code}: {}", file.display());
                pages += 1;
            }
        }
        assert!(pages > 5, "{pages}");
    }

    #[track_caller]
    fn explained(text: &str, next: &[&str]) {
        assert_eq!(LineExplanation::of(&LoggedLine::parse(text).unwrap()).next, next, "{text}");
    }

    #[test]
    fn names_the_next_commands() {
        let id = "ffd473d5-5bef-4e14-bf22-8d559be3c19f";
        let line = |hook: &str, source: &str, id: &str| {
            format!("blobgate verdict=refused reason=source-denied hook={hook} source={source} id={id}")
        };
        explained(
            &line("veo3", "203.0.113.9", "-"),
            &["blobgate explain --config envoy.yaml --hook veo3 --from 203.0.113.9 --body BODY.json"],
        );
        explained(
            &line("veo3", "-", id),
            &[
                "blobgate why ffd473d5-5bef-4e14-bf22-8d559be3c19f",
                "blobgate explain --config envoy.yaml --hook veo3 --body BODY.json",
            ],
        );
        explained(
            &line("veo3", "-", id).replace("refused", "accepted"),
            &["blobgate why ffd473d5-5bef-4e14-bf22-8d559be3c19f"],
        );
        // A line is untrusted: no value without its form is in a command.
        explained(&line("$(id)", "`id`", ";id"), &[]);
        let inbox = r#"{"target":"blobgate_inbox::decide","reason":"token-reused","entry":17}"#;
        explained(inbox, &["blobgate inbox show 17", "blobgate explain --config envoy.yaml --entry 17"]);
    }

    #[test]
    fn splits_a_detail() {
        let detail = "video_url: scheme is http, expected https";
        assert_eq!(split_detail(detail), Some(("video_url", "scheme is http", "https")));
        assert_eq!(split_detail("of tomorrow"), None);
    }
}
