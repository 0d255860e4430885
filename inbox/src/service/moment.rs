//! Reads a time of a request: RFC 3339 in its variants, or a day.

use thiserror::Error;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime};

/// A text that names no moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MomentError {
    /// It is neither a time nor a day.
    #[error("it is no time of RFC 3339. Write 2026-01-31T12:00:00Z, or the day 2026-01-31")]
    Unreadable,
    /// It has no offset, so it is another moment in each time zone.
    #[error("it has no time zone. Add Z for UTC, or an offset such as +02:00")]
    NoZone,
}

/// The characters of a day.
const DAY: usize = 10;
/// The characters of a time without seconds.
const MINUTES: usize = 5;

/// Reads `2026-01-31T12:00:00Z`, with a space or `t` for `T` and `z` for `Z` (RFC 3339, section 5.6). The seconds and the
/// offset's minutes may be missing (ISO 8601). A day is its midnight in UTC.
///
/// # Errors
/// [`MomentError`].
///
/// ```
/// use blobgate_inbox::service::parse_moment;
///
/// assert_eq!(parse_moment("2026-01-31"), parse_moment("2026-01-31 02:00+02"));
/// assert!(parse_moment("2026-01-31T12:00:00").is_err());
/// ```
pub fn parse_moment(text: &str) -> Result<OffsetDateTime, MomentError> {
    let (day, rest) = text.split_at_checked(DAY).ok_or(MomentError::Unreadable)?;
    let date = Date::parse(day, format_description!("[year]-[month]-[day]"));
    let date = date.map_err(|_| MomentError::Unreadable)?;
    if rest.is_empty() {
        return Ok(date.midnight().assume_utc());
    }
    let rest = rest.strip_prefix(['T', 't', ' ']).ok_or(MomentError::Unreadable)?;
    let zone_at = rest.find(['Z', 'z', '+', '-']);
    let (clock, zone) = zone_at.and_then(|at| rest.split_at_checked(at)).unwrap_or((rest, ""));
    let seconds = if clock.len() == MINUTES { ":00" } else { "" };
    let read = |zone: &str| OffsetDateTime::parse(&format!("{day}T{clock}{seconds}{zone}"), &Rfc3339);
    if zone.is_empty() {
        return Err(read("Z").map_or(MomentError::Unreadable, |_| MomentError::NoZone));
    }
    read(&full_zone(zone)).map_err(|_| MomentError::Unreadable)
}

/// `+02:00` of `+02` and of `+0200`, and `Z` of `z`.
fn full_zone(zone: &str) -> String {
    match (zone.len(), zone.split_at_checked(3)) {
        (1, _) => zone.to_ascii_uppercase(),
        (3, _) => format!("{zone}:00"),
        (5, Some((hours, minutes))) => format!("{hours}:{minutes}"),
        _ => zone.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn reads_each_form() {
        for (text, moment) in [
            ("2026-01-31", datetime!(2026-01-31 00:00 UTC)),
            ("2024-02-29", datetime!(2024-02-29 00:00 UTC)),
            ("2026-01-31T12:30:15Z", datetime!(2026-01-31 12:30:15 UTC)),
            ("2026-01-31t12:30:15z", datetime!(2026-01-31 12:30:15 UTC)),
            ("2026-01-31 12:30:15Z", datetime!(2026-01-31 12:30:15 UTC)),
            ("2026-01-31T12:30:15.250Z", datetime!(2026-01-31 12:30:15.25 UTC)),
            ("2026-01-31T12:30Z", datetime!(2026-01-31 12:30 UTC)),
            ("2026-01-31 12:30+02", datetime!(2026-01-31 10:30 UTC)),
            ("2026-01-31T12:30:15+0230", datetime!(2026-01-31 10:00:15 UTC)),
            ("2026-01-31T12:30:15-08:00", datetime!(2026-01-31 20:30:15 UTC)),
        ] {
            assert_eq!(parse_moment(text), Ok(moment), "{text}");
        }
    }

    #[test]
    fn refuses_other_texts() {
        for text in [
            "",
            "today",
            "2026",
            "2026-01",
            "2026-1-31",
            "31.01.2026",
            "01/31/2026",
            "2026-02-29",
            "2026-13-01",
            "2026-01-31T",
            "2026-01-31Z",
            "2026-01-31T12",
            "2026-01-31T12Z",
            "2026-01-31T25:00Z",
            "2026-01-31T12:00:00+",
            "2026-01-31T12:00:00+2",
            "2026-01-31T12:00:00+99:00",
            "2026-01-31T12:00:00Z ",
            " 2026-01-31",
            "2026-01-31_12:00Z",
            "2026-01-3é",
            "1769860800",
        ] {
            assert_eq!(parse_moment(text), Err(MomentError::Unreadable), "{text:?}");
        }
        for text in ["2026-01-31T12:00:00", "2026-01-31 12:00", "2026-01-31t12:00:00.5"] {
            assert_eq!(parse_moment(text), Err(MomentError::NoZone), "{text:?}");
        }
    }
}
