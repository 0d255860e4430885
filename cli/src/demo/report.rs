//! What came of it all, for people and for machines.

use super::delivery::Hook;
use super::gate::{Gate, Sent};
use super::inbox::Entry;
use super::rows::{Expected, QUARANTINE, Row};
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
    /// Where the inbox is, in words.
    pub(super) inbox: &'a str,
    pub(super) mode: Mode,
    pub(super) services: &'a [Service],
    pub(super) outcomes: Vec<Outcome>,
}

/// Whether what was sent went by an inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Inbox,
    Alone,
    /// Some of it: the path changed meanwhile.
    Mixed,
}

/// A row, what came of it, and in what that differs from what was expected.
pub(super) struct Outcome {
    row: Row,
    sent: Sent,
    arrived: Vec<(String, Arrival)>,
    /// What the inbox has, and has not delivered.
    in_inbox: Vec<Entry>,
    /// Whether the inbox had it, and whether it came past it.
    ways: [bool; 2],
    faults: Vec<String>,
}

/// The inbox, as a place.
const INBOX: &str = "inbox";
/// What every delivery of an inbox has, and nothing else.
const ATTEMPT: &str = "blobgate-attempt";

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
    pub(super) fn new(row: Row, sent: Sent, arrivals: &[(&str, Arrival)], entries: &[Entry]) -> Self {
        let arrived: Vec<_> = arrivals
            .iter()
            .filter(|(_, arrival)| is_of(arrival, &row))
            .map(|(service, arrival)| ((*service).to_owned(), arrival.clone()))
            .collect();
        let (delivered, in_inbox): (Vec<_>, Vec<_>) =
            entries.iter().filter(|entry| entry.is_of(&row)).cloned().partition(Entry::is_delivered);
        let by_inbox = |(_, arrival): &(String, Arrival)| arrival.header(ATTEMPT).is_some();
        let ways = [
            !delivered.is_empty() || !in_inbox.is_empty() || arrived.iter().any(by_inbox),
            !arrived.iter().all(by_inbox),
        ];
        let mut faults = Vec::new();
        faults.extend(about_answer(row.expected, &sent));
        faults.extend(about_place(&row, &sent, &arrived, &in_inbox));
        Self { row, sent, arrived, in_inbox, ways, faults }
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
            "in_inbox": self.in_inbox,
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

/// By what the gate and the inbox pass on.
fn is_of(arrival: &Arrival, row: &Row) -> bool {
    let delivery = &row.delivery;
    let id = delivery.id.to_string();
    arrival.header("blobgate-generation-id") == Some(&id)
        || arrival.header("idempotency-key").is_some_and(|key| key.contains(&id))
        || arrival.sha256 == sha256(delivery.body.as_bytes())
}

fn about_place(row: &Row, sent: &Sent, arrived: &[(String, Arrival)], in_inbox: &[Entry]) -> Vec<String> {
    if matches!(sent, Sent::LeftOut(_)) {
        return Vec::new();
    }
    let expected = row.expected;
    match (expected.service(), arrived, in_inbox) {
        (None, [], []) => Vec::new(),
        (None, ..) => vec!["it should arrive nowhere".to_owned()],
        (Some(service), [(at, arrival)], []) => {
            let elsewhere = (at != service).then(|| format!("it should arrive at {service}"));
            elsewhere.into_iter().chain(about_arrival(row, arrival)).collect()
        }
        (Some(QUARANTINE), [], [entry]) => about_entry(row, entry),
        (Some(service), [], [entry]) => {
            let reason = entry.reason.as_ref().map(|reason| format!(", {reason}")).unwrap_or_default();
            vec![format!("it should arrive at {service}, and is {} in the inbox{reason}", entry.state)]
        }
        (Some(service), ..) => vec![format!("it should arrive at {service}, once")],
    }
}

/// Of what the inbox keeps.
fn about_entry(row: &Row, entry: &Entry) -> Vec<String> {
    let mut faults = Vec::new();
    if entry.state != "kept" {
        faults.push(format!("it should be kept, and is {}", entry.state));
    }
    if let Some(reason) = row.expected.reason()
        && entry.reason.as_deref() != Some(reason.code())
    {
        faults.push(format!("it should be kept for {}", reason.code()));
    }
    if entry.seen != 1 {
        faults.push(format!("it should have come once, and came {} times", entry.seen));
    }
    if entry.digest != sha256(row.delivery.body.as_bytes()) {
        faults.push("the body that is kept should be the one that was sent, byte for byte".to_owned());
    }
    faults
}

fn about_arrival(row: &Row, arrival: &Arrival) -> Vec<String> {
    let (expected, mut faults) = (row.expected, Vec::new());
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
            "inbox": self.inbox,
            "mode": self.mode.name(),
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

impl Mode {
    pub(super) fn of(outcomes: &[Outcome]) -> Self {
        let [by_inbox, past_it] =
            [0, 1].map(|way| outcomes.iter().any(|outcome| outcome.ways.get(way) == Some(&true)));
        match (by_inbox, past_it) {
            (true, false) => Mode::Inbox,
            (false, _) => Mode::Alone,
            (true, true) => Mode::Mixed,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Mode::Inbox => "inbox",
            Mode::Alone => "alone",
            Mode::Mixed => "mixed",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Mode::Inbox => "in the path, and delivers",
            Mode::Alone => "not in the path, the gate alone",
            Mode::Mixed => "in the path of some of it, which has changed meanwhile",
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
        let services = self.arrived.iter().map(|(service, _)| service.as_str());
        let places: Vec<_> = services.chain(self.in_inbox.iter().map(|_| INBOX)).collect();
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
        let kept = |entry: &Entry| {
            let reason = entry.reason.as_deref().unwrap_or("-");
            [
                format!("        entry {}: {}", entry.id, entry.state),
                format!("        blobgate-reason: {reason}"),
            ]
        };
        lines.extend(self.in_inbox.iter().flat_map(kept).map(|line| paint.dim(&line)));
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
