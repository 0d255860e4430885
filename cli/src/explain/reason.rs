//! The text of a reason: by its code.

use super::envoy_code;
use super::inbox_code::{CODES, InboxCode};
use crate::option::UsageError;
use crate::output::{escape, print_json, print_styled};
use crate::paint::Paint;
use anyhow::{Result, bail};
use blobgate::Reason;
use blobgate::confirm::Outcome;
use serde::Serialize;

/// A reason's text for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct ReasonText {
    pub(super) code: String,
    /// The stage that finds it; absent for a code of the inbox.
    pub(super) stage: Option<&'static str>,
    /// The status that an unauthenticated sender gets; absent for a code of the inbox.
    pub(super) status: Option<u16>,
    pub(super) meaning: String,
    pub(super) remedy: String,
}

impl ReasonText {
    /// The codes that are not the gate's.
    fn rows() -> impl Iterator<Item = &'static InboxCode> {
        CODES.iter().chain(envoy_code::CODES)
    }

    /// The text of a code of the gate, of the inbox or of a route in `envoy.yaml`.
    pub(super) fn find(code: &str) -> Option<Self> {
        if let Some(reason) = Reason::parse(code) {
            return Some(Self::of(reason));
        }
        let row = Self::rows().find(|row| row.code == code)?;
        let (meaning, remedy) = (row.meaning.to_owned(), row.remedy.to_owned());
        Some(Self { code: code.to_owned(), stage: None, status: None, meaning, remedy })
    }

    /// The text of a reason with which the gate refused a delivery: the inbox has no entry of it.
    pub(super) fn of_refusal(reason: Reason) -> Self {
        Self { remedy: reason.remedy_of_refusal(), ..Self::of(reason) }
    }

    pub(super) fn of(reason: Reason) -> Self {
        Self {
            code: reason.code().to_owned(),
            stage: Some(reason.stage().name()),
            status: Some(reason.status()),
            meaning: reason.meaning(),
            remedy: reason.remedy(),
        }
    }

    /// A code that only a line has: the outcome of a call to the status API, or one of another version.
    pub(super) fn undocumented(code: &str) -> Self {
        let is_outcome = Outcome::ALL.iter().any(|outcome| outcome.name() == code);
        let (meaning, remedy) = if is_outcome {
            (
                "A call to the provider's status API had this outcome.",
                "See docs/reference/metrics.md#confirm-outcomes. The inbox calls again later.",
            )
        } else {
            ("This version of the tool does not know the code.", "Use the tool of the gate's version.")
        };
        let (meaning, remedy) = (meaning.to_owned(), remedy.to_owned());
        Self { code: code.to_owned(), stage: None, status: None, meaning, remedy }
    }

    /// Whether a text is a code.
    pub(super) fn is_code(text: &str) -> bool {
        Self::codes().any(|code| code == text)
    }

    /// Every code that has a text.
    pub(super) fn codes() -> impl Iterator<Item = &'static str> {
        Reason::ALL.iter().map(|reason| reason.code()).chain(Self::rows().map(|row| row.code))
    }

    pub(super) fn lines(&self, paint: Paint) -> Vec<String> {
        let mut lines = vec![paint.bold(&self.code)];
        if let (Some(stage), Some(status)) = (self.stage, self.status) {
            lines.push(format!("  stage      {stage}; an unauthenticated sender gets {status}"));
        }
        lines.push(format!("  meaning    {}", escape(&self.meaning)));
        lines.push(format!("  remedy     {}", escape(&self.remedy)));
        lines
    }
}

/// Prints a reason.
pub(super) fn print_reason(code: &str, json: bool) -> Result<()> {
    let Some(text) = ReasonText::find(code) else {
        bail!(UsageError(format!(
            "no reason has the code {code:?}. Pass one of {}",
            ReasonText::codes().collect::<Vec<_>>().join(", ")
        )));
    };
    if json {
        print_json(serde_json::to_string_pretty(&text)?);
    } else {
        print_styled(&text.lines(Paint::on_stdout()).join("\n"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_of_a_remedy_is_in_the_book() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut pages = 0;
        for code in ReasonText::codes() {
            let remedy = ReasonText::find(code).unwrap().remedy;
            for page in remedy.split('(').skip(1).filter_map(|rest| rest.split_once(')')) {
                let Some(page) = page.0.strip_prefix("docs/") else { continue };
                let file = root.join("docs").join(page.split('#').next().unwrap());
                assert!(file.is_file(), "{code}: {}", file.display());
                pages += 1;
            }
        }
        assert!(pages > 5, "{pages}");
    }
}
