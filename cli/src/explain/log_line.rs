//! Reads one line of the gate's log, of Envoy's access log, or of the inbox's log.

use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The program that wrote a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogOrigin {
    Gate,
    AccessLog,
    Inbox,
}

/// A line of a log. Its fields are untrusted text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LoggedLine {
    pub(super) origin: LogOrigin,
    fields: BTreeMap<String, String>,
}

/// The start of the gate's lines about deliveries. Envoy writes a time, a level and a source before it.
const GATE: &str = "blobgate verdict=";
/// The targets of the inbox's lines.
const INBOX: &str = "blobgate_inbox";
/// The fields in which collectors (Docker, Fluent Bit, Loki) put a whole line.
const WRAPPERS: [&str; 4] = ["log", "message", "msg", "line"];

impl LogOrigin {
    pub(super) const fn name(self) -> &'static str {
        match self {
            LogOrigin::Gate => "gate",
            LogOrigin::AccessLog => "access-log",
            LogOrigin::Inbox => "inbox",
        }
    }
}

impl LoggedLine {
    /// Reads a line; `None` for a line of another program.
    pub(super) fn parse(line: &str) -> Option<Self> {
        Self::parse_plain(line).or_else(|| {
            let object = object(line)?;
            let inner = WRAPPERS.iter().filter_map(|name| object.get(*name)?.as_str());
            inner.filter(|inner| inner.len() < line.len()).find_map(Self::parse_plain)
        })
    }

    fn parse_plain(line: &str) -> Option<Self> {
        let line = line.trim();
        // A field of a JSON line may quote a line of the gate.
        if let Some(object) = object(line) {
            return Self::of_object(&object);
        }
        if let Some((_, after)) = line.split_once(GATE) {
            return Some(Self { origin: LogOrigin::Gate, fields: pairs(&format!("verdict={after}")) });
        }
        let (_, after) = line.split_once(INBOX)?;
        let (_, message) = after.split_once("] ")?;
        Some(Self { origin: LogOrigin::Inbox, fields: pairs(message) })
    }

    fn of_object(object: &Map<String, Value>) -> Option<Self> {
        let is_of_inbox =
            object.get("target").and_then(Value::as_str).is_some_and(|target| target.starts_with(INBOX));
        let origin = if is_of_inbox {
            LogOrigin::Inbox
        } else if ["reason", "status", "details"].iter().all(|name| object.contains_key(*name)) {
            LogOrigin::AccessLog
        } else {
            return None;
        };
        let text = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        let fields = object.iter().filter_map(|(name, value)| Some((name.clone(), text(value)?)));
        Some(Self { origin, fields: fields.collect() })
    }

    /// The first of these fields with a value. The gate and Envoy write `-` for an absent one.
    pub(super) fn field(&self, names: &[&str]) -> Option<&str> {
        let found = names.iter().filter_map(|name| self.fields.get(*name));
        found.map(String::as_str).find(|value| !value.is_empty() && *value != "-")
    }
}

/// The first JSON object of a line. A program such as `docker compose logs` writes a prefix.
fn object(line: &str) -> Option<Map<String, Value>> {
    let (before, _) = line.split_once('{')?;
    let text = line.get(before.len()..)?;
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Map<String, Value>>();
    values.next()?.ok()
}

