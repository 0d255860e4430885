//! Texts for an entry.

use blobgate_inbox::service::EntrySummary;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The service's last status, or the cause of a missing answer. `None` before the first attempt and after a replay.
pub(super) fn last_answer(entry: &EntrySummary) -> Option<String> {
    let answer = entry.status.map(|status| status.to_string()).or_else(|| entry.answer.clone());
    answer.filter(|_| entry.attempts > 0)
}

/// The time since then, in its largest unit: `5m`.
pub(super) fn age(time: &str) -> String {
    let Ok(time) = OffsetDateTime::parse(time, &Rfc3339) else { return "-".to_owned() };
    // The clock of the inbox or of its database may be ahead of this machine's.
    let seconds = OffsetDateTime::now_utc().unix_timestamp().saturating_sub(time.unix_timestamp()).max(0);
    in_units(seconds)
}

/// Bytes in a decimal unit, with one to three digits before the point.
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
    fn formats_sizes_in_one_unit() {
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
    fn formats_ages_in_one_unit() {
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
