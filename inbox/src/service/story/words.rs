//! The words of a story.

use crate::entry::QuarantineReason;

/// A time span in up to two units: `40ms`, `1.2s`, `13m`, `2h 5m`, `3d 4h`.
pub(super) fn span(micros: i64) -> String {
    const MINUTE: i64 = 60_000_000;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    let part =
        |size: i64, of: i64| micros.checked_rem(of).and_then(|rest| rest.checked_div(size)).unwrap_or(0);
    let two = |first: i64, unit: &str, second: i64, small: &str| match second {
        0 => format!("{first}{unit}"),
        second => format!("{first}{unit} {second}{small}"),
    };
    match micros.max(0) {
        0..1_000_000 => format!("{}ms", part(1_000, i64::MAX)),
        1_000_000..10_000_000 if part(100_000, 1_000_000) > 0 => {
            format!("{}.{}s", part(1_000_000, i64::MAX), part(100_000, 1_000_000))
        }
        1_000_000..MINUTE => format!("{}s", part(1_000_000, i64::MAX)),
        MINUTE..HOUR => two(part(MINUTE, i64::MAX), "m", part(1_000_000, MINUTE), "s"),
        HOUR..DAY => two(part(HOUR, i64::MAX), "h", part(MINUTE, HOUR), "m"),
        DAY.. => two(part(DAY, i64::MAX), "d", part(HOUR, DAY), "h"),
        _ => "0ms".to_owned(),
    }
}

/// A number and its noun.
pub(super) fn counted(count: i64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// The answer to a status call of the reconciler, in words.
pub(super) fn call_answer(answer: Option<&str>) -> String {
    let words = match answer.unwrap_or_default() {
        "completed" => "the generation is completed",
        "failed" => "the generation failed",
        "timeout" => "the generation timed out",
        "unknown" => "the status API has no such generation",
        "still-working" => "the generation is in progress",
        "unauthorized" => "the status API refuses the API key",
        "limited" => "the rate limit of the status API is reached",
        "status" => "the status API, or a proxy before it, answered another status",
        "unreadable" => "the answer of the status API is not as documented",
        "no-answer" => "no whole answer came in time, or the answer was too large",
        "not-started" => "the call could not start",
        "contradicted" => "the status API contradicts the quarantined events",
        "nothing-quarantined" => "no call was necessary: no quarantined entry was left",
        "unknown-dialect" => "no call was possible: no dialect is known for the hook",
        "under way" => "the answer has not come yet",
        "" => "no answer is stored",
        other => return format!("answer {other}"),
    };
    words.to_owned()
}

/// The reason with its meaning and the violated field.
pub(super) fn reason(reason: &QuarantineReason, detail: Option<&str>) -> String {
    let meaning = reason.meaning();
    let meaning = meaning.trim_end_matches('.');
    let code = reason.as_str();
    match (meaning.is_empty(), detail) {
        (true, None) => code.to_owned(),
        (true, Some(detail)) => format!("{code} ({detail})"),
        (false, None) => format!("{code}: {meaning}"),
        (false, Some(detail)) => format!("{code}: {meaning} ({detail})"),
    }
}

/// A word of a command, quoted where a shell would read it otherwise.
pub(super) fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._~:/-".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// The subject of a pause. An empty hook or event is every one.
pub(super) fn pause_subject(hook: &str, event: &str) -> String {
    match (hook, event) {
        ("", event) => format!("{event} events"),
        (hook, "") => format!("hook {hook}"),
        (hook, event) => format!("{hook}/{event}"),
    }
}
