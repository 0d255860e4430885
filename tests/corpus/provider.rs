//! The status API's response to a case.

use serde::Deserialize;
use serde_json::Value;

/// A response.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderAnswer {
    pub status: u16,
    pub body: String,
}

impl ProviderAnswer {
    /// A named response: `y` confirms, `n` contradicts, `u` is in progress. `body` is the delivery's.
    pub fn named(name: &str, body: &[u8]) -> Self {
        let said: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let mut said = said.clone();
        let mut status = 200;
        match name {
            "y" => {}
            "n" => said["video_url"] = "https://cdn.runblob.io/videos/another.mp4".into(),
            "unknown" => (status, said) = (404, serde_json::json!({"detail": "TASK_NOT_FOUND"})),
            "u" => {
                said["status"] = "processing".into();
                said["video_url"] = Value::Null;
            }
            _ => panic!("no response has the name {name}"),
        }
        Self { status, body: said.to_string() }
    }
}
