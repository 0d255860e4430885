//! The body of a webhook, made from a status: <https://docs.runblob.io/api-reference/veo3/webhooks>.

use crate::event::{Event, Failure, Kind};
use serde_json::Value;

/// Makes a body with the documented keys in their order, without further keys of the status.
pub(crate) fn webhook(event: &Event, answer: &[u8]) -> Option<Vec<u8>> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    let field = |key: &str| answer.get(key).unwrap_or(&Value::Null).to_string();
    let is_completed = event.kind == Kind::Completed;
    let body = format!(
        r#"{{"generation_id":{},"status":{},"prompt":{},"video_url":{},"created_at":{},"completed_at":{},"seed":{},"error":{}}}"#,
        field("generation_id"),
        field("status"),
        field("prompt"),
        if is_completed { field("video_url") } else { Value::Null.to_string() },
        field("created_at"),
        field("completed_at"),
        field("seed"),
        if is_completed { Value::Null.to_string() } else { error(event, &answer) },
    );
    Some(body.into_bytes())
}

/// Makes the `error` object. The status may have the code in another place.
fn error(event: &Event, answer: &Value) -> String {
    let error = answer.get("error").unwrap_or(&Value::Null);
    let Some(Failure { code: Some(code), .. }) = &event.failure else { return error.to_string() };
    let details = error.get("details").filter(|details| details.is_object());
    let details = details.map_or_else(|| "{}".to_owned(), Value::to_string);
    format!(r#"{{"message":{},"details":{details}}}"#, Value::from(code.as_str()))
}
