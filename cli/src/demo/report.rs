//! What came of it all, for people and for machines.

use super::MARK;
use super::delivery::{Door, Hook};
use super::gate::{Gate, Sent};
use super::rows::{Expected, Row};
use super::service::Service;
use crate::receiver::{Arrival, sha256};
use anyhow::Result;
use blobgate::event::Kind;
use reqwest::{Url, Version};
use serde_json::{Value, json};
use std::io::{self, IsTerminal, Write};

pub(super) struct Report<'a> {
    pub(super) gate: &'a Gate,
    pub(super) sandbox: &'a Url,
    pub(super) services: &'a [Service],
    pub(super) outcomes: Vec<Outcome>,
}

/// A row, what came of it, and in what that differs from what was expected.
pub(super) struct Outcome {
    row: Row,
    sent: Sent,
    arrived: Vec<(String, Arrival)>,
    faults: Vec<String>,
}

/// What a receiver goes by, of all that it gets: shown under a row that arrived.
const SHOWN: [&str; 7] = [
    "blobgate-event",
    "blobgate-proofs",
    "blobgate-reason",
    "blobgate-claimed-event",
    "blobgate-generation-id",
    "idempotency-key",
    "blobgate-error-code",
];

impl Outcome {
    pub(super) fn new(row: Row, sent: Sent, arrivals: &[(&str, Arrival)]) -> Self {
        let (mark, id) = (row.delivery.mark.to_string(), row.delivery.id.to_string());
        // The sandbox knows of no marks.
        let (header, value) = match row.delivery.door {
            Door::Provider => ("blobgate-generation-id", &id),
            Door::Edge | Door::Plain | Door::Elsewhere => (MARK, &mark),
        };
        let arrived: Vec<_> = arrivals
            .iter()
            .filter(|(_, arrival)| arrival.header(header) == Some(value))
            .map(|(service, arrival)| ((*service).to_owned(), arrival.clone()))
            .collect();
        let mut faults = Vec::new();
        faults.extend(about_answer(row.expected, &sent));
        faults.extend(about_arrival(&row, &sent, &arrived));
        Self { row, sent, arrived, faults }
    }

    fn is_left_out(&self) -> bool {
        matches!(self.sent, Sent::LeftOut(_))
    }

    fn to_json(&self, path: &str) -> Value {
        let (answer, code, why) = match &self.sent {
            Sent::Answered(answer) => (Some(answer.status), answer.code.as_deref(), None),
            Sent::Unanswered(_) => (None, None, None),
            Sent::LeftOut(why) => (None, None, Some(why)),
        };
        let expected = self.row.expected;
        json!({
            "hook": path,
            "sent": self.row.sent,
            "generation_id": self.row.delivery.id.to_string(),
            "answer": answer,
            "code": code,
            "arrived": self.arrived.iter().map(|(service, arrival)| json!({
                "service": service, "headers": arrival.headers, "bytes": arrival.bytes, "sha256": arrival.sha256,
            })).collect::<Vec<_>>(),
            "expected": {"answer": expected.status(), "code": expected.code(), "service": expected.service()},
            "left_out": why,
            "faults": self.faults,
        })
    }
}

fn about_answer(expected: Expected, sent: &Sent) -> Option<String> {
    let right = |status: u16, code: Option<&str>| match code {
        Some(code) => format!("{status} {code}"),
        None => status.to_string(),
    };
    match sent {
        Sent::LeftOut(_) => None,
        Sent::Unanswered(why) => Some(format!("no answer: {why}")),
        Sent::Answered(answer) => {
            let is_right = answer.status == expected.status() && answer.code.as_deref() == expected.code();
            (!is_right).then(|| format!("the answer should be {}", right(expected.status(), expected.code())))
        }
    }
}

