//! The explanation for a terminal.

use super::ending::{EndingReport, ExplainVerdict, OutcomeReport, ResponseReport};
use super::{ExplainReport, RequestReport, Subject};
use crate::explain::mask::ShownHeader;
use crate::output::{escape, print_styled};
use crate::paint::Paint;
use crate::table::{Side, lines};
use blobgate_inbox::service::split_detail;

const COLUMNS: [(&str, Side); 3] = [("STAGE", Side::Left), ("VERDICT", Side::Left), ("SAW", Side::Left)];

impl ExplainReport {
    pub(super) fn print_text(&self) {
        let paint = Paint::on_stdout();
        let mut shown = match &self.subject {
            Subject::Request(request) => request.lines(),
            Subject::Entry(id) => vec![format!("entry {id}, judged by this configuration")],
        };
        shown.push(String::new());
        shown.extend(self.stages(paint));
        shown.push(String::new());
        if let Some(call) = &self.confirmation {
            shown.push(match call.outcome {
                Some(outcome) => format!("the status API: {outcome}, as given. The gate would call"),
                None => "the status API decides. The gate would call".to_owned(),
            });
            shown.push(format!("  GET {} by the cluster {}", escape(&call.url), escape(&call.cluster)));
            shown.push(String::new());
        }
        shown.extend(self.ending.lines(paint));
        for outcome in &self.outcomes {
            shown.push(String::new());
            shown.extend(outcome.lines(paint));
        }
        if !self.notes.is_empty() {
            shown.push(String::new());
            shown.extend(self.notes.iter().map(|note| format!("note: {}", escape(note))));
        }
        print_styled(&shown.join("\n"));
    }

    fn stages(&self, paint: Paint) -> Vec<String> {
        let mut rows = Vec::new();
        let mut verdicts = Vec::new();
        for row in &self.stages {
            rows.push([row.stage.to_owned(), row.verdict.to_owned(), row.saw.clone()]);
            verdicts.push(row.verdict);
            if let Some(reason) = row.reason {
                let detail = row.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
                rows.push([String::new(), String::new(), format!("{reason}{detail}")]);
                verdicts.push(row.verdict);
            }
        }
        let mut table = lines(COLUMNS, &rows).into_iter();
        let mut shown: Vec<String> = table.next().map(|names| paint.bold(&names)).into_iter().collect();
        shown.extend(table.zip(verdicts).map(|(line, verdict)| match verdict {
            "violated" => paint.red(&line),
            "observed" => paint.yellow(&line),
            "skipped" => paint.dim(&line),
            _ => line,
        }));
        shown
    }
}

impl RequestReport {
    fn lines(&self) -> Vec<String> {
        let size = self.body_bytes.map_or_else(|| "no body".to_owned(), |bytes| format!("{bytes} bytes"));
        let by = self.peer.as_ref().map(|peer| format!(" by the proxy {peer}")).unwrap_or_default();
        let hop = if self.tls { "TLS" } else { "plaintext" };
        let source = self.source.as_deref().unwrap_or("-");
        let mut lines = vec![format!(
            "{} {} from {}{by}, {hop}, {size}, at {}",
            escape(&self.method),
            escape(&self.path),
            escape(source),
            self.at
        )];
        lines.extend(self.headers.iter().map(ShownHeader::line));
        lines
    }
}

impl ShownHeader {
    fn line(&self) -> String {
        format!("  {}: {}", escape(&self.name), escape(&self.value))
    }
}

impl EndingReport {
    fn lines(&self, paint: Paint) -> Vec<String> {
        let mut lines = vec![self.headline(paint)];
        lines.extend(self.facts());
        lines.extend(self.response_lines(paint));
        if let Some(request) = &self.service_request {
            lines.push(String::new());
            lines.push(paint.bold("the inbox or the service gets"));
            lines.push(format!("  POST {}", escape(&request.path)));
            lines.extend(request.headers.iter().map(ShownHeader::line));
        }
        if !self.log.is_empty() {
            lines.push(String::new());
            lines.push(paint.bold("the gate logs"));
            lines.extend(self.log.iter().map(|line| format!("  {}", escape(line))));
        }
        lines
    }

    fn headline(&self, paint: Paint) -> String {
        let reason = self.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        let text = format!("{}{reason}", self.verdict.name());
        match self.verdict {
            ExplainVerdict::Accepted => paint.green(&text),
            ExplainVerdict::Observed | ExplainVerdict::NeedsConfirmation => paint.yellow(&text),
            ExplainVerdict::Quarantined | ExplainVerdict::Refused => paint.red(&text),
        }
    }

    fn facts(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut line = |name: &str, value: Option<&str>| {
            lines.extend(value.map(|value| format!("  {name:<11}{}", escape(value))));
        };
        match self.detail.as_deref().and_then(split_detail) {
            Some((field, found, expected)) => {
                line("field", Some(field));
                line("found", Some(found));
                line("expected", Some(expected));
            }
            None => line("detail", self.detail.as_deref()),
        }
        line("meaning", self.meaning.as_deref());
        line("remedy", self.remedy.as_deref());
        line("event", self.event.as_deref());
        line("generation", self.generation.as_deref());
        if self.verdict == ExplainVerdict::Quarantined {
            line("store", Some("the inbox stores it in quarantine, for a person"));
        }
        lines
    }

    fn response_lines(&self, paint: Paint) -> Vec<String> {
        let Some(response) = &self.response else { return Vec::new() };
        let mut lines = vec![String::new(), paint.bold("the sender gets")];
        match &self.response_if_service_fails {
            None => lines.extend(response.lines("")),
            Some(failed) => {
                lines.extend(response.lines(" if the inbox or the service answers 200"));
                lines.extend(failed.lines(" if it answers 503"));
            }
        }
        lines
    }
}

impl ResponseReport {
    fn lines(&self, condition: &str) -> Vec<String> {
        let mut lines = vec![format!("  HTTP {}{condition}", self.status)];
        lines.extend(self.headers.iter().map(|header| format!("  {}", header.line())));
        lines.extend(self.body.as_ref().map(|body| format!("    {}", escape(body))));
        lines
    }
}

impl OutcomeReport {
    /// One line, and the reason's field.
    fn lines(&self, paint: Paint) -> Vec<String> {
        let when = match self.outcome {
            "confirmed" => "if the status API confirms the event",
            "contradicted" => "if it contradicts the event, or has no such generation",
            _ => "if it gives no usable answer",
        };
        let status =
            self.ending.response.as_ref().map(|response| format!(", the sender gets {}", response.status));
        let mut lines =
            vec![format!("{when}: {}{}", self.ending.headline(paint), status.unwrap_or_default())];
        lines.extend(self.ending.facts());
        lines
    }
}
