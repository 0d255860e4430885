//! Reads one line of the gate's log, of Envoy's access log, or of the inbox's log.

use super::reason::ReasonText;
use super::up_line::UpLine;
use blobgate::contract::header;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The program that wrote a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogOrigin {
    Gate,
    AccessLog,
    Inbox,
    /// A part of a line, or of a response: it has a reason, and nothing names its program.
    Excerpt,
}

/// A line of a log. Its fields are untrusted text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LoggedLine {
    pub(super) origin: LogOrigin,
    fields: BTreeMap<String, String>,
}

/// The verdicts of the gate's lines. Envoy writes a time, a level, a source and `blobgate ` before them; `blobgate up` shows a
/// time and the part alone.
const VERDICTS: [&str; 4] = ["accepted", "observed", "quarantined", "refused"];
/// The count of omitted lines, of the gate and of the inbox.
pub(super) const OMITTED: &str = "lines-left-out";
/// The gate's line about a configuration that does not load.
const NOT_LOADED: &str = "blobgate: cannot load the configuration: ";
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
            LogOrigin::Excerpt => "excerpt",
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
        if let Some(line) = UpLine::parse(line) {
            return Some(Self::of_up(line));
        }
        // A field of a JSON line may quote a line of the gate.
        if let Some(object) = object(line) {
            return Self::of_object(&object);
        }
        if let Some(fields) = fields_of_gate(line) {
            return Some(Self { origin: LogOrigin::Gate, fields: pairs(fields) });
        }
        if let Some((_, why)) = line.split_once(NOT_LOADED) {
            return Some(Self::one(LogOrigin::Gate, "not_loaded", why));
        }
        if let Some((_, message)) = line.split_once(INBOX).and_then(|(_, after)| after.split_once("] ")) {
            return Some(Self::of_inbox(message));
        }
        Self::of_excerpt(line)
    }

    fn of_inbox(message: &str) -> Self {
        let mut fields = pairs(message);
        fields.entry("message".to_owned()).or_insert_with(|| message.to_owned());
        Self { origin: LogOrigin::Inbox, fields }
    }

    fn of_up(line: UpLine<'_>) -> Self {
        match line {
            UpLine::Inbox(message) => Self::of_inbox(message),
            UpLine::Access { fields, rest } => {
                let mut all = pairs(rest);
                all.extend(fields.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
                Self { origin: LogOrigin::AccessLog, fields: all }
            }
        }
    }

    /// A code alone, fields that begin with `reason=CODE`, or a response's header `blobgate-reason: CODE`.
    fn of_excerpt(line: &str) -> Option<Self> {
        let at = line.to_ascii_lowercase().find(header::REASON);
        let after_header = at.and_then(|at| line.get(at.checked_add(header::REASON.len())?..));
        let after_header = after_header.and_then(|after| after.strip_prefix(':'));
        let fields = match after_header {
            Some(code) => BTreeMap::from([("reason".to_owned(), code.trim().to_owned())]),
            None if line.starts_with("reason=") => pairs(line),
            None => BTreeMap::from([("reason".to_owned(), line.to_owned())]),
        };
        let excerpt = Self { origin: LogOrigin::Excerpt, fields };
        excerpt.field(&["reason"]).is_some_and(ReasonText::is_code).then_some(excerpt)
    }

    fn one(origin: LogOrigin, name: &str, value: &str) -> Self {
        Self { origin, fields: BTreeMap::from([(name.to_owned(), value.to_owned())]) }
    }

    fn of_object(object: &Map<String, Value>) -> Option<Self> {
        let is_of_inbox =
            object.get("target").and_then(Value::as_str).is_some_and(|target| target.starts_with(INBOX));
        let origin = if is_of_inbox {
            LogOrigin::Inbox
        } else if ["reason", "status", "details"].iter().all(|name| object.contains_key(*name)) {
            LogOrigin::AccessLog
        } else {
            // The body of a refusal: RFC 9457 with the reason's code.
            let code = object.get("code").and_then(Value::as_str).filter(|code| ReasonText::is_code(code))?;
            return Some(Self::one(LogOrigin::Excerpt, "reason", code));
        };
        let text = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        let fields = object.iter().filter_map(|(name, value)| Some((name.clone(), text(value)?)));
        Some(Self { origin, fields: fields.collect() })
    }

    /// The verdict. A refused delivery has none in the access log, and the inbox's lines begin with theirs.
    pub(super) fn verdict(&self) -> Option<&str> {
        let message = self.field(&["message"]).unwrap_or_default();
        match (self.field(&["verdict"]), self.origin) {
            (Some(verdict), _) => Some(verdict),
            (None, LogOrigin::Inbox) => {
                let first = message.split(' ').next()?;
                VERDICTS.iter().copied().find(|verdict| *verdict == first)
            }
            (None, LogOrigin::AccessLog) if self.field(&["reason"]).is_some() => Some("refused"),
            (None, _) => None,
        }
    }

    /// The first of these fields with a value. The gate and Envoy write `-` for an absent one.
    pub(super) fn field(&self, names: &[&str]) -> Option<&str> {
        let found = names.iter().filter_map(|name| self.fields.get(*name));
        found.map(String::as_str).find(|value| !value.is_empty() && *value != "-")
    }
}

