//! Words a time, a number and a size as a page shows them.

use super::visible::visible;
use crate::service::parse_moment;
use minijinja::value::Value;
use minijinja::{HtmlEscape, State};

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// A time of RFC 3339 as `3 min ago`, with the exact time in UTC as its title.
pub(super) fn ago(state: &State, time: String) -> Value {
    let now = state.lookup("now").and_then(|now| i64::try_from(now).ok()).unwrap_or_default();
    let Some(at) = micros(&time) else { return visible(time) };
    let exact = exact(&time);
    Value::from_safe_string(format!(
        "<time datetime=\"{}\" title=\"{}\">{}</time>",
        HtmlEscape(&time),
        HtmlEscape(&exact),
        relative(now.saturating_sub(at))
    ))
}

/// Microseconds since 1970.
pub(super) fn micros(time: &str) -> Option<i64> {
    let nanos = parse_moment(time).ok()?.unix_timestamp_nanos();
    i64::try_from(nanos.checked_div(1_000)?).ok()
}

/// `2026-01-31 12:00:00.000 UTC`.
fn exact(time: &str) -> String {
    let text = time.replacen('T', " ", 1);
    text.strip_suffix('Z').map_or_else(|| time.to_owned(), |text| format!("{text} UTC"))
}

/// Microseconds as `3 min ago`, or `in 3 min`.
fn relative(micros: i64) -> String {
    let seconds = micros.saturating_abs().checked_div(1_000_000).unwrap_or_default();
    match (seconds, micros < 0) {
        (0..5, _) => "now".to_owned(),
        (_, true) => format!("in {}", span(seconds)),
        (_, false) => format!("{} ago", span(seconds)),
    }
}

/// Seconds in one unit, or in two where the second one matters: `40 s`, `13 min`, `2 h 5 min`, `9 d`.
pub(super) fn span(seconds: i64) -> String {
    let part = |size: i64| seconds.checked_div(size).unwrap_or_default();
    let rest = |size: i64, of: i64| {
        seconds.checked_rem(of).and_then(|rest| rest.checked_div(size)).unwrap_or_default()
    };
    match seconds {
        ..MINUTE => format!("{seconds} s"),
        MINUTE..HOUR => format!("{} min", part(MINUTE)),
        HOUR..DAY => match rest(MINUTE, HOUR) {
            0 => format!("{} h", part(HOUR)),
            minutes => format!("{} h {minutes} min", part(HOUR)),
        },
        DAY.. => format!("{} d", part(DAY)),
    }
}

/// A text as a value in the query of a path.
#[expect(clippy::needless_pass_by_value, reason = "a filter gets its arguments by value")]
pub(super) fn url(text: String) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// A number with a comma before each three digits.
pub(super) fn count(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = if number < 0 { "-".to_owned() } else { String::new() };
    for (at, digit) in digits.chars().enumerate() {
        let left = digits.len().saturating_sub(at);
        if at > 0 && left.checked_rem(3) == Some(0) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes in a unit of 1,024.
pub(super) fn size(bytes: i64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let bytes = i128::from(bytes.max(0));
    if bytes < 1_024 {
        return format!("{bytes} bytes");
    }
    let (mut tenths, mut unit) = (bytes.saturating_mul(10), "bytes");
    for larger in UNITS {
        if tenths < 10_240 {
            break;
        }
        tenths = tenths.checked_div(1_024).unwrap_or_default();
        unit = larger;
    }
    let whole = tenths.checked_div(10).unwrap_or_default();
    let tenth = tenths.checked_rem(10).unwrap_or_default();
    if tenth == 0 || whole >= 100 { format!("{whole} {unit}") } else { format!("{whole}.{tenth} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_times() {
        for (seconds, text) in [
            (0, "now"),
            (-4, "now"),
            (59, "59 s ago"),
            (-60, "in 1 min"),
            (3_599, "59 min ago"),
            (7_500, "2 h 5 min ago"),
            (7_200, "2 h ago"),
            (86_400 * 9, "9 d ago"),
        ] {
            assert_eq!(relative(seconds * 1_000_000), text);
        }
        assert_eq!(relative(i64::MIN), "in 106751991 d");
        assert_eq!(exact("2026-01-31T12:00:00.000Z"), "2026-01-31 12:00:00.000 UTC");
    }

    #[test]
    fn words_numbers() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (-1_234_567, "-1,234,567")] {
            assert_eq!(count(number), text);
        }
        for (bytes, text) in [
            (0, "0 bytes"),
            (1_023, "1023 bytes"),
            (1_024, "1 KiB"),
            (1_700, "1.6 KiB"),
            (1 << 20, "1 MiB"),
            (10 << 30, "10 GiB"),
            (i64::MAX, "8191 PiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
