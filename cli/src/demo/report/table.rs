//! The table for a terminal.

use super::Report;
use crate::demo::gate::SendOutcome;
use crate::demo::outcome::RowOutcome;
use crate::demo::service::DemoService;
use crate::output::{escape, print_styled};
use crate::paint::Paint;
use crate::receiver::ReceivedRequest;
use crate::table::{Side, lines};
use blobgate::contract::header;
use blobgate_inbox::service::{EntrySummary, ExpectationStatus};
use reqwest::Version;

const COLUMNS: [(&str, Side); 5] = [
    ("MARK", Side::Left),
    ("SENT", Side::Left),
    ("ANSWER", Side::Left),
    ("CODE", Side::Left),
    ("ARRIVED AT", Side::Left),
];

/// The place of an undelivered entry.
const INBOX: &str = "inbox";

/// The headers of an arrival under its row: a service decides by these.
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
        let rows: Vec<_> = self.outcomes.iter().map(RowOutcome::cells).collect();
        let mut table = lines(COLUMNS, &rows).into_iter();

        let mut shown: Vec<String> = self.places().iter().map(|line| escape(line).into_owned()).collect();
        shown.push(String::new());
        shown.extend(table.next().map(|names| paint.bold(&names)));
        let mut last = None;
        for (outcome, line) in self.outcomes.iter().zip(table) {
            let hook = self.hook(outcome);
            let previous = last.replace(hook);
            if previous != Some(hook) {
                shown.extend(previous.map(|_| String::new()));
                shown.push(paint.bold(&format!("hook {hook}")));
            }
            shown.push(paint.row(outcome.mark(), &line));
            shown.extend(outcome.details(&paint));
        }
        shown.push(String::new());
        shown.push(self.verdict(&paint));
        print_styled(&shown.join("\n"));
    }

    fn places(&self) -> Vec<String> {
        let version = self.outcomes.iter().find_map(|outcome| match &outcome.sent {
            SendOutcome::Answered(answer) => answer.version,
            _ => None,
        });
        let version = match version {
            Some(Version::HTTP_2) => " (HTTP/2)",
            Some(_) => " (HTTP/1.1)",
            None => "",
        };
        let mut places = vec![
            format!("gate                {}{version}", self.gate.hooks.open),
            format!("authenticating      {}", self.gate.hooks.authenticating),
            format!("plain HTTP          {}", self.gate.hooks.plain),
            format!("sandbox             {}", self.sandbox),
        ];
        places.extend(
            self.services
                .iter()
                .map(|DemoService { name, url }| format!("{:<20}{url}", format!("service {name}"))),
        );
        places.push(format!("inbox               {}: {}", self.inbox, self.path.sentence()));
        places
    }

    fn verdict(&self, paint: &Paint) -> String {
        let wrong = self.outcomes.iter().filter(|outcome| !outcome.faults.is_empty()).count();
        let skipped = self.outcomes.iter().filter(|outcome| outcome.is_skipped()).count();
        let shown = self.outcomes.len().saturating_sub(skipped);
        let verdict = match wrong {
            0 => paint.green(&format!("All {shown} rows are as expected.")),
            _ => paint.red(&format!("{wrong} of {shown} rows are not as expected.")),
        };
        match skipped {
            0 => verdict,
            _ => format!("{verdict} {skipped} skipped."),
        }
    }
}

impl RowOutcome {
    fn mark(&self) -> &'static str {
        match self.sent {
            SendOutcome::Skipped(_) => "-",
            _ if self.faults.is_empty() => "ok",
            _ => "FAIL",
        }
    }

    fn cells(&self) -> [String; 5] {
        let (answer, code) = match &self.sent {
            SendOutcome::Skipped(_) => (String::new(), String::new()),
            SendOutcome::Unanswered(_) => ("none".to_owned(), String::new()),
            SendOutcome::Uncalled(_) | SendOutcome::NotReconciled(_) => ("-".to_owned(), "-".to_owned()),
            SendOutcome::Answered(answer) => {
                (answer.status.to_string(), answer.code.clone().unwrap_or_else(|| "-".to_owned()))
            }
        };
        [self.mark().to_owned(), self.row.sent.to_owned(), answer, code, self.place()]
    }

    fn place(&self) -> String {
        let services = self.arrived.iter().map(|(service, _)| service.as_str());
        let places: Vec<_> = services.chain(self.in_inbox.iter().map(|_| INBOX)).collect();
        match &self.sent {
            SendOutcome::Skipped(_) => "skipped".to_owned(),
            _ if places.is_empty() => "nowhere".to_owned(),
            _ => places.join(", "),
        }
    }

    /// The lines below a row.
    fn details(&self, paint: &Paint) -> Vec<String> {
        let mut details: Vec<String> =
            self.arrived.iter().flat_map(|(_, request)| headers(request)).collect();
        details.extend(self.in_inbox.iter().flat_map(|EntrySummary { id, state, reason, .. }| {
            let reason = reason.as_ref().map(|reason| format!("{}: {reason}", header::REASON));
            [Some(format!("entry {id}: {state}")), reason].into_iter().flatten()
        }));
        details.extend(self.expectation.iter().map(|ExpectationStatus { job, state, .. }| {
            format!("expectation of job {}: {state}", job.as_deref().unwrap_or("-"))
        }));
        if let SendOutcome::Skipped(why) = &self.sent {
            details.push(why.clone());
        }
        let details = details.iter().map(|line| paint.dim(&format!("        {line}")));
        let faults = self.faults.iter().map(|fault| paint.red(&format!("        ! {fault}")));
        details.chain(faults).collect()
    }
}

fn headers(request: &ReceivedRequest) -> Vec<String> {
    SHOWN.iter().filter_map(|name| request.header(name).map(|value| format!("{name}: {value}"))).collect()
}

impl Paint {
    fn row(&self, mark: &str, line: &str) -> String {
        match (mark, line.strip_prefix(mark)) {
            ("ok", Some(rest)) => format!("{}{}", self.green(mark), escape(rest)),
            ("-", _) => self.dim(line),
            _ => self.red(line),
        }
    }
}
