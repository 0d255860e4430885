//! An entry, in words.

use blobgate_inbox::service::EntrySummary;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The service's last answer, or why there was none; none after a replay until the next attempt.
pub(super) fn last_answer(entry: &EntrySummary) -> Option<String> {
    let answer = entry.status.map(|status| status.to_string()).or_else(|| entry.answer.clone());
    answer.filter(|_| entry.attempts > 0)
}

/// How long ago, in its largest unit: `5m`.
pub(super) fn age(time: &str) -> String {
    let Ok(time) = OffsetDateTime::parse(time, &Rfc3339) else { return "-".to_owned() };
    // The inbox's clock, or its database's, may be ahead of this one.
    let seconds = OffsetDateTime::now_utc().unix_timestamp().saturating_sub(time.unix_timestamp()).max(0);
    in_units(seconds)
}

/// Bytes in the unit that leaves one to three digits before the point.
pub(super) fn size(bytes: i64) -> String {
    const UNITS: [(i64, &str); 4] =
        [(1_000_000_000_000, "TB"), (1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    for (unit, name) in UNITS {
        if bytes >= unit {
            let tenths = bytes.saturating_mul(10).checked_div(unit).unwrap_or_default();
            let (whole, tenth) = (tenths.checked_div(10), tenths.checked_rem(10));
            return format!("{}.{} {name}", whole.unwrap_or_default(), tenth.unwrap_or_default());
        }
    }
    format!("{bytes} bytes")
}

/// Seconds in their largest unit.
pub(super) fn in_units(seconds: i64) -> String {
    const UNITS: [(i64, &str); 3] = [(86_400, "d"), (3_600, "h"), (60, "m")];
    for (size, unit) in UNITS {
        if seconds >= size {
            return format!("{}{unit}", seconds.checked_div(size).unwrap_or_default());
        }
    }
    format!("{seconds}s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_one_unit() {
        for (bytes, expected) in [
            (0, "0 bytes"),
            (999, "999 bytes"),
            (1_000, "1.0 kB"),
            (1_449, "1.4 kB"),
            (12_345_678, "12.3 MB"),
        ] {
            assert_eq!(size(bytes), expected);
        }
    }

    #[test]
    fn ages_have_one_unit() {
        for (seconds, expected) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (3_599, "59m"),
            (3_600, "1h"),
            (86_399, "23h"),
            (172_800, "2d"),
        ] {
            assert_eq!(in_units(seconds), expected);
        }
        assert_eq!(age("2999-01-01T00:00:00Z"), "0s");
        assert!(age("2020-01-01T00:00:00.123Z").ends_with('d'));
        assert_eq!(age("then"), "-");
    }
}
