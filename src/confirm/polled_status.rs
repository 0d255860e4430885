//! A response of the status API without a webhook to confirm: the reconciler's case.

use super::{MAX_DEPTH, Outcome, read_answer, read_event};
use crate::dialect::Dialect;
use crate::event::{Event, GenerationId};
use crate::json;

/// The status of a generation.
#[derive(Debug)]
pub enum PolledStatus {
    /// The generation has ended: its event, and the body of its webhook.
    Ended(Box<Event>, Vec<u8>),
    /// The response contains no event: [`Outcome::StillWorking`], [`Outcome::Unknown`], or a failure.
    NoEvent(Outcome),
}

/// Reads a response of the status API about a generation: its `:status`, and its whole body.
pub fn parse_status(dialect: Dialect, id: GenerationId, status: u16, body: &[u8]) -> PolledStatus {
    match parse_ended(dialect, id, status, body) {
        Ok((event, webhook)) => PolledStatus::Ended(Box::new(event), webhook),
        Err(outcome) => PolledStatus::NoEvent(outcome),
    }
}

fn parse_ended(
    dialect: Dialect,
    id: GenerationId,
    status: u16,
    body: &[u8],
) -> Result<(Event, Vec<u8>), Outcome> {
    let answered = read_answer(dialect, status.to_string().as_bytes(), body)?;
    if answered.generation_id != id {
        return Err(Outcome::Contradicted);
    }
    let webhook = dialect.webhook(&answered, body).ok_or(Outcome::Unreadable)?;
    // The response may have drift. The webhook has only documented keys, so its event has none.
    let payload = json::parse(&webhook, MAX_DEPTH, dialect.known()).map_err(|_| Outcome::Unreadable)?;
    let event = read_event(dialect, &payload).ok_or(Outcome::Unreadable)?;
    Ok((event, webhook))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Kind;

    const ID: &str = "ffd473d5-5bef-4e14-bf22-8d559be3c19f";

    fn poll(status: u16, body: &str) -> PolledStatus {
        parse_status(Dialect::Veo3, GenerationId::parse(ID).unwrap(), status, body.as_bytes())
    }

    #[track_caller]
    fn has_no_event(status: u16, body: &str, expected: Outcome) {
        assert!(
            matches!(poll(status, body), PolledStatus::NoEvent(outcome) if outcome == expected),
            "{status} {body}"
        );
    }

    #[track_caller]
    fn ended(answer: &str, kind: Kind, webhook: &str) {
        let PolledStatus::Ended(event, body) = poll(200, answer) else { panic!("{answer}") };
        assert_eq!((event.kind, String::from_utf8(body).unwrap().as_str()), (kind, webhook));
        assert!(event.drift.is_empty(), "{:?}", event.drift);
    }

    /// A sample of the provider's page on webhooks, on one line.
    fn sample(status: &str, url: &str, error: &str) -> String {
        format!(
            r#"{{"generation_id":"{ID}","status":"{status}","prompt":"A \"cat\" \u00e9","video_url":{url},"created_at":"2025-12-06T21:43:03.374000","completed_at":"2025-12-06T21:44:06.143000","seed":319790131,"error":{error}}}"#
        )
        .replace("\\u00e9", "é")
    }

    #[test]
    fn makes_the_documented_webhook_of_an_ended_generation() {
        let completed = sample("completed", r#""https://cdn.runblob.io/videos/your-video.mp4?a=b""#, "null");
        ended(&completed, Kind::Completed, &completed);
        let failed = sample("failed", "null", r#"{"message":"UNSAFE_CONTENT","details":{}}"#);
        ended(&failed, Kind::Failed, &failed);
        let timeout = sample("failed", "null", r#"{"message":"TIMEOUT","details":{"after":600}}"#);
        ended(&timeout, Kind::Timeout, &timeout);
        // Keys that only a status has, or has in another place.
        let more = failed.replace("\"seed\"", "\"price\":\"0.2500\",\"seed\"");
        ended(&more, Kind::Failed, &failed);
        let older = sample("failed", "null", "null").replace('}', ",\"message\":\"UNSAFE_CONTENT\"}");
        ended(&older, Kind::Failed, &failed);
    }

    #[test]
    fn returns_the_outcome_of_a_response_without_event() {
        let pending = sample("pending", "null", "null");
        has_no_event(200, &pending, Outcome::StillWorking);
        has_no_event(200, &pending.replace("pending", "processing"), Outcome::StillWorking);
        has_no_event(200, &pending.replace("pending", "begun"), Outcome::Unreadable);
        has_no_event(200, "{", Outcome::Unreadable);
        let other = sample("failed", "null", "null").replace(ID, "00000000-0000-4000-8000-000000000001");
        has_no_event(200, &other, Outcome::Contradicted);
        has_no_event(404, r#"{"detail":"TASK_NOT_FOUND"}"#, Outcome::Unknown);
        for body in [r#"{"detail":"Not Found"}"#, "", "<html>"] {
            has_no_event(404, body, Outcome::Status);
        }
        has_no_event(401, "", Outcome::Unauthorized);
        has_no_event(403, "", Outcome::Unauthorized);
        has_no_event(429, "", Outcome::Limited);
        has_no_event(504, "", Outcome::NoAnswer);
        has_no_event(503, "", Outcome::Status);
        has_no_event(302, "", Outcome::Status);
    }
}
