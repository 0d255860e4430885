//! The explanation of one request: for a terminal, or as JSON.

mod ending;
mod text;

pub(super) use ending::{EndingReport, OutcomeReport};

use super::mask::ShownHeader;
use crate::output::print_json;
use anyhow::Result;
use blobgate::explain::ExplainedCall;
use blobgate::trace::{StageReport, StageVerdict};
use serde::Serialize;
use std::process::ExitCode;

/// An explanation. The book documents its JSON in the how-to page `explain`.
#[derive(Debug, Serialize)]
pub(super) struct ExplainReport {
    pub(super) subject: Subject,
    pub(super) hook: Option<String>,
    pub(super) stages: Vec<StageRow>,
    /// The call to the status API, if the delivery needs a confirmation.
    pub(super) confirmation: Option<ConfirmationCall>,
    /// The end; `verdict` is `needs-confirmation` where the status API decides.
    #[serde(flatten)]
    pub(super) ending: EndingReport,
    /// The end for each answer of the status API, if no outcome is given.
    pub(super) outcomes: Vec<OutcomeReport>,
    pub(super) notes: Vec<String>,
}

/// What the report is about.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Subject {
    Request(RequestReport),
    /// The number of an entry of the inbox.
    Entry(i64),
}

/// The request, without secrets.
#[derive(Debug, Serialize)]
pub(super) struct RequestReport {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: Vec<ShownHeader>,
    /// `null` without a body.
    pub(super) body_bytes: Option<usize>,
    pub(super) source: Option<String>,
    pub(super) peer: Option<String>,
    pub(super) tls: bool,
    pub(super) at: String,
}

/// A stage of the gate.
#[derive(Debug, Serialize)]
pub(super) struct StageRow {
    pub(super) stage: &'static str,
    /// `passed`, `violated`, `observed` or `skipped`.
    pub(super) verdict: &'static str,
    /// What the stage read, or why it did not run.
    pub(super) saw: String,
    pub(super) reason: Option<&'static str>,
    pub(super) detail: Option<String>,
}

/// A call to the status API.
#[derive(Debug, Serialize)]
pub(super) struct ConfirmationCall {
    pub(super) cluster: String,
    pub(super) url: String,
    /// The given outcome.
    pub(super) outcome: Option<&'static str>,
}

impl StageRow {
    pub(super) fn of(report: &StageReport) -> Self {
        let (verdict, why) = match report.verdict {
            StageVerdict::Passed => ("passed", ""),
            StageVerdict::Violated(_) => ("violated", ""),
            StageVerdict::Observed(_) => ("observed", ""),
            StageVerdict::Skipped(why) => ("skipped", why),
        };
        let saw = [report.saw.as_str(), why].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>();
        let violation = report.verdict.violation();
        Self {
            stage: report.stage.name(),
            verdict,
            saw: saw.join("; "),
            reason: violation.map(|violation| violation.reason.code()),
            detail: violation.and_then(|violation| violation.text()),
        }
    }
}

impl ConfirmationCall {
    pub(super) fn of(call: &ExplainedCall, outcome: Option<&'static str>) -> Self {
        let url = format!("https://{}{}", call.authority, call.path);
        Self { cluster: call.cluster.clone(), url, outcome }
    }
}

impl ExplainReport {
    pub(super) fn print(&self, json: bool) -> Result<ExitCode> {
        if json {
            print_json(serde_json::to_string_pretty(self)?);
        } else {
            self.print_text();
        }
        Ok(ExitCode::from(self.ending.verdict.exit_code()))
    }
}
