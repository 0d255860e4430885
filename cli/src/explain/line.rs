//! The explanation of a line of a log.

use super::cause::{LoggedCause, causes};
use super::log_line::{LogOrigin, LoggedLine, OMITTED};
use super::next::next;
use super::reason::ReasonText;
use crate::option::UsageError;
use crate::output::{escape, print_json, print_styled};
use crate::paint::Paint;
use anyhow::{Result, bail};
use blobgate::Reason;
use blobgate_inbox::service::split_detail;
use serde::Serialize;
use std::io::{IsTerminal, Read};

/// A log of a day is larger. A person pastes a few lines.
const MAX_INPUT: usize = 1 << 20;

/// A line of a log, explained.
#[derive(Debug, Serialize)]
struct LineExplanation {
    log: &'static str,
    verdict: Option<String>,
    reason: Option<ReasonText>,
    /// What a line without a reason means.
    meaning: Option<String>,
    detail: Option<String>,
    /// The status of the answer, in the access log.
    status: Option<String>,
    causes: Vec<LoggedCause>,
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

/// Prints the explanation of each line that a part of Blobgate wrote. `-` reads standard input.
pub(super) fn print_lines(text: &str, json: bool) -> Result<()> {
    let text = if text == "-" { read_stdin()? } else { text.to_owned() };
    let lines: Vec<LineExplanation> =
        text.lines().filter_map(LoggedLine::parse).map(|line| LineExplanation::of(&line)).collect();
    if lines.is_empty() {
        bail!(
            "cannot explain this text: it has no line of the gate, of Envoy's access log in envoy.yaml, or of the inbox. \
             Pass a whole line, or the code of a reason alone"
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
    let limit = u64::try_from(MAX_INPUT)?.saturating_add(1);
    stdin.lock().take(limit).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_INPUT {
        bail!(
            "cannot explain this log: it is larger than 1 MiB. Pass fewer lines, such as `tail -n 1000 LOG`"
        );
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

impl LineExplanation {
    fn of(line: &LoggedLine) -> Self {
        let owned = |names: &[&str]| line.field(names).map(str::to_owned);
        let code = line.field(&["reason", "request_reason"]);
        let is_refused = line.verdict() == Some("refused");
        let text = |code: &str| match Reason::parse(code) {
            Some(reason) if is_refused => ReasonText::of_refusal(reason),
            _ => ReasonText::find(code).unwrap_or_else(|| ReasonText::undocumented(code)),
        };
        Self {
            log: line.origin.name(),
            verdict: line.verdict().map(str::to_owned),
            reason: code.map(text),
            meaning: code.is_none().then(|| meaning(line)),
            detail: owned(&["detail"]),
            status: owned(&["status"]).filter(|_| line.origin == LogOrigin::AccessLog),
            causes: causes(line),
            hook: owned(&["hook"]),
            generation: owned(&["id", "generation_id", "generation"]),
            request_id: owned(&["request_id"]),
            next: next(line),
        }
    }

    fn lines(&self, paint: Paint) -> Vec<String> {
        let mut lines =
            self.reason.as_ref().map_or_else(|| vec![paint.bold("no reason")], |it| it.lines(paint));
        let mut line = |name: &str, value: Option<&str>| {
            lines.extend(value.map(|value| format!("  {name:<11}{}", escape(value))));
        };
        line("meaning", self.meaning.as_deref());
        if let Some((field, found, expected)) = self.detail.as_deref().and_then(split_detail) {
            line("field", Some(field));
            line("found", Some(found));
            line("expected", Some(expected));
        } else {
            line("detail", self.detail.as_deref());
        }
        line("verdict", self.verdict.as_deref());
        line("status", self.status.as_deref());
        for cause in &self.causes {
            let meaning = cause.meaning.map(|meaning| format!(": {meaning}")).unwrap_or_default();
            line(cause.name, Some(&format!("{}{meaning}", cause.value)));
            line("", cause.remedy);
        }
        line("hook", self.hook.as_deref());
        line("generation", self.generation.as_deref());
        line("request id", self.request_id.as_deref());
        for (number, command) in self.next.iter().enumerate() {
            line(if number == 0 { "next" } else { "" }, Some(command));
        }
        lines
    }
}

/// What a line without a reason means.
fn meaning(line: &LoggedLine) -> String {
    if let Some(count) = line.field(&[OMITTED, "omitted"]) {
        let kind = line.field(&["kind"]).unwrap_or("one");
        return format!(
            "The log left out {count} lines of the kind {kind}: it has at most ten a second. \
             Envoy's access log has a line for each delivery, and the counters have all (docs/operate/logs.md)."
        );
    }
    if let Some(why) = line.field(&["not_loaded"]) {
        return format!("The gate does not load its configuration: {why}");
    }
    let is_attempt = line.field(&["attempt"]).is_some();
    let text = match (line.origin, line.verdict(), line.field(&["status"])) {
        (LogOrigin::Inbox, ..) => {
            "The inbox reports what it did, or its own state. No rule is broken (docs/operate/logs.md)."
        }
        (LogOrigin::AccessLog, None, _) => {
            "Envoy or a route answered without the gate (docs/explanation/before-the-gate.md)."
        }
        (LogOrigin::AccessLog, Some(_), Some("401" | "403")) if is_attempt => {
            "The service answered. It may verify with another key than BLOBGATE_SIGNING_KEY in secrets/env \
             (docs/howto/verify-signatures.md)."
        }
        (LogOrigin::AccessLog, Some(_), Some("404" | "405")) if is_attempt => {
            "The service answered. It may have another path than the hook's, which comes without the token."
        }
        (LogOrigin::AccessLog, Some(_), Some(status)) if !status.starts_with('2') => {
            "The delivery breaks no rule. The inbox, the service or Envoy answered with this status."
        }
        _ => "The delivery breaks no rule of the gate and of the inbox.",
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn told(text: &str) -> String {
        LineExplanation::of(&LoggedLine::parse(text).unwrap()).lines(Paint::on_stdout()).join("\n")
    }

    #[test]
    fn tells_what_a_line_without_a_reason_means() {
        for (text, expected) in [
            ("blobgate lines-left-out=2 kind=refused environment=e", "left out 2 lines of the kind refused"),
            (
                "[t INFO  blobgate_inbox::reconcile] reconciled hook=veo3: no webhook came",
                "The inbox reports",
            ),
            (
                r#"{"reason":null,"verdict":null,"status":400,"details":"http1.codec_error"}"#,
                "without the gate",
            ),
            (
                r#"{"reason":null,"verdict":"accepted","status":200,"details":"via_upstream"}"#,
                "breaks no rule of",
            ),
            (
                r#"{"reason":null,"verdict":"accepted","status":500,"details":"via_upstream"}"#,
                "with this status",
            ),
            (
                r#"{"reason":null,"verdict":"accepted","attempt":"1","status":401,"details":"via_upstream"}"#,
                "another key than BLOBGATE_SIGNING_KEY",
            ),
            (
                "2026-11-30T12:00:00Z  gate      not delivered completed g hook=veo3 attempt=1 status=404 details=d",
                "another path than the hook's",
            ),
            ("blobgate: cannot load the configuration: hooks is missing", "blobgate check envoy.yaml"),
        ] {
            let told = told(text);
            assert!(told.contains(expected), "{text}: {told}");
        }
    }

    /// The inbox has no entry of a refused delivery.
    #[test]
    fn the_remedy_is_that_of_the_verdict() {
        let line =
            |verdict: &str| told(&format!("blobgate verdict={verdict} reason=schema-invalid hook=veo3"));
        assert!(!line("refused").contains("release"), "{}", line("refused"));
        assert!(line("quarantined").contains("release"), "{}", line("quarantined"));
        let text = told(r#"{"reason":"schema-invalid","verdict":null,"status":422,"details":"wasm"}"#);
        assert!(text.contains("verdict    refused") && !text.contains("release"), "{text}");
    }

    #[test]
    fn tells_the_cause_behind_a_failed_confirmation() {
        let text =
            told("blobgate verdict=refused reason=not-confirmed hook=v confirm=unknown token=kid kid=nope");
        for part in
            ["it has no such generation", "no key with this `kid`", "add the key there", "kid        nope"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
