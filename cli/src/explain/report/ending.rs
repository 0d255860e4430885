//! The end of an explained delivery: verdict, reason, response and the service's request.

use crate::explain::mask::{Mask, ShownHeader};
use crate::explain::reason::ReasonText;
use blobgate::Reason;
use blobgate::confirm::Outcome;
use blobgate::contract::{Verdict, header};
use blobgate::explain::{ExplainedAnswer, ExplainedEnding, Explanation, HeaderList};
use blobgate::policy::{Delivery, Refusal};
use serde::Serialize;

/// The verdict that the command prints and exits with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::explain) enum ExplainVerdict {
    Accepted,
    Observed,
    Quarantined,
    Refused,
    NeedsConfirmation,
}

/// The end of a delivery.
#[derive(Debug, Serialize)]
pub(in crate::explain) struct EndingReport {
    pub(in crate::explain) verdict: ExplainVerdict,
    pub(in crate::explain) reason: Option<String>,
    /// `FIELD: FOUND, expected EXPECTATION`.
    pub(in crate::explain) detail: Option<String>,
    pub(in crate::explain) meaning: Option<String>,
    pub(in crate::explain) remedy: Option<String>,
    pub(in crate::explain) event: Option<String>,
    pub(in crate::explain) generation: Option<String>,
    /// The sender's response; for a forwarded delivery, if the service answers 200.
    pub(in crate::explain) response: Option<ResponseReport>,
    /// The sender's response to a forwarded delivery if the service answers 503.
    pub(in crate::explain) response_if_service_fails: Option<ResponseReport>,
    /// The request that the inbox or the service gets.
    pub(in crate::explain) service_request: Option<ServiceRequestReport>,
    /// The gate's log lines.
    pub(in crate::explain) log: Vec<String>,
}

/// The end for one answer of the status API.
#[derive(Debug, Serialize)]
pub(in crate::explain) struct OutcomeReport {
    pub(in crate::explain) outcome: &'static str,
    #[serde(flatten)]
    pub(in crate::explain) ending: EndingReport,
}

/// A response to the sender.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(in crate::explain) struct ResponseReport {
    pub(in crate::explain) status: u16,
    pub(in crate::explain) headers: Vec<ShownHeader>,
    /// The gate's body; `null` for the service's own.
    pub(in crate::explain) body: Option<String>,
}

/// A forwarded request.
#[derive(Debug, Serialize)]
pub(in crate::explain) struct ServiceRequestReport {
    pub(in crate::explain) path: String,
    pub(in crate::explain) headers: Vec<ShownHeader>,
}

impl ExplainVerdict {
    /// The exit code of the command.
    pub(in crate::explain) const fn exit_code(self) -> u8 {
        match self {
            ExplainVerdict::Accepted | ExplainVerdict::Observed => 0,
            ExplainVerdict::Quarantined => 3,
            ExplainVerdict::Refused => 4,
            ExplainVerdict::NeedsConfirmation => 5,
        }
    }

    pub(in crate::explain) const fn name(self) -> &'static str {
        match self {
            ExplainVerdict::Accepted => "accepted",
            ExplainVerdict::Observed => "observed",
            ExplainVerdict::Quarantined => "quarantined",
            ExplainVerdict::Refused => "refused",
            ExplainVerdict::NeedsConfirmation => "needs-confirmation",
        }
    }
}

impl From<Verdict> for ExplainVerdict {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Accepted => ExplainVerdict::Accepted,
            Verdict::Observed => ExplainVerdict::Observed,
            Verdict::Quarantined => ExplainVerdict::Quarantined,
        }
    }
}

impl EndingReport {
    /// An end of this verdict and reason.
    fn new(verdict: ExplainVerdict, reason: Option<Reason>, detail: Option<String>) -> Self {
        let text = reason.map(match verdict {
            ExplainVerdict::Refused => ReasonText::of_refusal,
            _ => ReasonText::of,
        });
        Self {
            verdict,
            reason: reason.map(|reason| reason.code().to_owned()),
            detail,
            meaning: text.as_ref().map(|text| text.meaning.clone()),
            remedy: text.map(|text| text.remedy),
            event: None,
            generation: None,
            response: None,
            response_if_service_fails: None,
            service_request: None,
            log: Vec::new(),
        }
    }

