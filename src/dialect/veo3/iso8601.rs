//! The provider's times: ISO 8601, in its documentation without a zone (`2025-12-06T21:43:03.374000`).

use time::format_description::well_known::Iso8601;
use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time};

/// A time with a real calendar date, with or without a zone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Instant {
    Zoned(OffsetDateTime),
    Local(PrimitiveDateTime),
}

impl Instant {
    pub(super) fn parse(text: &str) -> Option<Self> {
        documented(text).map(Instant::Local).or_else(|| Self::parse_any(text))
    }

    /// Reads every form of ISO 8601 with a date and a time.
    fn parse_any(text: &str) -> Option<Self> {
        let (_date, time) = text.split_once('T')?;
        // Finding the zone first saves a second parse of each time without one.
        if time.contains(['Z', '+', '-']) {
            OffsetDateTime::parse(text, &Iso8601::PARSING).map(Instant::Zoned).ok()
        } else {
            PrimitiveDateTime::parse(text, &Iso8601::PARSING).map(Instant::Local).ok()
        }
    }

    /// Whether this time is earlier. `false` where only one of the two has a zone.
    pub(super) fn is_before(&self, other: &Self) -> bool {
        match (self, other) {
            (Instant::Zoned(a), Instant::Zoned(b)) => a < b,
            (Instant::Local(a), Instant::Local(b)) => a < b,
            _ => false,
        }
    }
}

/// Reads the one form of the provider's page, with microseconds. Nearly every time has this form. The general reader takes
/// four times the instructions and the code.
fn documented(text: &str) -> Option<PrimitiveDateTime> {
    let (date, time) = text.as_bytes().split_at_checked(10)?;
    let ([y @ .., b'-', m1, m2, b'-', d1, d2], [b'T', h1, h2, b':', n1, n2, b':', s1, s2, b'.', micros @ ..]) =
        (date, time)
    else {
        return None;
    };
    if micros.len() != 6 {
        return None;
    }
    let month = Month::try_from(two(*m1, *m2)?).ok()?;
    let date = Date::from_calendar_date(i32::try_from(number(y)?).ok()?, month, two(*d1, *d2)?).ok()?;
    let time = Time::from_hms_micro(two(*h1, *h2)?, two(*n1, *n2)?, two(*s1, *s2)?, number(micros)?).ok()?;
    Some(PrimitiveDateTime::new(date, time))
}

fn two(tens: u8, units: u8) -> Option<u8> {
    number(&[tens, units]).and_then(|number| number.try_into().ok())
}

/// Reads digits only: a sign is an error.
fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0_u32, |number, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        number.checked_mul(10)?.checked_add(digit.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The short reader accepts only times that the long one accepts, and both read the same time.
        #[test]
        fn short_reader_agrees_with_the_long_one(
            text in "(19|20)[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{5,7})?[Z+]?"
        ) {
            let long = Instant::parse_any(&text);
            if let Some(short) = documented(&text) {
                prop_assert_eq!(Some(Instant::Local(short)), long);
            } else if text.len() == 26 && text.ends_with(|last: char| last.is_ascii_digit()) {
                prop_assert_eq!(None, long);
            }
        }
    }

    #[test]
    fn short_reader_reads_the_documented_form() {
        assert!(documented("2025-12-06T21:43:03.374000").is_some());
        for text in ["2025-12-06T21:43:03", "+025-12-06T21:43:03.374000", "2025-12-06T21:43:03.37400é", ""] {
            assert!(documented(text).is_none(), "{text}");
        }
    }

    #[test]
    fn accepts_real_dates_with_or_without_a_zone() {
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
    fn compares_only_two_times_of_the_same_kind() {
        before("2025-12-06T21:43:03", "2025-12-06T21:43:04", true);
        before("2025-12-06T21:43:03", "2025-12-06T21:43:03", false);
        before("2025-12-06T21:43:03+02:00", "2025-12-06T20:43:03Z", true);
        before("2025-12-06T21:43:03", "2025-12-06T22:43:03Z", false);
    }
}
