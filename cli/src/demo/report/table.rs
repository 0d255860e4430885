//! For people.

use super::{Report, write};
use crate::demo::expect::Expectation;
use crate::demo::gate::Sent;
use crate::demo::inbox::Entry;
use crate::demo::outcome::Outcome;
use crate::demo::service::Service;
use crate::output::{escape, escape_lines};
use crate::receiver::Arrival;
use blobgate::contract::header;
use reqwest::Version;
use std::io::{self, IsTerminal};

/// The inbox, as a place.
const INBOX: &str = "inbox";
/// What a receiver goes by, of all that it gets: shown under a row that arrived.
const SHOWN: [&str; 9] = [
    header::EVENT,
    header::SOURCE,
    header::PROOFS,
    header::JOB,
    header::REASON,
    header::CLAIMED_EVENT,
    header::GENERATION_ID,
    header::IDEMPOTENCY_KEY,
    header::ERROR_CODE,
];

impl Report<'_> {
    pub(in crate::demo) fn print_table(&self) {
        let paint = Paint::on_stdout();
        let mut lines = vec![escape_lines(&self.places()).into_owned(), String::new()];
        lines.push(paint.bold(&cells("", "sent", "answer", "code", "arrived at")));
        let mut last = None;
        for outcome in &self.outcomes {
            let path = self.path(outcome);
            if last.replace(path) != Some(path) {
                lines.push(paint.bold(&format!("at {path}")));
            }
            lines.extend(outcome.lines(&paint));
        }
        lines.push(String::new());
        lines.push(self.verdict(&paint));
        write(&format!("{}\n", lines.join("\n")));
    }

    fn places(&self) -> String {
        let version = self.outcomes.iter().find_map(|outcome| match &outcome.sent {
            Sent::Answered(answer) => {
                answer.version.map(|version| if version == Version::HTTP_2 { "HTTP/2" } else { "HTTP/1.1" })
            }
            _ => None,
        });
        let services: Vec<_> = self
            .services
            .iter()
            .map(|Service { name, url }| format!("{name} {}", url.as_str().trim_end_matches('/')))
            .collect();
        format!(
            "gate      {}, over {}\nproven    {}\nplaintext {}\nsandbox   {}\nservices  {}\ninbox     {}: {}",
            self.gate.hooks.edge,
            version.unwrap_or("nothing"),
            self.gate.hooks.token,
            self.gate.hooks.plain,
            self.sandbox,
            services.join(", "),
            self.inbox,
            self.mode.words()
        )
    }

    fn verdict(&self, paint: &Paint) -> String {
        let wrong = self.outcomes.iter().filter(|outcome| !outcome.faults.is_empty()).count();
        let left_out = self.outcomes.iter().filter(|outcome| outcome.is_left_out()).count();
        let shown = self.outcomes.len().saturating_sub(left_out);
        let verdict = match wrong {
            0 => paint.green(&format!("All {shown} rows are as expected.")),
            _ => paint.red(&format!("{wrong} of {shown} rows are not as expected.")),
        };
        match left_out {
            0 => verdict,
            _ => format!("{verdict} {left_out} left out."),
        }
    }
}

impl Outcome {
    fn lines(&self, paint: &Paint) -> Vec<String> {
        let (mark, answer, code) = match &self.sent {
            Sent::LeftOut(_) => ("-", String::new(), ""),
            Sent::Unanswered(_) => ("FAIL", "none".to_owned(), ""),
            Sent::Uncalled(_) | Sent::NotReconciled(_) => (self.mark(), "-".to_owned(), "-"),
            Sent::Answered(answer) => {
                (self.mark(), answer.status.to_string(), answer.code.as_deref().unwrap_or("-"))
            }
        };
        let services = self.arrived.iter().map(|(service, _)| service.as_str());
        let places: Vec<_> = services.chain(self.in_inbox.iter().map(|_| INBOX)).collect();
        let arrived = match &self.sent {
            Sent::LeftOut(_) => "left out".to_owned(),
            _ if places.is_empty() => "nowhere".to_owned(),
            _ => places.join(", "),
        };
        let line = cells(mark, self.row.sent, &answer, code, &arrived);
        let mut lines = vec![match mark {
            "ok" => escape(&line).into_owned(),
            "-" => paint.dim(&line),
            _ => paint.red(&line),
        }];
        let shown = |arrival: &Arrival| {
            let values = SHOWN
                .iter()
                .filter_map(|name| arrival.header(name).map(|value| format!("        {name}: {value}")));
            values.collect::<Vec<_>>()
        };
        lines
            .extend(self.arrived.iter().flat_map(|(_, arrival)| shown(arrival)).map(|line| paint.dim(&line)));
        let kept = |entry: &Entry| {
            let reason = entry.reason.as_deref().unwrap_or("-");
            [
                format!("        entry {}: {}", entry.id, entry.state),
                format!("        blobgate-reason: {reason}"),
            ]
        };
        lines.extend(self.in_inbox.iter().flat_map(kept).map(|line| paint.dim(&line)));
        lines.extend(self.expectation.iter().map(|Expectation { job, state, .. }| {
            paint.dim(&format!("        expected of job {}: {state}", job.as_deref().unwrap_or("-")))
        }));
        lines.extend(self.faults.iter().map(|fault| paint.red(&format!("        ! {fault}"))));
        if let Sent::LeftOut(why) = &self.sent {
            lines.push(paint.dim(&format!("        {why}")));
        }
        lines
    }

    fn mark(&self) -> &'static str {
        if self.faults.is_empty() { "ok" } else { "FAIL" }
    }
}

fn cells(mark: &str, sent: &str, answer: &str, code: &str, arrived: &str) -> String {
    format!("{mark:<4}  {sent:<34} {answer:<6}  {code:<21}  {arrived}").trim_end().to_owned()
}

/// Colours, where a person looks at a terminal.
struct Paint {
    on: bool,
}

impl Paint {
    fn on_stdout() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self { on: io::stdout().is_terminal() && !unwanted && !dumb }
    }

    fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }

    fn dim(&self, text: &str) -> String {
        self.paint("2", text)
    }

    fn red(&self, text: &str) -> String {
        self.paint("31", text)
    }

    fn green(&self, text: &str) -> String {
        self.paint("32", text)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        let text = escape(text);
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.into_owned() }
    }
}
