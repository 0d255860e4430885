//! Stage 9: what the event itself must hold, and the event.

use crate::Reason;
use crate::contract;
pub use crate::contract::Kind;
use std::fmt;
use uuid::Uuid;

/// What the provider says has happened to one generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Which generation.
    pub generation_id: GenerationId,
    /// What happened.
    pub kind: Kind,
    /// Why, where it failed or timed out.
    pub failure: Option<Failure>,
    /// Where the video is, where there is one.
    pub result_url: Option<String>,
    /// What is not as documented.
    pub drift: Drift,
}

/// Why a generation has no video.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The provider's code, `[A-Z0-9_]{1,64}`; `None` where it names none of that form.
    pub code: Option<String>,
    /// Whose failure it is.
    pub class: Class,
    /// Whether generating again, unchanged, may work; `None` where nobody knows.
    pub retryable: Option<bool>,
}

/// Whose failure it is: the provider's categories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The request's.
    User,
    /// The content's.
    Content,
    /// The provider's.
    System,
    /// Not documented.
    Unknown,
}

/// A generation's id: a UUID, neither nil nor max.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GenerationId(Uuid);

/// What a payload says, with only what decides something checked for presence and type.
#[derive(Debug)]
pub struct Claim<'a> {
    /// `generation_id`, of any form.
    pub generation_id: &'a str,
    /// What happened.
    pub kind: Kind,
    /// Why, where it failed or timed out.
    pub failure: Option<Failure>,
    /// Where the video is, where there is one.
    pub result_url: Option<&'a str>,
    /// What is not as documented.
    pub drift: Drift,
}

/// A payload that breaks a rule: which, and what is known of it all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidPayload {
    /// The first rule that it breaks.
    pub reason: Reason,
    /// Which generation it is about.
    pub generation_id: Option<GenerationId>,
    /// What it says, where only a strict schema or a later stage minds.
    pub event: Option<Box<Event>>,
}

/// Names of documented fields that are not as documented, each once. Bounded, as the names are the dialect's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drift(Vec<&'static str>);

/// Decides on what a payload claims.
///
/// # Errors
/// [`Reason::GenerationIdInvalid`].
pub fn check(claim: Claim<'_>) -> Result<Event, InvalidPayload> {
    let Claim { generation_id, kind, failure, result_url, drift } = claim;
    let Some(generation_id) = GenerationId::parse(generation_id) else {
        return Err(Reason::GenerationIdInvalid.into());
    };
    Ok(Event { generation_id, kind, failure, result_url: result_url.map(str::to_owned), drift })
}

impl Event {
    /// The key under which a receiver knows a repeat: `veo3:<generation id>:completed`.
    pub fn idempotency_key(&self, dialect: &str) -> String {
        let mut buffer = Uuid::encode_buffer();
        let id = self.generation_id.0.hyphenated().encode_lower(&mut buffer);
        contract::idempotency_key(dialect, id, self.kind)
    }
}

impl From<Reason> for InvalidPayload {
    fn from(reason: Reason) -> Self {
        InvalidPayload { reason, generation_id: None, event: None }
    }
}

impl Drift {
    /// Notes a field.
    pub fn note(&mut self, field: &'static str) {
        if !self.0.contains(&field) {
            self.0.push(field);
        }
    }

    /// Notes a field unless it is as documented.
    pub fn expect(&mut self, field: &'static str, as_documented: bool) {
        if !as_documented {
            self.note(field);
        }
    }

    /// Whether all is as documented.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names, in the order in which they were found.
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
    /// Reads the form 8-4-4-4-12 of RFC 9562 in either case, and no other: no braces, no `urn:uuid:`.
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
    fn one_form_of_id() {
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