    /// The end of an explained request.
    pub(in crate::explain) fn of(explanation: &Explanation, mask: &Mask) -> Self {
        let logged = explanation.access_log.iter().find(|(key, _)| key == "blobgate_detail");
        let detail = logged.map(|(_, detail)| detail.clone());
        let mut ending = match &explanation.ending {
            ExplainedEnding::NeedsConfirmation(_) => Self::new(ExplainVerdict::NeedsConfirmation, None, None),
            ExplainedEnding::Refused { answer, request } => {
                let reason = value(&answer.headers, header::REASON).and_then(|code| Reason::parse(&code));
                Self {
                    generation: value(request, header::GENERATION_ID),
                    response: Some(ResponseReport::of(answer, mask)),
                    ..Self::new(ExplainVerdict::Refused, reason, detail)
                }
            }
            ExplainedEnding::Forwarded { request, stored, failed } => {
                let verdict = value(request, header::VERDICT).and_then(|name| Verdict::parse(&name));
                let verdict = verdict.map_or(ExplainVerdict::Accepted, ExplainVerdict::from);
                let reason = value(request, header::REASON).and_then(|code| Reason::parse(&code));
                Self {
                    event: value(request, header::EVENT).or(value(request, header::CLAIMED_EVENT)),
                    generation: value(request, header::GENERATION_ID),
                    response: Some(ResponseReport::of(stored, mask)),
                    response_if_service_fails: Some(ResponseReport::of(failed, mask)),
                    service_request: Some(ServiceRequestReport {
                        path: mask.path(value(request, ":path").unwrap_or_default().as_bytes()),
                        headers: mask.headers(request),
                    }),
                    ..Self::new(verdict, reason, detail)
                }
            }
        };
        ending.log.clone_from(&explanation.log);
        ending
    }

    /// The end of a judged entry. Its sender got a response long ago.
    pub(in crate::explain) fn of_entry(ended: Result<Delivery, Refusal>, path: &str) -> Self {
        match ended {
            Ok(delivery) => {
                let violation = delivery.violation();
                let headers = blobgate::forward::headers(&delivery);
                let headers = headers
                    .iter()
                    .map(|(name, value)| ShownHeader { name: (*name).to_owned(), value: value.to_string() });
                Self {
                    event: delivery.event().map(|event| event.kind.name().to_owned()),
                    generation: delivery.generation_id().map(|id| id.text()),
                    service_request: Some(ServiceRequestReport {
                        path: path.to_owned(),
                        headers: headers.collect(),
                    }),
                    ..Self::new(
                        delivery.verdict().into(),
                        violation.map(|violation| violation.reason),
                        violation.and_then(|violation| violation.text()),
                    )
                }
            }
            Err(Refusal { violation, generation_id, .. }) => Self {
                generation: generation_id.map(|id| id.text()),
                // The inbox has the entry, although its delivery would be refused today.
                remedy: Some(violation.reason.remedy()),
                ..Self::new(ExplainVerdict::Refused, Some(violation.reason), violation.text())
            },
        }
    }

    /// An entry whose violation stands.
    pub(in crate::explain) fn still_quarantined(reason: Reason, detail: Option<String>) -> Self {
        Self::new(ExplainVerdict::Quarantined, Some(reason), detail)
    }

    /// The status API decides.
    pub(in crate::explain) fn undecided() -> Self {
        Self::new(ExplainVerdict::NeedsConfirmation, None, None)
    }
}

impl OutcomeReport {
    /// One outcome for each answer of the status API.
    pub(in crate::explain) const OUTCOMES: [Outcome; 3] =
        [Outcome::Confirmed, Outcome::Contradicted, Outcome::NoAnswer];
}

impl ResponseReport {
    fn of(answer: &ExplainedAnswer, mask: &Mask) -> Self {
        Self { status: answer.status, headers: mask.headers(&answer.headers), body: answer.body.clone() }
    }
}

/// The first value of a header.
fn value(headers: &HeaderList, name: &str) -> Option<String> {
    let found = headers.iter().find(|(other, _)| other == name);
    found.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
}
