//! A violation: its reason, and a detail that names the field, what the gate found, and what it expected.

use crate::Reason;
use std::fmt;

/// A rule that a delivery breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The reason.
    pub reason: Reason,
    /// The detail; `None` for a violation of a reevaluated delivery's head.
    pub detail: Option<Detail>,
}

/// The field of a violation, what the gate found there, and what it expected. Only the operator sees it.
///
/// Its text is made of constants and one number of the configuration or of a response, so it contains no value of the
/// delivery.
///
/// ```
/// use blobgate::Reason;
/// use blobgate::violation::Detail;
///
/// let detail = Detail::new("body", "is over the limit", "at most # bytes").with_number(131_072);
/// assert_eq!(detail.text(), "body: is over the limit, expected at most 131072 bytes");
/// assert_eq!(detail.of(Reason::BodyTooLarge).reason, Reason::BodyTooLarge);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detail {
    field: &'static str,
    found: &'static str,
    expected: &'static str,
    number: usize,
}

impl Detail {
    /// The largest size of a text.
    pub const MAX_BYTES: usize = crate::contract::MAX_DETAIL;
    /// The place of the number in a text.
    const PLACE: char = '#';

    /// A detail. Each text is visible ASCII and spaces, without a double quote and a backslash. A `#` is the place of the
    /// number.
    pub const fn new(field: &'static str, found: &'static str, expected: &'static str) -> Self {
        Self { field, found, expected, number: 0 }
    }

    /// The same detail with this number.
    pub const fn with_number(self, number: usize) -> Self {
        Self { number, ..self }
    }

    /// The violation of this reason with this detail.
    pub const fn of(self, reason: Reason) -> Violation {
        Violation { reason, detail: Some(self) }
    }

    /// The field of the payload, the header, the setting or the stage.
    pub const fn field(&self) -> &'static str {
        self.field
    }

    /// The class of the field's value.
    pub fn found(&self) -> String {
        self.joined(&[self.found])
    }

    /// The expectation.
    pub fn expected(&self) -> String {
        self.joined(&[self.expected])
    }

    /// `FIELD: FOUND, expected EXPECTATION`. The value of `blobgate-detail`, and of the field `detail` in logs.
    pub fn text(&self) -> String {
        self.joined(&[self.field, ": ", self.found, ", expected ", self.expected])
    }

    fn joined(&self, parts: &[&str]) -> String {
        let mut text = String::with_capacity(Self::MAX_BYTES);
        for part in parts {
            match part.split_once(Self::PLACE) {
                None => text.push_str(part),
                Some((before, after)) => {
                    text.push_str(before);
                    text.push_str(&self.number.to_string());
                    text.push_str(after);
                }
            }
        }
        text
    }
}

/// [`Detail::text`]
impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl Violation {
    /// The text of the detail.
    pub fn text(&self) -> Option<String> {
        self.detail.map(|detail| detail.text())
    }
}

impl From<Reason> for Violation {
    fn from(reason: Reason) -> Self {
        Self { reason, detail: None }
    }
}
