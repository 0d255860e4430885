//! The parts of a payload in any form, and its event once a person has named it.

use super::{PayloadFields, TIMEOUT, read_failure, text};
use crate::event::{Class, Drift, Event, Failure, GenerationId, Kind};
use crate::json::Value;

/// The generation of a payload, also inside an envelope.
pub(crate) fn generation(payload: &Value<'_>) -> Option<GenerationId> {
    text(PayloadFields::of(unwrapped(payload)).generation_id).and_then(GenerationId::parse)
}

/// The video's URL with any status, also inside an envelope.
pub(crate) fn result_url<'a>(payload: &'a Value<'_>) -> Option<&'a str> {
    text(PayloadFields::of(unwrapped(payload)).video_url)
}

/// The event of a payload, of the kind and generation that a person has named. Its fields are unchecked.
pub(crate) fn event_as(payload: &Value<'_>, kind: Kind, generation_id: GenerationId) -> Event {
    let fields = PayloadFields::of(unwrapped(payload));
    let failure = || {
        let failure = read_failure(&fields, &mut Drift::default());
        match (kind, &failure.code) {
            (Kind::Timeout, None) => {
                Failure { code: Some(TIMEOUT.to_owned()), class: Class::System, retryable: Some(true) }
            }
            _ => failure,
        }
    };
    Event {
        generation_id,
        kind,
        failure: (kind != Kind::Completed).then(failure),
        result_url: text(fields.video_url).filter(|_| kind == Kind::Completed).map(str::to_owned),
        drift: Drift::default(),
    }
}

/// The payload of an envelope: the only item of a list, or the only object inside an object without documented keys.
fn unwrapped<'a, 'v>(payload: &'a Value<'v>) -> &'a Value<'v> {
    let inner = match payload {
        Value::Array(items) => match &items[..] {
            [one] => Some(one),
            _ => None,
        },
        Value::Object(fields)
            if fields.iter().all(|(key, _)| super::KNOWN.iter().all(|(known, _)| known != key)) =>
        {
            let mut objects =
                fields.iter().map(|(_, value)| value).filter(|value| matches!(value, Value::Object(_)));
            objects.next().filter(|_| objects.next().is_none())
        }
        _ => None,
    };
    inner.filter(|inner| matches!(inner, Value::Object(_))).unwrap_or(payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Dialect;
    use crate::json;

    const ID: &str = "ffd473d5-5bef-4e14-bf22-8d559be3c19f";
    const GOOD: &str =
        r#"{"generation_id":"ID","status":"completed","video_url":"https://a.example/1.mp4","error":null}"#;

    #[test]
    fn reads_the_payload_of_an_envelope() {
        let renamed = GOOD.replace("completed", "succeeded").replace("ID", ID);
        let id = GenerationId::parse(ID).unwrap();
        for body in [renamed.clone(), format!("[{renamed}]"), format!(r#"{{"type":"x","data":{renamed}}}"#)] {
            let payload = json::parse(body.as_bytes(), 16, Dialect::Veo3.known()).unwrap();
            assert_eq!(generation(&payload), Some(id), "{body}");
            assert_eq!(result_url(&payload), Some("https://a.example/1.mp4"), "{body}");
            let event = event_as(&payload, Kind::Completed, id);
            assert_eq!(event.result_url.as_deref(), Some("https://a.example/1.mp4"));
            assert_eq!(event.failure, None);
        }
        for body in ["[]", "7", r#"{"a":{},"b":{}}"#, &format!("[{renamed},{renamed}]")] {
            let payload = json::parse(body.as_bytes(), 16, Dialect::Veo3.known()).unwrap();
            assert_eq!((generation(&payload), result_url(&payload)), (None, None), "{body}");
        }
    }

    #[test]
    fn reads_the_code_of_a_failure() {
        let code = |body: &str, kind| {
            let payload = json::parse(body.as_bytes(), 16, Dialect::Veo3.known()).unwrap();
            event_as(&payload, kind, GenerationId::parse(ID).unwrap()).failure.unwrap().code
        };
        let of = |text: &str| Some(text.to_owned());
        assert_eq!(code(r#"{"error":{"message":"UNSAFE_CONTENT"}}"#, Kind::Failed), of("UNSAFE_CONTENT"));
        assert_eq!(code(r#"{"error":{"message":"a secret"}}"#, Kind::Failed), None);
        assert_eq!(code("{}", Kind::Failed), None);
        assert_eq!(code("{}", Kind::Timeout), of("TIMEOUT"));
    }
}
