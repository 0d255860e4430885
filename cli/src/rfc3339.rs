//! Times in RFC 3339.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Formats whole seconds: `2026-01-31T12:00:00Z`.
pub(crate) fn rfc3339(at: OffsetDateTime) -> String {
    at.truncate_to_second().format(&Rfc3339).unwrap_or_default()
}
