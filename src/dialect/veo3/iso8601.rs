//! The provider's times: ISO 8601, shown without a zone (`2025-12-06T21:43:03.374000`).

use time::format_description::well_known::Iso8601;
use time::{OffsetDateTime, PrimitiveDateTime};

/// A time with a real calendar date, with or without a zone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Instant {
    Zoned(OffsetDateTime),
    Local(PrimitiveDateTime),
}

impl Instant {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (_date, time) = text.split_once('T')?;
        // Looked at first: trying one form after the other would parse each of the provider's own times twice.
        if time.contains(['Z', '+', '-']) {
            OffsetDateTime::parse(text, &Iso8601::PARSING).map(Instant::Zoned).ok()
        } else {
            PrimitiveDateTime::parse(text, &Iso8601::PARSING).map(Instant::Local).ok()
        }
    }

    /// Whether this is earlier. Two times of which only one has a zone cannot be compared.
    pub(super) fn is_before(&self, other: &Self) -> bool {
        match (self, other) {
            (Instant::Zoned(a), Instant::Zoned(b)) => a < b,
            (Instant::Local(a), Instant::Local(b)) => a < b,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_dates_with_or_without_a_zone() {
        for text in [
            "2025-12-06T21:43:03.374000",
            "2025-12-06T21:43:03",
            "2025-12-06T21:43:03Z",
            "2025-12-06T21:43:03.374+02:00",
            "2024-02-29T00:00:00",
        ] {
            assert!(Instant::parse(text).is_some(), "{text}");
        }
        for text in [
            "",
            "yesterday",
            "2025-12-06",
            "2025-02-29T00:00:00",
            "2025-13-01T00:00:00",
            "2025-12-06T24:00:01",
            "2025-12-06T21:60:03",
            "2025-12-06T21:43:03X",
            "1733521383",
        ] {
            assert!(Instant::parse(text).is_none(), "{text}");
        }
    }

    #[track_caller]
    fn before(a: &str, b: &str, expected: bool) {
        assert_eq!(Instant::parse(a).unwrap().is_before(&Instant::parse(b).unwrap()), expected);
    }

    #[test]
    fn like_is_compared_with_like() {
        before("2025-12-06T21:43:03", "2025-12-06T21:43:04", true);
        before("2025-12-06T21:43:03", "2025-12-06T21:43:03", false);
        before("2025-12-06T21:43:03+02:00", "2025-12-06T20:43:03Z", true);
        before("2025-12-06T21:43:03", "2025-12-06T22:43:03Z", false);
    }
}
