//! The arrival of a fetched event, with the headers that the gate would have set on its webhook.

use crate::arrival::{Arrival, ArrivalError};
use crate::store::StatusCall;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use blobgate::contract::{self, EventSource, Proof, Verdict, header};
use blobgate::dialect::Dialect;
use blobgate::event::Event;
use blobgate::forward;
use bytes::Bytes;

/// # Errors
/// [`ArrivalError`] if a value does not fit in a header.
pub(super) fn arrival(
    question: &StatusCall,
    dialect: Dialect,
    event: &Event,
    webhook: Vec<u8>,
    path: &str,
    signs: bool,
) -> Result<Arrival, ArrivalError> {
    let id = event.generation_id.to_string();
    let mut set = vec![
        (header::VERDICT, Verdict::Accepted.name().into()),
        (header::HOOK, question.hook.as_str().into()),
        (header::DIALECT, dialect.name().into()),
        (header::CONTRACT, contract::VERSION.into()),
        ("content-type", "application/json".into()),
        (header::SOURCE, EventSource::Reconcile.name().into()),
        (header::PROOFS, Proof::Confirmed.name().into()),
        (header::GENERATION_ID, id.as_str().into()),
    ];
    set.extend(question.job.as_deref().map(|job| (header::JOB, job.into())));
    forward::add_event(Verdict::Accepted, dialect, event, &mut set);
    if signs {
        // An attempt signs only with this header.
        set.push((header::WEBHOOK_ID, event.idempotency_key(dialect.name()).into()));
    }
    let mut headers = HeaderMap::new();
    for (name, value) in set {
        let value = HeaderValue::try_from(value.as_ref()).map_err(|_| ArrivalError::Header)?;
        headers.append(HeaderName::from_static(name), value);
    }
    Arrival::read(path, &headers, Bytes::from(webhook)).map(Arrival::reconciled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use blobgate::confirm::{PolledStatus, parse_status};
    use blobgate::event::GenerationId;

    const ID: &str = "ffd473d5-5bef-4e14-bf22-8d559be3c19f";

    #[track_caller]
    fn row(status: &str, url: &str, error: &str, signs: bool, expected: &str) {
        let answer = format!(
            r#"{{"generation_id":"{ID}","status":"{status}","prompt":"A cat","video_url":{url},"created_at":"2025-12-06T21:43:03.374000","completed_at":"2025-12-06T21:44:06.143000","seed":7,"error":{error}}}"#
        );
        let id = GenerationId::parse(ID).unwrap();
        let PolledStatus::Ended(event, webhook) = parse_status(Dialect::Veo3, id, 200, answer.as_bytes())
        else {
            panic!("{answer}")
        };
        let question = StatusCall {
            hook: "veo3".to_owned(),
            state: crate::entry::ExpectationState::Expected,
            generation: ID.to_owned(),
            job: Some("order-17".to_owned()),
            asked: 0,
            missing: 0,
            asked_at: 0,
        };
        let arrival = arrival(&question, Dialect::Veo3, &event, webhook, "/hooks/veo3", signs).unwrap();
        assert_eq!((&arrival.body[..], arrival.path.as_str()), (answer.as_bytes(), "/hooks/veo3"));
        assert_eq!(
            (arrival.job.as_deref(), arrival.authenticated, arrival.token),
            (Some("order-17"), true, None)
        );
        assert_eq!(String::from_utf8(arrival.headers).unwrap().replace("\r\n", "\n"), expected);
    }

    #[test]
    fn sets_the_gate_headers() {
        row(
            "completed",
            r#""https://CDN.runblob.io/a.mp4?s=1""#,
            "null",
            true,
            "\
blobgate-verdict: accepted
blobgate-hook: veo3
blobgate-dialect: veo3
blobgate-contract: 1
content-type: application/json
blobgate-source: reconcile
blobgate-proofs: confirmed
blobgate-generation-id: ffd473d5-5bef-4e14-bf22-8d559be3c19f
blobgate-job: order-17
blobgate-event: completed
idempotency-key: veo3:ffd473d5-5bef-4e14-bf22-8d559be3c19f:completed
blobgate-result-host: cdn.runblob.io
webhook-id: veo3:ffd473d5-5bef-4e14-bf22-8d559be3c19f:completed
",
        );
        row(
            "failed",
            "null",
            r#"{"message":"TIMEOUT","details":{}}"#,
            false,
            "\
blobgate-verdict: accepted
blobgate-hook: veo3
blobgate-dialect: veo3
blobgate-contract: 1
content-type: application/json
blobgate-source: reconcile
blobgate-proofs: confirmed
blobgate-generation-id: ffd473d5-5bef-4e14-bf22-8d559be3c19f
blobgate-job: order-17
blobgate-event: timeout
idempotency-key: veo3:ffd473d5-5bef-4e14-bf22-8d559be3c19f:timeout
blobgate-error-code: TIMEOUT
blobgate-error-class: system
blobgate-error-retryable: true
",
        );
    }
}