fn about_arrival(row: &Row, sent: &Sent, arrived: &[(String, Arrival)]) -> Vec<String> {
    if matches!(sent, Sent::LeftOut(_)) {
        return Vec::new();
    }
    let expected = row.expected;
    let Some(service) = expected.service() else {
        return if arrived.is_empty() { Vec::new() } else { vec!["it should arrive nowhere".to_owned()] };
    };
    let [(at, arrival)] = arrived else {
        return vec![format!("it should arrive at {service}, once")];
    };
    let mut faults = Vec::new();
    if at != service {
        faults.push(format!("it should arrive at {service}"));
    }
    let id = row.delivery.id;
    let event = expected.event().map(Kind::name);
    let mut headers = vec![
        ("blobgate-verdict", expected.verdict().map(|verdict| verdict.name().to_owned())),
        ("blobgate-reason", expected.reason().map(|reason| reason.code().to_owned())),
        ("blobgate-event", event.map(str::to_owned)),
    ];
    if let Some(event) = event {
        // What is kept may be unreadable, and then has none of these.
        headers.push(("blobgate-generation-id", Some(id.to_string())));
        headers.push(("idempotency-key", Some(format!("veo3:{id}:{event}"))));
        headers.push(("blobgate-proofs", expected.proof().map(|proof| proof.name().to_owned())));
    }
    for (name, right) in headers {
        match (arrival.header(name), right) {
            (came, Some(right)) if came != Some(&right) => faults.push(format!("{name} should be {right}")),
            (Some(_), None) => faults.push(format!("{name} should not be there")),
            _ => (),
        }
    }
    if arrival.sha256 != sha256(row.delivery.body.as_bytes()) {
        faults.push("the body that arrived should be the one that was sent, byte for byte".to_owned());
    }
    faults
}

impl Report<'_> {
    pub(super) fn is_as_expected(&self) -> bool {
        self.outcomes.iter().all(|outcome| outcome.faults.is_empty())
    }

    pub(super) fn print_json(&self) -> Result<()> {
        let report = json!({
            "gate": self.gate.hooks.edge.as_str(),
            "plain": self.gate.hooks.plain.as_str(),
            "token_gate": self.gate.hooks.token.as_str(),
            "sandbox": self.sandbox.as_str(),
            "as_expected": self.is_as_expected(),
            "rows": self.outcomes.iter().map(|outcome| outcome.to_json(self.path(outcome))).collect::<Vec<_>>(),
        });
        write(&format!("{}\n", serde_json::to_string_pretty(&report)?));
        Ok(())
    }

    pub(super) fn print_table(&self) {
        let paint = Paint::on_stdout();
        let mut lines = vec![self.places(), String::new()];
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

    /// The hook that a row was sent to.
    fn path(&self, outcome: &Outcome) -> &str {
        match outcome.row.delivery.hook {
            Hook::Open => self.gate.hooks.edge.path(),
            Hook::Proven(_) => self.gate.hooks.token.path(),
        }
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
            "gate      {}, over {}\nproven    {}\nplaintext {}\nsandbox   {}\nservices  {}",
            self.gate.hooks.edge,
            version.unwrap_or("nothing"),
            self.gate.hooks.token,
            self.gate.hooks.plain,
            self.sandbox,
            services.join(", ")
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
            Sent::Answered(answer) => {
                let mark = if self.faults.is_empty() { "ok" } else { "FAIL" };
                (mark, answer.status.to_string(), answer.code.as_deref().unwrap_or("-"))
            }
        };
        let places: Vec<_> = self.arrived.iter().map(|(service, _)| service.as_str()).collect();
        let arrived = match &self.sent {
            Sent::LeftOut(_) => "left out".to_owned(),
            _ if places.is_empty() => "nowhere".to_owned(),
            _ => places.join(", "),
        };
        let line = cells(mark, self.row.sent, &answer, code, &arrived);
        let mut lines = vec![match mark {
            "ok" => line,
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
        lines.extend(self.faults.iter().map(|fault| paint.red(&format!("        ! {fault}"))));
        if let Sent::LeftOut(why) = &self.sent {
            lines.push(paint.dim(&format!("        {why}")));
        }
        lines
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
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// A reader that has gone (`| head`) changes nothing about the verdict.
fn write(text: &str) {
    let mut out = io::stdout().lock();
    let _gone = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
