//! Envoy's access log as short lines: accepted and delivered events, failed attempts, and Envoy's own 5xx. The module itself
//! writes a line about each refusal.

use serde_json::Value;
use std::time::{Duration, Instant};

/// An event, or Envoy's own answer, as a short line. `None` for other requests.
pub(super) fn line(json: &str) -> Option<(LineSource, String)> {
    let line: Value = serde_json::from_str(json).ok()?;
    let field = |name: &str| line.get(name).and_then(Value::as_str);
    let status = line.get("status").and_then(Value::as_u64).unwrap_or_default();
    let is_attempt = line.get("attempt").is_some();
    let Some(event) = field("event") else {
        let is_envoys = !is_attempt && field("hook").is_none();
        if is_envoys && status == 404 && field("reason").is_none() {
            let source = field("source").unwrap_or("-");
            return Some((
                LineSource::UnknownPath,
                format!("answered 404: no hook has this path; source={source}"),
            ));
        }
        let is_own = status >= 500 && is_envoys;
        return is_own.then(|| {
            let text = format!(
                "answered {status} details={} source={}",
                field("details").unwrap_or("-"),
                field("source").unwrap_or("-")
            );
            (LineSource::Access, text)
        });
    };
    let is_success = (200..300).contains(&status);
    let action = match (is_attempt, is_success, field("verdict")) {
        (true, true, _) => "delivered",
        (true, false, _) => "not delivered",
        // The inbox may have stored it in quarantine: it writes a line about that.
        (false, true, Some(verdict @ ("accepted" | "observed"))) if field("upstream") == Some("inbox") => {
            verdict
        }
        (false, true, Some("accepted" | "observed")) => "delivered",
        // The module writes the line.
        _ => return None,
    };
    let mut text = format!(
        "{action} {event} {} hook={}",
        field("generation_id").unwrap_or("-"),
        field("hook").unwrap_or("-")
    );
    for (name, value) in [("job", field("job")), ("attempt", field("attempt"))] {
        if let Some(value) = value {
            text.push_str(&format!(" {name}={value}"));
        }
    }
    if is_attempt {
        text.push_str(&format!(" status={status}"));
    }
    if !is_success {
        text.push_str(&format!(" details={}", field("details").unwrap_or("-")));
    }
    Some((LineSource::Access, text))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineSource {
    Access,
    /// A path without a hook: scanners of the internet try many.
    UnknownPath,
    Other,
}

/// More lines than a person reads.
const LINES_PER_SECOND: u32 = 20;

/// A limit for lines of the access log, as during a flood.
#[derive(Default)]
pub(super) struct AccessLimit {
    since: Option<Instant>,
    written: u32,
    omitted: u64,
    unknown: UnknownPaths,
}

/// One line a minute, with the number of the others.
#[derive(Clone, Copy, Default)]
struct UnknownPaths {
    since: Option<Instant>,
    omitted: u64,
}

impl UnknownPaths {
    fn line(&mut self, now: Instant, line: String) -> Option<String> {
        if self.since.is_some_and(|since| now.duration_since(since) < Duration::from_secs(60)) {
            self.omitted = self.omitted.saturating_add(1);
            return None;
        }
        let before = std::mem::replace(self, Self { since: Some(now), omitted: 0 });
        Some(match before.omitted {
            0 => line,
            more => format!("{line}, and {more} such requests since the last line"),
        })
    }
}

impl AccessLimit {
    /// The lines to write now.
    pub(super) fn lines(&mut self, line: Option<(LineSource, String)>) -> Vec<String> {
        self.lines_at(Instant::now(), line)
    }

    fn lines_at(&mut self, now: Instant, line: Option<(LineSource, String)>) -> Vec<String> {
        let mut lines = Vec::new();
        if self.since.is_none_or(|since| now.duration_since(since) >= Duration::from_secs(1)) {
            if self.omitted > 0 {
                lines.push(format!("{} lines about requests left out", self.omitted));
            }
            *self = Self { since: Some(now), written: 0, omitted: 0, ..*self };
        }
        match line {
            Some((LineSource::UnknownPath, line)) => lines.extend(self.unknown.line(now, line)),
            Some((LineSource::Access, _)) if self.written >= LINES_PER_SECOND => {
                self.omitted = self.omitted.saturating_add(1);
            }
            Some((kind, line)) => {
                if kind == LineSource::Access {
                    self.written = self.written.saturating_add(1);
                }
                lines.push(line);
            }
            None => (),
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn shows(json: &str, expected: Option<&str>) {
        assert_eq!(line(json).as_ref().map(|(_, line)| line.as_str()), expected, "{json}");
    }

    #[test]
    fn shows_events_and_failures() {
        let edge = |verdict: &str, status: u16, upstream: &str| {
            format!(
                r#"{{"event":"completed","verdict":"{verdict}","status":{status},"upstream":"{upstream}","hook":"veo3",
                "generation_id":"id-1","job":"order-17","details":"via_upstream","source":"127.0.0.1"}}"#
            )
        };
        shows(&edge("accepted", 200, "inbox"), Some("accepted completed id-1 hook=veo3 job=order-17"));
        shows(&edge("observed", 200, "inbox"), Some("observed completed id-1 hook=veo3 job=order-17"));
        shows(
            &edge("observed", 204, "video_service"),
            Some("delivered completed id-1 hook=veo3 job=order-17"),
        );
        shows(&edge("accepted", 503, "inbox"), None);
        shows(&edge("quarantined", 200, "inbox"), None);
        let attempt = |status: u16| {
            format!(
                r#"{{"event":"failed","verdict":"accepted","status":{status},"upstream":"a","hook":"veo3",
                "generation_id":"id-1","attempt":"2","details":"via_upstream"}}"#
            )
        };
        shows(&attempt(200), Some("delivered failed id-1 hook=veo3 attempt=2 status=200"));
        shows(
            &attempt(404),
            Some("not delivered failed id-1 hook=veo3 attempt=2 status=404 details=via_upstream"),
        );
        let other = |status: u16| {
            format!(
                r#"{{"event":null,"hook":null,"status":{status},"details":"overload","source":"192.0.2.1"}}"#
            )
        };
        shows(&other(503), Some("answered 503 details=overload source=192.0.2.1"));
        shows(&other(404), Some("answered 404: no hook has this path; source=192.0.2.1"));
        // The module writes the line.
        let refused = other(404).replace("\"status\"", "\"reason\":\"unknown-hook\",\"status\"");
        for quiet in [&other(200), &refused, "{", "{}", r#"{"attempt":null,"status":503}"#] {
            shows(quiet, None);
        }
    }

    #[test]
    fn limits_lines_about_requests() {
        let start = Instant::now();
        let mut limit = AccessLimit::default();
        let access = |number: u32| Some((LineSource::Access, format!("{number}")));
        let written: Vec<_> = (0..100).flat_map(|number| limit.lines_at(start, access(number))).collect();
        assert_eq!(written.len(), 20);
        assert_eq!(limit.lines_at(start, Some((LineSource::Other, "other".to_owned()))), ["other"]);
        let later = start + Duration::from_secs(1);
        assert_eq!(limit.lines_at(later, access(100)), ["80 lines about requests left out", "100"]);
        assert_eq!(limit.lines_at(later + Duration::from_secs(1), None), Vec::<String>::new());

        let unknown = || Some((LineSource::UnknownPath, "no hook".to_owned()));
        let seconds = |number: u64| start + Duration::from_secs(number);
        let written: Vec<_> = (0..61).flat_map(|second| limit.lines_at(seconds(second), unknown())).collect();
        assert_eq!(written, ["no hook", "no hook, and 59 such requests since the last line"]);
    }
}
