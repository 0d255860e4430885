//! The provider's times: ISO 8601, shown without a zone (`2025-12-06T21:43:03.374000`).

use time::format_description::well_known::Iso8601;
use time::{Date, OffsetDateTime, PrimitiveDateTime, Time};

/// A time with a real calendar date, with or without a zone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Instant {
    Zoned(OffsetDateTime),
    Local(PrimitiveDateTime),
}

impl Instant {
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Some(shown) = parse_shown(text) {
            return Some(Instant::Local(shown));
        }
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

/// The form that the page shows. The crate, which reads every form of ISO 8601, takes some five times as long.
fn parse_shown(text: &str) -> Option<PrimitiveDateTime> {
    let (date, time) = text.as_bytes().split_at_checked(10)?;
    let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = date else { return None };
    let &[b'T', h1, h2, b':', n1, n2, b':', s1, s2, b'.', ref micros @ ..] = time else { return None };
    let &[_, _, _, _, _, _] = micros else { return None };
    let month = time::Month::try_from(small(&[m1, m2])?).ok()?;
    let date =
        Date::from_calendar_date(number(&[y1, y2, y3, y4])?.try_into().ok()?, month, small(&[d1, d2])?);
    let time = Time::from_hms_micro(small(&[h1, h2])?, small(&[n1, n2])?, small(&[s1, s2])?, number(micros)?);
    Some(PrimitiveDateTime::new(date.ok()?, time.ok()?))
}

fn small(digits: &[u8]) -> Option<u8> {
    number(digits)?.try_into().ok()
}

fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0_u32, |number, digit| {
        let digit = char::from(*digit).to_digit(10)?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_form_shown_is_read_as_the_crate_reads_it(text in "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9](:[0-6][0-9]){2}\\.[0-9]{6}") {
            if let Some(shown) = parse_shown(&text) {
                prop_assert_eq!(PrimitiveDateTime::parse(&text, &Iso8601::PARSING).ok(), Some(shown));
            }
        }
    }

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
            "2025-02-29T00:00:00.000000",
            "2025-12-06T21:60:03.374000",
            "2025-12-06T21:43:03.37400x",
            "+025-12-06T21:43:03.374000",
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
        before("2025-12-06T21:43:03.374000", "2025-12-06T21:43:03.374001", true);
        before("2025-12-06T21:43:03.374000", "2025-12-06T21:43:03.374", false);
        before("2025-12-06T21:43:03", "2025-12-06T21:43:03", false);
        before("2025-12-06T21:43:03+02:00", "2025-12-06T20:43:03Z", true);
        before("2025-12-06T21:43:03", "2025-12-06T22:43:03Z", false);
    }
}
