//! Stage 9: the event, and the check of its id.

use crate::contract;
pub use crate::contract::Kind;
use crate::violation::Detail;
use crate::{Reason, Violation};
use std::fmt;
use uuid::Uuid;

/// The end of one generation, as the provider reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The generation.
    pub generation_id: GenerationId,
    /// The end of the generation.
    pub kind: Kind,
    /// The failure, where it failed or timed out.
    pub failure: Option<Failure>,
    /// The video's URL, where it completed.
    pub result_url: Option<String>,
    /// The payload's drift.
    pub drift: Drift,
}

/// Why a generation has no video.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The provider's code, `[A-Z0-9_]{1,64}`; `None` where the payload has no code of that form.
    pub code: Option<String>,
    /// The cause's category.
    pub class: Class,
    /// Whether an unchanged second generation may succeed; `None` for an undocumented code.
    pub retryable: Option<bool>,
}

/// The provider's categories of failures, by their cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The request.
    User,
    /// The content.
    Content,
    /// The provider's system.
    System,
    /// An undocumented code.
    Unknown,
}

/// A generation's id: a UUID, neither nil nor max.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GenerationId(Uuid);

/// A payload's content. Only required fields are checked for presence and type.
#[derive(Debug)]
pub struct Claim<'a> {
    /// `generation_id`, in any form.
    pub generation_id: &'a str,
    /// The end of the generation.
    pub kind: Kind,
    /// The failure, where it failed or timed out.
    pub failure: Option<Failure>,
    /// The video's URL, where it completed.
    pub result_url: Option<&'a str>,
    /// The payload's drift.
    pub drift: Drift,
}

/// A payload that breaks a rule, with its readable parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidPayload {
    /// The first violation.
    pub violation: Violation,
    /// The generation.
    pub generation_id: Option<GenerationId>,
    /// The event, where only a strict schema or a later stage refuses it.
    pub event: Option<Box<Event>>,
}

/// The names of fields that differ from the documentation, each once. The names are constants of the dialect, so their number
/// is bounded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drift(Vec<&'static str>);

/// Checks a claim.
///
/// # Errors
/// [`Reason::GenerationIdInvalid`].
pub fn check(claim: Claim<'_>) -> Result<Event, InvalidPayload> {
    let Claim { generation_id, kind, failure, result_url, drift } = claim;
    let Some(generation_id) = GenerationId::parse(generation_id) else {
        let detail =
            Detail::new("generation_id", "is another text", "a UUID as 8-4-4-4-12, neither nil nor max");
        return Err(detail.of(Reason::GenerationIdInvalid).into());
    };
    Ok(Event { generation_id, kind, failure, result_url: result_url.map(str::to_owned), drift })
}

impl Event {
    /// The key by which a service detects a repeat: `veo3:<generation id>:completed`.
    pub fn idempotency_key(&self, dialect: &str) -> String {
        let mut buffer = Uuid::encode_buffer();
        let id = self.generation_id.0.hyphenated().encode_lower(&mut buffer);
        contract::idempotency_key(dialect, id, self.kind)
    }
}

impl From<Violation> for InvalidPayload {
    fn from(violation: Violation) -> Self {
        InvalidPayload { violation, generation_id: None, event: None }
    }
}

impl Drift {
    /// The name of undocumented keys.
    pub const UNKNOWN_KEYS: &'static str = "unknown-keys";

    /// Notes a field.
    pub fn note(&mut self, field: &'static str) {
        if !self.0.contains(&field) {
            self.0.push(field);
        }
    }

    /// Notes a field, unless it is as documented.
    pub fn expect(&mut self, field: &'static str, as_documented: bool) {
        if !as_documented {
            self.note(field);
        }
    }

    /// Whether the payload has no drift.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names, in the order of [`Self::note`].
    pub fn names(&self) -> &[&'static str] {
        &self.0
    }
}

impl Class {
    /// The value of `blobgate-error-class`.
    pub const fn name(self) -> &'static str {
        match self {
            Class::User => "user",
            Class::Content => "content",
            Class::System => "system",
            Class::Unknown => "unknown",
        }
    }
}

impl GenerationId {
    /// Reads only the form 8-4-4-4-12 of RFC 9562, in upper or lower case: no braces, no `urn:uuid:`.
    ///
    /// ```
    /// use blobgate::event::GenerationId;
    ///
    /// let id = GenerationId::parse("FFD473D5-5BEF-4E14-BF22-8D559BE3C19F").unwrap();
    /// assert_eq!(id.text(), "ffd473d5-5bef-4e14-bf22-8d559be3c19f");
    /// assert_eq!(GenerationId::parse("00000000-0000-0000-0000-000000000000"), None);
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        const HYPHENATED: usize = 36;
        if text.len() != HYPHENATED {
            return None;
        }
        let id = Uuid::try_parse(text).ok()?;
        if id.is_nil() || id.is_max() { None } else { Some(Self(id)) }
    }

    /// The canonical form: lower case, 8-4-4-4-12.
    pub fn text(self) -> String {
        self.0.hyphenated().encode_lower(&mut Uuid::encode_buffer()).to_owned()
    }
}

/// [`GenerationId::text`]
impl fmt::Display for GenerationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn id(text: &str, expected: Option<&str>) {
        assert_eq!(GenerationId::parse(text).map(|id| id.to_string()).as_deref(), expected, "{text}");
    }

    #[test]
    fn reads_one_form_of_id() {
        let canonical = "ffd473d5-5bef-4e14-bf22-8d559be3c19f";
        id(canonical, Some(canonical));
        id("FFD473D5-5bef-4E14-BF22-8D559BE3C19F", Some(canonical));
        id("00000000-0000-0000-0000-000000000001", Some("00000000-0000-0000-0000-000000000001"));
        for text in [
            "",
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
            "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
            "ffd473d55bef4e14bf228d559be3c19f",
            "{ffd473d5-5bef-4e14-bf22-8d559be3c19f}",
            "urn:uuid:ffd473d5-5bef-4e14-bf22-8d559be3c19f",
            " ffd473d5-5bef-4e14-bf22-8d559be3c19f",
            "ffd473d5-5bef-4e14-bf22-8d559be3c19",
            "ffd473d5-5bef-4e14-bf22-8d559be3c19g",
            "ffd473d5-5bef-4e14-bf228-d559be3c19f",
            "ffd473d5_5bef_4e14_bf22_8d559be3c19f",
            "photo-550e8400-e29b-41d4-a716",
            "٣fd473d5-5bef-4e14-bf22-8d559be3c19",
        ] {
            id(text, None);
        }
    }
}