/// The fields of a line of the gate, from `verdict=` or from the count of omitted lines.
fn fields_of_gate(line: &str) -> Option<&str> {
    const VERDICT: &str = "verdict=";
    let starts = |name: &str| {
        let at = line.find(name)?;
        let before = line.get(..at)?;
        let is_word = before.is_empty() || before.ends_with(' ');
        is_word.then(|| line.get(at..)).flatten()
    };
    let judged = starts(VERDICT).filter(|fields| {
        let words = fields.get(VERDICT.len()..).unwrap_or_default().split_once(' ');
        words.is_some_and(|(verdict, rest)| VERDICTS.contains(&verdict) && rest.starts_with("reason="))
    });
    let omitted = || {
        let fields = starts(OMITTED)?;
        (!line.contains(INBOX) && fields.contains(" kind=")).then_some(fields)
    };
    judged.or_else(omitted)
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
        // The inbox's text has `(entry=17 request_id=a)`.
        let name = before.rsplit([' ', '\t', '(']).next().unwrap_or_default();
        let (value, next) = match after.strip_prefix('"').and_then(|quoted| quoted.split_once('"')) {
            Some(quoted) => quoted,
            None => after.split_once([' ', '\t']).unwrap_or((after, "")),
        };
        // The inbox's text has `reason=full: ...`.
        let value = value.trim_end_matches([':', ',', ';', ')']).to_owned();
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
        let native = "[2026-01-31 12:00:00.123][17][warning][dynamic_modules] [source/extensions/dynamic_modules/abi_impl.cc:49] ";
        line(&format!("{native}{GATE_LINE}"), LogOrigin::Gate, &expected);
        let wrapped = serde_json::json!({"log": format!("{prefix}{GATE_LINE}\n"), "stream": "stderr"});
        line(&wrapped.to_string(), LogOrigin::Gate, &expected);
    }

    /// `blobgate up` shows no `blobgate ` before the fields.
    #[test]
    fn reads_lines_of_the_gate_in_a_terminal() {
        let fields = GATE_LINE.strip_prefix("blobgate ").unwrap();
        let expected = [("verdict", Some("refused")), ("reason", Some("result-url-denied"))];
        line(&format!("01:54:34  gate     {fields}"), LogOrigin::Gate, &expected);
        line(fields, LogOrigin::Gate, &expected);
        let omitted = [(OMITTED, Some("2")), ("kind", Some("refused"))];
        for before in ["wasm log blobgate blobgate: blobgate ", "01:54:34  gate     ", ""] {
            let text = format!("{before}lines-left-out=2 kind=refused environment=test");
            line(&text, LogOrigin::Gate, &omitted);
        }
        let of_inbox = "[2026-01-31T12:00:00Z WARN  blobgate_inbox::receive] lines-left-out=2 kind=refused";
        line(of_inbox, LogOrigin::Inbox, &omitted);
        for before in ["wasm log blobgate: ", "error: ", "[1][error][dynamic_modules] [abi_impl.cc:49] "] {
            let text = format!("{before}blobgate: cannot load the configuration: hooks[0].path is missing");
            line(&text, LogOrigin::Gate, &[("not_loaded", Some("hooks[0].path is missing"))]);
        }
    }

    #[test]
    fn reads_a_reason_alone() {
        for text in [
            "schema-invalid",
            " reason=schema-invalid",
            "< Blobgate-Reason: schema-invalid",
            r#"{"type":"about:blank","code":"schema-invalid"}"#,
        ] {
            line(text, LogOrigin::Excerpt, &[("reason", Some("schema-invalid"))]);
        }
        let text = "reason=no-route detail=\"a: b, expected c\"";
        line(text, LogOrigin::Excerpt, &[("reason", Some("no-route")), ("detail", Some("a: b, expected c"))]);
    }

    #[test]
    fn reads_lines_of_the_access_log() {
        let text = r#"{"time":"2026","hook":"veo3","reason":null,"request_reason":"token-expired","status":200,"details":"via_upstream","detail":"token: has expired, expected a token in time","generation_id":"g"}"#;
        let expected = [
            ("reason", None),
            ("request_reason", Some("token-expired")),
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
        for text in [text, json] {
            let verdict = if text == json { "quarantined" } else { "refused" };
            assert_eq!(LoggedLine::parse(text).unwrap().verdict(), Some(verdict), "{text}");
        }
    }

    /// `blobgate up` shortens the lines of the inbox and of the access log.
    #[test]
    fn reads_lines_of_up() {
        let text = "2026-11-30T12:00:00Z  inbox     warning: quarantined reason=token-conflict hook=veo3 event=completed \
            generation=g client=- request_id=a-1 detail=\"token: x, expected y\"";
        let expected = [
            ("reason", Some("token-conflict")),
            ("generation", Some("g")),
            ("detail", Some("token: x, expected y")),
        ];
        line(text, LogOrigin::Inbox, &expected);
        assert_eq!(LoggedLine::parse(text).unwrap().verdict(), Some("quarantined"));
        let text =
            "2026-11-30T12:00:00Z  inbox     error: not ready reason=store-failing: the database is away {";
        line(text, LogOrigin::Inbox, &[("reason", Some("store-failing"))]);
        let text = "2026-11-30T12:00:00Z  gate      not delivered completed g hook=veo3 attempt=1 status=401 details=via_upstream";
        let expected = [("status", Some("401")), ("generation_id", Some("g")), ("hook", Some("veo3"))];
        line(text, LogOrigin::AccessLog, &expected);
        assert_eq!(LoggedLine::parse(text).unwrap().verdict(), Some("accepted"));
        let text = "2026-11-30T12:00:00Z  gate      answered 404: no hook has this path; source=192.0.2.1";
        line(text, LogOrigin::AccessLog, &[("reason", Some("unknown-hook")), ("source", Some("192.0.2.1"))]);
    }

    #[test]
    fn reads_fields_in_parentheses() {
        let text = "2026-11-30T12:00:00Z  inbox     warning: route=veo3/completed is down: its service answers 401 (entry=17 request_id=a-1)";
        let expected =
            [("route", Some("veo3/completed")), ("entry", Some("17")), ("request_id", Some("a-1"))];
        line(text, LogOrigin::Inbox, &expected);
    }

    #[test]
    fn reads_no_line_of_another_program() {
        for text in [
            "",
            "reason=of-tomorrow",
            "of-tomorrow",
            "{",
            "{}",
            r#"{"reason":"x"}"#,
            "blobgate: cannot load",
            "[]",
            "a reason=full",
            "GET /?verdict=refused reason=full",
            r#"{"code":"of-tomorrow"}"#,
        ] {
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