/// The fields `name=value` and `name="a text"` of a line. The first of a name counts: a later one may be a part of a text.
fn pairs(text: &str) -> BTreeMap<String, String> {
    let mut pairs = BTreeMap::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('=') {
        let name = before.rsplit([' ', '\t']).next().unwrap_or_default();
        let (value, next) = match after.strip_prefix('"').and_then(|quoted| quoted.split_once('"')) {
            Some(quoted) => quoted,
            None => after.split_once([' ', '\t']).unwrap_or((after, "")),
        };
        // The inbox's text has `reason=full: ...`.
        let value = value.trim_end_matches([':', ',', ';']).to_owned();
        pairs.entry(name.to_owned()).or_insert(value);
        rest = next;
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn line(text: &str, origin: LogOrigin, expected: &[(&str, Option<&str>)]) {
        let line = LoggedLine::parse(text).unwrap_or_else(|| panic!("not read: {text}"));
        assert_eq!(line.origin, origin, "{text}");
        for (name, value) in expected {
            assert_eq!(line.field(&[name]), *value, "{name} of {text}");
        }
    }

    const GATE_LINE: &str = "blobgate verdict=refused reason=result-url-denied hook=veo3 source=203.0.113.9 id=- \
        environment=production detail=\"video_url: scheme is http, expected https\" request_id=a-1";

    #[test]
    fn reads_lines_of_the_gate() {
        let expected = [
            ("verdict", Some("refused")),
            ("reason", Some("result-url-denied")),
            ("source", Some("203.0.113.9")),
            ("id", None),
            ("detail", Some("video_url: scheme is http, expected https")),
            ("request_id", Some("a-1")),
            ("token", None),
        ];
        line(GATE_LINE, LogOrigin::Gate, &expected);
        let prefix = "[2026-01-31 12:00:00.123][17][warning][wasm] [source/extensions/common/wasm/context.cc:1198] wasm log blobgate blobgate blobgate: ";
        line(&format!("envoy-1  | {prefix}{GATE_LINE}\r\n"), LogOrigin::Gate, &expected);
        let wrapped = serde_json::json!({"log": format!("{prefix}{GATE_LINE}\n"), "stream": "stderr"});
        line(&wrapped.to_string(), LogOrigin::Gate, &expected);
    }

    #[test]
    fn reads_lines_of_the_access_log() {
        let text = r#"{"time":"2026","hook":"veo3","reason":null,"marked_reason":"token-expired","status":200,"details":"via_upstream","detail":"token: has expired, expected a token in time","generation_id":"g"}"#;
        let expected = [
            ("reason", None),
            ("marked_reason", Some("token-expired")),
            ("status", Some("200")),
            ("detail", Some("token: has expired, expected a token in time")),
        ];
        line(text, LogOrigin::AccessLog, &expected);
        line(&format!("gate | {text}"), LogOrigin::AccessLog, &expected);
        let wrapped = serde_json::json!({"message": text});
        line(&wrapped.to_string(), LogOrigin::AccessLog, &expected);
    }

    #[test]
    fn reads_lines_of_the_inbox() {
        let json = r#"{"timestamp":"t","level":"WARN","message":"quarantined reason=token-reused","entry":17,"reason":"token-reused","target":"blobgate_inbox::decide"}"#;
        line(json, LogOrigin::Inbox, &[("entry", Some("17")), ("reason", Some("token-reused"))]);
        let text = "[2026-01-31T12:00:00Z WARN  blobgate_inbox::receive] refused reason=full: the store has 1 of a=b";
        line(text, LogOrigin::Inbox, &[("reason", Some("full")), ("a", Some("b"))]);
    }

    #[test]
    fn reads_no_line_of_another_program() {
        for text in
            ["", "reason=source-denied", "{", "{}", r#"{"reason":"x"}"#, "blobgate: cannot load", "[]"]
        {
            assert_eq!(LoggedLine::parse(text), None, "{text}");
        }
        // A client's text in a JSON line is no line of the gate.
        let forged = serde_json::json!({"user_agent": GATE_LINE});
        assert_eq!(LoggedLine::parse(&forged.to_string()), None);
    }

    #[test]
    fn takes_the_first_field_of_a_name() {
        let text = format!("{GATE_LINE} details=x reason=forged");
        line(&text, LogOrigin::Gate, &[("reason", Some("result-url-denied"))]);
        let text = GATE_LINE.replace("a-1", "\"open");
        line(&text, LogOrigin::Gate, &[("request_id", Some("\"open"))]);
    }
}
