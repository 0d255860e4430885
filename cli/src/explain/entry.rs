//! Explains an entry of the inbox: its body by a configuration, its head by the gate's findings at its arrival.

use super::config::{ExplainConfig, WantedHook};
use super::report::{ConfirmationCall, EndingReport, ExplainReport, OutcomeReport, StageRow, Subject};
use crate::inbox::client::AdminArgs;
use anyhow::{Context, Result, anyhow};
use blobgate::Reason;
use blobgate::confirm::Outcome;
use blobgate::explain::ExplainedCall;
use blobgate::policy::{ConfirmationRequest, Decision, Delivery, Refusal, conclude, reevaluate};
use blobgate::trace::Trace;
use std::path::Path;

/// Explains the entry of this number.
pub(super) async fn explain(
    id: i64,
    admin: AdminArgs,
    file: &Path,
    outcome: Option<Outcome>,
) -> Result<ExplainReport> {
    let detail = admin.connect()?.show(id).await?;
    let config = ExplainConfig::load(file, WantedHook::Name(&detail.entry.hook))?;
    let name = &detail.entry.hook;
    let hook = config.hook(name).ok_or_else(|| anyhow!("this configuration has no hook {name}"))?;
    let payload = detail.payload.as_ref();
    let payload = payload.ok_or_else(|| {
        anyhow!("cannot judge entry {id}: its body is purged. `blobgate inbox show {id}` has what remains")
    })?;
    let body = payload.bytes().context(
        "cannot read the inbox's answer: the body is no base64. Use the inbox's own version of this tool",
    )?;
    let mut report = ExplainReport {
        subject: Subject::Entry(id),
        hook: Some(name.clone()),
        stages: Vec::new(),
        confirmation: None,
        ending: EndingReport::undecided(),
        outcomes: Vec::new(),
        notes: vec![
            "the head is judged by the gate's findings at its arrival: the store has no token and no client connection"
                .to_owned(),
        ],
    };
    let findings = match detail.findings(hook) {
        Ok(findings) => findings,
        Err(reason) => return Ok(stands(report, reason, detail.entry.detail)),
    };
    let mut trace = Trace::default();
    let decision = reevaluate(hook, findings, &body, &mut trace);
    let path = &payload.path;
    match decision {
        Decision::Forward(delivery) => report.ending = EndingReport::of_entry(Ok(delivery), path),
        Decision::Refuse(refusal) => report.ending = EndingReport::of_entry(Err(refusal), path),
        Decision::Confirm(request) => {
            report.confirmation = call(&request, outcome);
            match outcome {
                Some(outcome) => {
                    report.ending = EndingReport::of_entry(concluded(&request, outcome, &mut trace), path);
                }
                None => {
                    let outcomes = OutcomeReport::OUTCOMES.map(|outcome| OutcomeReport {
                        outcome: outcome.name(),
                        ending: EndingReport::of_entry(
                            concluded(&request, outcome, &mut Trace::default()),
                            path,
                        ),
                    });
                    report.outcomes = outcomes.into();
                }
            }
        }
    }
    report.stages = trace.0.iter().map(StageRow::of).collect::<Vec<_>>();
    Ok(report)
}

fn concluded(
    request: &ConfirmationRequest,
    outcome: Outcome,
    trace: &mut Trace,
) -> Result<Delivery, Refusal> {
    conclude(request.clone(), outcome, trace)
}

fn call(request: &ConfirmationRequest, outcome: Option<Outcome>) -> Option<ConfirmationCall> {
    let hook = request.hook();
    let provider = hook.confirm.as_deref()?;
    let call = ExplainedCall {
        cluster: provider.cluster.clone(),
        authority: provider.authority.clone(),
        path: hook.dialect.status_path(request.event().generation_id),
    };
    Some(ConfirmationCall::of(&call, outcome.map(Outcome::name)))
}

/// The store does not have the part of the head that a violation is about, so the violation stands.
fn stands(mut report: ExplainReport, reason: Reason, detail: Option<String>) -> ExplainReport {
    report.notes.push(format!(
        "{code} stands: the store does not have the part of the request that broke this rule. \
         `blobgate inbox reevaluate --waive {code}` overrides it",
        code = reason.code()
    ));
    report.ending = EndingReport::still_quarantined(reason, detail);
    report
}
